"""The critical ratio and the critical size: where accuracy rises along one axis x of a grid, r or M, at the other held.

Runs are the unit. A rise is claimed where accuracy depends on ln x by a t test over runs (arcsine scale, 5 %, both
sides); only then the threshold is fitted, y = ln x at half of the way from guessing, with a random effect of runs. The
bracket is the grid's own: the largest x up to which every run is under half, and the smallest from which on every run
is above. Quote a critical ratio with its horizon: while beta > 0 it moves with S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.dose import DoseLaw, fit_answers
from knapsack.analysis.laws.evidence import cells_of_share
from knapsack.analysis.psychometric import BELOW, FLAT, NOT_REACHED, REACHED
from knapsack.common.errors import DataError

LEVEL = 0.05


@dataclass
class Critical:
    state: str
    at: Estimate | None  # with 95 % over runs
    bracket: tuple[float | None, float | None]  # of the grid; None: open
    slope: float | None  # of the logit in ln x
    p_value: float  # of no dependence on x
    law: DoseLaw | None


def dependence(x: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    """Slope of arcsin sqrt(share) in ln x over runs, and its p-value."""
    if len(np.unique(x)) < 3:
        raise DataError(f"{len(np.unique(x))} different places on the axis; a rise needs at least 3")
    angle = np.arcsin(np.sqrt(np.clip(share, 0, 1)))
    if np.ptp(angle) == 0:
        return 0.0, 1.0
    found = stats.linregress(np.log(x), angle)
    return float(found.slope), float(found.pvalue)


def bracket(x: np.ndarray, share: np.ndarray, half: float) -> tuple[float | None, float | None]:
    low, high = None, None
    for at in np.unique(x):
        if not (share[x == at] < half).all():
            break
        low = float(at)
    for at in np.unique(x)[::-1]:
        if not (share[x == at] > half).all():
            break
        high = float(at)
    return low, high


def find(x: np.ndarray, share: np.ndarray, answers: np.ndarray | float, guess: float, cluster: np.ndarray) -> Critical:
    """A run an element; `answers` independent ones in each share."""
    x, share = np.asarray(x, float), np.asarray(share, float)
    half = guess + (1 - guess) / 2
    slope, p = dependence(x, share)
    ends = bracket(x, share, half)
    if p > LEVEL or slope <= 0:
        state = NOT_REACHED if (share < half).all() else BELOW if (share > half).all() else FLAT
        return Critical(state, None, ends, None, p, None)
    if (share < half).all():
        return Critical(NOT_REACHED, None, ends, None, p, None)
    if (share > half).all():
        return Critical(BELOW, None, ends, None, p, None)
    counted = np.broadcast_to(np.asarray(answers, float), x.shape)
    cells = [cells_of_share(*one, guess) for one in zip(x, share, counted)]
    law = fit_answers(cells, {}, cluster, people=False)
    at = law.fit.estimate("c")
    return Critical(REACHED, Estimate(*map(float, np.exp(at))), ends, law.shape.k, p, law)
