"""Do the intervals of `knapsack popularity` cover the truth? Simulated studies, as in law_coverage.py.

  nice -n 19 python dev/bench/popularity_coverage.py --studies 200 > table.md
  python dev/bench/popularity_coverage.py --studies 40 --parts threshold,family-law

Planted: P(right) = .02 + .95 expit(.9 ln(M / 1e9) + .8 ln(f / 1000) + .5 + family + model + item), items of log-normal
popularity that are hard or easy for all models alike (sd .7), models (sd .2), families (sd .4). Truths are over items.

Parts: threshold (P* of one model, 300 and 1000 items); -law (gamma by the regression, gamma over items and units, P* of
a new model at a size within and beyond theirs) and -sigmoid (a / b, the accuracy of a new model) of each of family (8
models of one family), families (3 families x 3 sizes whose ranges differ; the new model is of a new family), exponents
(families differ in a too, sd .15), slopes (as family, models differ in b, sd .08), alike (as family, models do not
differ). 600 items. An interrupt ends it with the studies that were done.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [ROOT, os.path.join(ROOT, "test", "python")]

from planted_logs import World, joined_of  # noqa: E402

from knapsack.analysis.intervals import Estimate  # noqa: E402
from knapsack.analysis.popularity import law, sigmoid  # noqa: E402
from knapsack.analysis.popularity.curves import Rule, curves_of  # noqa: E402

Said = dict[str, tuple[Estimate | None, float]]  # of one study: what was estimated, and the truth
DRAWS = 20  # of items, where they are for a variance
ONE = {f"one-{M}m": M * 1e6 for M in (160, 410, 600, 1000, 1400, 2800, 6900, 12000)}
RANGES = {"alpha": (160, 410, 1400), "beta": (700, 2700, 6700), "gamma": (350, 1300, 13000)}
THREE = {f"{family}-{M}m": M * 1e6 for family, sizes in RANGES.items() for M in sizes}
WITHIN, BEYOND = 2e9, 2.5e10  # sizes of the new model


def of_threshold(random: np.random.Generator) -> Said:
    """Open ends are not counted."""
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


@dataclass
class Case:
    """Models, and what is planted among them; each study draws the families' effects, the new model's among them."""

    what: str
    sizes: dict[str, float]
    family_sd: float = 0.0
    family_a_sd: float = 0.0
    model_sd: float = 0.2
    model_b_sd: float = 0.0

    def world(self, random: np.random.Generator) -> World:
        names = [*dict.fromkeys(name.partition("-")[0] for name in self.sizes), "new"]
        effects, exponents = (
            {name: random.normal(0, sd) for name in names} for sd in (self.family_sd, self.family_a_sd)
        )
        scatter = {"model_sd": self.model_sd, "model_b_sd": self.model_b_sd}
        return World(items=600, item_sd=0.7, family=effects, family_a=exponents, **scatter)

    def of_law(self, random: np.random.Generator) -> Said:
        world = self.world(random)
        joined = joined_of(world, random, self.sizes)
        found, _, _ = law.report(joined, curves_of(joined, Rule(), None, DRAWS), [{"M": WITHIN}, {"M": BEYOND}])
        if "refused" in found:
            return {}
        two_way, truth = found["items_and_units"].get("gamma"), world.a / world.b
        said: Said = {
            f"{self.what}: gamma by the regression": (Estimate(*found["exponents"]["gamma"]), truth),
            f"{self.what}: gamma over items and units": (two_way and Estimate(*two_way), truth),
        }
        for asked, where in zip(found["asked"], ("within", "beyond")):
            new = world.threshold(*world.level(random, asked["at"]["M"], "new"))
            estimate = Estimate(*map(float, np.log(asked["F50"]))) if "F50" in asked else None
            said[f"{self.what}: ln P* of a new model, {where}"] = estimate, new
        return said

    def of_sigmoid(self, random: np.random.Generator) -> Said:
        world = self.world(random)
        surface = sigmoid.Surface(sigmoid.table_of(joined_of(world, random, self.sizes)), None, DRAWS)
        said: Said = {
            f"{self.what}: a / b of the sigmoid": (surface.interval(lambda one: one.a / one.b), world.a / world.b)
        }
        for M, f, where in ((WITHIN, 1000, "within"), (WITHIN, 50, "within"), (BEYOND, 50, "beyond")):
            level, b = world.level(random, M, "new")
            new = world.accuracy(level + b * np.log(f / 1000))
            said[f"{self.what}: accuracy of a new model at f = {f}, {where}"] = surface.new_model(M, f), new
        return said


CASES = {
    "family": Case("one family", ONE),
    "families": Case("three families", THREE, family_sd=0.4),
    "exponents": Case("families differ in a", THREE, family_sd=0.4, family_a_sd=0.15),
    "slopes": Case("models differ in b", ONE, model_b_sd=0.08),
    "alike": Case("models are alike", ONE, model_sd=0.0),
}
PARTS: dict[str, Callable[[np.random.Generator], Said]] = {"threshold": of_threshold}
PARTS |= {f"{name}-law": case.of_law for name, case in CASES.items()}
PARTS |= {f"{name}-sigmoid": case.of_sigmoid for name, case in CASES.items()}


def study(names: list[str], seed: int, number: int) -> Said:
    said: Said = {}
    for name in names:
        said |= PARTS[name](np.random.default_rng([seed, number]))
    return said


def print_table(studies: list[Said]) -> None:
    print("| estimate | studies | covered | bias | sd of the error | mean half width |\n|---|---|---|---|---|---|")
    for what in dict.fromkeys(what for one in studies for what in one):
        given = [one[what] for one in studies if one.get(what, (None,))[0] is not None]
        error = np.array([one.value - truth for one, truth in given])
        hits = np.array([one.low <= truth <= one.high for one, truth in given])
        half = np.mean([(one.high - one.low) / 2 for one, _ in given])
        row = f"| {what} | {len(given)} of {len(studies)} | {100 * hits.mean():.1f} % | {error.mean():+.4f} |"
        print(f"{row} {error.std():.4f} | {half:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found, began = [], time.time()
    try:
        for number in range(args.studies):
            found.append(study(args.parts.split(","), args.seed, number))
    except KeyboardInterrupt:
        pass
    print_table(found)
    print(f"{(time.time() - began) / max(1, len(found)):.2f} s a study", file=sys.stderr)


if __name__ == "__main__":
    main()
