"""Tokens T to a target accuracy against the mixing ratio r: T = exp(a + b / r), T = C r^-D (Gu et al., appendix E.5).

T is not where a noisy series first passes the target: every horizon is a branch with its own cooldown, and T lies
between the longest horizon that missed the target and the shortest that met it from there on. So T is
interval-censored, and open to the right where no horizon met it ("more than 655B"). Runs of one trunk are a cluster.

The two laws have as many parameters; which holds is said by ratios that were left out (holdout.py), not by R^2: three
points give R^2 .998 to anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.evidence import Evidence, of_thresholds
from knapsack.analysis.laws.mixed import Fit, fit
from knapsack.common.errors import DataError

LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exponential": lambda r: 1 / np.asarray(r, float),  # T = exp(a + b / r)
    "power": lambda r: -np.log(np.asarray(r, float)),  # T = exp(a) r^-b
}


@dataclass
class TargetLaw:
    name: str
    fit: Fit

    def tokens(self, r: float) -> Estimate:
        """Of a new trunk, with 95 %."""
        return Estimate(*map(float, np.exp(self.fit.predict(np.array([1.0, float(LAWS[self.name](r))])))))

    def parameters(self) -> dict[str, Estimate]:
        names = {"exponential": ("log A", "B"), "power": ("log C", "D")}[self.name]
        return dict(zip(names, (self.fit.estimate("a"), self.fit.estimate("b"))))


def bracket(tokens: np.ndarray, accuracy: np.ndarray, target: float) -> tuple[float, float]:
    """(low, high) of T out of the horizons of one trunk: NaN for an open end. The target is met from `high` on. Raises
    DataError where a horizon is there twice: T would lie between a number and itself."""
    if len(np.unique(tokens)) < len(tokens):
        raise DataError("several runs of one horizon: they are no series of horizons of one trunk")
    order = np.argsort(tokens)
    tokens, met = np.asarray(tokens, float)[order], np.asarray(accuracy, float)[order] >= target
    missed = np.flatnonzero(~met)
    if not len(missed):
        return np.nan, float(tokens[0])
    last = int(missed[-1])
    return float(tokens[last]), float(tokens[last + 1]) if last + 1 < len(tokens) else np.nan


def evidence_of(low: np.ndarray, high: np.ndarray) -> Evidence:
    """T of each trunk in (low, high), tokens; equal ends: T as known."""
    low, high = np.log(np.asarray(low, float)), np.log(np.asarray(high, float))
    value = np.where(low == high, low, np.nan)
    known = np.isfinite(value)
    return of_thresholds(value, np.zeros(len(low)), np.where(known, np.nan, low), np.where(known, np.nan, high))


def fit_target(name: str, r: np.ndarray, evidence: Evidence, cluster: np.ndarray) -> TargetLaw:
    X = np.column_stack([np.ones(len(r)), LAWS[name](r)])
    return TargetLaw(name, fit(["a", "b"], X, evidence, cluster))
