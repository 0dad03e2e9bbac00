"""Three laws of forgetting, fitted by least squares; t in steps since the window closed (or since t_LAM).

exponential  R = c + (1 - c) exp(-t / tau)
power        R = (1 + t / t0)^-b
log-linear   R = k - a ln t: a is the decay constant, R = 0 at t = exp(k / a), the learnability threshold
             (Chang et al. 2024, arXiv 2406.11813)
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
from scipy.optimize import least_squares

Law = Callable[[np.ndarray, np.ndarray], np.ndarray]
SLACK = 14.0  # a time constant may leave the range of t by this factor's logarithm, then it is said to stand at a bound


def exponential(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return p[0] + (1 - p[0]) * np.exp(-t / np.exp(p[1]))


def power(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.exp(-p[1] * np.log1p(t / np.exp(p[0])))


def log_linear(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return p[0] - p[1] * np.log(t)


def evaluate(name: str, fit: dict[str, Any], t: np.ndarray) -> np.ndarray:
    """A fitted law, from the parameters as reported."""
    v = fit["parameters"]
    if name == "exponential":
        return exponential(np.array([v["c"], np.log(v["tau"])]), t)
    return (
        power(np.array([np.log(v["t0"]), v["b"]]), t) if name == "power" else log_linear(np.array([v["k"], v["a"]]), t)
    )


def scored(
    law: Law, p: np.ndarray, t: np.ndarray, y: np.ndarray, jacobian: np.ndarray
) -> tuple[dict[str, Any], np.ndarray | None]:
    """R^2, AIC and AICc (Gaussian errors, the variance a parameter), and the parameters' covariance, None where the
    points do not determine them."""
    n, k, residual = len(t), len(p), y - law(p, t)
    rss, spread = float(residual @ residual), float(((y - y.mean()) ** 2).sum())
    aic = n * np.log(max(rss / n, 1e-300)) + 2 * (k + 1)
    score = {"points": n, "rss": rss, "r2": 1 - rss / spread if spread > 0 else None, "aic": float(aic)}
    score["aicc"] = float(aic + 2 * (k + 1) * (k + 2) / (n - k - 2)) if n > k + 2 else None
    scale = np.linalg.norm(jacobian, axis=0)
    if (scale < 1e-12).any() or np.linalg.cond(jacobian / scale) > 1e8:
        return score, None
    inverse = np.linalg.inv((jacobian / scale).T @ (jacobian / scale)) / np.outer(scale, scale)
    return score, inverse * rss / (n - k)


def fit_nonlinear(
    law: Law, time: int, t: np.ndarray, y: np.ndarray
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """The best from some of the better points of a grid; parameter number `time` is a time constant's logarithm."""
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    low[time], high[time] = np.log(t.min()) - SLACK, np.log(t.max()) + SLACK
    starts = []
    for constant in np.geomspace(t.min() / 10, 10 * t.max(), 12):
        for other in (0.05, 0.5, 2.0) if law is power else (0.0, 0.5, 0.9):
            start = np.array([other, other])
            start[time] = np.log(constant)
            starts.append(start)
    starts.sort(key=lambda p: float(((law(p, t) - y) ** 2).sum()))
    found = [
        least_squares(lambda p: law(p, t) - y, p, bounds=(low, high), xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=400)
        for p in (*starts[:2], starts[len(starts) // 4])
    ]
    best = min(found, key=lambda fit: fit.cost)
    score, covariance = scored(law, best.x, t, y, best.jac)
    if min(best.x[time] - low[time], high[time] - best.x[time]) < 1e-6:
        score["note"], covariance = (
            "the time constant stands at the bound of the search: the points do not determine it",
            None,
        )
    return score, best.x, covariance


def fit_laws(t: np.ndarray, y: np.ndarray) -> dict[str, dict[str, Any]]:
    """All three; a law with too few points is not fitted, and says so."""
    use = (t > 0) & np.isfinite(y)
    t, y = np.asarray(t, float)[use], np.asarray(y, float)[use]
    if len(t) < 3:
        refusal = {
            "refused": f"{len(t)} points after the start, at least 3 are needed (2 parameters + 1); "
            "evaluate more often after it"
        }
        return {name: dict(refusal) for name in ("exponential", "power", "log_linear")}
    fits: dict[str, dict[str, Any]] = {}
    for name, law, time, (constant, other) in (
        ("exponential", exponential, 1, ("tau", "c")),
        ("power", power, 0, ("t0", "b")),
    ):
        score, p, covariance = fit_nonlinear(law, time, t, y)
        value = float(np.exp(p[time]))
        errors = [None, None] if covariance is None else np.sqrt(np.diag(covariance)).tolist()
        fits[name] = {
            "parameters": {constant: value, other: float(p[1 - time])},
            "standard_errors": {
                constant: None if covariance is None else value * errors[time],
                other: errors[1 - time],
            },
            **score,
        }
    design = np.stack([np.ones_like(t), -np.log(t)], axis=1)
    p = np.linalg.lstsq(design, y, rcond=None)[0]
    score, covariance = scored(log_linear, p, t, y, design)
    fits["log_linear"] = {**log_linear_report(p, covariance), **score}
    for fit in fits.values():
        errors = fit["standard_errors"]
        if all(error is None for error in errors.values()):
            fit.setdefault("note", "the points do not determine the parameters (no standard errors)")
        elif any(errors.get(time) and errors[time] > fit["parameters"][time] for time in ("tau", "t0", "threshold")):
            fit["note"] = "the points hardly determine the parameters (an error as great as the value)"
    return fits


def log_linear_report(p: np.ndarray, covariance: np.ndarray | None) -> dict[str, Any]:
    k, a = map(float, p)
    exponent = k / a if a > 0 else np.inf
    threshold = float(np.exp(exponent)) if exponent < 700 else None  # R does not fall, or meets 0 beyond all numbers
    errors: dict[str, float | None] = {"k": None, "a": None, "threshold": None}
    if covariance is not None:
        errors["k"], errors["a"] = np.sqrt(np.diag(covariance)).tolist()
        if threshold is not None:
            slope = threshold * np.array([1 / a, -k / a**2])
            errors["threshold"] = float(np.sqrt(slope @ covariance @ slope))
    return {"parameters": {"k": k, "a": a, "threshold": threshold}, "standard_errors": errors}
