"""Retention against exposures, R(F), and where it collapses: a bracket of the grid, never a number between its points.

A curve is the runs of equal N, K (or K F), budget policy and token budget, all other options held constant. R(F) is the
mean over seeds of what the victim keeps: the infused facts their accuracy, the facts shown early theirs, the web its
loss (R = -loss, in nats, without the arcsine and without a floor; some point needs several runs). R is compared with
the plateau before it: the peak and the points to either side that are not lower than margin and seeds allow, their runs
together, since the highest of several noisy points is too high. R has fallen at F when all of these hold:
  - it is under the plateau by more than the margin;
  - the difference of the two means is more than seeds make it, one-sided at LEVEL over all points after the plateau
    together (Bonferroni, Student's t), on the scale of arcsin sqrt(R). sigma_seed is the standard deviation between
    seeds on that scale, pooled over the points that have several; where none has, the typical one that is given;
  - over facts too: the 95 % interval of the difference is above 0, paired by entity (paired.py) where the runs have
    their answers (--per-question on). Where they have not it is of two unpaired means, which is wider. The web has no
    facts.
The collapse point lies between the neighbours [F_lo, F_hi] of the grid when R has fallen at F_hi and at every larger F,
and not at F_lo. A point of one run founds no collapse: one run a point claims one where there is none in up to 28 of
100 curves (dev/results/infusion_coverage.md). F_hi is then the next point that has several, and where there is none
what was seen is no bracket but `not_replicated`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from scipy import stats

from knapsack.analysis.infusion.curves import Curve
from knapsack.analysis.infusion.paired import difference
from knapsack.analysis.intervals import Estimate, pooled_sd, slope
from knapsack.analysis.points import Point
from knapsack.runs.table import Row

SLACK = 1e-9  # a fall of exactly the margin is not more than it, whatever its last bits
FEWEST = 3
LEVEL = 0.05  # of a false fall, over all points of a curve
VICTIMS = ("facts", "early", "web")


@dataclass
class Rule:
    measure: str  # of facts
    base_loss: str  # column
    margin: float = 0.05
    loss_margin: float = 0.05
    infused: str = ""  # the question set
    seed_sd: float = 0.045  # of a point with one run, where no point has several; of arcsin sqrt(R), 4.5 points at half
    victim: str = "facts"

    @property
    def column(self) -> str:
        """Of the study's table: what the victim keeps."""
        return {"facts": self.measure, "early": f"early/{self.measure}", "web": self.base_loss}[self.victim]

    @property
    def of_facts(self) -> bool:
        return self.victim != "web"

    @property
    def questions(self) -> str:
        return f"{self.infused}_early" if self.victim == "early" else self.infused

    @property
    def least(self) -> float:
        """The least fall of R that counts."""
        return self.margin if self.of_facts else self.loss_margin

    def values(self, point: Point) -> list[float]:
        """R of its runs."""
        return [value if self.of_facts else -value for value in point.values(self.column)]

    def mean(self, point: Point) -> float:
        return fmean(self.values(point))

    def scale(self, R: float) -> float:
        """On which seeds scatter alike everywhere."""
        return angle(R) if self.of_facts else R

    def shown(self, R: float) -> float:
        """As the column has it."""
        return R if self.of_facts else -R


class Scatter(NamedTuple):
    """Between seeds, of one measure of a curve."""

    sigma: float
    freedom: float

    def half_width(self, first: int, second: int, points: int = 1) -> float:
        """What a difference of means of so many runs each must exceed, at LEVEL over so many points together."""
        return float(stats.t.ppf(1 - LEVEL / points, self.freedom)) * self.sigma * math.sqrt(1 / first + 1 / second)


def angle(share: float) -> float:
    return math.asin(math.sqrt(min(1.0, max(0.0, share))))


def spread(points: list[Point], column: str) -> tuple[float | None, int]:
    return pooled_sd(point.values(column) for point in points)


def scatter_of(points: list[Point], rule: Rule) -> tuple[Scatter | None, bool]:
    """On the rule's scale, and whether it was measured; None where it was not, and no typical one is known."""
    sigma, freedom = pooled_sd([rule.scale(value) for value in rule.values(point)] for point in points)
    if sigma is not None:
        return Scatter(sigma, freedom), True
    return (Scatter(rule.seed_sd, math.inf) if rule.of_facts else None), False


def apart(high: list[Point], low: Point, rule: Rule) -> bool | None:
    """Whether some points together are above a lower one over facts: paired by entity where all runs have answers, else
    by the intervals of the last of them and the lower one; None where these are not known."""
    runs = [[Path(run) for run in point.runs.get("run", ())] for point in (*high, low)]
    paired = difference(sum(runs[:-1], []), runs[-1], rule.questions, rule.measure)
    if paired is not None:
        return paired.low > 0
    above, below = high[-1].interval(rule.column), low.interval(rule.column)
    if not above or not below:
        return None
    of_two = (Estimate(rule.mean(point), *ends) for point, ends in ((high[-1], above), (low, below)))
    return (next(of_two) - next(of_two)).low > 0


