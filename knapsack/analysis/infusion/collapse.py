"""Retention against exposures, R(F), and where it collapses: a bracket of the grid, never a number between its points.

A curve is the runs of equal N, K, budget policy and token budget, all other options held constant. R(F) is the mean
over seeds. It has fallen at F when it is under the curve's peak by more than max(margin, k sigma_seed) and the two 95 %
intervals do not overlap. The collapse point lies between the neighbours [F_lo, F_hi] of the grid when R has fallen at
F_hi and at every greater F, and not at F_lo. sigma_seed is the standard deviation between seeds, pooled over the points
that have several. The interval of a point is the mean of its runs' intervals: all seeds ask about the same facts, so
that more seeds do not make the error of choosing facts smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import mean, variance
from typing import Any

import numpy as np
from scipy.special import stdtrit

from knapsack.analysis.infusion.rows import in_family

Row = dict[str, Any]
SLACK = 1e-9  # a fall of exactly the margin is not more than it, whatever its last bits
FEWEST = 3


@dataclass
class Rule:
    measure: str
    base_loss: str  # column
    margin: float = 0.05
    k: float = 2.0
    loss_margin: float = 0.05


@dataclass
class Point:
    F: float
    rows: list[Row]

    def values(self, column: str) -> list[float]:
        return [row[column] for row in self.rows if row.get(column) is not None]

    def mean(self, column: str) -> float | None:
        values = self.values(column)
        return mean(values) if values else None

    def interval(self, column: str) -> tuple[float, float] | None:
        """None where not all runs have one."""
        ends = [self.values(f"{column}_{end}") for end in ("low", "high")]
        return (mean(ends[0]), mean(ends[1])) if all(len(end) == len(self.rows) for end in ends) else None


@dataclass
class Curve:
    key: tuple  # N, K, policy, budget in tokens, options held constant
    held: Row
    points: list[Point]
    without: list[Row]  # runs of the same kind with F = 0
    not_counted: list[tuple[str, str]] = field(default_factory=list)  # run, why
    label: str = ""


def why_not(row: Row, measure: str) -> str | None:
    if row["state"] != "done":
        return f"its state is '{row['state']}'"
    if not row["_whole"]:
        return "it was stopped before the end of its plan"
    return None if row.get(measure) is not None else f"it has no {measure}"


def held_without(row: Row, name: str) -> Row:
    """What a run with F = 0 shares with a curve: the options that do not speak of the infused family."""
    return {key: value for key, value in row["_held"].items() if not (" " in key and in_family(key.split()[0], name))}


def make_curves(rows: list[Row], name: str, measure: str) -> list[Curve]:
    curves: dict[tuple, Curve] = {}
    for row in sorted((row for row in rows if row["F"] > 0), key=lambda row: row["F"]):
        numbers = tuple(row[column] for column in ("N", "K", "policy", "budget_tokens"))
        key = (*numbers, tuple(sorted(row["_held"].items())))
        curve = curves.setdefault(key, Curve(key, row["_held"], [], []))
        reason = why_not(row, measure)
        at = next((point for point in curve.points if point.F == row["F"]), None)
        same = at and next((other for other in at.rows if seeds(other) == seeds(row)), None)
        if not reason and same:
            reason = f"it has the exposures and seeds of {same['run']}"
        if reason:
            curve.not_counted.append((row["run"], reason))
        elif at:
            at.rows.append(row)
        else:
            curve.points.append(Point(row["F"], [row]))
        for other in rows:
            same_kind = (other["N"], other["budget_tokens"]) == (row["N"], row["budget_tokens"])
            if other["F"] == 0 and same_kind and held_without(other, name) == held_without(row, name):
                if other["state"] == "done" and other["_whole"] and other not in curve.without:
                    curve.without.append(other)
    found = sorted(curves.values(), key=lambda curve: (*curve.key[2:4], curve.key[1] or 0, curve.key[0], curve.key[4]))
    for curve in found:
        alike = [other.held for other in found if other.key[:4] == curve.key[:4]]
        differing = [
            option
            for option in dict.fromkeys(key for held in alike for key in held)
            if len({held.get(option) for held in alike}) > 1
        ]
        N, K, policy, budget, _ = curve.key
        parts = [f"N {N:,}", f"K {K:,}" if K is not None else "K not known", policy, f"{budget:,} tokens"]
        curve.label = ", ".join(parts + [f"{option} {curve.held.get(option, '-')}" for option in differing])
    return found


def seeds(row: Row) -> tuple:
    return row["seed"], row["data_seed"]


def pooled_sd(points: list[Point], column: str) -> tuple[float | None, int]:
    """Standard deviation between the runs of a point, pooled over points with several, and its degrees of freedom."""
    groups = [values for values in (point.values(column) for point in points) if len(values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    return (math.sqrt(sum((len(v) - 1) * variance(v) for v in groups) / freedom), freedom) if freedom else (None, 0)


def apart(high: Point, low: Point, column: str) -> bool | None:
    """Whether the intervals of a higher and a lower point do not overlap; None where they are not known."""
    above, below = high.interval(column), low.interval(column)
    return above[0] > below[1] if above and below else None


def trend(points: list[Point], column: str) -> Row:
    """How far a value moves over F: the largest difference, and the slope per doubling of F by least squares with its
    95 % interval (Student's t). Flat: the interval holds 0."""
    pairs = [(math.log2(point.F), value) for point in points for value in point.values(column)]
    means = [value for value in (point.mean(column) for point in points) if value is not None]
    if not means:
        return {}
    out: Row = {
        "largest_difference": max(means) - min(means),
        "slope_per_doubling": None,
        "slope_interval": None,
        "flat": None,
    }
    x, y = np.array(pairs).T
    if len(x) > 2 and len(means) > 1:
        x = x - x.mean()
        slope = float(x @ y / (x @ x))
        residual = y - y.mean() - slope * x
        half = float(stdtrit(len(x) - 2, 0.975) * math.sqrt(residual @ residual / (len(x) - 2) / (x @ x)))
        out |= {
            "slope_per_doubling": slope,
            "slope_interval": [slope - half, slope + half],
            "flat": abs(slope) <= half + SLACK,
        }
    return out


def base_loss_at(curve: Curve, at: int, rule: Rule) -> Row:
    """What the base's validation loss does across the bracket [at - 1, at], beside the step before it."""
    losses = [point.mean(rule.base_loss) for point in curve.points]
    sigma, _ = pooled_sd(curve.points, rule.base_loss)
    low, high = losses[at - 1], losses[at]
    before = losses[at - 2] if at > 1 else None
    rise = high - low if low is not None and high is not None else None
    needed = max(rule.loss_margin, rule.k * sigma if sigma is not None else 0.0)
    return {
        "lo": low,
        "hi": high,
        "rise": rise,
        "rise_before": low - before if before is not None and low is not None else None,
        "sigma_seed": sigma,
        "rise_needed": needed,
        "rose": rise > needed + SLACK if rise is not None else None,
    }


def read_collapse(curve: Curve, rule: Rule) -> Row:
    """The reading: status bracket, censored (F_c > F_lo = the grid's greatest), nothing_retained or too_few_points."""
    points, measure = curve.points, rule.measure
    sigma, freedom = pooled_sd(points, measure)
    needed = max(rule.margin, rule.k * sigma if sigma is not None else 0.0)
    out: Row = {
        "status": "too_few_points",
        "F_lo": None,
        "F_hi": None,
        "sigma_seed": sigma,
        "sigma_degrees_of_freedom": freedom,
        "fall_needed": needed,
        "rule": "margin" if needed == rule.margin else "k sigma_seed",
        "notes": [],
    }
    notes = out["notes"]
    if sigma is None:
        notes.append("one seed a point: the margin alone says what a fall is")
    if len(points) < FEWEST:
        notes.append(f"{len(points)} exposure counts, at least {FEWEST} are needed")
        return out
    means = [point.mean(measure) for point in points]
    top = max(range(len(points)), key=means.__getitem__)
    floor, of = floor_of(points[top], measure)
    out |= {"peak": {"F": points[top].F, "value": means[top]}, "floor": {"value": floor, "of": of}}
    if means[top] - floor <= needed + SLACK:
        out["status"] = "nothing_retained"
        notes.append(f"the peak is not above {of} ({floor:.3g}) by more than {needed:.3g}: there is nothing to lose")
        return out
    separate = [apart(points[top], point, measure) for point in points]
    if any(sure is None for sure in separate):
        notes.append("not all runs have intervals (no results.json): those falls are judged without them")
    low = [means[top] - value > needed + SLACK for value in means]
    fallen = [is_low and sure is not False for is_low, sure in zip(low, separate)]
    onset = next(i for i in range(len(points), -1, -1) if i == 0 or not fallen[i - 1])
    again = [f"{points[i].F:g}" for i in range(top + 1, onset) if fallen[i]]
    if again:
        notes.append(f"R falls at F = {', '.join(again)}, but comes back")
    unsure = [f"{points[i].F:g}" for i in range(top + 1, len(points)) if low[i] and not fallen[i]]
    if unsure:
        notes.append(f"the fall at F = {', '.join(unsure)} is within the intervals: not counted")
    out |= (
        {"status": "censored", "F_lo": points[-1].F}
        if onset == len(points)
        else bracket(curve, onset, top, rule, notes)
    )
    if onset == len(points) and top == onset - 1:
        notes.append("the peak is the grid's last point: a longer grid is needed")
    return out


def bracket(curve: Curve, onset: int, top: int, rule: Rule, notes: list[str]) -> Row:
    points = curve.points
    before, after = points[onset - 1], points[onset]
    if onset == len(points) - 1:
        notes.append("the fall rests on the grid's last point alone: whether R stays down is not seen")
    if top == 0:
        notes.append("the peak is the grid's first point: a higher one before it would move the bracket down")
    return {
        "status": "bracket",
        "F_lo": before.F,
        "F_hi": after.F,
        "points_down": len(points) - onset,
        "fall": before.mean(rule.measure) - after.mean(rule.measure),
        "share": [before.mean("share"), after.mean("share")],
        "D": [before.mean("D"), after.mean("D")],
        "base_loss": base_loss_at(curve, onset, rule),
    }


def floor_of(point: Point, measure: str) -> tuple[float, str]:
    """What a model that was told nothing would reach: the controls, else chance."""
    for column, what in ((f"control/{measure}", "the controls"), (f"{measure}_chance", "chance")):
        if (value := point.mean(column)) is not None:
            return value, what
    return 0.0, "zero"
