"""How far a law may be asked: not beyond half of the range that its runs span, on the logarithmic scale, and only along
an axis with at least three values.

Runs from 91k to 659k parameters (a factor 7.2) may be asked down to 34k and up to 1.8M, a factor 2.7 to either side.
Inside the range the interval is that of a new run; up to the limit it is the same formula, which widens with the
distance, and the answer is marked as extrapolated; beyond, there is no answer but the reason.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHARE, FEWEST = 0.5, 3


class Reach(NamedTuple):
    low: float  # of the values that the runs have
    high: float
    values: int

    @property
    def limits(self) -> tuple[float, float]:
        factor = (self.high / self.low) ** SHARE
        return self.low / factor, self.high * factor

    def judge(self, name: str, at: float) -> tuple[str, str]:
        """("inside" | "extrapolated" | "refused", the reason)."""
        if self.low * (1 - 1e-9) <= at <= self.high * (1 + 1e-9):
            return "inside", ""
        if self.values < FEWEST:
            said = f"the runs have {self.values} value{'s' * (self.values > 1)} of {name}, at least {FEWEST} are needed"
            return "refused", f"{name} = {at:.4g} is not theirs, and {said} to go beyond them"
        low, high = self.limits
        spanned = f"the runs span {name} {self.low:.4g} to {self.high:.4g}"
        if low <= at <= high:
            return "extrapolated", f"{spanned}; {name} = {at:.4g} lies outside"
        return "refused", f"{spanned}, which carries to {low:.4g} to {high:.4g}; {name} = {at:.4g} lies beyond"


def reach_of(values: np.ndarray) -> Reach:
    values = np.asarray(values, float)
    return Reach(float(values.min()), float(values.max()), len(np.unique(values)))
