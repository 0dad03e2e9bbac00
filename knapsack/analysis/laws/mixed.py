"""y = X b + cluster + run: the one regression of all laws, with each run's evidence of y in the likelihood.

A cluster is what runs share that is no covariate: the trunk of several horizons, the seed and people of a replicate.
Both effects are normal. Maximum likelihood, the effect of a cluster integrated by quadrature; the variances are then
raised for the degrees of freedom that b took (as restricted likelihood would), and b fitted again. Intervals are
Student's t, degrees of freedom by Satterthwaite: a variance is a sum of what clusters say (their mean square) and what
runs say within them, each with its own. So trunks determine what does not vary within them, runs what does; and three
replicates of all sizes leave the exponent its runs, and widen only what they determine: the level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import minimize
from scipy.special import logsumexp

from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.evidence import Evidence
from knapsack.common.errors import DataError

LEAST_SD, MOST_SD = 0.02, 3.0  # of an effect, in y
RIDGE = 1e-6
SLIGHTLY = 1.1  # by how much sd_cluster is raised to see what it does to the covariance


@dataclass
class Fit:
    names: list[str]
    b: np.ndarray  # (p,)
    covariance: np.ndarray  # (p, p)
    freedom: np.ndarray  # (p,) of each column, by containment
    sd_run: float
    sd_cluster: float | None  # None: every run is a cluster of its own
    loglik: float
    runs: int
    clusters: int
    censored: int
    of_clusters: np.ndarray | None = None  # (p, p): the part of the covariance that clusters make, over sd_cluster^2
    pure: tuple[float, float] = (0.0, 0.0)  # degrees of freedom of the clusters, and of the runs within them

    def estimate(self, name: str, sign: float = 1.0, add: float = 0.0) -> Estimate:
        """add + sign b with its 95 % interval."""
        return self.combination(np.array([float(other == name) for other in self.names]), sign, add)

    def combination(self, x: np.ndarray, sign: float = 1.0, add: float = 0.0) -> Estimate:
        """add + sign (x b): the mean over runs at x."""
        value = add + sign * float(x @ self.b)
        half = self.quantile(x) * float(np.sqrt(max(0.0, x @ self.covariance @ x)))
        return Estimate(value, value - half, value + half)

    def degrees(self, x: np.ndarray, new: float = 0.0, error: float = 0.0) -> float:
        """Of x b, or of a new run at x (`new` 1), by Satterthwaite."""
        if self.of_clusters is None:
            return float(self.freedom.min())
        variance = float(x @ self.covariance @ x) + new * (self.sd_run**2 + self.sd_cluster**2) + error**2
        share = max(0.0, float(x @ self.of_clusters @ x)) + new
        between = min(variance, share * (self.sd_cluster**2 + self.sd_run**2 * self.clusters / self.runs))
        return variance**2 / (between**2 / self.pure[0] + (variance - between) ** 2 / self.pure[1])

    def quantile(self, x: np.ndarray, new: float = 0.0, error: float = 0.0) -> float:
        return float(stats.t.ppf(0.975, max(1.0, self.degrees(x, new, error))))

    def predict(self, x: np.ndarray, error: float = 0.0) -> Estimate:
        """y of a new run of a new cluster at x, measured with this error, and its 95 % interval."""
        variance = float(x @ self.covariance @ x) + self.sd_run**2 + (self.sd_cluster or 0.0) ** 2 + error**2
        value, half = float(x @ self.b), self.quantile(x, 1.0, error) * np.sqrt(variance)
        return Estimate(value, value - half, value + half)


class Model:
    def __init__(self, X: np.ndarray, evidence: Evidence, cluster: np.ndarray) -> None:
        _, self.cluster = np.unique(cluster, return_inverse=True)
        order = np.argsort(self.cluster.ravel(), kind="stable")
        self.order, self.first = order, np.flatnonzero(np.diff(self.cluster.ravel()[order], prepend=-1))
        self.X, self.evidence = X, evidence
        self.largest = int(np.bincount(self.cluster.ravel()).max())
        self.nested = self.largest > 1

    def loglik(self, b: np.ndarray, sd_run: float, sd_cluster: float) -> float:
        mean = self.X @ b
        if not self.nested:
            return float(self.evidence.log_marginal(mean[:, None], sd_run).sum())
        nodes = self.nodes(sd_run / sd_cluster)
        found = self.evidence.log_marginal(mean[:, None] + sd_cluster * nodes, sd_run)
        weights = -0.5 * nodes**2 - np.log(np.sqrt(2 * np.pi) / (nodes[1] - nodes[0]))
        return float(logsumexp(np.add.reduceat(found[self.order], self.first, axis=0) + weights, axis=1).sum())

    def nodes(self, ratio: float) -> np.ndarray:
        """Of a standard normal effect, evenly spaced: nearer than the width, sd_run / sqrt(runs), of what a cluster's
        runs say of it, which the few nodes of Gauss and Hermite would miss."""
        step = min(0.6, max(0.05, 1.2 * ratio / np.sqrt(self.largest)))
        return np.arange(-6.0, 6.0 + step, step)

    def maximise(self, b: np.ndarray, sds: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        p = len(b)

        def loss(v: np.ndarray) -> float:
            sd = np.exp(v[p:])
            return -self.loglik(v[:p], sd[0], sd[-1]) + RIDGE * float(v[:p] @ v[:p])

        ends = (np.log(LEAST_SD), np.log(MOST_SD))
        bounds = [(None, None)] * p + [ends] * len(sds)
        found = minimize(loss, np.concatenate([b, np.log(sds)]), method="L-BFGS-B", bounds=bounds)
        return found.x[:p], np.exp(found.x[p:]), -float(found.fun)

    def fixed(self, b: np.ndarray, sds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """b at these deviations, and its covariance: Newton's steps with differences."""
        for _ in range(4):
            gradient, hessian = derivatives(lambda b: self.loglik(b, sds[0], sds[-1]), b)
            step = np.linalg.solve(hessian - RIDGE * np.eye(len(b)), gradient)
            step *= min(1.0, 0.5 / max(1e-300, np.abs(step).max()))
            if np.abs(step).max() < 1e-4 or self.loglik(b - step, sds[0], sds[-1]) < self.loglik(b, sds[0], sds[-1]):
                break
            b = b - step
        return b, np.linalg.pinv(-hessian, hermitian=True)


