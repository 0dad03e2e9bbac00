"""Other laws of p(F, M, S) with as many parameters as the law of doses, so that it can lose.

    threshold    p = logistic(k (ln F - c + g ln M - s ln S))            the law of dose.py
    exposures    p = logistic(c + k F + g ln M + s ln S)                 a steady rise in exposures, no transition
    mixing       p = 1 - exp(-exp(k (ln F - c + g ln M - s ln S)))       exponential in the share (2403.16952)
    capacity     p = min(1, exp(k) M^g) (1 - exp(-F / (exp(c) S^s)))     1 - exp in exposures (2406.15720)
    knapsack     p = clamp(exp(c) M - exp(k) (S^s / F)^(1 / (1 + g)))    fractional, g = alpha (2505.18091)

Each is fitted to all cells by maximum likelihood with the guesses and the lapse of the law of doses, and gives an F50,
or none where it says that half is never reached. They are compared by runs that were left out (holdout.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from knapsack.analysis.psychometric import Cells

Function = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # of parameters, ln F, ln M, ln S
LARGEST = 30.0  # of an exponent


def e(x: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(x, -LARGEST, LARGEST))


def exposures(v: np.ndarray, F: np.ndarray, M: np.ndarray, S: np.ndarray) -> np.ndarray:
    return expit(v[0] + e(v[1]) * e(F) + v[2] * M + v[3] * S)


def mixing(v: np.ndarray, F: np.ndarray, M: np.ndarray, S: np.ndarray) -> np.ndarray:
    return -np.expm1(-e(e(v[1]) * (F - v[0] + v[2] * M - v[3] * S)))


def capacity(v: np.ndarray, F: np.ndarray, M: np.ndarray, S: np.ndarray) -> np.ndarray:
    return np.minimum(1.0, e(v[1] + v[2] * M)) * -np.expm1(-e(F - v[0] - v[3] * S))


def knapsack(v: np.ndarray, F: np.ndarray, M: np.ndarray, S: np.ndarray) -> np.ndarray:
    return np.clip(e(v[0] + M) - e(v[1] + (v[3] * S - F) / (1 + e(v[2]))), 0.0, 1.0)


RIVALS: dict[str, Function] = {
    "exposures": exposures,
    "mixing": mixing,
    "capacity": capacity,
    "knapsack": knapsack,
}
STARTS = {  # of v; M, S and F are over their geometric means
    "exposures": [[-2.0, 0.0, 1.0, 0.0], [-4.0, -1.0, 1.0, 0.0]],
    "mixing": [[0.0, 0.7, 1.0, 0.3]],
    "capacity": [[0.0, 0.0, 0.5, 0.3], [1.0, -0.5, 1.0, 0.3]],
    "knapsack": [[0.5, 0.5, 0.0, 0.7], [0.0, -0.3, -1.0, 0.7], [1.0, 1.0, 0.5, 0.7]],
}


@dataclass
class Rival:
    name: str
    v: np.ndarray
    centre: tuple[float, float, float]  # ln of F, M, S
    loglik: float

    def at(self, F: np.ndarray, M: float, S: float) -> np.ndarray:
        """The share known, without guesses and lapses."""
        F, M, S = (np.log(value) - mean for value, mean in zip((F, M, S), self.centre))
        return RIVALS[self.name](self.v, np.asarray(F), np.asarray(M), np.asarray(S))

    def F50(self, M: float, S: float, span: tuple[float, float]) -> float | None:
        """Within a factor 1000 of the doses (low, high); None where half is not reached there."""
        F = np.geomspace(span[0] / 1e3, span[1] * 1e3, 4000)
        known = self.at(F, M, S)
        at = int(np.argmax(known >= 0.5))
        if known[at] < 0.5:
            return None
        return (
            float(F[0])
            if at == 0
            else float(np.exp(np.interp(0.5, known[at - 1 : at + 1], np.log(F[at - 1 : at + 1]))))
        )


def fit_rival(name: str, runs: list[Cells], M: np.ndarray, S: np.ndarray, lapse: float, guess: float) -> Rival:
    """A run a Cells and an element of M and S; `guess` where that of a question is not known."""
    number = np.concatenate([np.full(len(cells.dose), i) for i, cells in enumerate(runs)])
    dose, right, asked, chance = (
        np.concatenate([getattr(c, n) for c in runs]) for n in ("dose", "right", "asked", "guess")
    )
    chance = np.nan_to_num(chance, nan=guess)
    shown = dose > 0
    columns = np.stack([dose, M[number], S[number], chance], axis=1)[shown]
    places, place = np.unique(columns, axis=0, return_inverse=True)
    right, wrong = (np.bincount(place.ravel(), w) for w in (right[shown], (asked - right)[shown]))
    logs = np.log(places[:, :3])
    centre = logs.mean(axis=0)
    F, m, s = (logs - centre).T
    varied = np.array([True, True, np.ptp(m) > 1e-9 or name == "knapsack", np.ptp(s) > 1e-9])
    height = 1 - places[:, 3] - lapse

    def loss(free: np.ndarray) -> float:
        v = np.zeros(4)
        v[varied] = free
        q = np.clip(places[:, 3] + height * RIVALS[name](v, F, m, s), 1e-6, 1 - 1e-6)
        return -float(right @ np.log(q) + wrong @ np.log1p(-q)) + 1e-4 * float(v @ v)

    found = []
    for start in STARTS[name]:
        rough = minimize(loss, np.array(start)[varied], method="Nelder-Mead", options={"maxfev": 800, "xatol": 1e-3})
        found.append(minimize(loss, rough.x, method="Nelder-Mead", options={"maxfev": 800, "xatol": 1e-4}))
    best = min(found, key=lambda one: one.fun)
    v = np.zeros(4)
    v[varied] = best.x
    return Rival(name, v, tuple(map(float, centre)), -float(best.fun))
