"""What is kept after a window, over several runs: the run is the unit of what is said of training.

The curve is the mean over runs of each run's own (share known of what it knew at closing; R(t)). A law is fitted to it,
and its parameters' interval is Student's t:
  - over runs: each run left out in turn (jackknife), runs - 1 degrees of freedom. People who differ for good, and
    whatever a run does on its own, are in it.
  - over people, where runs share them: those drawn anew for all runs together vary more than those drawn for each run
    on its own; what is more does not get less with more runs, and is added. The degrees of freedom stay runs - 1:
    Satterthwaite's, out of so few runs, left the level of two runs at 87 % (of 200 studies).
The percentiles of a bootstrap of runs, and of people inside them, are not used: of three runs its draws have a third
too little variance and no tails (dev/results/infusion_coverage.md). Two runs have one degree of freedom: they are wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from knapsack.analysis.forgetting.laws import FEWEST, NAMES, TIMES, fit_one, function_of, late_error, r_squared
from knapsack.analysis.forgetting.retention import Window, check_window, gains_of, kept_of, rows_of, warn_of_ends
from knapsack.common.errors import DataError
from knapsack.runs.answers import Answers
from knapsack.runs.files import warn

DRAWS = 100  # of people, for each of two ways to draw them
LOGS = {*TIMES, "b"}  # parameters above 0: their interval is of the logarithm
Curves = Callable[[list[np.ndarray]], np.ndarray]  # of weights (facts,) a run: the runs' curves (runs, T)


@dataclass
class OfRun:
    """A run's answers, in arrays of (steps, facts)."""

    name: str
    answers: Answers
    known: np.ndarray
    logp: np.ndarray
    population: str = ""  # whose facts it learned

    def take(self, rows: np.ndarray) -> OfRun:
        """Some of its steps."""
        answers = self.answers
        parts = (answers.steps, answers.correct, answers.nll, answers.exposures)
        steps, correct, nll, exposures = (part[rows] for part in parts)
        answers = replace(answers, steps=steps, correct=correct, nll=nll, exposures=exposures)
        return OfRun(self.name, answers, self.known[rows], self.logp[rows], self.population)

    @property
    def persons(self) -> list[str]:
        """(F,): whose fact each is; the same in runs of the same population."""
        return [f"{self.population}\0{source}\0{entity}" for source, entity, _ in self.answers.facts]


def at_common_steps(runs: list[OfRun]) -> list[OfRun]:
    steps = set.intersection(*(set(run.answers.steps.tolist()) for run in runs))
    if not steps:
        raise DataError(f"no step is evaluated in all of {len(runs)} runs")
    left_out = len(set.union(*(set(run.answers.steps.tolist()) for run in runs))) - len(steps)
    if left_out:
        warn(f"{left_out} steps are not evaluated in all runs, and are left out")
    return [run.take(np.flatnonzero(np.isin(run.answers.steps, sorted(steps)))) for run in runs]


class People:
    """Weights of people drawn anew, for the facts that count in each run."""

    def __init__(self, runs: list[OfRun], used: list[np.ndarray], seed: int = 1) -> None:
        names = [np.array(run.persons)[use] for run, use in zip(runs, used)]
        _, number = np.unique(np.concatenate(names), return_inverse=True)
        self.of = np.split(number.ravel(), np.cumsum([len(one) for one in names])[:-1])
        self.people = int(number.max()) + 1
        self.shared = self.people < sum(len(np.unique(of)) for of in self.of)
        self.random = np.random.default_rng(seed)

    def together(self) -> list[np.ndarray]:
        """One draw for all runs."""
        drawn = self.random.multinomial(self.people, np.full(self.people, 1 / self.people))
        return [drawn[of].astype(float) for of in self.of]

    def each(self) -> list[np.ndarray]:
        """A draw for every run."""
        return [self.together()[i] for i in range(len(self.of))]


def on_scale(name: str, value: float | None) -> float:
    if value is None or (name in LOGS and value <= 0):
        return math.nan
    return math.log(value) if name in LOGS else value


