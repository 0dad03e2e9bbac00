"""Spreads and 95 % intervals: between seeds, of differences, of slopes, of fitted parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import variance
from typing import NamedTuple

import numpy as np
from scipy import special, stats

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


def in_words(values: Sequence[float | None] | None, form: str = ".3g", open_end: str = "") -> str:
    """'1.2 [1.1, 1.4]' of a value and the ends of its interval; without these where one is None, unless such an end is
    to be said (`open_end`)."""
    if not values or values[0] is None:
        return "-"
    value, *ends = (None if one is None else format(one, form) for one in values)
    known = [end or open_end for end in ends]
    return f"{value} [{', '.join(known)}]" if all(known) else str(value)


def pooled_sd(groups: Iterable[Sequence[float]]) -> tuple[float | None, int]:
    """Standard deviation within groups, pooled over those with several values (None: there is none), and its degrees of
    freedom."""
    groups = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    return (math.sqrt(sum((len(v) - 1) * variance(v) for v in groups) / freedom), freedom) if freedom else (None, 0)


def slope(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> Estimate:
    """Least squares with Student's t at this level; without interval for two points."""
    fit = stats.linregress(x, y)
    if len(x) < 3:
        return Estimate(float(fit.slope))
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 2) * fit.stderr)
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


class Replicates(NamedTuple):
    """What several runs of one design say: the run is the unit, the interval Student's t over runs."""

    estimate: Estimate
    runs: int
    sd_runs: float | None  # between runs, of what the choice of people does not explain
    sd_people: float | None  # within a run: the root mean square of the runs' own standard errors


def are_alike(values: Sequence[float]) -> bool:
    """But for rounding. No scatter is no certainty, often a floor or a ceiling: there is no interval."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def replicates(values: Sequence[float], errors: Sequence[float] = ()) -> Replicates:
    """`errors`: each run's standard error over people, where known. One run has no interval over runs, nor have runs
    that are all alike."""
    values = np.asarray(values, float)
    n, mean = len(values), float(np.mean(values))
    within = float(np.mean(np.square(errors))) if len(errors) else None
    sd_people = None if within is None else math.sqrt(within)
    if n < 2:
        return Replicates(Estimate(mean), n, None, sd_people)
    if are_alike(values):
        return Replicates(Estimate(mean), n, 0.0, sd_people)
    squared = float(values.var(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * math.sqrt(squared / n)
    between = math.sqrt(max(0.0, squared - (within or 0.0)))
    return Replicates(Estimate(mean, mean - half, mean + half), n, between, sd_people)


def share_interval(right: Sequence[float], asked: Sequence[float]) -> Estimate:
    """95 % of a share out of people with `asked` answers each, at all counts, 0 and all among them: beta-binomial with
    Jeffreys' prior of the share, the likeness of a person's answers integrated over (0, 1). So 0 of 250 and 1 of 250
    answers of ten people have ends near each other."""
    right, asked = np.asarray(right, float), np.asarray(asked, float)
    pairs, often = np.unique(np.stack([right, asked]), axis=1, return_counts=True)
    share = special.expit(np.linspace(-9.2, 9.2, 461))
    likeness = (np.arange(24) + 0.5) / 24
    a, b = (np.outer(one, 1 / likeness - 1) for one in (share, 1 - share))  # (share, likeness)
    k, n = pairs[0][:, None, None], pairs[1][:, None, None]
    terms = special.betaln(a + k, b + n - k) - special.betaln(a, b)
    loglik = (often[:, None, None] * terms).sum(axis=0)
    weight = special.logsumexp(loglik, axis=1) + 0.5 * np.log(share * (1 - share))  # in steps of the logit
    below = np.cumsum(np.exp(weight - weight.max()))
    low, high = np.interp([0.025, 0.975], below / below[-1], share)
    value = float(right.sum() / asked.sum())
    return Estimate(
        value, 0.0 if value == 0 else min(float(low), value), 1.0 if value == 1 else max(float(high), value)
    )
