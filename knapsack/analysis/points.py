"""Runs of equal place on an axis: a point of a curve, with what its runs say of a column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

import pandas as pd

from knapsack.runs.table import numbers

Interval = tuple[float, float]


@dataclass
class Point:
    at: Any  # a number, or a word
    runs: pd.DataFrame

    def values(self, column: str) -> list[float]:
        return numbers(self.runs, column)

    def mean(self, column: str) -> float | None:
        values = self.values(column)
        return mean(values) if values else None

    def interval(self, column: str) -> Interval | None:
        """The mean of the runs' intervals, column_low and column_high; None where not all runs have one."""
        low, high = (self.values(f"{column}_{end}") for end in ("low", "high"))
        return (mean(low), mean(high)) if len(low) == len(high) == len(self.runs) > 0 else None


def place(value: Any) -> Any:
    """Numbers that agree to three digits are one place, as the shares that seeds realised."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def points_of(runs: pd.DataFrame, column: str, place: Callable[[Any], Any] = lambda value: value) -> list[Point]:
    """The runs by `place` of their column, in the order of the table."""
    places = pd.Series([place(value) for value in runs[column]], runs.index, object)
    return [Point(at, group) for at, group in runs.groupby(places.values, sort=False)]
