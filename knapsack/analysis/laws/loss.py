"""L(M) = E + A M^-alpha of the web's loss over sizes (Hoffmann et al. 2022, arXiv 2203.15556), and what it predicts:
the knapsack of Gu et al. (arXiv 2505.18091, section 4) has gamma = alpha + 1.

That holds in the unit in which capacity is linear. If M' = M^c then gamma' = gamma / c, but alpha' + 1 = alpha / c + 1;
so the prediction is made in each unit of M that a study has, parameters with and without embeddings and bits of
capacity, and the unit is part of the number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import least_squares

from knapsack.analysis.intervals import Estimate, covariance
from knapsack.common.errors import DataError

MOST_ALPHA = 3.0


@dataclass
class LossLaw:
    E: float
    A: float
    alpha: Estimate
    sizes: int
    residual: float  # standard deviation, nats
    note: str = ""

    @property
    def gamma(self) -> Estimate:
        """As the knapsack predicts it."""
        ends = (None if end is None else end + 1 for end in self.alpha[1:])
        return Estimate(self.alpha.value + 1, *ends)

    def at(self, M: float) -> float:
        return float(self.E + self.A * M**-self.alpha.value)


def fit_loss(M: np.ndarray, loss: np.ndarray) -> LossLaw:
    """Three parameters of least squares; the interval of alpha is Student's t, over runs."""
    M, loss = np.asarray(M, float), np.asarray(loss, float)
    sizes = len(np.unique(M))
    if sizes < 3 or len(M) < 4:
        raise DataError(f"losses of {len(M)} runs of {sizes} sizes; E, A and alpha need at least 4 runs of 3 sizes")
    x = np.log(M / np.exp(np.log(M).mean()))

    def residual(p: np.ndarray) -> np.ndarray:
        return p[0] + np.exp(p[1] - p[2] * x) - loss

    least, range_ = float(loss.min()), float(np.ptp(loss)) or 1e-3
    bounds = ([0.0, -20.0, 1e-3], [least, np.log(least + 1e-9) + 10, MOST_ALPHA])
    starts = [
        [least - share * range_, np.log((1 + share) * range_), alpha] for share in (0.3, 1, 3) for alpha in (0.2, 0.6)
    ]
    starts = [[min(max(start[0], 1e-6), least * (1 - 1e-9)), *start[1:]] for start in starts]
    best = min(
        (least_squares(residual, start, bounds=bounds, x_scale="jac") for start in starts), key=lambda fit: fit.cost
    )
    rss, n = 2 * float(best.cost), len(M)
    E, log_A, alpha = map(float, best.x)
    variances = covariance(best.jac, rss) if n > 3 else None
    edge = min(alpha - 1e-3, MOST_ALPHA - alpha) < 1e-6 or E < 1e-6
    A = float(np.exp(log_A + alpha * np.log(M).mean()))
    sd = float(np.sqrt(rss / max(1, n - 3)))
    if variances is None or edge:
        return LossLaw(E, A, Estimate(alpha), sizes, sd, "the losses do not determine E, A and alpha apart")
    half = float(stats.t.ppf(0.975, n - 3) * np.sqrt(variances[2, 2]))
    return LossLaw(E, A, Estimate(alpha, alpha - half, alpha + half), sizes, sd)


def predicted(alpha: Estimate, measured: Estimate) -> dict[str, object]:
    """gamma as measured against alpha + 1: the difference, with both errors, and whether it excludes 0."""
    ends = (None if end is None else end + 1 for end in alpha[1:])
    gamma = Estimate(alpha.value + 1, *ends)
    difference = measured - gamma
    excludes = None if difference.low is None else not difference.low <= 0 <= difference.high
    return {"gamma_predicted": list(gamma), "difference": list(difference), "disagree": excludes}
