"""Tables of a report: blocks by setting, arms of several blocks; means over replicates, differences by replicate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knapsack.analysis.intervals import replicates
from knapsack.study.blocks import Block, Planned, runs_at
from knapsack.study.declare import Study
from knapsack.study.page import Heading, Part, Table, Text
from knapsack.study.predictions import is_number

Rows = dict[str, dict[str, Any]]
SHARES = ("accuracy", "choice", "reciprocal_rank")  # measures within 0 and 1


def number(value: Any) -> str:
    return f"{value:.4g}" if is_number(value) else "-"


Measured = tuple[Any, Any, Any]  # a value and the ends of its interval over people, where it has one


def over_replicates(measured: Iterable[Measured], is_share: bool = False) -> str:
    """The mean with its interval over runs, of a share within 0 and 1; of one run the interval over people."""
    found = [one for one in measured if is_number(one[0])]
    if not found:
        return "-"
    if len(found) == 1:
        value, low, high = found[0]
        both = is_number(low) and is_number(high)
        return number(value) + (f" [{number(low)}, {number(high)}] people" if both else "")
    value, *sides = replicates([value for value, _, _ in found]).estimate
    if sides[0] == sides[1]:  # no scatter is no certainty: often a floor or a ceiling
        return f"{number(value)} (all {len(found)} alike)"
    low, high = (min(1.0, max(0.0, end)) if is_share else end for end in sides)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def over(estimate: list[float | None]) -> str:
    value, low, high = estimate
    return number(value) + (f" [{number(low)}, {number(high)}]" if low is not None else "")


def settings_of(runs: Iterable[Planned]) -> dict[tuple, list[Planned]]:
    found: dict[tuple, list[Planned]] = {}
    for one in runs:
        found.setdefault(tuple(sorted(one.setting.items())), []).append(one)
    return found


def block_parts(study: Study, block: Block, rows: Rows) -> list[Part]:
    names = list(dict.fromkeys(name for one in block.runs for name in one.setting))
    table = []
    of_block = [one for one in block.runs if one.role != "trunk"]
    if block.placed:
        of_block.sort(key=lambda one: float(block.placed.levels[one.replicate - 1]))
    for setting, runs in settings_of(of_block).items():
        done = [one for one in runs if one.run.name in rows]
        cells = []
        for measure in block.measures:
            names_of = measure, f"{measure}_low", f"{measure}_high"
            values = (tuple(map(rows[one.run.name].get, names_of)) for one in done)
            cells.append(over_replicates(values, any(word in measure.split("/")[-1] for word in SHARES)))
        table.append([*(dict(setting).get(name, "-") for name in names), f"{len(done)} of {len(runs)}", *cells])
    parts: list[Part] = [Heading(f"Block {block.name}"), *([Text(block.about)] if block.about else [])]
    parts += placing_parts(block, rows) if block.placed else []
    parts.append(Table([*names, "runs", *block.measures], table))
    return parts + (paired_parts(study, block, names, rows) if block.baseline is not None else [])


def placing_parts(block: Block, rows: Rows) -> list[Part]:
    """Where the runs of a block went, in order, and why it ended."""
    placed, place = block.placed, block.placed.place
    along = f"{place.flag} {place.value(place.levels[0])} to {place.levels[-1]}"
    said = (
        f"{len(placed.levels)} of at most {place.runs} runs were placed along {along} by {place.measure}, the first "
        f"{place.first} evenly. The rule ends where half of the interval of the critical dose is below {place.width:g} "
        "in ln. "
    )
    said += f"It ended: {placed.why}." if placed.is_over else "It has not ended."
    table = [
        [str(one.replicate), level, number(rows.get(one.run.name, {}).get(place.measure))]
        for one, level in zip(block.runs, placed.levels)
    ]
    return [Text(said), Table(["order", f"{place.flag} {place.source}", place.measure], table)]


def paired_parts(study: Study, block: Block, names: list[str], rows: Rows) -> list[Part]:
    """What each setting makes of the baseline, by replicate: the same seeds and people."""
    base = runs_at(block.baseline, block.name, study.blocks, "baseline")
    baseline = {one.replicate: rows[one.run.name] for one in base if one.run.name in rows}
    table = []
    for setting, runs in settings_of(one for one in block.runs if one.role != "trunk").items():
        if runs[0] in base:
            continue
        done = [one for one in runs if one.run.name in rows and one.replicate in baseline]
        differences = []
        for measure in block.measures:
            pairs = [(rows[one.run.name].get(measure), baseline[one.replicate].get(measure)) for one in done]
            values = [a - b for a, b in pairs if is_number(a) and is_number(b)]
            differences.append(over_replicates((value, None, None) for value in values))
        table.append([*(dict(setting).get(name, "-") for name in names), str(len(done)), *differences])
    at = ", ".join(f"{name} {value}" for name, value in block.baseline.items())
    head = Text(f"Difference to {at}, paired by replicate:")
    return [head, Table([*names, "pairs", *block.measures], table)]


def name_of(block: str, setting: Iterable[tuple[str, str]]) -> str:
    return ", ".join([block, *(value if name == "run" else f"{name} {value}" for name, value in setting)])


def table_parts(study: Study, name: str, rows: Rows) -> list[Part]:
    """Settings of several blocks by one measure, next to differences that are paired by replicate."""
    table = study.tables[name]
    parts: list[Part] = [Heading(f"Table {name}"), *([Text(table["about"])] if table.get("about") else [])]
    against = []
    for setting in table["against"]:
        runs = runs_at(setting, table["blocks"][0], study.blocks, "against")
        label = name_of(runs[0].block, ((key, value) for key, value in setting.items() if key != "block"))
        against.append((label, {one.replicate: one.run.name for one in runs}))
    for measure in table["measures"]:
        lines = []
        for block in table["blocks"]:
            arms = settings_of(one for one in study.blocks[block].runs if one.role != "trunk")
            for setting, runs in arms.items():
                done = {one.replicate: rows[one.run.name].get(measure) for one in runs if one.run.name in rows}
                found = {number: value for number, value in done.items() if is_number(value)}
                cells = [over_replicates((value, None, None) for value in found.values())]
                for _, others in against:
                    pairs = [(value, rows.get(others.get(number), {}).get(measure)) for number, value in found.items()]
                    differences = [value - other for value, other in pairs if is_number(other)]
                    is_itself = runs[0].run.name in others.values()
                    cells.append("" if is_itself else over_replicates((one, None, None) for one in differences))
                lines.append([name_of(block, setting), f"{len(found)} of {len(runs)}", *cells])
        parts.append(Table(["arm", "runs", measure, *(f"minus {label}" for label, _ in against)], lines))
    return parts + [
        Text("Differences are paired by replicate: the same people, and the same seeds unless a block sets its own.")
    ]
