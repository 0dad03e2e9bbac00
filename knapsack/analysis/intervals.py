"""Spreads and 95 % intervals: between seeds, of differences, of slopes, of fitted parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import variance
from typing import NamedTuple

import numpy as np
from scipy import stats

UNDETERMINED = 1e8  # condition of a scaled Jacobian: beyond it the errors are those of the arithmetic


class Estimate(NamedTuple):
    """A value with the ends of its interval, None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two independent means: half-widths added in quadrature, each side for itself, since
        intervals near 0 and 1 are not symmetric."""
        value = self.value - other.value
        if None in (*self, *other):
            return Estimate(value)
        below = math.hypot(self.value - self.low, other.high - other.value)
        return Estimate(value, value - below, value + math.hypot(self.high - self.value, other.value - other.low))


def pooled_sd(groups: Iterable[Sequence[float]]) -> tuple[float | None, int]:
    """Standard deviation within groups, pooled over those with several values (None: there is none), and its degrees of
    freedom."""
    groups = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    return (math.sqrt(sum((len(v) - 1) * variance(v) for v in groups) / freedom), freedom) if freedom else (None, 0)


def slope(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Least squares with Student's t; without interval for two points."""
    fit = stats.linregress(x, y)
    if len(x) < 3:
        return Estimate(float(fit.slope))
    half = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
    return Estimate(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)


def covariance(jacobian: np.ndarray, rss: float) -> np.ndarray | None:
    """Of the parameters (k) of a least-squares fit, from the Jacobian (n, k) and the sum of squared residuals; None
    where the points do not determine them. curve_fit's would be of the unscaled Jacobian: a time constant of thousands
    next to a share makes that singular to the machine, and what is left is a number instead of None."""
    n, k = jacobian.shape
    scale = np.linalg.norm(jacobian, axis=0)
    if (scale < 1e-12).any() or np.linalg.cond(jacobian / scale) > UNDETERMINED:
        return None
    inverse = np.linalg.inv((jacobian / scale).T @ (jacobian / scale)) / np.outer(scale, scale)
    return inverse * rss / (n - k)
