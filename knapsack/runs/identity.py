"""What a run is: its options, and its data by what they hold. So a run is known again when its data lie elsewhere, and
is another one when they were made anew under the same names.

Flags are compared as given, numbers by their value, files by their content; what only changes how a training is
computed (NO_DIFFERENCE) is not compared. A file's digest is of its size, its ends and BLOCKS blocks between them: 1000
shards take a second. What their maker says of all bytes, the checksums of the sidecar, counts too where both times
there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import glob
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from knapsack.common.arguments import parse_count
from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.runs.files import blame, is_there, open_regular, parse_object, read_bytes, read_json
from knapsack.runs.grid import LONGEST, Flags, Run, flag_text

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

VERSION = 1
NO_DIFFERENCE = ("micro-batch", "recompute", "cuda-graph", "zero", "keep")
SHARDS = ("source", "val")  # flags NAME=GLOB
LISTS = ("subsample",)  # flags NAME=file:PATH, among other values
FOLDERS = ("init", "branch")
WHOLE, END, BLOCK, BLOCKS = 1 << 17, 1 << 14, 1 << 12, 16  # bytes, bytes, bytes, number
ENDINGS = {  # of the files of a prefix
    ".bin": ("bin", "idx", "facts.json", "spans.npy", "values.npy", "group.npy", "names.txt"),
    ".ds": ("ds", "ds.index", "ds.metadata"),
    "": ("bin", "idx", "questions.json", "q.npy", "popularity.npy"),  # a question set
}
SIDECAR = ("kind", "vocab_size", "eot_id", "documents", "tokens")
Identity = dict[str, Any]
Content = dict[str, str]  # of a shard, a question set, a tokenizer: "path", and digests by what is added to it


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def digest_of(path: Path) -> str:
    """Of a file's size and content: all of it, or of a large one its ends and blocks between."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= WHOLE:
            return digest(file.read())
        step = (size - END) // (BLOCKS + 1)
        places = [(0, END), *((step * number, BLOCK) for number in range(1, BLOCKS + 1)), (size - END, END)]
        found = hashlib.sha256(str(size).encode())
        for place, length in places:
            found.update(os.pread(file.fileno(), length, place))
        return found.hexdigest()[:32]


def digest_of_tokenizer(path: Path) -> str:
    """Of what it says, not of how a version of the library writes it: merges are 'a b' or [a, b], keys come and go with
    their default."""
    file = path / "tokenizer.json" if (path / "tokenizer.json").exists() else path
    if file.is_dir():
        return digest("".join(digest_of(part) for part in sorted(file.glob("*")) if part.is_file()).encode())
    try:
        tokenizer = parse_object(read_bytes(file), file)
        model = tokenizer["model"]
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]
        parts = {name: value for name, value in model.items() if value not in (None, False)} | {"merges": merges}
    except (DataError, KeyError, AttributeError, TypeError):
        return digest_of(file)
    return digest(json.dumps(tokenizer | {"model": parts}, sort_keys=True).encode())


def content_of(prefix: Path, kind: str) -> Content:
    """`kind`: a key of ENDINGS."""
    found = {"path": str(prefix)}
    for ending in ENDINGS[kind]:
        path = Path(f"{prefix}.{ending}")
        if is_there(path):
            found[f".{ending}"] = digest_of(path)
    sidecar = read_json(Path(f"{prefix}.json"))
    if sidecar:
        with blame(Path(f"{prefix}.json")):
            sums = (sidecar.get("checksums") or {}).items()
        named = {name.removeprefix(prefix.name): value for name, value in sums}
        said = {name: sidecar.get(name) for name in SIDECAR} | {"checksums": named}
        found[".json"] = digest(json.dumps(said, sort_keys=True).encode())
    return found


@functools.cache
def contents_of(flag: str, value: str) -> list[Content] | None:
    """The data that a flag's value names, none where there are none; None where it names no data."""
    if flag in SHARDS:
        pattern = value.partition("=")[2]
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        return [content_of(Path(stem), kind) for stem, kind in map(os.path.splitext, paths) if kind in ENDINGS]
    if flag == "questions":
        prefix = Path(value.removesuffix(".questions.json"))
        return [content_of(prefix, "")] if is_there(Path(f"{prefix}.questions.json")) else []
    if flag in LISTS and "=file:" in value:
        path = Path(value.partition("=file:")[2])
        return [{"path": str(path), "": digest_of(path)}] if is_there(path) else []
    path = Path(value)
    if flag == "tokenizer":
        return [{"path": value, "": digest_of_tokenizer(path)}] if is_there(path) else []
    if flag in FOLDERS:
        files = sorted(file for file in path.glob("*") if file.is_file())
        return [{"path": value} | {f"/{file.name}": digest_of(file) for file in files}] if files else []
    return None


def number_or_text(value: str) -> str:
    """Numbers that are written in two ways are one: 4M and 4000000."""
    name, equals, text = value.rpartition("=")
    if text.isdecimal() and len(text) > 15:  # such as a seed, which a double would round
        return value
    with contextlib.suppress(ValueError, argparse.ArgumentTypeError):
        return f"{name}{equals}{float(text) if text[-1:].isdigit() else float(parse_count(text))!r}"
    return value


def with_config(flags: Flags) -> Flags:
    """The flags of --config FILE among the others, which win."""
    if "config" not in flags or len(flags["config"]) != 1:
        return flags
    path = Path(flags["config"][0])
    try:
        read: dict[str, Any] = tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except ValueError as error:
        raise UsageError(f"{path}: not TOML ({error})") from None
    except RecursionError:
        raise UsageError(f"{path}: not TOML of flags (too many arrays inside each other)") from None
    found = {}
    for name, value in read.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, (str, int, float)) for one in values):
            raise UsageError(f"{path}: {name}: expected a text, a number, true, false, or an array of some")
        found[name] = [("on" if one else "off") if isinstance(one, bool) else str(one) for one in values]
    return found | {name: values for name, values in flags.items() if name != "config"}


