"""Curves of a study: runs of equal N, budget policy and token budget, all other options held constant, and one number
of the facts: K, so that F alone varies along the curve, or K F, so that the facts' tokens stay the same and F rises as
the facts become fewer (hold)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from knapsack.analysis.held import Held
from knapsack.analysis.infusion.held import held_without
from knapsack.analysis.points import Point, points_of
from knapsack.runs.table import Row

HOLDS = {"K": "K", "KF": "K F"}  # what a curve holds, and how it is written
SEEDS = ["seed", "data_seed"]
SAME = 0.01  # K F that differ by less, relatively, are one: K and F are whole numbers


@dataclass
class Curve:
    N: int
    K: int | None  # None: not known, or it varies
    policy: str
    budget: int  # tokens
    held: Held
    points: list[Point]  # by F
    without: Point  # runs of the same kind with F = 0
    not_counted: list[tuple[str, str]]  # run, why
    label: str = ""
    KF: float | None = None  # where that is held instead of K

    @property
    def hold(self) -> str:
        """A key of HOLDS."""
        return "K" if self.KF is None else "KF"

    @property
    def numbers(self) -> tuple:
        return self.N, self.K, self.KF, self.policy, self.budget


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


def products(runs: pd.DataFrame) -> list[float | None]:
    """K F of each run, those that are nearly equal as one number."""
    values = [K * F if K else None for K, F in zip(runs["K"], runs["F"])]
    places: dict[float, float] = {}
    first = None
    for value in sorted(filter(None, values)):
        first = value if first is None or value > first * (1 + SAME) else first
        places[value] = first
    return [None if value is None else places[value] for value in values]


def make_curves(study: pd.DataFrame, name: str, measure: str, hold: str = "K") -> list[Curve]:
    """`hold`: a key of HOLDS; runs whose K is not known are on no curve that holds K F. Sorted by policy, budget, K or
    K F, and N."""
    infused = study[study["F"] > 0].sort_values("F", kind="stable")
    infused = infused.assign(KF=pd.Series(products(infused), infused.index, object))
    if hold == "KF":
        infused = infused[infused["KF"].notna()]
    zero = study[(study["F"] == 0) & (study["state"] == "done") & study["whole"].astype(bool)]
    numbers = ["N", hold, "policy", "budget_tokens"]
    keys = [(*four, as_key(held)) for *four, held in infused[[*numbers, "held"]].itertuples(index=False)]
    curves = []
    for _, runs in infused.groupby(pd.factorize(pd.Series(keys, dtype=object))[0], sort=False):
        N, facts, policy, budget, held = runs.iloc[0][[*numbers, "held"]]
        counted, not_counted = split_counted(runs, measure)
        alike = [held_without(other, name) == held_without(held, name) for other in zero["held"]]
        without = zero[(zero["N"] == N) & (zero["budget_tokens"] == budget) & alike]
        K, KF = (facts, None) if hold == "K" else (None, facts)
        points = points_of(counted, "F")
        curves.append(Curve(N, K, policy, budget, held, points, Point(0.0, without), not_counted, KF=KF))
    curves.sort(key=lambda one: (one.policy, one.budget, one.K or one.KF or 0, one.N, as_key(one.held)))
    for curve in curves:
        curve.label = label(curve, curves)
    return curves


def label(curve: Curve, curves: list[Curve]) -> str:
    """Its numbers, and the options in which it differs from curves of equal numbers."""
    alike = [other.held for other in curves if other.numbers == curve.numbers]
    options = dict.fromkeys(option for held in alike for option in held)
    differing = [option for option in options if len({held.get(option) for held in alike}) > 1]
    facts = f"K {curve.K:,}" if curve.K is not None else "K not known" if curve.KF is None else f"K F {curve.KF:,.0f}"
    parts = [f"N {curve.N:,}", facts, curve.policy]
    parts += [f"{curve.budget:,} tokens", *(f"{option} {curve.held.get(option, '-')}" for option in differing)]
    return ", ".join(parts)
