"""Retention against exposures, R(F), and where it collapses: a bracket of the grid, never a number between its points.

A curve is the runs of equal N, K, budget policy and token budget, all other options held constant. R(F) is the mean
over seeds. It has fallen at F when it is under the curve's peak by more than max(margin, k sigma_seed) and the two 95 %
intervals do not overlap. The collapse point lies between the neighbours [F_lo, F_hi] of the grid when R has fallen at
F_hi and at every larger F, and not at F_lo. sigma_seed is the standard deviation between seeds, pooled over the points
that have several. The interval of a point is the mean of its runs' intervals: all seeds ask about the same facts, so
that more seeds do not make the error of choosing facts smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from knapsack.analysis.infusion.curves import Curve
from knapsack.analysis.intervals import pooled_sd, slope
from knapsack.analysis.points import Point
from knapsack.runs.table import Row

SLACK = 1e-9  # a fall of exactly the margin is not more than it, whatever its last bits
FEWEST = 3


@dataclass
class Rule:
    measure: str
    base_loss: str  # column
    margin: float = 0.05
    k: float = 2.0
    loss_margin: float = 0.05


def spread(points: list[Point], column: str) -> tuple[float | None, int]:
    return pooled_sd(point.values(column) for point in points)


def needed(margin: float, k: float, sigma: float | None) -> float:
    return max(margin, k * sigma if sigma is not None else 0.0)


def apart(high: Point, low: Point, column: str) -> bool | None:
    """Whether the intervals of a higher and a lower point do not overlap; None where they are not known."""
    above, below = high.interval(column), low.interval(column)
    return above[0] > below[1] if above and below else None


def trend(points: list[Point], column: str) -> Row:
    """How far a value moves over F: the largest difference, and the slope per doubling of F by least squares with its
    95 % interval (Student's t). Flat: the interval holds 0."""
    pairs = [(math.log2(point.at), value) for point in points for value in point.values(column)]
    means = [value for value in (point.mean(column) for point in points) if value is not None]
    if not means:
        return {}
    out: Row = {"largest_difference": max(means) - min(means)}
    if len(pairs) < 3 or len(means) < 2:
        return out | {"slope_per_doubling": None, "slope_interval": None, "flat": None}
    found = slope(*zip(*pairs))
    flat = found.low - SLACK <= 0 <= found.high + SLACK
    return out | {"slope_per_doubling": found.value, "slope_interval": [found.low, found.high], "flat": flat}


def base_loss_at(curve: Curve, at: int, rule: Rule) -> Row:
    """What the base's validation loss does across the bracket [at - 1, at], next to the step before it."""
    losses = [point.mean(rule.base_loss) for point in curve.points]
    sigma, _ = spread(curve.points, rule.base_loss)
    low, high = losses[at - 1], losses[at]
    before = losses[at - 2] if at > 1 else None
    rise = high - low if low is not None and high is not None else None
    rise_needed = needed(rule.loss_margin, rule.k, sigma)
    return {
        "lo": low,
        "hi": high,
        "rise": rise,
        "rise_before": low - before if before is not None and low is not None else None,
        "sigma_seed": sigma,
        "rise_needed": rise_needed,
        "rose": rise > rise_needed + SLACK if rise is not None else None,
    }


def read_collapse(curve: Curve, rule: Rule) -> Row:
    """The reading: status bracket, censored (F_c > F_lo = the grid's largest), nothing_retained or too_few_points."""
    points, measure = curve.points, rule.measure
    sigma, freedom = spread(points, measure)
    fall_needed = needed(rule.margin, rule.k, sigma)
    notes = ["one seed a point: the margin alone says what a fall is"] if sigma is None else []
    out: Row = {
        "status": "too_few_points",
        "F_lo": None,
        "F_hi": None,
        "sigma_seed": sigma,
        "sigma_degrees_of_freedom": freedom,
        "fall_needed": fall_needed,
        "rule": "margin" if fall_needed == rule.margin else "k sigma_seed",
        "notes": notes,
    }
    if len(points) < FEWEST:
        notes.append(f"{len(points)} exposure counts, at least {FEWEST} are needed")
        return out
    means = [point.mean(measure) for point in points]
    top = max(range(len(points)), key=means.__getitem__)
    floor, of = floor_of(points[top], measure)
    out |= {"peak": {"F": points[top].at, "value": means[top]}, "floor": {"value": floor, "of": of}}
    if means[top] - floor <= fall_needed + SLACK:
        above = f"the peak is not above {of} ({floor:.3g}) by more than {fall_needed:.3g}"
        notes.append(f"{above}: there is nothing to lose")
        return out | {"status": "nothing_retained"}
    onset = onset_of(points, top, measure, fall_needed, notes)
    if onset < len(points):
        return out | bracket(curve, onset, top, rule, notes)
    if top == onset - 1:
        notes.append("the peak is the grid's last point: a longer grid is needed")
    return out | {"status": "censored", "F_lo": points[-1].at}


def onset_of(points: list[Point], top: int, measure: str, fall_needed: float, notes: list[str]) -> int:
    """The first point from which on all have fallen; their number where the last has not."""
    peak = points[top]
    separate = [apart(peak, point, measure) for point in points]
    if any(sure is None for sure in separate):
        notes.append("not all runs have intervals (no results.json): those falls are judged without them")
    low = [peak.mean(measure) - point.mean(measure) > fall_needed + SLACK for point in points]
    fallen = [is_low and sure is not False for is_low, sure in zip(low, separate)]
    onset = next(i for i in range(len(points), -1, -1) if i == 0 or not fallen[i - 1])
    again = [f"{points[i].at:g}" for i in range(top + 1, onset) if fallen[i]]
    if again:
        notes.append(f"R falls at F = {', '.join(again)}, but comes back")
    unsure = [f"{points[i].at:g}" for i in range(top + 1, len(points)) if low[i] and not fallen[i]]
    if unsure:
        notes.append(f"the fall at F = {', '.join(unsure)} is within the intervals: not counted")
    return onset


def bracket(curve: Curve, onset: int, top: int, rule: Rule, notes: list[str]) -> Row:
    points = curve.points
    before, after = points[onset - 1], points[onset]
    if onset == len(points) - 1:
        notes.append("the fall rests on the grid's last point alone: whether R stays down is not seen")
    if top == 0:
        notes.append("the peak is the grid's first point: a higher one before it would move the bracket down")
    return {
        "status": "bracket",
        "F_lo": before.at,
        "F_hi": after.at,
        "points_down": len(points) - onset,
        "fall": before.mean(rule.measure) - after.mean(rule.measure),
        "share": [before.mean("share"), after.mean("share")],
        "D": [before.mean("D"), after.mean("D")],
        "base_loss": base_loss_at(curve, onset, rule),
    }


def floor_of(point: Point, measure: str) -> tuple[float, str]:
    """What a model that was shown nothing would reach: the controls, else chance."""
    for column, what in ((f"control/{measure}", "the controls"), (f"{measure}_chance", "chance")):
        if (value := point.mean(column)) is not None:
            return value, what
    return 0.0, "zero"
