"""The frequency, or popularity, from which on facts are known: by the fitted curve with an interval, and by the paper's
rule next to it (Gu et al. 2025, arXiv 2505.18091, sections 5.1 and 5.2).

The rule is always on one side: the first group that fails lies below the threshold by half a step of the groups and
more. The curve has no such fault; the rule is reported so that figures can be compared with published ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knapsack.analysis.psychometric import BELOW, FLAT, NOT_REACHED, REACHED, Cells, Curve, interval_of


def first_group_below(cells: Cells, target: float) -> float | None:
    """The paper's f_thres: of the groups of equal frequency, descending, the first whose accuracy is under the
    target; None where none is."""
    for dose in np.unique(cells.dose)[::-1]:
        of = cells.dose == dose
        if cells.right[of].sum() < target * cells.asked[of].sum():
            return float(dose)
    return None


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
