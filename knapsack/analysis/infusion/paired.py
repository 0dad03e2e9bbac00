"""The same facts in several runs: how much less is known of each in some than in others.

Runs of one population ask about the same facts, some of which are harder in every run. A difference taken fact by fact
is free of that; intervals of two means side by side are not, and hide falls. Facts are paired by their source and
entity number. Where each replicate has a population of its own, number 17 is another person in another replicate: a
mean over replicates is then of a place in the list, and the difference is free of people only where the runs that it
compares are of the same replicates.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import stats

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


def difference(high: Iterable[Path], low: Iterable[Path], name: str, measure: str) -> Estimate | None:
    """The mean over entities of (mean of the runs `high`) - (mean of the runs `low`), Student's t over entities; None
    where some run has no answers, or they share fewer than two entities."""
    sides = [[shares_of(run, name, measure) for run in runs] for runs in (high, low)]
    if not all(sides) or any(shares is None for side in sides for shares in side):
        return None
    common = set.intersection(*(set(shares) for side in sides for shares in side))
    if len(common) < 2:
        return None
    means = [np.array([np.mean([shares[entity] for shares in side]) for entity in sorted(common)]) for side in sides]
    apart = means[0] - means[1]
    half = float(stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart)))
    return Estimate(float(apart.mean()), float(apart.mean()) - half, float(apart.mean()) + half)
