"""From above and from below: does a model that knows keep what it knows at a lower ratio?

A curve that starts from nothing may only not have been trained long enough. So a trunk learns at a high ratio, and its
branches go on at lower ones; what counts is the sign of the slope of what is known over the branch's stable phase,
after the warm-up and a fifth of its steps, before the cooldown: + it goes on learning, 0 undecided, - it forgets. A
slope is by least squares of each person, its interval Student's t over people. r* is then a bracket from above: the
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
from knapsack.common.errors import DataError
from knapsack.runs.answer_files import answer_files, step_in_name
from knapsack.runs.answers import Chosen, read_answers
from knapsack.runs.files import blame, read_json, read_lines
from knapsack.study.declare import Planned, Study

RESTART = 0.2  # of the steps: a branch begins with a fresh optimizer
HALF = 0.5


class Slope(NamedTuple):
    run: str
    place: str  # the axis' value
    replicate: int
    per_million: Estimate | None  # share of answers right, per million tokens
    sign: str


class Reading(NamedTuple):
    slopes: list[Slope]
    above: tuple[float | None, float | None]
    below: tuple[float | None, float | None]
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]]  # by place: tokens and share right, a run each

    @property
    def signs(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self.slopes:
            found.setdefault(one.place, []).append(one.sign)
        return found


def number_of(place: str) -> float:
    try:
        return float(place.rpartition("=")[2])
    except ValueError:
        raise DataError(f"'{place}' is no number to be put in order") from None


def stable_phase(config: dict[str, Any]) -> tuple[int, int]:
    """First and last step (updates done) of it."""
    options, steps = config["options"], config["steps"]
    cooldown = options["cooldown"] if options["schedule"] == "wsd" else 0
    return max(options["warmup"], math.ceil(RESTART * steps)), steps - int(cooldown * steps + 0.5)


def slope_of(run: Path, chosen: Chosen) -> Estimate | None:
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
    x = x - x.mean()
    slopes = (x @ shares / (x @ x))[asked > 0]
    value = float(slopes.mean())
    if len(slopes) < 2 or slopes.std() == 0:
        return Estimate(value)
    half = float(stats.t.ppf(0.975, len(slopes) - 1) * slopes.std(ddof=1) / math.sqrt(len(slopes)))
    return Estimate(value, value - half, value + half)


def sign_of(slope: Estimate | None) -> str:
    if slope is None or slope.low is None:
        return "0"
    return "+" if slope.low > 0 else "-" if slope.high < 0 else "0"


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
        slope = slope_of(one.run.directory, chosen)
        slopes.append(Slope(one.run.name, place, one.replicate, slope, sign_of(slope)))
        lines = [line for line in read_lines(one.run.directory / "eval.jsonl") if measure in line]
        curve = np.array([line["tokens"] for line in lines], float), np.array([line[measure] for line in lines], float)
        curves.setdefault(place, []).append(curve)
    slopes.sort(key=lambda one: (number_of(one.place), one.replicate))
    by_place: dict[float, list[str]] = {}
    for one in slopes:
        by_place.setdefault(number_of(one.place), []).append(one.sign)
    above = bracket(
        {at: set(signs) == {"-"} for at, signs in by_place.items()},
        {at: set(signs) == {"+"} for at, signs in by_place.items()},
    )
    ends: dict[float, list[float]] = {}
    for one in done(study.blocks[asked["below"]].runs, rows) if "below" in asked else []:
        value = rows[one.run.name].get(measure)
        if isinstance(value, (int, float)):
            ends.setdefault(number_of(one.setting[axis]), []).append(value)
    below = bracket(
        {at: max(values) < HALF for at, values in ends.items()}, {at: min(values) > HALF for at, values in ends.items()}
    )
    return Reading(slopes, above, below, curves)


def done(runs: list[Planned], rows: dict[str, dict[str, Any]]) -> list[Planned]:
    return [one for one in runs if one.role != "trunk" and one.run.name in rows]