def identity_of(flags: Flags) -> Identity:
    """{"options": values by flag, "data": {"given", "files"} by flag and name}; difference() compares two."""
    options: dict[str, list[str]] = {}
    data: dict[str, dict[str, list]] = {}
    for flag, values in with_config(flags).items():
        if flag in NO_DIFFERENCE:
            continue
        options[flag] = []
        for value in values:
            contents = contents_of(flag, value)
            if contents is None:
                options[flag].append(number_or_text(value))
                continue
            name = value.partition("=")[0] if flag in SHARDS + LISTS else ""
            options[flag].append(name)
            of = data.setdefault(f"{flag} {name}".strip(), {"given": [], "files": []})
            of["given"].append(value)
            of["files"] += contents
    return {"options": options, "data": data}


def difference(before: Identity, now: Identity) -> ScriptError | None:
    """How the run that is asked for is not the one that was made; None where it is. Data that are gone cannot
    differ."""
    for flag in dict.fromkeys([*before["options"], *now["options"]]):
        was, wanted = before["options"].get(flag), now["options"].get(flag)
        if was != wanted:
            return UsageError(f"made with other flags ({in_words(flag, was)}, not {in_words(flag, wanted)})")
    for name, wanted in now["data"].items():
        was, flag = before["data"][name], name.partition(" ")[0]
        if not was["files"] or not wanted["files"]:
            if was["given"] != wanted["given"]:
                said = f"{in_words(flag, was['given'])}, not {in_words(flag, wanted['given'])}"
                return UsageError(f"made with other flags ({said})")
        elif len(was["files"]) != len(wanted["files"]):
            return DataError(f"made with other data: {len(was['files'])} files of {name}, not {len(wanted['files'])}")
        else:
            for old, new in zip(was["files"], wanted["files"]):
                if where := changed(old, new):
                    return DataError(f"made with other data: {where}")
    return None


def changed(old: Content, new: Content) -> str | None:
    """Which file differs, and from which."""
    for ending in sorted({*old, *new} - {"path"}):
        pair = old.get(ending), new.get(ending)
        if pair[0] != pair[1] and not (ending == ".json" and None in pair):
            file, before = f"{new['path']}{ending}", f"{old['path']}{ending}"
            return f"{file} has changed since" if file == before else f"{file} is not what {before} was"
    return None


def in_words(flag: str, values: list[str] | None) -> str:
    return f"no --{flag}" if values is None else flag_text({flag: values})


def differs_from_config(flags: Flags, options: dict[str, Any]) -> str | None:
    """Of these flags, what the run's own config.json says otherwise."""
    for flag, values in flags.items():
        was = options.get(flag)
        if flag in NO_DIFFERENCE or was in (None, "", []) or not values:
            continue
        olds = [str(one) for one in was] if isinstance(was, list) else [str(was)]
        if isinstance(was, bool):
            olds = ["on" if was else "off"]
        if [number_or_text(one) for one in olds] != [number_or_text(one) for one in values]:
            return f"{in_words(flag, olds)}, not {in_words(flag, values)}"
    return None


def hash_of(identity: Identity) -> str:
    """Equal where options and content of data are."""
    files = [[{**content, "path": None} for content in of["files"]] for of in identity["data"].values()]
    given = [of["given"] for of in identity["data"].values() if not of["files"]]
    return digest(json.dumps([identity["options"], [*identity["data"]], files, given], sort_keys=True).encode())


def check_distinct(runs: list[Run]) -> None:
    """A grid has each run once, whatever the words: 0.2 and 0.20, or two paths to one file."""
    contents_of.cache_clear()
    names: dict[str, str] = {}
    for run in runs:
        other = names.setdefault(hash_of(identity_of(run.flags)), run.name)
        if other != run.name:
            raise UsageError(f"{other} and {run.name} are one run: the same options and data")


def note_of(run: Run) -> dict[str, Any]:
    """OUT/RUN.flags.json: what the run is, as it begins."""
    contents_of.cache_clear()
    identity = identity_of(run.flags)
    return {"format_version": VERSION, "run": hash_of(identity), "flags": run.flags, **identity}


def check_same(run: Run) -> bool:
    """A run that is there already must be the one that is meant; raises what differs. Whether its data are known to be
    the same: notes of earlier versions say nothing of them."""
    now = identity_of(run.flags)
    if not run.directory.is_dir() or not any(run.directory.iterdir()):
        return True
    note, config = read_json(run.file("flags.json")), read_json(run.directory / "config.json")
    known = "format_version" in note
    options = config.get("options") or {}
    error = None
    if known:
        with blame(run.file("flags.json")):
            error = difference(note, now)
    elif note and note != run.flags and not differs_from_config(note, options):
        error = UsageError(f"made with other flags ({flag_text(note)})")
    elif said := differs_from_config(run.flags, options):
        error = UsageError(f"made with other flags ({said})")
    if error:
        raise type(error)(f"{run.directory} was {error}; choose another --out or remove it")
    return known


def earlier_name(run: Run) -> Run:
    """Versions before names had hashes called it by the plain name: that run, where it is this one."""
    plain = Run(run.plain, run.directory.parent / run.plain, run.flags, run.plain)
    if len(run.plain) > LONGEST or run.directory.is_dir() or not plain.has("config.json"):
        return run
    options = read_json(plain.directory / "config.json").get("options") or {}
    return run if differs_from_config(run.flags, options) else plain
