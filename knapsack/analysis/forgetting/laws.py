"""Three laws of forgetting; t in steps since the window closed (or since t_LAM).

exponential  R = c + (1 - c) exp(-t / tau)
power        R = (1 + t / t0)^-b
log-linear   R = k - a ln t: a is the decay constant, R = 0 at t = exp(k / a), the learnability threshold
             (Chang et al. 2024, arXiv 2406.11813)

Fitted by least squares to the mean over facts. The points of a curve are the same facts at successive steps, so its
residuals say nothing of the error: intervals come of curves with the people drawn anew (`drawn`), and laws are compared
by late times that they were not fitted to (`late_error`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, least_squares

from knapsack.analysis.intervals import covariance

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of parameters and t
SLACK = 14.0  # a time constant may leave the range of t by this factor's logarithm, then it is said to be at a bound
FEWEST = 3  # points: 2 parameters + 1
TOLERANCE = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "max_nfev": 400}
DRAWN = {"xtol": 1e-6, "ftol": 1e-6, "gtol": 1e-8, "max_nfev": 60}  # of a curve that is one of many


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


def r_squared(residual: np.ndarray, y: np.ndarray) -> float | None:
    """How much of the curve a law draws; says nothing of which law holds."""
    spread = float(((y - y.mean()) ** 2).sum())
    return 1 - float(residual @ residual) / spread if spread > 0 else None


def fit_nonlinear(law: Nonlinear, t: np.ndarray, y: np.ndarray, start: np.ndarray | None = None) -> OptimizeResult:
    """The best from some of the better points of a grid, or from `start`."""
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    low[law.place], high[law.place] = np.log(t.min()) - SLACK, np.log(t.max()) + SLACK

    def residual(p: np.ndarray) -> np.ndarray:
        return law.function(p, t) - y

    if start is not None:
        within = np.clip(start, low + 1e-9, high - 1e-9)
        return least_squares(residual, within, bounds=(low, high), **DRAWN)
    constants = np.log(np.geomspace(t.min() / 10, 10 * t.max(), 12))
    starts = [parameters(law, constant, other) for constant in constants for other in law.starts]
    starts.sort(key=lambda p: float((residual(p) ** 2).sum()))
    chosen = (*starts[:2], starts[len(starts) // 4])
    return min((least_squares(residual, p, bounds=(low, high), **TOLERANCE) for p in chosen), key=lambda fit: fit.cost)


class Fitted(NamedTuple):
    values: dict[str, float | None]  # by parameter
    p: np.ndarray  # as the law's function takes them
    note: str = ""


def fit_one(name: str, t: np.ndarray, y: np.ndarray, start: np.ndarray | None = None) -> Fitted:
    if name == "log_linear":
        design = np.stack([np.ones_like(t), -np.log(t)], axis=1)
        k, a = map(float, np.linalg.lstsq(design, y, rcond=None)[0])
        exponent = k / a if a > 0 else np.inf
        threshold = float(np.exp(exponent)) if exponent < 700 else None  # R does not fall, or not within all numbers
        return Fitted({"k": k, "a": a, "threshold": threshold}, np.array([k, a]))
    law = NONLINEAR[name]
    best = fit_nonlinear(law, t, y, start)
    log_constant = float(best.x[law.place])
    note = ""
    if min(log_constant - np.log(t.min()), np.log(t.max()) - log_constant) < 1e-6 - SLACK:
        note = "the time constant is at the bound of the search: the points do not determine it"
    elif covariance(best.jac, 2 * float(best.cost)) is None:
        note = "the points do not determine the parameters"
    return Fitted({law.constant: float(np.exp(log_constant)), law.other: float(best.x[1 - law.place])}, best.x, note)


def function_of(name: str) -> Function:
    return log_linear if name == "log_linear" else NONLINEAR[name].function


def late_error(name: str, t: np.ndarray, y: np.ndarray) -> float | None:
    """Root mean square error of the last third of the points, of the law fitted to the others; None where these are
    fewer than FEWEST."""
    order = np.argsort(t)
    early, late = order[: len(t) - len(t) // 3], order[len(t) - len(t) // 3 :]
    if len(early) < FEWEST or not len(late):
        return None
    predicted = function_of(name)(fit_one(name, t[early], y[early]).p, t[late])
    return float(np.sqrt(np.mean((predicted - y[late]) ** 2)))


def fit_law(name: str, t: np.ndarray, y: np.ndarray, drawn: np.ndarray | None = None) -> dict[str, Any]:
    """At least FEWEST points with t > 0; `drawn` (D, points): the same curve of other draws of people. Says in a note
    where the points say little of the parameters."""
    fit = fit_one(name, t, y)
    out: dict[str, Any] = {
        "parameters": fit.values,
        "points": len(t),
        "r2": r_squared(function_of(name)(fit.p, t) - y, y),
        "late_error": late_error(name, t, y),
    }
    if drawn is not None and len(drawn) > 1:
        others = [fit_one(name, t, other, fit.p).values for other in drawn]
        out |= spread_of(fit.values, others)
    errors = out.get("standard_errors", {})
    if fit.note:
        out["note"] = fit.note
    elif any(errors.get(time) and errors[time] > fit.values[time] for time in TIMES):
        out["note"] = "the points hardly determine the parameters (an error as large as the value)"
    return out


def spread_of(values: dict[str, float | None], others: list[dict[str, float | None]]) -> dict[str, Any]:
    """95 % intervals and standard errors over draws; None where a draw has no such number."""
    intervals, errors = {}, {}
    for name, value in values.items():
        drawn = [one[name] for one in others]
        if value is None or None in drawn:
            intervals[name], errors[name] = [None, None], None
            continue
        intervals[name] = np.percentile(drawn, [2.5, 97.5]).tolist()
        errors[name] = float(np.std(drawn, ddof=1))
    return {"intervals": intervals, "standard_errors": errors}


def fit_laws(t: np.ndarray, y: np.ndarray, drawn: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
    """All three; a law with too few points is not fitted, and says so. `drawn`: (D, points)."""
    use = (t > 0) & np.isfinite(y)
    t, y = np.asarray(t, float)[use], np.asarray(y, float)[use]
    if len(t) < FEWEST:
        said = f"{len(t)} points after the start, at least {FEWEST} are needed (2 parameters + 1)"
        return {name: {"refused": f"{said}; evaluate more often after it"} for name in NAMES}
    if drawn is not None:
        drawn = drawn[:, use]
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
    return {name: fit_law(name, t, y, drawn) for name in NAMES}
