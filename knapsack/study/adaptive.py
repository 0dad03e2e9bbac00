"""A block that places its runs: one after another along one axis, each where it says most of the critical dose.

  "place": {"axis": {"ratio": "bio"}, "low": 0.03, "high": 0.6, "measure": "know/bio/accuracy_seen", "width": 0.15}

The rule is knapsack/analysis/laws/placement.py. A run's level is written to OUT/placed.jsonl before it begins,
so that a study goes on with the same levels after any kill. Each run is a replicate of its own, numbered in order.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import is_there, naming, read_bytes
from knapsack.runs.grid import MOST_RUNS

if TYPE_CHECKING:
    from knapsack.analysis.laws.placement import Rule  # scipy is slow to load

KEYS = ("axis", "low", "high", "levels", "first", "runs", "measure", "width", "guess", "answers")
AXES = ("ratio", "exposures")  # flags of the trainer that have a number a source
LEVELS, FIRST, RUNS, GUESS, ANSWERS = 25, 4, 24, 0.0, 500  # where the file does not say them
FEWEST = 3  # levels, and first runs: a rise needs as many
WHY = {
    "narrow": "the interval of the critical dose is as narrow as asked",
    "above the levels": "the critical dose is above the levels",
    "below the levels": "the critical dose is below the levels",
    "no rise": "the share does not rise over the levels",
    "all runs": "there are as many as declared",
}  # by what placement.ended says
NOT_BEFORE = "places its runs, so that no setting of them is known before; a law of the block can be predicted"


class Place(NamedTuple):
    """The rule as declared."""

    flag: str  # of AXES
    source: str
    levels: tuple[str, ...]  # rising, as they are in the run's name and flags
    first: int
    runs: int  # at most
    measure: str  # a share of the table of runs
    width: float
    guess: float
    answers: float

    def value(self, level: str) -> str:
        return f"{self.source}={level}"

    def rule(self) -> Rule:
        from knapsack.analysis.laws.placement import Rule

        levels = tuple(map(float, self.levels))
        return Rule(levels, self.first, self.runs, self.width, self.guess, self.answers)


def number_in(value: dict[str, Any], key: str, default: float | None, low: float, high: float, place: str) -> float:
    """Above `low`, up to `high`."""
    found = value.get(key, default)
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
    if not is_number or not low < found <= high:
        range_of = f"above {low:g}" + (f", at most {high:g}" if high < math.inf else "")
        raise UsageError(f"{place}: {key}: expected a number {range_of}, found {json.dumps(found)[:80]}")
    return found


def count_in(value: dict[str, Any], key: str, default: int, low: int, high: int, place: str) -> int:
    found = value.get(key, default)
    if type(found) is not int or not low <= found <= high:
        raise UsageError(
            f"{place}: {key}: expected a whole number of {low} to {high:,}, found {json.dumps(found)[:80]}"
        )
    return found


def levels_between(flag: str, low: float, high: float, count: int) -> tuple[str, ...]:
    """Evenly spaced in the logarithm, rounded to three digits, exposures to whole ones; those that are then equal are
    one."""
    found = [low * (high / low) ** (i / (count - 1)) for i in range(count)]
    texts = [f"{round(float(f'{one:.3g}'))}" if flag == "exposures" else f"{float(f'{one:.3g}'):g}" for one in found]
    return tuple(dict.fromkeys(texts))


def place_of(value: Any, place: str) -> Place:
    """Raises UsageError with the place of what is wrong."""
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected an object, found {json.dumps(value)[:80]}")
    if unknown := set(value) - set(KEYS):
        raise UsageError(f"{place}: no key {', '.join(sorted(unknown))}; there are {', '.join(KEYS)}")
    axis = value.get("axis")
    if not isinstance(axis, dict) or len(axis) != 1:
        raise UsageError(
            f'{place}: axis: expected one axis, {{"ratio": SOURCE}} or {{"exposures": SOURCE}}, found '
            f"{json.dumps(axis)[:80]}"
        )
    flag, source = next(iter(axis.items()))
    if flag not in AXES:
        raise UsageError(f"{place}: axis: runs are placed along {' or '.join(AXES)}, not {flag}")
    if not isinstance(source, str) or not source or set(source) & set("=, "):
        raise UsageError(f"{place}: axis: {flag}: expected the name of a source, found {json.dumps(source)[:80]}")
    low, high = (number_in(value, key, None, 0, 1 if flag == "ratio" else math.inf, place) for key in ("low", "high"))
    if low >= high:
        raise UsageError(f"{place}: low {low:g} is not below high {high:g}")
    count = count_in(value, "levels", LEVELS, FEWEST, 200, place)
    levels = levels_between(flag, low, high, count)
    if len(levels) < FEWEST or float(levels[0]) <= 0:
        raise UsageError(f"{place}: between {low:g} and {high:g} are only {len(levels)} levels: {', '.join(levels)}")
    runs = count_in(value, "runs", RUNS, FEWEST, min(1000, MOST_RUNS), place)
    first = count_in(value, "first", min(FIRST, runs), FEWEST, min(runs, len(levels)), place)
    measure = value.get("measure")
    if not isinstance(measure, str) or not measure:
        raise UsageError(f"{place}: measure: expected a column of the table of runs, found {json.dumps(measure)[:80]}")
    guess = value.get("guess", GUESS)
    if guess != 0:
        number_in(value, "guess", GUESS, 0, 0.9, place)
    width = number_in(value, "width", None, 0, 2, place)
    answers = number_in(value, "answers", ANSWERS, 0, math.inf, place)
    return Place(flag, source, levels, first, runs, measure, width, guess, answers)


@dataclass
class Placed:
    """Of one block, what OUT/placed.jsonl says."""

    out: Path
    block: str
    place: Place
    levels: list[str] = field(default_factory=list)  # of its runs, in order
    ended: str = ""  # why no run is placed any more

    @property
    def why(self) -> str:
        """Why no run is placed any more; empty where one is."""
        return WHY.get(self.ended, self.ended) or (WHY["all runs"] if self.is_over else "")

    @property
    def is_over(self) -> bool:
        return bool(self.ended) or len(self.levels) >= self.place.runs

    def write(self, **said: Any) -> None:
        """A line more; one that was cut off by a kill is closed."""
        path = file_of(self.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path), path.open("ab+") as file:
            file.seek(0)
            cut = not file.read().endswith(b"\n") and file.tell() > 0
            file.write(b"\n" * cut + json.dumps({"block": self.block} | said).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def next(self, finished: list[tuple[str, float]], pending: list[str]) -> str | None:
        """The level of the next run, written down; None where there is none. `finished`: levels and shares."""
        from knapsack.analysis.laws import placement

        if self.is_over:
            return None
        rule = self.place.rule()
        x, shares = [float(level) for level, _ in finished], [share for _, share in finished]
        if ended := placement.ended(rule, x, shares):
            self.ended = ended
            self.write(ended=ended)
            return None
        at = placement.next_level(rule, x, shares, list(map(float, pending)))
        level = self.place.levels[rule.levels.index(at)]
        self.levels.append(level)
        self.write(order=len(self.levels), level=level)
        return level


def file_of(out: Path) -> Path:
    return out / "placed.jsonl"


def placed_in(out: Path, block: str, place: Place) -> Placed:
    path, placed = file_of(out), Placed(out, block, place)
    for number, line in enumerate(read_bytes(path).splitlines() if is_there(path) else [], 1):
        try:
            said = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if not isinstance(said, dict) or said.get("block") != block:
            continue
        level, ended = said.get("level"), said.get("ended")
        if isinstance(level, str) and is_level(level) and said.get("order") == len(placed.levels) + 1:
            placed.levels.append(level)
        elif isinstance(ended, str):
            placed.ended = ended
        else:
            raise DataError(f"{path}: line {number}: expected the next order and level of block {block}, or its end")
    return placed


def is_level(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def share_of(row: dict[str, Any], place: Place, run: str) -> float:
    """What a finished run showed."""
    share = row.get(place.measure)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        raise UsageError(
            f"run {run} has no share of 0 to 1 in {place.measure}, by which its block places runs (found {share!r})"
        )
    return float(share)