def parameters(name: str, t: np.ndarray, curves: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Of the mean of the curves (runs, T), each on its scale."""
    fitted = fit_one(name, t, curves.mean(axis=0), start).values
    return np.array([on_scale(key, value) for key, value in fitted.items()])


def fit_law(name: str, t: np.ndarray, of_weights: Curves, people: People) -> dict[str, Any]:
    curves = of_weights([np.ones(len(of)) for of in people.of])
    n, mean = len(curves), curves.mean(axis=0)
    fit = fit_one(name, t, mean)
    without = np.array([parameters(name, t, np.delete(curves, i, 0), fit.p) for i in range(n)])
    of_runs = (n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    of_people = np.zeros_like(of_runs)
    if people.shared:
        spreads = [
            np.var([parameters(name, t, of_weights(draw()), fit.p) for _ in range(DRAWS)], axis=0, ddof=1)
            for draw in (people.together, people.each)
        ]
        of_people = n / (n - 1) * np.maximum(0.0, spreads[0] - spreads[1])
    intervals, errors = {}, {}
    for key, value, runs, persons in zip(fit.values, fit.values.values(), of_runs, of_people):
        middle, variance = on_scale(key, value), runs + persons
        if not np.isfinite(variance) or not np.isfinite(middle):
            intervals[key], errors[key] = [None, None], None
            continue
        half = float(stats.t.ppf(0.975, n - 1) * math.sqrt(variance))
        ends = middle - half, middle + half
        intervals[key] = [math.exp(min(end, 700.0)) if key in LOGS else end for end in ends]
        errors[key] = math.sqrt(variance)
    out = {
        "parameters": fit.values,
        "intervals": intervals,
        "standard_errors": errors,
        "degrees_of_freedom": n - 1,
        "standard_errors_of": "the logarithm of " + ", ".join(key for key in fit.values if key in LOGS),
        "points": len(t),
        "r2": r_squared(function_of(name)(fit.p, t) - mean, mean),
        "late_error": late_error(name, t, mean),
    }
    return out | ({"note": fit.note} if fit.note else {})


def fit_laws(t: np.ndarray, of_weights: Curves, people: People) -> dict[str, dict[str, Any]]:
    """All three over the times t > 0 at which all runs have a value."""
    curves = of_weights([np.ones(len(of)) for of in people.of])
    use = (t > 0) & np.isfinite(curves).all(axis=0)
    if use.sum() < FEWEST:
        said = f"{use.sum()} points after the start, at least {FEWEST} are needed (2 parameters + 1)"
        return {name: {"refused": f"{said}; evaluate more often after it"} for name in NAMES}
    return {name: fit_law(name, t[use], lambda weights: of_weights(weights)[:, use], people) for name in NAMES}


def over_runs(curves: np.ndarray) -> list[list[float]]:
    """95 % of the mean at each time, Student's t over runs."""
    n, mean = len(curves), curves.mean(axis=0)
    half = stats.t.ppf(0.975, n - 1) * curves.std(axis=0, ddof=1) / math.sqrt(n)
    return np.stack([mean - half, mean + half], axis=1).tolist()


def shares_over_runs(curves: np.ndarray) -> list[list[float]]:
    """The same, of shares: within 0 and 1."""
    return np.clip(over_runs(curves), 0.0, 1.0).tolist()


def curve(runs: list[OfRun]) -> dict[str, Any]:
    """By step: the mean over runs of the share of facts known, and its interval."""
    shares = np.stack([run.known.mean(axis=1) for run in runs])
    return {"share_known": shares.mean(axis=0).tolist(), "share_known_over_runs": shares_over_runs(shares)}


def known_retention(runs: list[OfRun], window: Window) -> dict[str, Any]:
    kept = [kept_of(run.answers, run.known, window) for run in runs]
    people = People(runs, [one.had for one in kept])

    def of_weights(weights: list[np.ndarray]) -> np.ndarray:
        return np.stack([one.drawn(weight[None, :])[0] for one, weight in zip(kept, weights)])

    curves = np.stack([one.curve for one in kept])
    return {
        "closed": window.closed,
        "known_at": int(runs[0].answers.steps[kept[0].base]),
        "facts": [int(one.had.sum()) for one in kept],
        "points_between_0_and_1": warn_of_ends(curves.mean(axis=0)),
        "t": [0.0, *kept[0].t.tolist()],
        "share_known": [1.0, *curves.mean(axis=0).tolist()],
        "share_known_over_runs": [[1.0, 1.0], *shares_over_runs(curves)],
        "share_known_of_runs": [[1.0, *curve] for curve in curves.tolist()],
        "fits": fit_laws(kept[0].t, of_weights, people),
    }


def retainability(runs: list[OfRun], window: Window) -> dict[str, Any]:
    """t_LAM is that of the mean over runs."""
    steps = runs[0].answers.steps
    _, inside = rows_of(steps, window)
    means = np.mean([np.nanmean(run.logp[inside], axis=1) for run in runs], axis=0)
    common = int(inside[int(np.argmax(means))])
    gains = [gains_of(run.answers, run.logp, window, common) for run in runs]
    times = np.array(sorted(set.intersection(*(set(one.times.tolist()) for one in gains))))
    places = [np.searchsorted(one.times, times) for one in gains]

    def of_weights(weights: list[np.ndarray]) -> np.ndarray:
        ratios = (one.ratios(weight[None, :], window.ratio)[0][0] for one, weight in zip(gains, weights))
        return np.stack([ratio[at] for ratio, at in zip(ratios, places)])

    people = People(runs, [one.finite for one in gains])
    curves = of_weights([np.ones(len(one.effect)) for one in gains])
    return {
        "t_pre": int(steps[gains[0].before]),
        "t_lam": int(steps[common]),
        "lam": window.lam,
        "ratio": window.ratio,
        "facts": [len(one.effect) for one in gains],
        "facts_without_gain": [int((one.effect <= 0).sum()) for one in gains],
        "effectivity": [float(one.effect.mean()) for one in gains],
        "t": times.tolist(),
        "retainability": curves.mean(axis=0).tolist(),
        "retainability_over_runs": over_runs(curves),
        "fits": fit_laws(times.astype(float), of_weights, people),
    }


def analyse(runs: list[OfRun], window: Window) -> dict[str, Any]:
    """`retention` of PREFIX.json, of runs at common steps. Raises what cannot be said of the facts known, not of their
    log-probability."""
    for run in runs:
        check_window(run.answers, window)
    populations = len({run.population for run in runs})
    out = {"of": f"{len(runs)} runs", "intervals_over": "runs", "populations": populations}
    if len(runs) == 2:
        warn("two runs: Student's t has one degree of freedom, and the intervals of retention are wide; run a third")
    out |= known_retention(runs, window)
    try:
        return {**out, "log_probability": retainability(runs, window)}
    except DataError as error:
        return {**out, "log_probability": {"refused": str(error)}}
