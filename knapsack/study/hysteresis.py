"""From above and from below: does a model that knows keep what it knows at a lower ratio?

A curve that starts from nothing may only not have been trained long enough. So a trunk learns at a high ratio, and its
branches go on at lower ones; what counts is the sign of the slope of what is known over the branch's stable phase,
after the warm-up and a fifth of its steps, before the cooldown: + it goes on learning, - it forgets, ? undecided. A
slope is by least squares of each person, its interval Student's t over people. That a model keeps what it knows is more
than undecided: an equivalence test, against a margin that a prediction declares. r* is then a bracket from above: the
largest ratio up to which all replicates forget, and the smallest from which all learn; and one from below, of runs from
nothing: the largest ratio up to which less than half is right at the end, and the smallest from which more is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from knapsack.analysis.guesses import persons_of
from knapsack.analysis.intervals import Estimate
from knapsack.runs.answer_files import answer_files, step_in_name
from knapsack.runs.answers import Chosen, read_answers
from knapsack.runs.files import blame, read_json, read_lines
from knapsack.study.blocks import Planned
from knapsack.study.declare import Study
from knapsack.study.fields import number_of

RESTART = 0.2  # of the steps: a branch begins with a fresh optimizer
HALF = 0.5
FLOOR = 0.1  # share right at the beginning of the stable phase, below which there is too little to be kept


class Trend(NamedTuple):
    """Of what is known over the stable phase."""

    slope: Estimate  # share of answers right, per million tokens; 95 %
    ninety: tuple[float, float] | None  # the slope's 90 % interval
    begins: float  # share right at the first evaluation
    millions: float  # tokens from the first evaluation to the last
    tokens: tuple[float, float]  # of these two, after the trunk
    middle: float  # share right on the slope's line at the mean of the evaluations' tokens,
    at: float  # these, in millions

    def is_kept(self, margin: float) -> bool:
        """Two one-sided tests at 5 %: the 90 % interval is inside +- margin. A model with less to lose than the margin
        takes over the phase, or than the floor, shows nothing."""
        could_fall = self.begins >= max(FLOOR, margin * self.millions)
        return could_fall and self.ninety is not None and -margin < self.ninety[0] and self.ninety[1] < margin


class Slope(NamedTuple):
    run: str
    place: str  # the axis' value
    replicate: int
    trend: Trend | None  # None: fewer than two evaluations
    sign: str

    def sign_within(self, margin: float) -> str:
        """0 where what was known is kept."""
        return "0" if self.trend is not None and self.trend.is_kept(margin) else self.sign


class Reading(NamedTuple):
    slopes: list[Slope]
    above: tuple[float | None, float | None]
    below: tuple[float | None, float | None]
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]]  # by place: tokens and share right, a run each
    from_nothing: int  # runs that `below` is of


def stable_phase(config: dict[str, Any]) -> tuple[int, int]:
    """First and last step (updates done) of it."""
    options, steps = config["options"], config["steps"]
    cooldown = options["cooldown"] if options["schedule"] == "wsd" else 0
    return max(options["warmup"], math.ceil(RESTART * steps)), steps - int(cooldown * steps + 0.5)


def trend_of(run: Path, chosen: Chosen) -> Trend | None:
    config = read_json(run / "config.json")
    with blame(run / "config.json"):
        first, last = stable_phase(config)
        tokens_a_step = config["tokens"] / config["steps"]
    files = [path for path in answer_files([run]) if first <= (step_in_name(path) or -1) <= last]
    if len(files) < 2:
        return None
    answers = read_answers(files, chosen)
    persons = persons_of(answers)[answers.fact_of]
    asked = np.bincount(persons)
    shares = np.stack([np.bincount(persons, right) / np.maximum(asked, 1) for right in answers.correct.astype(float)])
    x = answers.steps * tokens_a_step / 1e6
    middle, tokens = float(x.mean()), (float(x[0]) * 1e6, float(x[-1]) * 1e6)
    x = x - middle
    slopes = (x @ shares / (x @ x))[asked > 0]
    value, begins = float(slopes.mean()), float(shares[0][asked > 0].mean())
    rest = begins, float(np.ptp(x)), tokens, float(shares[:, asked > 0].mean()), middle
    if len(slopes) < 2 or slopes.std() == 0:
        return Trend(Estimate(value), None, *rest)
    error = slopes.std(ddof=1) / math.sqrt(len(slopes))
    half, narrow = (float(stats.t.ppf(at, len(slopes) - 1) * error) for at in (0.975, 0.95))
    return Trend(Estimate(value, value - half, value + half), (value - narrow, value + narrow), *rest)


def sign_of(trend: Trend | None) -> str:
    if trend is None or trend.slope.low is None:
        return "?"
    return "+" if trend.slope.low > 0 else "-" if trend.slope.high < 0 else "?"


def bracket(falls: dict[float, bool], rises: dict[float, bool]) -> tuple[float | None, float | None]:
    """The largest place up to which all fall, the smallest from which all rise."""
    low = high = None
    for at in sorted(falls):
        if not falls[at]:
            break
        low = at
    for at in sorted(rises, reverse=True):
        if not rises[at]:
            break
        high = at
    return low, high


def read(study: Study, asked: dict[str, Any], rows: dict[str, dict[str, Any]]) -> Reading:
    """`rows`: of finished runs, by name."""
    axis, chosen = asked["axis"], Chosen(asked.get("kind", "seen"), None, asked["set"])
    measure = f"know/{asked['set']}/accuracy_{asked.get('kind', 'seen')}"
    slopes, curves = [], {}
    for one in done(study.blocks[asked["above"]].runs, rows):
        place = one.setting[axis]
        trend = trend_of(one.run.directory, chosen)
        slopes.append(Slope(one.run.name, place, one.replicate, trend, sign_of(trend)))
        lines = [line for line in read_lines(one.run.directory / "eval.jsonl") if measure in line]
        curve = np.array([line["tokens"] for line in lines], float), np.array([line[measure] for line in lines], float)
        curves.setdefault(place, []).append(curve)
    slopes.sort(key=lambda one: (number_of(one.place, axis), one.replicate))
    by_place: dict[float, list[str]] = {}
    for one in slopes:
        by_place.setdefault(number_of(one.place, axis), []).append(one.sign)
    above = bracket(
        {at: set(signs) == {"-"} for at, signs in by_place.items()},
        {at: set(signs) == {"+"} for at, signs in by_place.items()},
    )
    ends: dict[float, list[float]] = {}
    for one in done(study.blocks[asked["below"]].runs, rows) if "below" in asked else []:
        value = rows[one.run.name].get(measure)
        if isinstance(value, (int, float)):
            ends.setdefault(number_of(one.setting[axis], axis), []).append(value)
    below = bracket(
        {at: max(values) < HALF for at, values in ends.items()}, {at: min(values) > HALF for at, values in ends.items()}
    )
    return Reading(slopes, above, below, curves, sum(map(len, ends.values())))


def done(runs: list[Planned], rows: dict[str, dict[str, Any]]) -> list[Planned]:
    return [one for one in runs if one.role != "trunk" and one.run.name in rows]
