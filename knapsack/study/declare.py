"""A study's file: its data, blocks of runs, laws asked, tables, predictions (dev/formats.md, 12)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import read_bytes, read_json
from knapsack.runs.grid import REPLICATE, as_flags, check_flags, check_replicates
from knapsack.study.blocks import Block, Places, Planned, at, blocks_of, runs_at, settings_said
from knapsack.study.fields import need_list, need_object, need_text, need_words, number_of, rates_of, vocabulary_of

KEYS = ("about", "vocabulary", "rates", "replicates", "train", "data", "blocks", "measures", "laws", "hysteresis",
        "predictions", "tables", "text", "order")  # fmt: skip
REGISTERED = ("predictions", "laws", "hysteresis", "blocks", "measures", "replicates", "train")
TRUNK = "{trunk}"  # in the command of a step "after" a block: the directory of its trunk
TEXT = "text"  # the data step that --text FILE takes the place of


class Step(NamedTuple):
    """A command that makes data."""

    name: str
    words: list[str]  # after knapsack, with its places filled in
    replicate: int  # 0: the same for all
    blocks: tuple[str, ...]  # that need it; none: all
    after: str = ""  # the run that it is made of, the trunk of its block; made before the first of the branches


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


def with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets the last one win, and a block would be gone without a word."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"the key {json.dumps(twice)} is there twice in one object; name one of them otherwise")
    return value


def read_file(path: Path) -> dict[str, Any]:
    """Raises DataError where it is missing or no JSON."""
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"), object_pairs_hook=with_keys_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({str(error)[:200]})") from None
    return need_object(value, str(path), KEYS)


def text_file(out: Path) -> Path:
    """What --text named when the study was first run."""
    return out / "data" / "text.json"


def text_before(out: Path) -> str | None:
    text = read_json(text_file(out)).get("text")
    return text if isinstance(text, str) else None


def read_study(path: Path, out: Path, text: str | None) -> Study:
    """Raises UsageError with the place of what is wrong; DataError as read_file."""
    try:
        return study_of(read_file(path), path, out, text)
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def study_of(value: dict[str, Any], path: Path, out: Path, text: str | None) -> Study:
    text = text or (need_text(value["text"], "text") if "text" in value else None)
    places = Places(out / "data", text or str(out / "data" / "web.txt"))
    check_replicates(value.get("replicates", 1), path)
    check_flags(value.get("train", {}), "train")
    blocks = blocks_of(value, places.flags(as_flags(value.get("train", {}))), out, places)
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
        need_words(command, f"{place}: command")
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
        return [places.fill(word.replace(TRUNK, str(run.run.directory)), run.replicate) for word in words]

    return [Step(name, filled(run), run.replicate, (block,), run.run.name) for run in trunks]


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
                said = "; ".join(settings_said(study.blocks[block]) for block in law["blocks"])
                raise UsageError(f"{place}: at: no run is at {json.dumps(setting)}; {said}")
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
