"""Do the intervals of `knapsack popularity` cover the truth? Simulated studies, as in law_coverage.py.

  nice -n 19 python dev/bench/popularity_coverage.py --studies 200 > table.md
  python dev/bench/popularity_coverage.py --studies 40 --parts threshold,family

Planted: P(right) = .02 + .95 expit(.9 ln(M / 1e9) + .8 ln(f / 1000) + .5 + family + model + item), items of log-normal
popularity that are hard or easy for all models alike (sd .7), models (sd .2), families (sd .4). Truths are over items.

Parts: threshold (P* of one model, 300 and 1000 items), family (8 models of one family: gamma by the regression, gamma
over items and units, a / b; a new model of the family: its P* and its accuracy, at a size within and beyond theirs),
families (3 families x 3 sizes whose ranges differ: the same, the new model is of a new family), exponents (families
differ in a too, sd .15), slopes (as family, models differ in b, sd .08), certain (as family, models are alike).
Items: 600.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [ROOT, os.path.join(ROOT, "test", "python")]

from planted_logs import World, joined_of  # noqa: E402

from knapsack.analysis.intervals import Estimate  # noqa: E402
from knapsack.analysis.popularity import law, sigmoid  # noqa: E402
from knapsack.analysis.popularity.curves import Rule, curves_of  # noqa: E402

Said = dict[str, tuple[Estimate | None, float]]  # of one study: what was estimated, and the truth
DRAWS = 30  # of items, where they are for a variance
ONE = {f"one-{M}m": M * 1e6 for M in (160, 410, 600, 1000, 1400, 2800, 6900, 12000)}
RANGES = {"alpha": (160, 410, 1400), "beta": (700, 2700, 6700), "gamma": (350, 1300, 13000)}
THREE = {f"{family}-{M}m": M * 1e6 for family, sizes in RANGES.items() for M in sizes}
WITHIN, BEYOND = 2e9, 2.5e10  # sizes of the new model


def of_threshold(random: np.random.Generator) -> Said:
    said: Said = {}
    for items in (300, 1000):
        world = World(items=items, item_sd=0.7, model_sd=0.0)
        (one,) = curves_of(joined_of(world, random, {"one-1b": 1e9}), Rule(), None, 200)
        low, high = one.said["interval"]
        value = one.said["threshold"]
        whole = None not in (value, low, high)
        estimate = Estimate(*map(float, np.log([value, low, high]))) if whole else None
        said[f"ln P* of one model, {items} items"] = estimate, world.threshold(*world.level(random, 1e9))
    return said


def of_models(random: np.random.Generator, sizes: dict[str, float], what: str, world: World) -> Said:
    """Families of `sizes` get their effects here; so does the new model's."""
    families = dict.fromkeys([*(name.partition("-")[0] for name in sizes), "new"])
    several = len(families) > 2
    world.family = {name: random.normal(0, 0.4) * several for name in families}
    if world.family_a:
        world.family_a = {name: random.normal(0, 0.15) for name in families}
    joined = joined_of(world, random, sizes)
    found, _, _ = law.report(joined, curves_of(joined, Rule(), None, DRAWS), [{"M": WITHIN}, {"M": BEYOND}])
    truth = world.a / world.b
    said: Said = {}
    if "refused" in found:
        return {f"{what}: the law": (None, 0.0)}
    said[f"{what}: gamma by the regression"] = Estimate(*found["exponents"]["gamma"]), truth
    two_way = found["items_and_units"].get("gamma")
    said[f"{what}: gamma over items and units"] = two_way and Estimate(*two_way), truth
    surface = sigmoid.Surface(sigmoid.table_of(joined, joined.sized), None, DRAWS)
    said[f"{what}: a / b of the sigmoid"] = surface.interval(lambda one: one.a / one.b), truth
    for asked, where in zip(found["asked"], ("within", "beyond")):
        M = asked["at"]["M"]
        level, b = world.level(random, M, "new")
        estimate = Estimate(*map(float, np.log(asked["F50"]))) if "F50" in asked else None
        said[f"{what}: ln P* of a new model, {where}"] = estimate, world.threshold(level, b)
        for f in (1000, 50) if M == WITHIN else (50,):
            accuracy = world.accuracy(level + b * np.log(f / 1000))
            said[f"{what}: accuracy of a new model at f = {f}, {where}"] = surface.new_model(M, f), accuracy
    return said


def part(sizes: dict[str, float], what: str, **planted: object) -> Callable[[np.random.Generator], Said]:
    options = {"items": 600, "item_sd": 0.7, "model_sd": 0.2} | planted
    return lambda random: of_models(random, sizes, what, World(**options))


PARTS: dict[str, Callable[[np.random.Generator], Said]] = {
    "threshold": of_threshold,
    "family": part(ONE, "one family"),
    "families": part(THREE, "three families"),
    "exponents": part(THREE, "families differ in a", family_a={"": 0.0}),
    "slopes": part(ONE, "models differ in b", model_b_sd=0.08),
    "certain": part(ONE, "models alike", model_sd=0.0),
}


def simulate(name: str, studies: int, seed: int) -> None:
    found: dict[str, list[tuple[Estimate | None, float]]] = {}
    began, done = time.time(), 0
    try:
        for number in range(studies):
            for what, pair in PARTS[name](np.random.default_rng([seed, number])).items():
                found.setdefault(what, []).append(pair)
            done += 1
    except KeyboardInterrupt:
        pass
    for what, pairs in found.items():
        given = [(one, truth) for one, truth in pairs[:done] if one is not None]
        error = np.array([one.value - truth for one, truth in given])
        hits = np.array([one.low <= truth <= one.high for one, truth in given])
        half = np.mean([(one.high - one.low) / 2 for one, _ in given])
        row = f"| {what} | {len(given)} of {done} | {100 * hits.mean():.1f} % | {error.mean():+.4f} |"
        print(f"{row} {error.std():.4f} | {half:.4f} |", flush=True)
    print(f"{name}: {(time.time() - began) / max(1, done):.2f} s a study", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for name in args.parts.split(","):
        simulate(name, args.studies, args.seed)


if __name__ == "__main__":
    main()
