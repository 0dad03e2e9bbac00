"""The same facts in several runs: how much less is known of each in some than in others.

Runs of one population ask about the same facts, some of which are harder in every run. A difference taken fact by fact
is free of that; intervals of two means next to each other are not, and hide falls. Facts are paired by their source and
entity number, within runs of one population only: where each replicate has facts of its own, number 17 is another fact
in another replicate. Where no population is on both sides the two means are of different facts, and independent.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import stats

from knapsack.analysis.datasets import population_of
from knapsack.analysis.intervals import Estimate
from knapsack.runs.answer_files import answer_files
from knapsack.runs.answers import Chosen, read_answers

Shares = dict[tuple[str, int], float]  # right, by source and entity
KINDS = {"accuracy": None, **{f"accuracy_{kind}": kind for kind in ("seen", "heldout", "question")}}


def shares_of(run: Path, name: str, measure: str) -> Shares | None:
    """Of the run's last answers to the set; None where it has none, or for other measures."""
    if measure not in KINDS or not any((run / "answers").glob("step_*.jsonl")):
        return None
    last = answer_files([run])[-1]
    return read_shares(last, last.stat().st_mtime_ns, name, KINDS[measure])


@functools.lru_cache(maxsize=256)
def read_shares(file: Path, _changed: int, name: str, kind: str | None) -> Shares:
    answers = read_answers([file], Chosen(kind, None, name))
    sums: dict[tuple[str, int], list[bool]] = {}
    for fact, correct in zip(answers.fact_of, answers.correct[-1]):
        sums.setdefault(answers.facts[fact][:2], []).append(bool(correct))
    return {entity: float(np.mean(values)) for entity, values in sums.items()}


def side_of(runs: Iterable[Path], name: str, measure: str) -> dict[str, list[Shares]] | None:
    """The runs' shares by population; None where a run has none."""
    found: dict[str, list[Shares]] = defaultdict(list)
    for run in runs:
        shares = shares_of(run, name, measure)
        if shares is None:
            return None
        found[population_of(run, name)].append(shares)
    return found


def means(runs: list[Shares], entities: set[tuple[str, int]]) -> np.ndarray:
    return np.array([np.mean([shares[entity] for shares in runs]) for entity in sorted(entities)])


def common(runs: list[Shares]) -> set[tuple[str, int]]:
    return set.intersection(*map(set, runs))


def difference(high: Iterable[Path], low: Iterable[Path], name: str, measure: str) -> Estimate | None:
    """The mean over entities of (mean of the runs `high`) - (mean of the runs `low`), Student's t over entities: of the
    populations that are on both sides entity by entity, or, where there is none, of independent means. `name`: of the
    source and its question set. None where some run has no answers, or there are fewer than two entities."""
    sides = [side_of(runs, name, measure) for runs in (high, low)]
    if not all(sides):
        return None
    above, below = sides
    apart = [
        means(above[population], entities) - means(below[population], entities)
        for population in sorted(above.keys() & below.keys())
        if (entities := common(above[population] + below[population]))
    ]
    if apart:
        values = np.concatenate(apart)
        return of_mean(values.mean(), values.var(ddof=1) / len(values), len(values) - 1) if len(values) > 1 else None
    values = [np.concatenate([means(runs, common(runs)) for runs in side.values()]) for side in sides]
    if min(map(len, values)) < 2:
        return None
    variances = [one.var(ddof=1) / len(one) for one in values]
    freedom = min(map(len, values)) - 1
    return of_mean(values[0].mean() - values[1].mean(), sum(variances), freedom)


def of_mean(value: float, variance: float, freedom: int) -> Estimate:
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    return Estimate(float(value), float(value) - half, float(value) + half)
