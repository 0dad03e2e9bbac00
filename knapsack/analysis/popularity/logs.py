"""Which items a model answered right, out of what lm-evaluation-harness 0.4 leaves (`--output_path DIR --log_samples`).

    DIR/MODEL/results_DATE.json          model_name, config.model_num_parameters
    DIR/MODEL/samples_TASK_DATE.jsonl    a line an item and filter: doc_id, doc, target, arguments, resps,
                                         filtered_resps, doc_hash, its metrics by name; later versions: filter, metrics

A metric must say right or wrong (1 or 0). What is not as expected is said with file and line, what was expected and
found, and what to try: DataError.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import parse_json
from knapsack.runs.files import is_there, not_readable, open_regular, parse_object, read_bytes

SAMPLES = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.jsonl")
OWN = {  # fields of a line that are no metric
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
    "doc_hash", "prompt_hash", "target_hash",
}  # fmt: skip
METRICS = ("exact_match", "acc")  # taken first where a line has several
KEYS = ("id", "doc_hash", "doc_id")  # what may name an item, the first that a line has
TRUTHS = {"True": True, "False": False, "1": True, "0": False, "1.0": True, "0.0": False}
SHOWN = 60  # letters of what was found


class Log(NamedTuple):
    path: Path
    task: str
    model: str
    parameters: float | None  # as the harness counted them
    results: Path | None

    def without_parameters(self) -> str:
        """Why it has none."""
        if self.results:
            return f"{self.results} has no model_num_parameters"
        if named := SAMPLES.fullmatch(self.path.name):
            return f"there is no results_{named[2]}.json next to it"
        return "its file is not named samples_TASK_DATE.jsonl, as lm_eval does, which tells its results_DATE.json"


class Wanted(NamedTuple):
    """How lines are read; None: as they allow."""

    metric: str | None = None
    filter: str | None = None
    key: str | None = None
    popularity: str | None = "s_pop"  # field of doc; None: of a table


@dataclass
class Answered:
    """By item: right or not, and its popularity where the log has it."""

    key: str
    metric: str
    filter: str | None
    right: dict[str, bool] = field(default_factory=dict)
    popularity: dict[str, float] = field(default_factory=dict)


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def listed(names: Any, most: int = 8) -> str:
    names = sorted(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def find_logs(paths: list[Path], task: str | None) -> list[Log]:
    """Of all folders below, or files; of one task. Raises where there are several tasks, or two logs of a model."""
    files: dict[str, Path] = {}
    for path in paths:
        if not is_there(path):
            raise DataError(f"{path}: there is no such file or folder")
        if not path.is_dir():
            files.setdefault(os.path.realpath(path), path)
            continue
        for parent, below, names in os.walk(path, onerror=not_readable):
            below.sort()
            for name in sorted(names):
                if SAMPLES.fullmatch(name):
                    files.setdefault(os.path.realpath(Path(parent, name)), Path(parent, name))
    logs = [log_of(path) for path in files.values()]
    if not logs:
        raise DataError(
            f"no samples_TASK_DATE.jsonl below {', '.join(map(str, paths))}: run lm_eval with "
            "--output_path and --log_samples"
        )
    tasks = {log.task for log in logs}
    logs = [log for log in logs if task in (None, log.task)]
    if not logs:
        raise UsageError(f"no log of task {task}; there is {listed(tasks)}")
    if task is None and len(tasks) > 1:
        raise UsageError(f"logs of several tasks ({listed(tasks)}): choose one by --task")
    by_model: dict[str, Log] = {}
    for log in logs:
        if log.model in by_model:
            raise DataError(
                f"two logs of model {log.model}: {by_model[log.model].path} and {log.path}; give one of them"
            )
        by_model[log.model] = log
    return logs


def log_of(path: Path) -> Log:
    """Raises where it does not begin as one."""
    if next(lines_of(path), None) is None:
        raise DataError(f"{path}: an empty log")
    named = SAMPLES.fullmatch(path.name)
    task, date = named.groups() if named else (path.stem, None)
    results = results_of(path, date) if date else None
    said = parse_object(read_bytes(results), results) if results else {}
    folder = path.absolute().parent.name
    model = said.get("model_name") or folder.replace("__", "/")
    config = said.get("config")
    count = config.get("model_num_parameters") if isinstance(config, dict) else None
    known = (
        isinstance(count, (int, float)) and not isinstance(count, bool) and count > 0
    )  # -1: the harness did not know
    return Log(path, task, str(model), float(count) if known else None, results)


def results_of(path: Path, date: str) -> Path | None:
    """results_DATE.json next to it; or NAME_DATE.json, where --output_path was a file."""
    found = path.parent / f"results_{date}.json"
    if is_there(found):
        return found
    return next(iter(sorted(path.parent.glob(f"*_{date}.json"))), None)


def lines_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object)"""
    with open_regular(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            value = parse_json(line, place)
            if not isinstance(value, dict) or "doc_id" not in value:
                found = f"an object with {listed(value)}" if isinstance(value, dict) else short(value)
                raise DataError(
                    f"{place}: expected a sample of lm-evaluation-harness 0.4, an object with doc_id, doc, target and "
                    f"metrics, found {found}; was this file written by --log_samples?"
                )
            yield place, value


def metric_of(line: dict[str, Any], place: str) -> str:
    """The one metric of a line, or a usual one."""
    names = line.get("metrics")
    if not (isinstance(names, list) and names):
        names = [name for name in line if name not in OWN]
    usual = [name for name in METRICS if name in names]
    if usual or len(names) == 1:
        return str((usual or names)[0])
    raise UsageError(f"{place}: metrics {listed(names) or 'none'}: choose one that says right or wrong by --metric")


def truth_of(line: dict[str, Any], metric: str, place: str) -> bool:
    value = line.get(metric)
    if value in (0, 1) and isinstance(value, (bool, int, float)):
        return bool(value)
    if isinstance(value, str) and value in TRUTHS:
        return TRUTHS[value]
    has = listed(name for name in line if name not in OWN)
    found = f"found {short(value)}" if metric in line else f"there is no such metric, but {has or 'none'}"
    raise DataError(f"{place}: expected {metric} to be 1 (right) or 0 (wrong), {found}; try another --metric")


def as_number(value: Any) -> float:
    """NaN where it is none, or not finite."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return float("nan")
    return number if abs(number) < float("inf") else float("nan")


def popularity_of(doc: dict[str, Any], name: str, place: str) -> float:
    number = as_number(doc.get(name))
    if not number >= 0:
        found = f"found {short(doc[name])}" if name in doc else f"but doc has {listed(doc) or 'no fields'}"
        raise DataError(
            f"{place}: expected a popularity of 0 or more in the field {name} of doc, {found}; name another by "
            "--popularity, or a table of items by --items"
        )
    return number


def key_of(line: dict[str, Any], doc: dict[str, Any]) -> str:
    return next(name for name in KEYS if name in doc or name in line)


def read_log(log: Log, wanted: Wanted) -> Answered:
    """Raises where an item comes twice, or several filters are mixed and none was chosen."""
    found: Answered | None = None
    places: dict[str, str] = {}
    filters: dict[str, None] = {}
    for place, line in lines_of(log.path):
        doc = line.get("doc") if isinstance(line.get("doc"), dict) else {}
        name = line.get("filter")
        filters.setdefault(str(name))
        if wanted.filter is not None and name is not None and name != wanted.filter:
            continue
        if found is None:
            found = Answered(wanted.key or key_of(line, doc), wanted.metric or metric_of(line, place), name)
        if name != found.filter:
            raise UsageError(f"{place}: several filters ({listed(filters)}): choose one by --filter")
        value = doc.get(found.key, line.get(found.key))
        if not isinstance(value, (str, int)):
            raise DataError(
                f"{place}: expected the item's name in {found.key}, found {short(value)}; doc has "
                f"{listed(doc) or 'no fields'}: choose one by --key"
            )
        item = str(value)
        if item in places:
            raise DataError(
                f"{place}: item {short(item)} comes twice, first in line {places[item].rpartition(':')[2]}: two runs "
                "in one file, several filters without names, or a --key that does not tell items apart"
            )
        places[item] = place
        found.right[item] = truth_of(line, found.metric, place)
        if wanted.popularity:
            found.popularity[item] = popularity_of(doc, wanted.popularity, place)
    if found is None:
        raise UsageError(f"{log.path}: no line of filter {wanted.filter}; there is {listed(filters)}")
    return found
