"""Which runs of a study, in which order, and the data that they need."""

from __future__ import annotations

from typing import Any

from knapsack.common.errors import UsageError
from knapsack.study.blocks import Planned, at
from knapsack.study.declare import Step, Study


def runs_of_law(study: Study, law: dict[str, Any]) -> list[Planned]:
    """Of its blocks, at one of its settings; no trunks."""
    runs = [run for block in law["blocks"] for run in study.blocks[block].runs]
    return [run for run in runs if any(at(run, setting, "at") for setting in law["at"])]


def parse_choice(text: str, study: Study, place: str) -> list[tuple[str, int]]:
    """'L:1,R' as [(block, replicate)], 0 for all of them."""
    found = []
    for word in text.split(","):
        name, colon, number = word.partition(":")
        if name not in study.blocks:
            raise UsageError(f"{place} {text}: no block '{name}'; there are {', '.join(study.blocks)}")
        if colon and not number.isdecimal():
            raise UsageError(f"{place} {text}: expected BLOCK or BLOCK:REPLICATE, found '{word}'")
        found.append((name, int(number) if colon else 0))
    return found


def choose(study: Study, blocks: str | None) -> list[Planned]:
    """In the order asked for, else all in that of the file; of a block the first replicate is first."""
    text, place = (blocks, "--blocks") if blocks else (study.order, f"{study.path}: order:")
    wanted = parse_choice(text, study, place) if text else []
    if not blocks:
        wanted += [(name, 0) for name in study.blocks]
    found: dict[str, Planned] = {}
    for name, number in wanted:
        if number and study.blocks[name].placed:
            raise UsageError(f"{place} {text}: block {name} places its runs one after another: name it alone")
        of_block = [*study.blocks[name].runs, *study.blocks[name].to_come]
        runs = [run for run in of_block if number in (0, run.replicate)]
        if not runs:
            last = max(run.replicate for run in of_block)
            raise UsageError(f"{place} {text}: block {name} has no replicate {number}; there are 1 to {last}")
        for run in sorted(runs, key=lambda one: one.replicate):
            found.setdefault(run.run.name, run)
    return list(found.values())


def steps_for(study: Study, runs: list[Planned]) -> list[Step]:
    """The data that these runs need."""
    names, numbers = {run.block for run in runs}, {run.replicate for run in runs} | {0}
    return [step for step in study.steps if (not step.blocks or names & set(step.blocks)) and step.replicate in numbers]
