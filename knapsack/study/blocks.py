"""Blocks of a study as runs: axes, replicates, trunks and branches become points, each with its flags and its place.

A block is a grid of runs; with "branches" its runs are trunks, from each of which a grid of branches goes on: by
"init" from the trunk's last weights, by "branch" from the checkpoint where the branch's own cooldown begins. With
"place" its runs follow one another, each where those before say that it tells most (adaptive.py).
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.arguments import parse_count
from knapsack.common.errors import UsageError
from knapsack.runs.grid import (
    REPLICATE,
    Combination,
    Flags,
    Grid,
    Run,
    as_flags,
    as_list,
    check_flags,
    check_replicates,
    combinations,
    merge,
    place_runs,
)
from knapsack.runs.runner import Task
from knapsack.study.adaptive import NOT_BEFORE, Placed, place_of, placed_in
from knapsack.study.fields import need_list, need_object, need_text

KEYS = ("about", "replicates", "train", "vary", "runs", "branches", "measures", "baseline", "place")
PLACED_KEYS = ("about", "train", "measures", "place")  # each run is a replicate, and varies in its level alone
BRANCH_KEYS = ("by", "train", "vary", "runs")
BY = ("init", "branch")
NAMES = ("{data}", "{text}", "{package}", REPLICATE)
COOLDOWN = 0.1  # the trainer's default
PACKAGE = Path(__file__).resolve().parents[1]  # has facts/sample.tsv
STARTS = ("model", "init", "branch")  # one of them says what a run begins with


class Planned(NamedTuple):
    """A run of a study."""

    run: Run
    needs: tuple[str, ...]
    block: str
    replicate: int
    setting: dict[str, str]
    role: str  # "", "trunk", "branch", or "next": a run to come of a block that places them, whose level is not known

    @property
    def task(self) -> Task:
        return Task(self.run, self.needs)


class Block(NamedTuple):
    name: str
    about: str
    runs: list[Planned]
    measures: list[str]
    baseline: dict[str, str] | None
    placed: Placed | None = None  # of a block that places its runs: `runs` are those that have begun
    grid: Grid | None = None  # of such a block: what its runs have in common

    def placed_run(self, level: str, number: int, role: str = "") -> Planned:
        """The run of this order at a level."""
        place = self.placed.place
        one = combinations(self.grid._replace(vary=[(place.flag, [place.value(level)])], replicates=number))[-1]
        run = place_runs([one._replace(parts=[self.name, *one.parts])], self.placed.out / "runs")[0]
        return Planned(run, (), self.name, number, one.setting, role)

    @property
    def to_come(self) -> list[Planned]:
        """Runs that may follow: at the highest level, which none has yet."""
        if self.placed is None or self.placed.is_over:
            return []
        place, begun = self.placed.place, len(self.runs)
        return [self.placed_run(place.levels[-1], number, "next") for number in range(begun + 1, place.runs + 1)]


class Places(NamedTuple):
    """What {data}, {text}, {package} and {replicate} stand for."""

    data: Path
    text: str

    def fill(self, value: str, replicate: int = 0) -> str:
        for place in re.findall(r"\{\w+\}", value):
            if place not in NAMES:
                raise UsageError(f"no place {place}, found in '{value[:80]}'; there are {', '.join(NAMES)}")
        value = value.replace("{data}", str(self.data)).replace("{text}", self.text).replace("{package}", str(PACKAGE))
        return value.replace(REPLICATE, str(replicate)) if replicate else value

    def flags(self, flags: Flags) -> Flags:
        return {name: [self.fill(value) for value in values] for name, values in flags.items()}


def grid_of(value: dict[str, Any], train: Flags, replicates: int, places: Places, place: str) -> Grid:
    check_flags(value.get("train", {}), f"{place}: train")
    check_flags(value.get("vary", {}), f"{place}: vary")
    together = need_object(value.get("runs", {}), f"{place}: runs")
    for name, flags in together.items():
        check_flags(flags, f"{place}: runs: {name}")
    held = {name: list(values) for name, values in train.items()}
    for name, values in places.flags(as_flags(value.get("train", {}))).items():
        merge(held, name, values)
    held = {name: values for name, values in held.items() if value.get("train", {}).get(name) is not False}
    vary = [(name, [places.fill(one) for one in as_list(values)]) for name, values in value.get("vary", {}).items()]
    runs = {name: places.flags(as_flags(flags)) for name, flags in together.items()}
    return Grid(vary, held, runs, replicates)


def count(flags: Flags, name: str, place: str) -> int:
    try:
        return parse_count(flags[name][0])
    except (KeyError, IndexError):
        raise UsageError(f"{place}: expected {name} in the train of the study or of the block, found none") from None
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{place}: --{name}: {error}") from None


def steps_of(flags: Flags, place: str) -> int:
    return count(flags, "tokens", place) // count(flags, "batch-tokens", place)


def cooldown_start(flags: Flags, place: str) -> int:
    """The first step of the cooldown, as the trainer rounds it."""
    steps = steps_of(flags, place)
    text = flags.get("cooldown", [str(COOLDOWN)])[0]
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UsageError(f"{place}: --cooldown: expected a share of 0 to 1, found '{text}'")
    return steps - int(share * steps + 0.5)


def with_branches(
    block: str, value: dict[str, Any], trunks: list[Combination], out: Path, places: Places
) -> list[Planned]:
    """Trunks, which keep the checkpoints that are needed, each before its branches. A trunk of horizons is the longest
    of them itself."""
    place = f"blocks: {block}: branches"
    need_object(value, place, BRANCH_KEYS)
    by = value.get("by")
    if by not in BY:
        raise UsageError(f"{place}: by: expected init or branch, found {json.dumps(by)}")
    made: list[tuple[Combination, int | None]] = []  # with the step of the trunk's checkpoint; None: a trunk
    for trunk in trunks:
        last = steps_of(trunk.flags, place)
        end = [f"replicate-{trunk.replicate}"]
        before = [part for part in trunk.parts if part not in end]
        held = {name: words for name, words in trunk.flags.items() if name not in STARTS}
        branches = []
        for one in combinations(grid_of(value, held, 0, places, place)):
            flags = {name: [places.fill(word, trunk.replicate) for word in words] for name, words in one.flags.items()}
            step = last if by == "init" else cooldown_start(flags, place)
            if step > last:
                raise UsageError(f"{place}: a branch of {flags['tokens'][0]} tokens is longer than its trunk")
            own = Combination(before + one.parts + end, trunk.setting | one.setting, trunk.replicate, flags)
            branches.append((own, step))
        kept = sorted({step for _, step in branches} - {last})
        flags = trunk.flags | {"keep": ["0"], "checkpoint-at": [",".join([*(f"at:{step}" for step in kept), "end"])]}
        varied = {name for one, _ in branches for name in one.setting if name in flags}
        setting = trunk.setting | {name: flags[name][0] for name in varied}
        made.append((Combination([*before, "trunk", *end], setting, trunk.replicate, flags), None))
        made += branches
    placed = place_runs([one._replace(parts=[block, *one.parts]) for one, _ in made], out)
    found: list[Planned] = []
    for run, (one, step) in zip(placed, made):
        if step is None:
            trunk_run = run
            found.append(Planned(run, (), block, one.replicate, one.setting, "trunk" if by == "init" else ""))
            continue
        checkpoint = trunk_run.directory / "checkpoints" / f"step_{step:08d}"
        run = run._replace(flags=run.flags | {by: [str(checkpoint)]})
        found.append(Planned(run, (trunk_run.name,), block, one.replicate, one.setting, "branch"))
    return found


def runs_of(block: str, value: dict[str, Any], grid: Grid, out: Path, places: Places) -> list[Planned]:
    made = combinations(grid)
    if "branches" in value:
        return with_branches(block, value["branches"], made, out, places)
    placed = place_runs([one._replace(parts=[block, *one.parts]) for one in made], out)
    return [Planned(run, (), block, one.replicate, one.setting, "") for run, one in zip(placed, made)]


def placing_block(
    name: str, value: dict[str, Any], train: Flags, measures: list[str], out: Path, places: Places
) -> Block:
    place = f"blocks: {name}: place"
    if wrong := set(value) - set(PLACED_KEYS):
        raise UsageError(
            f"{place}: each of its runs is a replicate that differs in its level alone; no {', '.join(sorted(wrong))}"
        )
    placed = placed_in(out, name, place_of(value["place"], place))
    block = Block(
        name, value.get("about", ""), [], measures, None, placed, grid_of(value, train, 1, places, f"blocks: {name}")
    )
    block.runs.extend(block.placed_run(level, number) for number, level in enumerate(placed.levels, 1))
    block.placed_run(placed.place.levels[-1], 1)  # raises what is wrong with its flags
    return block


def blocks_of(value: dict[str, Any], train: Flags, out: Path, places: Places) -> dict[str, Block]:
    """All of the file's; raises UsageError with the place of what is wrong."""
    default = value.get("replicates", 1)
    measures = need_list(value.get("measures", []), "measures")
    blocks: dict[str, Block] = {}
    for name, one in need_object(value.get("blocks"), "blocks").items():
        place = f"blocks: {name}"
        need_object(one, place, KEYS)
        own = need_list(one["measures"], f"{place}: measures") if "measures" in one else measures
        about = need_text(one.get("about", ""), place)
        if "place" in one:
            blocks[name] = placing_block(name, one, train, own, out, places)
            continue
        replicates = one.get("replicates", default)
        check_replicates(replicates, place)
        grid = grid_of(one, train, replicates, places, place)
        runs = runs_of(name, one, grid, out / "runs", places)
        blocks[name] = Block(name, about, runs, own, one.get("baseline"))
    for name, block in blocks.items():
        if block.baseline is not None:
            runs_at(block.baseline, name, blocks, f"blocks: {name}: baseline")
    if not blocks:
        raise UsageError("blocks: a study has at least one block of runs")
    names = [one.run.name for block in blocks.values() for one in block.runs]
    if len(set(names)) < len(names):
        raise UsageError(f"two runs are called {next(name for name in names if names.count(name) > 1)}")
    return blocks


