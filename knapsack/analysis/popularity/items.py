"""Models by items: the logs joined with each item's popularity and each model's size and family.

Items count that every model answered, so that all curves are of the same items and a draw of items is a draw for all of
them. What is left out is counted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from knapsack.analysis.popularity.logs import Log, Wanted, as_number, listed, read_log, short
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import parse_object, read_bytes, warn

FEWEST_ITEMS = 50
FEWEST_SIZES = 3  # of models, for what size does
SIZE = re.compile(  # in a model's name: 7b, 410m, 1_6b, 8x7b; -xl after a name that has no number of parameters
    r"[-_.]?\d+(?:[._]\d+)?(?:x\d+)?[bm](?![a-z0-9])|[-_](?:tiny|mini|small|base|medium|large|x+l)(?![a-z0-9])"
)
DATE = re.compile(r"[-_]\d{4}$")  # of a release, before the size


class Model(NamedTuple):
    name: str
    family: str
    M: float  # parameters; NaN: to be inferred
    log: Log


@dataclass
class Joined:
    """Models in the order of their sizes, those without one last; `correct` (models, items), `popularity` (items,)."""

    models: list[Model]
    items: list[str]
    popularity: np.ndarray
    correct: np.ndarray
    metric: str
    left_out: dict[str, int]  # items, by reason

    @property
    def M(self) -> np.ndarray:  # (models,), as all of these
        return np.array([model.M for model in self.models])

    @property
    def sized(self) -> np.ndarray:
        return np.isfinite(self.M)

    @property
    def families(self) -> list[str]:
        return [model.family for model in self.models]


def few(models: int, sizes: int) -> str:
    """Why there is no law."""
    said = f"{models} model{'s' * (models != 1)} of {sizes} size{'s' * (sizes != 1)}"
    return f"{said}; at least {FEWEST_SIZES} sizes are needed"


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, fields) of a table: .tsv, .csv with a head, .jsonl."""
    data = read_bytes(path)
    if path.suffix == ".jsonl":
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip():
                yield f"{path}:{number}", parse_object(line, path, number)
        return
    if path.suffix not in (".tsv", ".csv"):
        raise UsageError(f"{path}: expected a table that ends in .tsv, .csv or .jsonl")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start})") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        for row in reader:
            yield f"{path}:{reader.line_num}", {name: value for name, value in row.items() if name is not None}
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a table ({error})") from None


def number_of(value: Any, place: str, column: str, least: str, above: bool) -> float:
    number = as_number(value)
    if not (number > 0 if above else number >= 0):
        raise DataError(f"{place}: expected {least} in column {column}, found {short(value)}")
    return number


def read_items(path: Path, key: str, column: str) -> dict[str, float]:
    """Popularity by item."""
    found: dict[str, float] = {}
    for place, row in rows_of(path):
        if missing := [name for name in (key, column) if name not in row]:
            raise DataError(
                f"{place}: no column {missing[0]}, but {listed(row)}; name the item's column by --key, the "
                "popularity's by --popularity"
            )
        value = number_of(row[column], place, column, "a popularity of 0 or more", above=False)
        if found.setdefault(str(row[key]), value) != value:
            raise DataError(f"{place}: item {short(row[key])} has another popularity than before")
    if not found:
        raise DataError(f"{path}: no items")
    return found


def read_models(path: Path) -> dict[str, dict[str, Any]]:
    """Columns model, and parameters or family or both; an empty cell says nothing."""
    found: dict[str, dict[str, Any]] = {}
    for place, row in rows_of(path):
        if not row.get("model") or not {"parameters", "family"} & row.keys():
            raise DataError(f"{place}: expected columns model and parameters or family, found {listed(row)}")
        said: dict[str, Any] = {}
        if row.get("parameters"):
            said["M"] = number_of(row["parameters"], place, "parameters", "a number of parameters above 0", above=True)
        if row.get("family"):
            said["family"] = str(row["family"])
        found[str(row["model"])] = said
    return found


