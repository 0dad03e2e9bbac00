"""The frequency, or popularity, from which on facts are known: by the fitted curve with an interval, and by the papers'
rules next to it (Gu et al. 2025, arXiv 2505.18091, sections 5.1, 5.2 and appendix D).

The rules are always on one side: the first group that fails lies below the threshold by half a step of the groups and
more, and a walk that begins with one wrong answer may end at once. The curve has neither fault; the rules are reported
so that figures can be compared with published ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knapsack.analysis.psychometric import BELOW, FLAT, NOT_REACHED, REACHED, Cells, Curve, interval_of

FEWEST_ITEMS = 50  # of a walk, before a running accuracy may fail


def first_group_below(cells: Cells, target: float) -> float | None:
    """The paper's f_thres: of the groups of equal frequency, descending, the first whose accuracy is under the
    target; None where none is."""
    for dose in np.unique(cells.dose)[::-1]:
        of = cells.dose == dose
        if cells.right[of].sum() < target * cells.asked[of].sum():
            return float(dose)
    return None


def walk(popularity: np.ndarray, correct: np.ndarray, target: float, fails: int, fewest: int = FEWEST_ITEMS) -> float:
    """Our reading of the paper's algorithm 1, whose loop was not recovered: items by popularity, descending; each time
    that the running accuracy misses the target counts, from the `fewest`-th item on; at the `fails`-th time its
    popularity is the threshold. Where it never comes so far, the smallest popularity."""
    order = np.argsort(-np.asarray(popularity, float), kind="stable")
    running = np.cumsum(np.asarray(correct, float)[order]) / np.arange(1, len(order) + 1)
    missed = np.flatnonzero((running < target) & (np.arange(1, len(order) + 1) >= fewest))
    at = missed[fails - 1] if len(missed) >= fails else len(order) - 1
    return float(np.asarray(popularity, float)[order][at])


def threshold(cells: Cells, target: float, curve: Curve, drawn: np.ndarray) -> dict[str, Any]:
    """The dose of the target accuracy by the curve of these cells, with 95 % over people (`drawn` as bootstrap makes
    it); None where it is not reached within the doses, which `state` says."""
    value = curve.dose_at(target)
    interval = interval_of(curve, drawn, target) if value else (None, None)
    state, low, high = REACHED, *curve.doses
    if not value:
        known = curve.at(np.array(curve.doses))
        state = FLAT if curve.state == FLAT else BELOW if known[0] > target else NOT_REACHED
    return {
        "target": target,
        "threshold": value,
        "interval": list(interval),
        "state": state,
        "more_than": high if state == NOT_REACHED else None,
        "less_than": low if state == BELOW else None,
        "first_group_below": first_group_below(cells, target),
    }
