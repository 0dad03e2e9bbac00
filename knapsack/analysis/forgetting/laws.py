"""Three laws of forgetting, fitted by least squares; t in steps since the window closed (or since t_LAM).

exponential  R = c + (1 - c) exp(-t / tau)
power        R = (1 + t / t0)^-b
log-linear   R = k - a ln t: a is the decay constant, R = 0 at t = exp(k / a), the learnability threshold
             (Chang et al. 2024, arXiv 2406.11813)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from knapsack.analysis.intervals import covariance

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of parameters and t
SLACK = 14.0  # a time constant may leave the range of t by this factor's logarithm, then it is said to be at a bound
FEWEST = 3  # points: 2 parameters + 1
TOLERANCE = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "max_nfev": 400}


def exponential(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return p[0] + (1 - p[0]) * np.exp(-t / np.exp(p[1]))


def power(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.exp(-p[1] * np.log1p(t / np.exp(p[0])))


def log_linear(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return p[0] - p[1] * np.log(t)


class Nonlinear(NamedTuple):
    """A law of two parameters, one a time constant, whose logarithm is fitted."""

    function: Function
    constant: str
    place: int  # of the constant among the parameters
    other: str
    starts: tuple[float, ...]  # of the other


NONLINEAR = {
    "exponential": Nonlinear(exponential, "tau", 1, "c", (0.0, 0.5, 0.9)),
    "power": Nonlinear(power, "t0", 0, "b", (0.05, 0.5, 2.0)),
}
NAMES = (*NONLINEAR, "log_linear")
TIMES = (*(law.constant for law in NONLINEAR.values()), "threshold")  # parameters


def parameters(law: Nonlinear, log_constant: float, other: float) -> np.ndarray:
    return np.array([other, log_constant] if law.place else [log_constant, other])


def evaluate(name: str, fit: dict[str, Any], t: np.ndarray) -> np.ndarray:
    """A fitted law, from the parameters as reported."""
    values = fit["parameters"]
    if name == "log_linear":
        return log_linear(np.array([values["k"], values["a"]]), t)
    law = NONLINEAR[name]
    return law.function(parameters(law, np.log(values[law.constant]), values[law.other]), t)


def score(residual: np.ndarray, y: np.ndarray, k: int = 2) -> dict[str, Any]:
    """R^2, AIC and AICc (Gaussian errors, the variance a parameter) of a fit of k parameters."""
    n, rss, spread = len(y), float(residual @ residual), float(((y - y.mean()) ** 2).sum())
    aic = n * np.log(max(rss / n, 1e-300)) + 2 * (k + 1)
    return {
        "points": n,
        "rss": rss,
        "r2": 1 - rss / spread if spread > 0 else None,
        "aic": float(aic),
        "aicc": float(aic + 2 * (k + 1) * (k + 2) / (n - k - 2)) if n > k + 2 else None,
    }


def standard_errors(variances: np.ndarray | None) -> list[float | None]:
    return [None, None] if variances is None else np.sqrt(np.diag(variances)).tolist()


def fit_nonlinear(law: Nonlinear, t: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The best from some of the better points of a grid."""
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    low[law.place], high[law.place] = np.log(t.min()) - SLACK, np.log(t.max()) + SLACK

    def residual(p: np.ndarray) -> np.ndarray:
        return law.function(p, t) - y

    constants = np.log(np.geomspace(t.min() / 10, 10 * t.max(), 12))
    starts = [parameters(law, constant, other) for constant in constants for other in law.starts]
    starts.sort(key=lambda p: float((residual(p) ** 2).sum()))
    chosen = (*starts[:2], starts[len(starts) // 4])
    best = min((least_squares(residual, p, bounds=(low, high), **TOLERANCE) for p in chosen), key=lambda fit: fit.cost)
    report, log_constant = score(-residual(best.x), y), best.x[law.place]
    variances = covariance(best.jac, report["rss"])
    if min(log_constant - low[law.place], high[law.place] - log_constant) < 1e-6:
        report["note"] = "the time constant is at the bound of the search: the points do not determine it"
        variances = None
    errors, value = standard_errors(variances), float(np.exp(log_constant))
    error = errors[law.place]
    return {
        "parameters": {law.constant: value, law.other: float(best.x[1 - law.place])},
        "standard_errors": {law.constant: None if error is None else value * error, law.other: errors[1 - law.place]},
        **report,
    }


def fit_log_linear(t: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    design = np.stack([np.ones_like(t), -np.log(t)], axis=1)
    p = np.linalg.lstsq(design, y, rcond=None)[0]
    k, a = map(float, p)
    report = score(y - log_linear(p, t), y)
    variances = covariance(design, report["rss"])
    exponent = k / a if a > 0 else np.inf
    threshold = float(np.exp(exponent)) if exponent < 700 else None  # R does not fall, or meets 0 beyond all numbers
    errors = dict(zip(("k", "a", "threshold"), [*standard_errors(variances), None]))
    if variances is not None and threshold is not None:
        gradient = threshold * np.array([1 / a, -k / a**2])
        errors["threshold"] = float(np.sqrt(gradient @ variances @ gradient))
    return {"parameters": {"k": k, "a": a, "threshold": threshold}, "standard_errors": errors, **report}


def fit_law(name: str, t: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """At least FEWEST points with t > 0; says in a note where they say little of the parameters."""
    fit = fit_nonlinear(NONLINEAR[name], t, y) if name in NONLINEAR else fit_log_linear(t, y)
    errors = fit["standard_errors"]
    if all(error is None for error in errors.values()):
        fit.setdefault("note", "the points do not determine the parameters (no standard errors)")
    elif any(errors.get(time) and errors[time] > fit["parameters"][time] for time in TIMES):
        fit["note"] = "the points hardly determine the parameters (an error as large as the value)"
    return fit


def fit_laws(t: np.ndarray, y: np.ndarray) -> dict[str, dict[str, Any]]:
    """All three; a law with too few points is not fitted, and says so."""
    use = (t > 0) & np.isfinite(y)
    t, y = np.asarray(t, float)[use], np.asarray(y, float)[use]
    if len(t) < FEWEST:
        said = f"{len(t)} points after the start, at least {FEWEST} are needed (2 parameters + 1)"
        return {name: {"refused": f"{said}; evaluate more often after it"} for name in NAMES}
    return {name: fit_law(name, t, y) for name in NAMES}
