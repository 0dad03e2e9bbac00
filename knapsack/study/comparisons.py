"""Several arms against one control or several: what may be claimed of a table of them. The run is the unit: differences
are paired by replicate, and p is that of Student's t over them, adjusted for how many comparisons the table makes.

Holm (1979) holds at any dependence of the comparisons, which share their control and the replicates' seeds and people,
and at any spread of each arm; Dunnett's intervals would need arms that scatter alike, but an arm at a floor does not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy import special, stats

from knapsack.analysis.intervals import are_alike

LEVEL = 0.05  # of false claims, a table


def p_of(differences: Sequence[float]) -> float | None:
    """Two-sided, of no difference in the mean; None of one pair, and where all are alike."""
    n = len(differences)
    if n < 2 or are_alike(differences):
        return None
    t = np.mean(differences) / (np.std(differences, ddof=1) / math.sqrt(n))
    return float(2 * special.stdtr(n - 1, -abs(t)))


def adjusted(family: Mapping[Hashable, Sequence[float]]) -> dict[Hashable, float | None]:
    """Holm's p of each comparison; those without a p of their own count too, since they were to be made."""
    found: dict[Hashable, float | None] = {key: p_of(values) for key, values in family.items()}
    least = 0.0
    known = sorted((key for key in found if found[key] is not None), key=lambda key: found[key])
    for rank, key in enumerate(known):
        least = min(1.0, max(least, (len(found) - rank) * found[key]))
        found[key] = least
    return found


def said_of(comparisons: int, measures: int, pairs: int) -> str:
    """What the p of a table are, and what a claim takes; `pairs`: of a comparison, at most."""
    if not comparisons:
        return ""
    by = f" by each of {measures} measures" if measures > 1 else ""
    said = f"{comparisons} comparison{'s' if comparisons > 1 else ''}{by}, paired by replicate. "
    if pairs < 2:
        return f"{said}Of one pair there is no interval, and nothing is claimed."
    holm = f", adjusted for {comparisons} comparisons by Holm's rule" if comparisons > 1 else ""
    first, twice = (stats.t.isf(LEVEL / (2 * comparisons * measures), n - 1) for n in (pairs, 2 * pairs))
    return (
        f"{said}Intervals are 95 % of one comparison, Student's t over pairs; p is of the same t{holm}. A difference "
        f"is claimed where p is below {LEVEL / measures:.3g}: where no arm differs, at most 5 % of such tables "
        f"claim any. The first claim takes {first:.3g} standard errors with {pairs} pairs, {twice:.3g} with "
        f"{2 * pairs}."
    )