def trend(points: list[Point], column: str, margin: float) -> Row:
    """How far a value moves over the grid: the slope per doubling of F by least squares (Student's t, 95 %) and what it
    comes to from the first F to the last. `reading`: "flat" where that is shown to be within the margin (two one-sided
    tests, 5 %), "moves" where 0 is outside its 95 % interval, else "not shown flat", since no slope that was seen is
    not a slope that is not there."""
    pairs = [(math.log2(point.at), value) for point in points for value in point.values(column)]
    means = [value for value in (point.mean(column) for point in points) if value is not None]
    if not means:
        return {}
    out: Row = {"largest_difference": max(means) - min(means), "margin": margin, "reading": None}
    if len(pairs) < 3 or len(means) < 2:
        return out | {"slope_per_doubling": None, "slope_interval": None, "change": None}
    x, y = zip(*pairs)
    found, narrower = slope(x, y), slope(x, y, 0.9)
    doublings = max(x) - min(x)
    within = max(abs(narrower.low), abs(narrower.high)) * doublings <= margin + SLACK
    moves = not found.low - SLACK <= 0 <= found.high + SLACK
    out["reading"] = "flat" if within else "moves" if moves else "not shown flat"
    change = [end * doublings for end in found]
    return out | {"slope_per_doubling": found.value, "slope_interval": [found.low, found.high], "change": change}


def base_loss_at(curve: Curve, start: int, end: int, rule: Rule) -> Row:
    """What the base's validation loss does across the bracket, by its places, next to the step before it."""
    losses = [point.mean(rule.base_loss) for point in curve.points]
    sigma, freedom = spread(curve.points, rule.base_loss)
    low, high = losses[start], losses[end]
    before = losses[start - 1] if start > 0 else None
    rise = high - low if low is not None and high is not None else None
    runs = [max(1, len(curve.points[i].values(rule.base_loss))) for i in (start, end)]
    rise_needed = max(rule.loss_margin, Scatter(sigma, freedom).half_width(*runs) if sigma is not None else 0.0)
    return {
        "lo": low,
        "hi": high,
        "rise": rise,
        "rise_before": low - before if before is not None and low is not None else None,
        "sigma_seed": sigma,
        "rise_needed": rise_needed,
        "rose": rise > rise_needed + SLACK if rise is not None else None,
    }


@dataclass
class Plateau:
    """Where R was before a fall: the peak, the points before it that are no lower than seeds and margin allow, and
    those between it and the fall."""

    points: list[Point]
    value: float
    runs: int

    @classmethod
    def of(cls, points: list[Point], rule: Rule) -> Plateau:
        values = [value for point in points for value in rule.values(point)]
        return cls(points, fmean(values), len(values))


def peak_of(points: list[Point], rule: Rule, scatter: Scatter) -> tuple[int, int]:
    """The places of the peak and of the plateau's first point."""
    means = [rule.mean(point) for point in points]
    top = max(range(len(points)), key=means.__getitem__)

    def is_lower(i: int) -> bool:
        seeds = scatter.half_width(len(points[top].runs), len(points[i].runs), len(points))
        return means[top] - means[i] > rule.least + SLACK and rule.scale(means[top]) - rule.scale(means[i]) > seeds

    return top, next((i + 1 for i in range(top - 1, -1, -1) if is_lower(i)), 0)


def read_collapse(curve: Curve, rule: Rule) -> Row:
    """The reading: `status` is bracket, not_replicated (a fall between F_lo and F_hi was seen, in single runs),
    censored (F_c > F_lo = the grid's largest), nothing_retained, too_few_points or too_few_runs."""
    points = curve.points
    alone = [point.at for point in points if len(point.runs) == 1]
    scatter, measured = scatter_of(points, rule)
    notes = []
    out: Row = {
        "status": "too_few_points",
        "victim": rule.victim,
        "F_lo": None,
        "F_hi": None,
        "sigma_seed": scatter.sigma if measured else None,
        "sigma_degrees_of_freedom": int(scatter.freedom) if measured else 0,
        "single_runs": alone,
        "notes": notes,
    }
    if len(points) < FEWEST:
        notes.append(f"{len(points)} exposure counts, at least {FEWEST} are needed")
        return out
    if scatter is None:
        notes.append(f"no exposure count has several runs: what seeds do to {rule.column} is not known")
        return out | {"status": "too_few_runs"}
    if alone:
        notes.append(f"not replicated (1 run at F = {', '.join(f'{F:g}' for F in alone)})")
    if not measured:
        notes.append(f"one seed a point: seeds are taken to differ by {rule.seed_sd:g} (--seed-sd)")
    top, first = peak_of(points, rule, scatter)
    peak = rule.mean(points[top])
    floor, of = floor_of(points[top], rule)
    out |= {
        "peak": {"F": points[top].at, "value": rule.shown(peak)},
        "floor": {"value": floor, "of": of},
    }
    if floor is not None and peak - floor <= rule.least + SLACK:
        notes.append(
            f"the peak is not above {of} ({floor:.3g}) by more than {rule.least:.3g}: there is nothing to lose"
        )
        return out | {"status": "nothing_retained"}
    onset = onset_of(points, top, first, rule, scatter, notes)
    plateau = Plateau.of(points[first:onset], rule)
    F = [point.at for point in plateau.points]
    out["plateau"] = {"F": F, "value": rule.shown(plateau.value), "runs": plateau.runs}
    if onset < len(points):
        return out | bracket(curve, onset, top, plateau, rule, notes)
    if top == onset - 1:
        notes.append("the peak is the grid's last point: a longer grid is needed")
    return out | {"status": "censored", "F_lo": points[-1].at}


