"""Tables of a report: blocks by setting, arms of several blocks; means over replicates, differences by replicate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knapsack.analysis.intervals import replicates
from knapsack.study.blocks import Block, Planned, runs_at
from knapsack.study.comparisons import adjusted, said_of
from knapsack.study.declare import Study
from knapsack.study.page import Heading, Part, Table, Text
from knapsack.study.predictions import is_number

Rows = dict[str, dict[str, Any]]
Comparison = frozenset[frozenset[str]]  # of the runs of an arm and of a control; of two controls it is made once
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
    if sides[0] is None:
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


def difference_cell(values: list[float], p: float | None) -> str:
    said = over_replicates((value, None, None) for value in values)
    return said if p is None else f"{said}, p {p:.2g}"


def paired(runs: Iterable[Planned], others: dict[int, str], measure: str, rows: Rows) -> list[float]:
    """Differences of runs to the others of their replicates, of those that both are finished."""
    pairs = [
        (rows.get(one.run.name, {}).get(measure), rows.get(others.get(one.replicate), {}).get(measure)) for one in runs
    ]
    return [value - other for value, other in pairs if is_number(value) and is_number(other)]


def paired_parts(study: Study, block: Block, names: list[str], rows: Rows) -> list[Part]:
    """What each setting makes of the baseline, by replicate: the same seeds and people."""
    base = runs_at(block.baseline, block.name, study.blocks, "baseline")
    others = {one.replicate: one.run.name for one in base}
    arms = {
        setting: runs
        for setting, runs in settings_of(one for one in block.runs if one.role != "trunk").items()
        if runs[0] not in base
    }
    families = {
        measure: {setting: paired(runs, others, measure, rows) for setting, runs in arms.items()}
        for measure in block.measures
    }
    p = {measure: adjusted(family) for measure, family in families.items()}
    table = []
    for setting, runs in arms.items():
        done = sum(one.run.name in rows and others.get(one.replicate) in rows for one in runs)
        cells = [difference_cell(families[measure][setting], p[measure][setting]) for measure in block.measures]
        table.append([*(dict(setting).get(name, "-") for name in names), str(done), *cells])
    at = ", ".join(f"{name} {value}" for name, value in block.baseline.items())
    pairs = max((len(values) for family in families.values() for values in family.values()), default=0)
    head = Text(f"Difference to {at}, paired by replicate:")
    end = Text(said_of(len(arms), len(block.measures), pairs))
    return [head, Table([*names, "pairs", *block.measures], table), *([end] if end.text else [])]


def name_of(block: str, setting: Iterable[tuple[str, str]]) -> str:
    return ", ".join([block, *(value if name == "run" else f"{name} {value}" for name, value in setting)])


def table_parts(study: Study, name: str, rows: Rows) -> list[Part]:
    """Settings of several blocks by one measure, next to differences that are paired by replicate."""
    table = study.tables[name]
    parts: list[Part] = [Heading(f"Table {name}"), *([Text(table["about"])] if table.get("about") else [])]
    against: dict[str, dict[int, str]] = {}  # by label, runs by replicate
    for setting in table["against"]:
        runs = runs_at(setting, table["blocks"][0], study.blocks, "against")
        label = name_of(runs[0].block, ((key, value) for key, value in setting.items() if key != "block"))
        against[label] = {one.replicate: one.run.name for one in runs}
    arms = [
        (name_of(block, setting), runs)
        for block in table["blocks"]
        for setting, runs in settings_of(one for one in study.blocks[block].runs if one.role != "trunk").items()
    ]
    family: dict[Comparison, list[float]] = {}
    pairs = 0
    for measure in table["measures"]:
        keys = {}
        family = {}
        for arm, runs in arms:
            for label, others in against.items():
                mine, theirs = frozenset(one.run.name for one in runs), frozenset(others.values())
                if not mine & theirs:  # else the control itself
                    keys[arm, label] = frozenset((mine, theirs))
                    family.setdefault(keys[arm, label], paired(runs, others, measure, rows))
        p = adjusted(family)
        pairs = max([pairs, *map(len, family.values())])
        lines = []
        for arm, runs in arms:
            found = [rows[one.run.name].get(measure) for one in runs if one.run.name in rows]
            found = [value for value in found if is_number(value)]
            cells = [over_replicates((value, None, None) for value in found)]
            for label, others in against.items():
                own = keys.get((arm, label))
                cells.append("" if own is None else difference_cell(paired(runs, others, measure, rows), p[own]))
            lines.append([arm, f"{len(found)} of {len(runs)}", *cells])
        parts.append(Table(["arm", "runs", measure, *(f"minus {label}" for label in against)], lines))
    if said := said_of(len(family), len(table["measures"]), pairs):
        parts.append(Text(f"{said} The same people, and the same seeds unless a block sets its own."))
    return parts
