"""A study's file: its data, blocks of runs, laws asked, predictions (dev/formats.md, 12), and the runs that follow.

A block is a grid of runs; with "branches" its runs are trunks, from each of which a grid of branches goes on: by
"init" from the trunk's last weights, by "branch" from the checkpoint where the branch's own cooldown begins. With
"place" its runs follow one another, each where those before say that it tells most (adaptive.py).
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.arguments import parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import read_bytes, read_json
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

KEYS = ("about", "vocabulary", "rates", "replicates", "train", "data", "blocks", "measures", "laws", "hysteresis",
        "predictions", "tables", "text", "order")  # fmt: skip
REGISTERED = ("predictions", "laws", "hysteresis", "blocks", "measures", "replicates", "train")
BLOCK_KEYS = ("about", "replicates", "train", "vary", "runs", "branches", "measures", "baseline", "place")
PLACED_KEYS = ("about", "train", "measures", "place")  # each run is a replicate, and varies in its level alone
BRANCH_KEYS = ("by", "train", "vary", "runs")
BY = ("init", "branch")
COOLDOWN = 0.1  # the trainer's default
PACKAGE = Path(__file__).resolve().parents[1]  # has facts/sample.tsv
TEXT = "text"  # the data step that --text FILE takes the place of
STARTS = ("model", "init", "branch")  # one of them says what a run begins with
TRUNK = "{trunk}"  # in the command of a step "after" a block: the directory of its trunk


class Step(NamedTuple):
    """A command that makes data."""

    name: str
    words: list[str]  # after knapsack, with its places filled in
    replicate: int  # 0: the same for all
    blocks: tuple[str, ...]  # that need it; none: all
    after: str = ""  # the run that it is made of, the trunk of its block; made before the first of the branches


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


class Study(NamedTuple):
    path: Path
    out: Path
    about: str
    blocks: dict[str, Block]
    steps: list[Step]
    laws: dict[str, dict[str, Any]]
    hysteresis: dict[str, dict[str, Any]]
    predictions: dict[str, dict[str, Any]]
    rates: dict[str, Any]  # declared: {"machine", "source", "tokens_per_s": by model}
    vocabulary: int | None  # of the tokenizer, for a plan before there is one
    text: str | None  # what takes the place of the step "text": --text, or what the file names
    order: str | None  # of the runs, as --blocks
    declared: dict[str, Any]  # of the file what decides what is judged and how, without words for readers: registered
    tables: dict[str, dict[str, Any]]  # of several blocks: "blocks", "against", "measures"

    @property
    def runs(self) -> list[Planned]:
        return [one for block in self.blocks.values() for one in block.runs]

    @property
    def folder(self) -> Path:
        return self.out / "runs"

    @property
    def data(self) -> Path:
        return self.out / "data"


class Places(NamedTuple):
    """What {data}, {text}, {package} and {replicate} stand for."""

    data: Path
    text: str

    def fill(self, value: str, replicate: int = 0) -> str:
        value = value.replace("{data}", str(self.data)).replace("{text}", self.text).replace("{package}", str(PACKAGE))
        return value.replace(REPLICATE, str(replicate)) if replicate else value

    def flags(self, flags: Flags) -> Flags:
        return {name: [self.fill(value) for value in values] for name, values in flags.items()}


def need_object(value: Any, place: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected an object, found {json.dumps(value)[:80]}")
    if keys is not None and (unknown := set(value) - set(keys)):
        raise UsageError(f"{place}: no key {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    return value


def need_text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{place}: expected a text, found {json.dumps(value)[:80]}")
    return value


def need_words(value: Any, place: str) -> list[str]:
    """As a shell takes it apart."""
    try:
        return shlex.split(need_text(value, place))
    except ValueError as error:
        raise UsageError(f"{place}: {str(error).lower()}: {value[:80]}") from None


def need_list(value: Any, place: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [need_text(one, place) for one in values]


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
        raise UsageError(f"{place}: a block with branches says --{name} itself") from None
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


def read_file(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"))
    except DataError as error:
        raise UsageError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON ({str(error)[:200]})") from None
    return need_object(value, str(path), KEYS)


def text_file(out: Path) -> Path:
    """What --text named when the study was first run."""
    return out / "data" / "text.json"


def text_before(out: Path) -> str | None:
    text = read_json(text_file(out)).get("text")
    return text if isinstance(text, str) else None


def read_study(path: Path, out: Path, text: str | None) -> Study:
    """Raises UsageError with the place of what is wrong."""
    try:
        return study_of(read_file(path), path, out, text)
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def study_of(value: dict[str, Any], path: Path, out: Path, text: str | None) -> Study:
    text = text or (need_text(value["text"], "text") if "text" in value else None)
    places = Places(out / "data", text or str(out / "data" / "web.txt"))
    default = value.get("replicates", 1)
    check_replicates(default, path)
    check_flags(value.get("train", {}), "train")
    train = places.flags(as_flags(value.get("train", {})))
    measures = need_list(value.get("measures", []), "measures")
    blocks: dict[str, Block] = {}
    for name, one in need_object(value.get("blocks"), "blocks").items():
        place = f"blocks: {name}"
        need_object(one, place, BLOCK_KEYS)
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
    study = Study(
        path, out, need_text(value.get("about", ""), "about"), blocks,
        steps_declared(value.get("data", {}), blocks, places, text),
        *(need_object(value.get(key, {}), key) for key in ("laws", "hysteresis", "predictions")),
        rates_of(value.get("rates", {})), vocabulary_of(value.get("vocabulary")),
        text,
        need_text(value["order"], "order") if "order" in value else None,
        {key: without_about(value.get(key)) for key in REGISTERED if key in value} | selections(value),
        need_object(value.get("tables", {}), "tables"),
    )  # fmt: skip
    check_asked(study)
    check_tables(study)
    return study


def rates_of(value: Any) -> dict[str, Any]:
    need_object(value, "rates", ("machine", "source", "tokens_per_s"))
    for key in ("machine", "source"):
        need_text(value.get(key, ""), f"rates: {key}")
    for model, rate in need_object(value.get("tokens_per_s", {}), "rates: tokens_per_s").items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise UsageError(f"rates: tokens_per_s: {model}: expected a number above 0, found {json.dumps(rate)[:80]}")
    return value


def vocabulary_of(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise UsageError(f"vocabulary: expected a whole number above 0, found {json.dumps(value)[:80]}")
    return value


def selections(value: dict[str, Any]) -> dict[str, Any]:
    """Of the data what decides an arm: steps that are made of a run."""
    steps = {name: one for name, one in value.get("data", {}).items() if isinstance(one, dict) and "after" in one}
    return {"data": without_about(steps)} if steps else {}


def without_about(value: Any) -> Any:
    """Of objects by name."""
    if not isinstance(value, dict):
        return value
    return {
        name: {key: part for key, part in one.items() if key != "about"} if isinstance(one, dict) else one
        for name, one in value.items()
    }


def steps_declared(value: Any, blocks: dict[str, Block], places: Places, text: str | None) -> list[Step]:
    found = []
    for name, one in need_object(value, "data").items():
        place = f"data: {name}"
        need_object(one, place, ("about", "command", "blocks", "after"))
        command = need_text(one.get("command"), f"{place}: command")
        if "after" in one:
            found += steps_after(name, one, command, blocks, places)
            continue
        of = tuple(need_list(one.get("blocks", []), f"{place}: blocks"))
        if unknown := set(of) - set(blocks):
            raise UsageError(f"{place}: no block {', '.join(sorted(unknown))}")
        if name == TEXT and text:
            continue
        needing = [block for block in blocks.values() if not of or block.name in of]
        using = [run.replicate for block in needing for run in [*block.runs, *block.to_come]]
        for number in sorted(set(using)) if REPLICATE in command else [0]:
            words = [places.fill(word, number) for word in need_words(command, f"{place}: command")]
            found.append(Step(name, words, number, of))
    return found


def steps_after(name: str, one: dict[str, Any], command: str, blocks: dict[str, Block], places: Places) -> list[Step]:
    """Made of the trunk of a block, {trunk}, for its branches."""
    place, block = f"data: {name}", need_text(one["after"], f"data: {name}: after")
    trunks = [run for run in blocks[block].runs if run.role == "trunk"] if block in blocks else []
    if not trunks or len({run.replicate for run in trunks}) < len(trunks):
        raise UsageError(f"{place}: after: '{block}' is no block whose branches go on by init from one trunk each")
    if "blocks" in one:
        raise UsageError(f"{place}: blocks: those of a step after {block} are the branches of {block}")
    if len(trunks) > 1 and REPLICATE not in command:
        raise UsageError(f"{place}: command: expected {REPLICATE}, {block} has {len(trunks)} replicates")
    words = need_words(command, f"{place}: command")

    def filled(run: Planned) -> list[str]:
        return [places.fill(word, run.replicate).replace(TRUNK, str(run.run.directory)) for word in words]

    return [Step(name, filled(run), run.replicate, (block,), run.run.name) for run in trunks]


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
        raise UsageError(f"{place}: no run is at {json.dumps(setting)}")
    return found


def runs_of_law(study: Study, law: dict[str, Any]) -> list[Planned]:
    """Of its blocks, at one of its settings; no trunks."""
    runs = [run for block in law["blocks"] for run in study.blocks[block].runs]
    return [run for run in runs if any(at(run, setting, "at") for setting in law["at"])]


def check_asked(study: Study) -> None:
    """Laws and hysteresis name what there is."""

    def known(name: Any, place: str) -> str:
        if not isinstance(name, str) or name not in study.blocks:
            raise UsageError(f"{place}: no block {json.dumps(name)}; there are {', '.join(study.blocks)}")
        return name

    for name, law in study.laws.items():
        place = f"laws: {name}"
        need_object(law, place, ("about", "blocks", "at", "arguments", "loss"))
        if "loss" in law:
            need_text(law["loss"], f"{place}: loss")
        law["blocks"] = need_list(law.get("blocks", []), place)
        for block in law["blocks"] or [None]:
            known(block, place)
        settings = law.get("at", {})
        law["at"] = settings if isinstance(settings, list) else [settings]
        placing = any(study.blocks[block].placed for block in law["blocks"])
        for setting in law["at"]:
            need_object(setting, f"{place}: at: a setting")
            if not placing and not any(
                at(run, setting, f"{place}: at") for block in law["blocks"] for run in study.blocks[block].runs
            ):
                raise UsageError(f"{place}: at: no run is at {json.dumps(setting)}")
        need_words(law.get("arguments", ""), f"{place}: arguments")
    for name, one in study.hysteresis.items():
        place = f"hysteresis: {name}"
        need_object(one, place, ("about", "above", "below", "axis", "set", "kind"))
        for key in ("axis", "set", *(["kind"] if "kind" in one else [])):
            need_text(one.get(key), f"{place}: {key}")
        for side in ("above", *(["below"] if "below" in one else [])):
            for run in study.blocks[known(one.get(side), f"{place}: {side}")].runs:
                if run.role != "trunk":
                    number_of(run.setting.get(one["axis"]), f"{place}: {side}: {one['axis']}")


def check_tables(study: Study) -> None:
    for name, table in study.tables.items():
        place = f"tables: {name}"
        need_object(table, place, ("about", "blocks", "against", "measures"))
        need_text(table.get("about", ""), f"{place}: about")
        for key in ("blocks", "measures"):
            if not (found := need_list(table.get(key, []), f"{place}: {key}")):
                raise UsageError(f"{place}: {key}: expected at least one")
            table[key] = found
        if unknown := set(table["blocks"]) - set(study.blocks):
            raise UsageError(f"{place}: no block {', '.join(sorted(unknown))}")
        against = table.get("against", [])
        table["against"] = against if isinstance(against, list) else [against]
        for setting in table["against"]:
            runs = runs_at(setting, table["blocks"][0], study.blocks, f"{place}: against")
            if len({run.replicate for run in runs}) < len(runs):
                raise UsageError(f"{place}: against: several runs of a replicate are at {json.dumps(setting)}")


def number_of(place: str | None, what: str) -> float:
    """Of a value of an axis: 0.1 of bio=0.1."""
    if place is None:
        raise UsageError(f"{what}: no such axis: not all runs of the block vary it")
    try:
        return float(place.rpartition("=")[2])
    except ValueError:
        raise UsageError(f"{what}: '{place}' is no number to be put in order") from None


def parse_choice(text: str, study: Study) -> list[tuple[str, int]]:
    """'L:1,R' as [(block, replicate)], 0 for all of them."""
    found = []
    for word in text.split(","):
        name, colon, number = word.partition(":")
        if name not in study.blocks:
            raise UsageError(f"--blocks {text}: no block '{name}'; there are {', '.join(study.blocks)}")
        if colon and not number.isdecimal():
            raise UsageError(f"--blocks {text}: expected BLOCK or BLOCK:REPLICATE, found '{word}'")
        found.append((name, int(number) if colon else 0))
    return found


def choose(study: Study, blocks: str | None) -> list[Planned]:
    """In the order asked for, else all in that of the file; of a block the first replicate is first."""
    wanted = parse_choice(blocks or study.order, study) if blocks or study.order else []
    if not blocks:
        wanted += [(name, 0) for name in study.blocks]
    found: dict[str, Planned] = {}
    for name, number in wanted:
        if number and study.blocks[name].placed:
            raise UsageError(f"--blocks {blocks}: block {name} places its runs one after another: name it alone")
        of_block = [*study.blocks[name].runs, *study.blocks[name].to_come]
        runs = [run for run in of_block if number in (0, run.replicate)]
        if not runs:
            raise UsageError(f"--blocks {blocks}: block {name} has no replicate {number}")
        for run in sorted(runs, key=lambda one: one.replicate):
            found.setdefault(run.run.name, run)
    return list(found.values())


def steps_for(study: Study, runs: list[Planned]) -> list[Step]:
    """The data that these runs need."""
    names, numbers = {run.block for run in runs}, {run.replicate for run in runs} | {0}
    return [step for step in study.steps if (not step.blocks or names & set(step.blocks)) and step.replicate in numbers]
