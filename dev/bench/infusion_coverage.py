"""Do the critical infusion of `knapsack laws --infused` and the retention laws of `knapsack curves` cover the truth?
Simulated studies, as in law_coverage.py.

  nice -n 19 python dev/bench/infusion_coverage.py --studies 200 > table.md
  python dev/bench/infusion_coverage.py --studies 40 --parts size,facts

Parts: size (exponent of M out of brackets, grids of factor 2 and 4, two scatters, a censored size; F* of a new curve),
facts (exponent of K, K F = const planted and not), curves (the whole way: runs with planted collapses, read_collapse,
the law), false (collapses claimed where there are none: 1 to 5 runs a point, seeds that differ by 5 points), rivals
(how often the planted one is best by the size left out), null (laws claimed of studies without a collapse), decay and
tau (retention laws over several runs with people of their own or the same ones, facts that differ for good, runs that
wander; and the plain cluster bootstrap next to it).
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

from planted_studies import brackets, collapsing_curve, retention_curve, retention_runs  # noqa: E402

from knapsack.analysis.forgetting import laws, over_runs, retention  # noqa: E402
from knapsack.analysis.infusion.collapse import Rule, read_collapse  # noqa: E402
from knapsack.analysis.intervals import Estimate  # noqa: E402
from knapsack.analysis.laws.infusion import Bracket, Law, fit_law, hold_out  # noqa: E402
from knapsack.common.errors import DataError  # noqa: E402

Said = dict[str, tuple[Estimate | None, float]]  # of one study: what was estimated, and the truth
GRID = (8, 16, 32, 64, 128, 256, 512)
SIZES = (1e5, 3e5, 1e6, 3e6, 1e7)


def law_of(rows: list[Bracket]) -> Law | None:
    try:
        return fit_law(rows)
    except DataError:
        return None


def claim(claimed: bool) -> tuple[Estimate, float]:
    """Covered where it is not claimed."""
    return Estimate(0.0, 1.0 * claimed, 1.0), 0.0


def of_size(random: np.random.Generator) -> Said:
    said: Said = {}
    for ratio, scatter in ((2.0, 0.1), (2.0, 0.3), (4.0, 0.15)):
        for curves, largest in ((1, 1e6), (2, 1e6), (2, 128)):
            law = law_of(brackets(random, ratio=ratio, scatter=scatter, replicates=curves, largest=largest))
            what = f"{curves} curves a size, factor {ratio:g}, scatter {scatter:g}" + ", censored" * (largest < 1e6)
            said[f"a: {what}"] = (law and law.exponents()["a"], 0.5)
            truth = np.log(100) + 0.5 * np.log(3.0 * 10) + random.normal(0, scatter)
            said[f"new curve: {what}"] = (law and law.fit.new(law.row({"M": 3e7}, "replace"), 0.0), truth)
    return said


def of_facts(random: np.random.Generator) -> Said:
    said: Said = {}
    for kappa in (-1.0, 0.0):
        for scatter in (0.1, 0.3):
            law = law_of(brackets(random, facts=(200, 800, 3200), kappa=kappa, scatter=scatter))
            said[f"exponent of K {kappa:g}, scatter {scatter:g}"] = (law and law.exponents()["K"], kappa)
    return said


def of_rivals(random: np.random.Generator) -> Said:
    """Covered where the planted one is best."""
    said: Said = {}
    for kappa, name in ((-1.0, "K F*"), (0.0, "F*")):
        held = hold_out(brackets(random, facts=(200, 800, 3200), kappa=kappa, scatter=0.2))
        said[f"{name} planted and best"] = claim(held["best"] != name)
        said[f"{name} planted, another told apart"] = claim(held["best"] != name and held["told_apart"])
    return said


def of_curves(random: np.random.Generator) -> Said:
    """Three runs a point whose seeds differ by 5 points, 400 facts; a fall of 25 points beyond F*."""
    said: Said = {}
    for a in (0.4, -0.4):
        rows = []
        for M in SIZES:
            F = np.exp(np.log(64) + a * np.log(M / 1e6) + random.normal(0, 0.1))
            found = read_collapse(collapsing_curve(random, GRID, F, 3), Rule("R", "loss"))
            if found["status"] in ("bracket", "censored"):
                ends = (np.nan if found[end] is None else found[end] for end in ("F_lo", "F_hi"))
                rows.append(Bracket(M, 1e9, "replace", *ends, K=400.0))
        law = law_of(rows)
        said[f"a = {a:g} out of curves"] = (law and law.exponents()["a"], a)
    return said


def of_false(random: np.random.Generator) -> Said:
    said: Said = {}
    for runs, seed_sd in ((1, 0.03), (1, 0.05), (2, 0.05), (3, 0.05), (5, 0.05)):
        for top in (0.5, 0.8, 0.95):
            curve = retention_curve(random, GRID, 0, runs, seed_sd, top)
            status = read_collapse(curve, Rule("R", "loss"))["status"]
            name = f"{runs} runs a point, sd {seed_sd:g}, plateau {top:g}"
            said[f"no collapse: {name}"] = claim(status == "bracket")
            if runs == 1:
                said[f"none seen, not replicated: {name}"] = claim(status == "not_replicated")
    return said


def of_null(random: np.random.Generator) -> Said:
    """Six sizes without a collapse, three runs a point."""
    rows = []
    for M in (*SIZES, 3e7):
        found = read_collapse(retention_curve(random, GRID, 0, 3, 0.05), Rule("R", "loss"))
        ends = (np.nan if found[end] is None else found[end] for end in ("F_lo", "F_hi"))
        rows.append(Bracket(M, 1e9, "replace", *ends, K=400.0))
    return {"no law of no collapse": claim(law_of(rows) is not None)}


def cluster_bootstrap(runs: list[over_runs.OfRun], gains: list[retention.Gains], draws: int = 200) -> Estimate:
    """a of R = k - a ln t by percentiles: runs drawn anew, then people inside each."""
    random, found = np.random.default_rng(1), []
    t = gains[0].times.astype(float)
    for draw in range(draws + 1):
        chosen = random.integers(0, len(runs), len(runs)) if draw else range(len(runs))
        curves = []
        for i in chosen:
            n = len(gains[i].effect)
            weight = random.multinomial(n, np.full(n, 1 / n)).astype(float) if draw else np.ones(n)
            curves.append(gains[i].ratios(weight[None, :], "sums")[0][0])
        found.append(laws.fit_one("log_linear", t[t > 0], np.mean(curves, axis=0)[t > 0]).values["a"])
    return Estimate(found[0], *np.percentile(found[1:], [2.5, 97.5]))


def of_decay(random: np.random.Generator) -> Said:
    """R = k - a ln t."""
    said: Said = {}
    window = retention.Window(100, 0, 0)
    for shared, people in ((False, "people of their own"), (True, "the same people")):
        for number in (2, 3, 5):
            runs = retention_runs(random, number, shared)
            gains = [retention.gains_of(run.answers, run.logp, window) for run in runs]
            fit = law_over_runs("log_linear", runs, gains)
            for key, truth in (("a", 0.12), ("k", 1.1)):
                said[f"{key}: {number} runs, {people}"] = (
                    Estimate(fit["parameters"][key], *fit["intervals"][key]),
                    truth,
                )
            if number == 3:
                said[f"a by percentiles of the bootstrap: 3 runs, {people}"] = cluster_bootstrap(runs, gains), 0.12
    return said


def of_tau(random: np.random.Generator) -> Said:
    """R = .3 + .7 exp(-t / 150), three runs."""
    said: Said = {}
    window = retention.Window(100, 0, 0)
    for shared, people in ((False, "people of their own"), (True, "the same people")):
        runs = retention_runs(random, 3, shared, lambda t: 0.3 + 0.7 * np.exp(-t / 150), 0.1, 0.01, 0.03)
        gains = [retention.gains_of(run.answers, run.logp, window) for run in runs]
        fit = law_over_runs("exponential", runs, gains)
        values = fit["parameters"]["tau"], *fit["intervals"]["tau"]
        ends = [None if value is None else float(np.log(value)) for value in values]
        said[f"ln tau: 3 runs, {people}"] = (None if None in ends else Estimate(*ends)), np.log(150)
    return said


def law_over_runs(name: str, runs: list[over_runs.OfRun], gains: list[retention.Gains]) -> dict:
    t = gains[0].times.astype(float)

    def of_weights(weights: list[np.ndarray]) -> np.ndarray:
        return np.stack([one.ratios(weight[None, :], "sums")[0][0] for one, weight in zip(gains, weights)])[:, t > 0]

    return over_runs.fit_law(name, t[t > 0], of_weights, over_runs.People(runs, [one.finite for one in gains]))


PARTS: dict[str, Callable[[np.random.Generator], Said]] = {
    "false": of_false,
    "null": of_null,
    "size": of_size,
    "facts": of_facts,
    "rivals": of_rivals,
    "curves": of_curves,
    "decay": of_decay,
    "tau": of_tau,
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
        if not given:
            print(f"| {what} | 0 of {done} | - | - | - | - |", flush=True)
            continue
        hit = [(one.low is None or one.low <= t) and (one.high is None or t <= one.high) for one, t in given]
        error = np.array([one.value - truth for one, truth in given])
        halves = [(one.high - one.low) / 2 for one, _ in given if None not in one]
        half = f"{np.mean(halves):.4f}" if halves else "open"
        row = f"| {what} | {len(given)} of {done} | {100 * np.mean(hit):.1f} % | {error.mean():+.4f} |"
        print(f"{row} {error.std():.4f} | {half} |", flush=True)
    print(f"{name}: {(time.time() - began) / max(1, done):.2f} s a study", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(
        "| estimate | studies | covered | bias | sd of the error | mean half width |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for name in args.parts.split(","):
        simulate(name, args.studies, args.seed)


if __name__ == "__main__":
    main()