def at(run: Planned, setting: Any, place: str) -> bool:
    """Whether the run has these values of what the block varies; a flag as "ratio" or, of one source, by its value."""
    need_object(setting, f"{place}: a setting")
    return run.role != "trunk" and all(
        str(run.setting.get(name, run.run.flags.get(name, [None])[0])) == str(value) for name, value in setting.items()
    )


def runs_at(setting: Any, block: str | None, blocks: dict[str, Block], place: str) -> list[Planned]:
    """The runs at a setting, of its own "block" or of this one; UsageError where there is none."""
    own = dict(need_object(setting, place))
    name = own.pop("block", block)
    if not isinstance(name, str) or name not in blocks:
        raise UsageError(f"{place}: no block {json.dumps(name)}; there are {', '.join(blocks)}")
    if blocks[name].placed:
        raise UsageError(f"{place}: block {name} {NOT_BEFORE}")
    if not (found := [run for run in blocks[name].runs if at(run, own, place)]):
        raise UsageError(f"{place}: no run is at {json.dumps(setting)}; {settings_said(blocks[name])}")
    return found


def settings_said(block: Block) -> str:
    """Where a block's runs are, for who named another place."""
    varied: dict[str, list[str]] = {}
    for run in block.runs:
        for name, value in run.setting.items() if run.role != "trunk" else ():
            varied[name] = list(dict.fromkeys([*varied.get(name, []), value]))
    axes = [f"{name} {', '.join(values[:6])}{', ...' if len(values) > 6 else ''}" for name, values in varied.items()]
    return f"{block.name} varies {'; '.join(axes)}" if axes else f"{block.name} varies nothing: its setting is {{}}"