def onset_of(points: list[Point], top: int, first: int, rule: Rule, scatter: Scatter, notes: list[str]) -> int:
    """The first point from which on all have fallen from what was before; their number where the last has not."""
    separate = [apart(points[first : top + 1], point, rule) if rule.of_facts else None for point in points]
    if rule.of_facts and any(sure is None for sure in separate):
        notes.append("not all runs have intervals (no results.json): those falls are judged without them")
    after = range(top + 1, len(points))

    def low(i: int, before: Plateau) -> bool:
        return before.value - rule.mean(points[i]) > rule.least + SLACK

    def beyond_seeds(i: int, before: Plateau) -> bool:
        fall = rule.scale(before.value) - rule.scale(rule.mean(points[i]))
        return fall > scatter.half_width(before.runs, len(points[i].runs), max(1, len(after)))

    def fallen(i: int, before: Plateau) -> bool:
        return low(i, before) and beyond_seeds(i, before) and separate[i] is not False

    def stays_down(onset: int) -> bool:
        before = Plateau.of(points[first:onset], rule)
        return all(fallen(i, before) for i in range(onset, len(points)))

    onset = next(filter(stays_down, after), len(points))
    peak = Plateau.of(points[first : top + 1], rule)
    said = {
        "R falls at F = {}, but comes back": [i for i in after if i < onset and fallen(i, peak)],
        "the fall at F = {} is within the scatter over facts: not counted": [
            i for i in after if low(i, peak) and separate[i] is False
        ],
        "the fall at F = {} is within the scatter between seeds: not counted": [
            i for i in after if low(i, peak) and not beyond_seeds(i, peak)
        ],
    }
    for note, places in said.items():
        if places:
            notes.append(note.format(", ".join(f"{points[i].at:g}" for i in places)))
    return onset


def bracket(curve: Curve, onset: int, top: int, plateau: Plateau, rule: Rule, notes: list[str]) -> Row:
    """Its end is the first fallen point that has several runs."""
    points = curve.points
    end = next((i for i in range(onset, len(points)) if len(points[i].runs) > 1), None)
    founded = end is not None and plateau.runs > 1
    end = end if founded else onset
    if founded and end > onset:
        passed = ", ".join(f"{point.at:g}" for point in points[onset:end])
        notes.append(f"the fall is seen from F = {points[onset].at:g} on; single runs ({passed}) do not found it")
    before, after = points[onset - 1], points[end]
    if end == len(points) - 1:
        notes.append("the fall rests on the grid's last point alone: whether R stays down is not seen")
    if top == 0:
        notes.append("the peak is the grid's first point: a higher one before it would move the bracket down")
    if not rule.of_facts and curve.policy == "replace" and curve.hold == "K":
        notes.append("exposures displace web text along this curve, which costs the web loss by itself")
    return {
        "status": "bracket" if founded else "not_replicated",
        "F_lo": before.at,
        "F_hi": after.at,
        "points_down": len(points) - onset,
        "fall": rule.mean(before) - rule.mean(after),
        "share": [before.mean("share"), after.mean("share")],
        "D": [before.mean("D"), after.mean("D")],
        "base_loss": base_loss_at(curve, onset - 1, end, rule),
    }


def floor_of(point: Point, rule: Rule) -> tuple[float | None, str]:
    """What a model that was shown nothing would reach: the controls, else chance; of the web none."""
    if not rule.of_facts:
        return None, "nothing"
    for column, what in ((f"control/{rule.measure}", "the controls"), (f"{rule.measure}_chance", "chance")):
        if (value := point.mean(column)) is not None:
            return value, what
    return 0.0, "zero"