def standard(X: np.ndarray) -> np.ndarray:
    """A (p, p), so that the columns of X A are of mean 0 and deviation 1 but for the first, which is of ones."""
    A = np.eye(X.shape[1])
    for j in range(1, len(A)):
        A[0, j], A[j, j] = -X[:, j].mean() / X[:, j].std(), 1 / X[:, j].std()
    return A


def derivatives(f: Callable[[np.ndarray], float], b: np.ndarray, h: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian by central differences."""
    p, steps, middle = len(b), h * np.eye(len(b)), f(b)
    up, down = np.array([f(b + s) for s in steps]), np.array([f(b - s) for s in steps])
    hessian = np.diag((up - 2 * middle + down) / h**2)
    for i in range(p):
        for j in range(i):
            both = f(b + steps[i] + steps[j]) + f(b - steps[i] - steps[j])
            hessian[i, j] = hessian[j, i] = (both - up[i] - up[j] - down[i] - down[j] + 2 * middle) / (2 * h**2)
    return (up - down) / (2 * h), hessian


def freedom(X: np.ndarray, cluster: np.ndarray, runs: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Of each column, by containment, and of the clusters and the runs within them; `runs` that are not censored."""
    clusters = np.unique(cluster)
    p = X.shape[1]
    if len(clusters) == len(X):
        return np.full(p, float(runs - p)), (float(runs - p), float(runs - p))
    within = np.array([any(np.ptp(X[cluster == one, j]) > 1e-9 for one in clusters) for j in range(p)])
    inner, outer = runs - len(clusters) - within.sum(), len(clusters) - (~within).sum()
    return np.where(within, inner, outer).astype(float), (float(outer), float(max(1, inner)))


def fit(
    names: list[str],
    X: np.ndarray,
    evidence: Evidence,
    cluster: np.ndarray,
    start: Fit | None = None,
    spent: int = 0,
) -> Fit:
    """X: (n, p), the first column of ones. `spent`: further parameters that the scatter of the runs
    determines. Raises DataError where the runs cannot say as much as is asked."""
    n, p = X.shape
    censored = int(evidence.censored.sum())
    if np.linalg.matrix_rank(X) < p:
        raise DataError(f"the runs do not tell {' and '.join(names)} apart: too few different values")
    counted, pure = freedom(X, cluster, n - censored - spent)
    if counted.min() < 1:
        raise DataError(
            f"{n - censored} runs with a threshold, of {n}, are too few for {p} parameters: {', '.join(names)}"
        )
    A = standard(X)
    model = Model(X @ A, evidence, cluster)
    b = np.linalg.solve(A, start.b) if start else np.linalg.lstsq(model.X, evidence.start(), rcond=None)[0]
    sds = np.array([start.sd_run if start else 0.2] + [start.sd_cluster if start else 0.1] * model.nested)
    b, sds, loglik = model.maximise(b, sds)
    clusters, informed = len(model.first), n - censored
    left = (informed - p - spent, clusters - p)  # what is spent the scatter of the runs determines, not of the clusters
    raised = sds * np.sqrt([of / max(1.0, one) for of, one in zip((informed, clusters), left)][: len(sds)])
    b, covariance = model.fixed(b, raised)
    if not model.nested:
        fitted, covariance = A @ b, A @ covariance @ A.T
        return Fit(names, fitted, covariance, counted, float(raised[0]), None, loglik, n, clusters, censored)
    _, hessian = derivatives(lambda b: model.loglik(b, raised[0], raised[1] * SLIGHTLY), b)
    wider = np.linalg.pinv(-hessian, hermitian=True) - covariance
    of_clusters = A @ wider @ A.T / (raised[1] ** 2 * (SLIGHTLY**2 - 1))
    b, covariance = A @ b, A @ covariance @ A.T
    sd_run, sd_cluster = map(float, raised)
    return Fit(names, b, covariance, counted, sd_run, sd_cluster, loglik, n, clusters, censored, of_clusters, pure)