def family_of(name: str) -> str:
    """What of a model's name is before its size: meta-llama/Llama-2-7b-hf is llama-2, gpt2-xl is gpt2."""
    base = name.rpartition("/")[2].lower()
    size = SIZE.search(base, 1)
    return DATE.sub("", base[: size.start()]).strip("-_.") if size else base


def said_of(name: str, given: dict[str, Any]) -> Any:
    """By the whole name, or by what comes after its last slash."""
    return given.get(name, given.get(name.rpartition("/")[2]))


def check_names(logs: list[Log], given: dict[str, Any], flag: str) -> None:
    names = {name for log in logs for name in (log.model, log.model.rpartition("/")[2])}
    if unknown := [name for name in given if name not in names]:
        raise UsageError(f"{flag} {unknown[0]}: no log of that model; there is {listed(log.model for log in logs)}")


def make_models(
    logs: list[Log], sizes: dict[str, float], families: dict[str, str], table: dict[str, dict[str, Any]]
) -> list[Model]:
    """Flags before the table, the table before what the harness counted."""
    check_names(logs, sizes, "--size")
    check_names(logs, families, "--family")
    models = []
    for log in logs:
        row = said_of(log.model, table) or {}
        M = said_of(log.model, sizes)
        M = M if M is not None else row.get("M", log.parameters)
        if M is None:
            raise DataError(
                f"{log.path}: the size of {log.model} is not known ({log.without_parameters()}): give its parameters, "
                f"--size {log.model}=N with N such as 410M or 1.4B, or infer it by --size {log.model}=?"
            )
        family = said_of(log.model, families) or row.get("family") or family_of(log.model)
        models.append(Model(log.model, family, M, log))
    return sorted(models, key=lambda model: (not np.isfinite(model.M), model.M, model.name))


def join(models: list[Model], wanted: Wanted, items: Path | None, column: str) -> Joined:
    """`items`: a table with the popularity in `column`, which `wanted` then leaves to it. Raises where logs are not of
    one task: other metrics or names of items, another popularity of one item, or too few items in common."""
    answered = [read_log(model.log, wanted) for model in models]
    first, name = answered[0], models[0].log.path
    for other, model in zip(answered[1:], models[1:]):
        for what in ("key", "metric"):
            mine, others = getattr(first, what), getattr(other, what)
            if mine != others:
                raise DataError(f"{name} has {what} {mine}, {model.log.path} {others}: choose one for all by --{what}")
        if differs := next((i for i, p in other.popularity.items() if first.popularity.get(i, p) != p), None):
            raise DataError(
                f"item {short(differs)} has popularity {first.popularity[differs]:g} in {name}, "
                f"{other.popularity[differs]:g} in {model.log.path}: logs of different data"
            )
    popularity = read_items(items, first.key, column) if items else first.popularity
    shared = [item for item in first.right if all(item in other.right for other in answered[1:])]
    everywhere = {item for one in answered for item in one.right}
    known = [item for item in shared if popularity.get(item, 0) > 0]
    left_out = {
        "not answered by all models": len(everywhere) - len(shared),
        "without a popularity in the table": sum(item not in popularity for item in shared),
        "of popularity 0, which has no logarithm": sum(popularity.get(item) == 0 for item in shared),
    }
    left_out = {why: count for why, count in left_out.items() if count}
    said = ", ".join(f"{count} {why}" for why, count in left_out.items())
    if len(known) < FEWEST_ITEMS:
        raise DataError(
            f"{len(known)} items that all {len(models)} models answered and whose popularity is known, at least "
            f"{FEWEST_ITEMS} are needed"
            + (f" ({said})" if said else "")
            + ": are the logs of one task, with one --limit?"
        )
    if said:
        warn(f"items left out: {said}; {len(known)} are left")
    known.sort(key=lambda item: (popularity[item], item))
    correct = np.array([[one.right[item] for item in known] for one in answered], float)
    return Joined(models, known, np.array([popularity[item] for item in known]), correct, first.metric, left_out)
