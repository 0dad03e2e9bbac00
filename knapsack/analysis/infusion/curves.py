"""Curves of a study: runs of equal N, K, budget policy and token budget, all other options held constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from knapsack.analysis.held import Held
from knapsack.analysis.infusion.held import held_without
from knapsack.analysis.points import Point, points_of
from knapsack.runs.table import Row

NUMBERS = ["N", "K", "policy", "budget_tokens"]
SEEDS = ["seed", "data_seed"]


@dataclass
class Curve:
    N: int
    K: int | None
    policy: str
    budget: int  # tokens
    held: Held
    points: list[Point]  # by F
    without: Point  # runs of the same kind with F = 0
    not_counted: list[tuple[str, str]]  # run, why
    label: str = ""

    @property
    def numbers(self) -> tuple:
        return self.N, self.K, self.policy, self.budget


def as_key(held: Held) -> tuple:
    return tuple(sorted(held.items()))


def why_not(row: Row, measure: str) -> str | None:
    if row["state"] != "done":
        return f"its state is '{row['state']}'"
    if not row["whole"]:
        return "it was stopped before the end of its plan"
    return None if row.get(measure) is not None else f"it has no {measure}"


def split_counted(runs: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The runs that are points, and the others with their reasons; of equal F and seeds the first counts."""
    reasons: list[str | None] = []
    first: dict[Any, str] = {}
    for row in runs.to_dict("records"):
        reason, place = why_not(row, measure), (row["F"], *(row[seed] for seed in SEEDS))
        if not reason and place in first:
            reason = f"it has the exposures and seeds of {first[place]}"
        elif not reason:
            first[place] = row["run"]
        reasons.append(reason)
    counted = [reason is None for reason in reasons]
    return runs[counted], [(run, reason) for run, reason in zip(runs["run"], reasons) if reason]


def make_curves(study: pd.DataFrame, name: str, measure: str) -> list[Curve]:
    """Sorted by policy, budget, K, N."""
    infused = study[study["F"] > 0].sort_values("F", kind="stable")
    zero = study[(study["F"] == 0) & (study["state"] == "done") & study["whole"].astype(bool)]
    keys = [(*numbers, as_key(held)) for *numbers, held in infused[[*NUMBERS, "held"]].itertuples(index=False)]
    curves = []
    for _, runs in infused.groupby(pd.factorize(pd.Series(keys, dtype=object))[0], sort=False):
        N, K, policy, budget, held = runs.iloc[0][[*NUMBERS, "held"]]
        counted, not_counted = split_counted(runs, measure)
        alike = [held_without(other, name) == held_without(held, name) for other in zero["held"]]
        without = zero[(zero["N"] == N) & (zero["budget_tokens"] == budget) & alike]
        points = points_of(counted, "F")
        curves.append(Curve(N, K, policy, budget, held, points, Point(0.0, without), not_counted))
    curves.sort(key=lambda curve: (curve.policy, curve.budget, curve.K or 0, curve.N, as_key(curve.held)))
    for curve in curves:
        curve.label = label(curve, curves)
    return curves


def label(curve: Curve, curves: list[Curve]) -> str:
    """Its numbers, and the options in which it differs from curves of equal numbers."""
    alike = [other.held for other in curves if other.numbers == curve.numbers]
    options = dict.fromkeys(option for held in alike for option in held)
    differing = [option for option in options if len({held.get(option) for held in alike}) > 1]
    parts = [f"N {curve.N:,}", f"K {curve.K:,}" if curve.K is not None else "K not known", curve.policy]
    parts += [f"{curve.budget:,} tokens", *(f"{option} {curve.held.get(option, '-')}" for option in differing)]
    return ", ".join(parts)
