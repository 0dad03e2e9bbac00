"""What an interval over models is over: whole families where there are several, since models of one family share data,
tokenizer and recipe; else the models of the one family, and then it says nothing of another. Each unit is left out in
turn (the jackknife), Student's t of the units. All models answered the same items, which are a sample too: their
variance is added, less what both contain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class Units(NamedTuple):
    of: np.ndarray  # (models,) number of each model's unit
    families: list[str]
    freedom: int  # degrees of freedom of a regression over size

    @property
    def count(self) -> int:
        return int(self.of.max()) + 1

    @property
    def are_families(self) -> bool:
        return len(self.families) > 1

    def left_out(self) -> list[np.ndarray]:
        """By unit, which models are left."""
        return [self.of != number for number in range(self.count)]

    @property
    def sentence(self) -> str:
        if self.are_families:
            return f"{self.count} whole families"
        return f"{self.count} models of the family {self.families[0]}, not of another family"

    @property
    def new(self) -> str:
        """What a prediction is of."""
        return "a new model of " + ("a new family" if self.are_families else f"the family {self.families[0]}")

    def describe(self) -> dict[str, Any]:
        """JSON."""
        unit = "family" if self.are_families else "model"
        return {"unit": unit, "units": self.count, "degrees_of_freedom": self.freedom, "over": self.sentence}


def units_of(families: Sequence[str]) -> Units:
    """`families`: of each model. Units - 1 degrees of freedom, of models as units - 2."""
    names, number = np.unique(families, return_inverse=True)
    n = len(families)
    if len(names) < 2:
        return Units(np.arange(n), list(map(str, names)), n - 2)
    return Units(number, list(map(str, names)), min(len(names) - 1, n - 2))


def jackknife_variance(values: np.ndarray) -> float:
    """(n,): each without one of the n units. Of few units it is nearer than drawing them anew, where a draw may hold
    few sizes."""
    n = len(values)
    return float((n - 1) / n * ((values - values.mean()) ** 2).sum())


def half_width(units: float, items: float, answers: float, freedom: int) -> float:
    """Of 95 %, from the variances by units, by items, and by answers as if each were independent, which the first two
    both contain (Cameron, Gelbach and Miller 2011, Journal of Business and Economic Statistics 29)."""
    return float(stats.t.ppf(0.975, freedom) * np.sqrt(max(units, items, units + items - answers)))
