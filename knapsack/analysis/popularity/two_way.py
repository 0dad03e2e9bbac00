"""The variance of what was estimated from models that answered the same items: both are a sample."""

from __future__ import annotations

import numpy as np


def jackknife_variance(values: np.ndarray) -> np.ndarray:
    """(..., n): each element without one of the n models; over the last axis. Of few models it is nearer than drawing
    them anew, where a draw may hold few sizes."""
    n = values.shape[-1]
    return (n - 1) / n * ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)


def two_way(models: float, items: float, answers: float) -> float:
    """Variances by models, by items, and by answers as if each were independent, which the first two both contain
    (Cameron, Gelbach and Miller 2011, Journal of Business and Economic Statistics 29)."""
    return max(models, items, models + items - answers)
