"""A grid of runs: flags that every run has, flags that vary, flags that change together; out of a file and a command
line."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import read_bytes

KEYS = ("vary", "train", "runs", "replicates", "about")
REPLICATE = "{replicate}"  # in a value: the replicate's number
OF_A_REPLICATE = ("seed", "data-seed")
Flags = dict[str, list[str]]  # flag -> its values, [] for a switch


MOST_RUNS = 100_000
NO_ARGUMENT = re.compile("[\0\ud800-\udfff]")
LONGEST = 150  # of a run's name; its files have up to 11 characters more, a file system takes 255 bytes
Dimension = tuple[str, list[str]]  # a flag and its values


class Grid(NamedTuple):
    vary: list[Dimension]  # a flag may be in several, by the sources that its values name
    train: Flags
    together: dict[str, Flags]  # runs by name: flags that change together
    replicates: int = 0  # 0: the grid says its seeds itself


class Combination(NamedTuple):
    """A run before it has a place."""

    parts: list[str]  # of its name
    setting: dict[str, str]  # what the grid chose: by flag, and "run" a name of Grid.together; no replicate
    replicate: int  # 0: none
    flags: Flags


class Run(NamedTuple):
    name: str
    directory: Path
    flags: Flags
    plain: str  # the name without a hash

    def has(self, file: str) -> bool:
        return (self.directory / file).exists()

    def file(self, ending: str) -> Path:
        """OUT/RUN.ending, next to the directory."""
        return self.directory.parent / f"{self.name}.{ending}"


def as_list(value: Any) -> list[str]:
    if value is True:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def as_flags(values: dict[str, Any]) -> Flags:
    return {name: as_list(value) for name, value in values.items() if value is not False}


def parse_flags(arguments: Iterable[str]) -> Flags:
    """'--a 1 --a 2 --switch' as {a: [1, 2], switch: []}."""
    flags: Flags = {}
    name = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            flags.setdefault(name, []).extend([value] if equals else [])
        elif name is None:
            raise UsageError(f"'{argument}' after '--': expected a flag of train_gpt")
        else:
            flags[name].append(argument)
    return flags


def flag_words(flags: Flags) -> list[str]:
    words = []
    for name, values in flags.items():
        words += [f"--{name}"] if not values else [word for value in values for word in (f"--{name}", value)]
    return words


def flag_text(flags: Flags) -> str:
    return shlex.join(flag_words(flags))


def check_flags(flags: Any, place: str) -> None:
    """A flag has a text, a number, true, false, or a list of texts and numbers."""
    if not isinstance(flags, dict):
        raise UsageError(f"{place}: expected an object from flags to values, found {json.dumps(flags)[:80]}")
    for flag, value in flags.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, (str, int, float)) for one in values):
            expected = "expected a text or number, or a list of some"
            raise UsageError(f"{place}: {flag}: {expected}, found {json.dumps(value)[:80]}")
        for text in (flag, *map(str, values)):
            if NO_ARGUMENT.search(text):
                raise UsageError(f"{place}: {json.dumps(text)[:80]}: a letter that no command line can have")


def check_grid(grid: Any, path: Path) -> None:
    """The shape of a grid file: objects of flags."""
    if not isinstance(grid, dict) or set(grid) - set(KEYS):
        found = ", ".join(sorted(set(grid) - set(KEYS))) if isinstance(grid, dict) else "other JSON"
        raise UsageError(f"{path}: expected an object with the keys vary, train, runs and about, found {found}")
    check_replicates(grid.get("replicates", 1), path)
    together = grid.get("runs", {})
    if not isinstance(together, dict):
        found = json.dumps(together)[:80]
        raise UsageError(f"{path}: runs: expected an object from names to flags, found {found}")
    for key in ("vary", "train"):
        check_flags(grid.get(key, {}), f"{path}: {key}")
    for name, flags in together.items():
        check_flags(flags, f"{path}: runs: {name}")


def check_replicates(value: Any, place: str | Path) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_RUNS:
        raise UsageError(f"{place}: replicates: expected a whole number from 1 on, found {json.dumps(value)[:80]}")


def read_grid(path: Path | None, vary: Iterable[str] = (), flags: Iterable[str] = ()) -> Grid:
    """The file's grid, with FLAG=A,B,... and flags of the command line, which win. Raises DataError where the file is
    missing or no JSON, UsageError where it is no grid."""
    grid: dict[str, Any] = {}
    if path:
        try:
            grid = json.loads(read_bytes(path).decode())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not JSON ({str(error)[:200]})") from None
        check_grid(grid, path)
    vary = [parse_vary(text) for text in vary]
    own = {flag for flag, _ in vary}
    varied = [(flag, as_list(values)) for flag, values in grid.get("vary", {}).items() if flag not in own]
    for flag, values in vary:
        add_dimension(varied, flag, values)
    train = as_flags(grid.get("train", {})) | parse_flags(flags)
    together = {name: as_flags(flags) for name, flags in grid.get("runs", {}).items()}
    return Grid(varied, train, together, grid.get("replicates", 0))


def parse_vary(text: str) -> Dimension:
    flag, _, values = text.partition("=")
    words = values.split(",")
    if not flag or not all(words):
        raise UsageError(f"--vary {text}: expected FLAG=VALUE,VALUE,...")
    return flag.removeprefix("--"), words


def sources_of(values: list[str]) -> set[str]:
    """The NAMEs of NAME=VALUE, where all are of that form."""
    return {value.partition("=")[0] for value in values} if all("=" in value for value in values) else set()


def add_dimension(varied: list[Dimension], flag: str, values: list[str]) -> None:
    """A flag that is varied twice: of other sources it is one more dimension, of the same more values of one."""
    for other, before in varied:
        if other == flag and sources_of(before) == sources_of(values):
            before += values
            return
        if other == flag and not (sources_of(before) and sources_of(values).isdisjoint(sources_of(before))):
            raise UsageError(f"--vary {flag} is given twice, with {','.join(before)} and {','.join(values)}")
    varied.append((flag, values))


def slug(part: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", part)


def is_lost(parts: list[str], name: str) -> bool:
    """Whether a name cannot stand for what it was made of: characters beyond the usual separators, or too many."""
    return (
        len(name) > LONGEST or name.startswith(".") or any(re.search(r"[^A-Za-z0-9.+=:/,@_-]", part) for part in parts)
    )


def hashed(parts: list[str], name: str) -> str:
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]}"


def merge(flags: Flags, flag: str, words: list[str]) -> None:
    """The value of one source goes next to those of others, in the place of its own."""
    own = sources_of(words)
    flags[flag] = [word for word in flags.get(flag, []) if own and word.partition("=")[0] not in own] + words


def check_ratios(flags: Flags, name: str) -> None:
    """Weights that can be no shares are said before anything runs; what else a plan needs the trainer says."""
    try:
        ratios = {source: float(share) for source, _, share in (text.partition("=") for text in flags.get("ratio", []))}
    except ValueError:
        return
    total = math.fsum(ratios.values())
    if total > 1 + 1e-6:
        raise UsageError(
            f"run {name}: the ratios sum to {total:g}; they are shares of the run's tokens, at most 1 in all"
        )
    sources = sources_of(flags.get("source", []))
    if ratios and "config" not in flags and sources and sources <= set(ratios) and total < 1 - 1e-6:
        raise UsageError(f"run {name}: the ratios sum to {total:g}, not to 1, and no source without one takes the rest")


def of_replicate(flags: Flags, number: int, name: str) -> Flags:
    """Its own seeds, and its own data where values name the replicate."""
    if own := [flag for flag in OF_A_REPLICATE if flag in flags]:
        raise UsageError(f"run {name}: --{own[0]} is given, but a replicate sets it; leave it out, or the replicates")
    values = {flag: [value.replace(REPLICATE, str(number)) for value in values] for flag, values in flags.items()}
    return values | {flag: [str(number)] for flag in OF_A_REPLICATE}


def combinations(grid: Grid) -> list[Combination]:
    """Every combination, replicates last."""
    sizes = [len(grid.together or [""]), *(len(values) for _, values in grid.vary), max(1, grid.replicates)]
    if math.prod(sizes) > MOST_RUNS:
        raise UsageError(f"the grid has {math.prod(sizes):,} runs; at most {MOST_RUNS:,}")
    made = []
    numbers = range(1, grid.replicates + 1) if grid.replicates else [0]
    for group, *values, number in itertools.product(
        grid.together or [""], *(values for _, values in grid.vary), numbers
    ):
        chosen = [(flag, value) for (flag, _), value in zip(grid.vary, values)]
        parts = [group] * bool(group) + [f"{flag}-{value}" for flag, value in chosen]
        flags = dict(grid.train)
        for flag, words in [*grid.together.get(group, {}).items(), *((flag, [value]) for flag, value in chosen)]:
            merge(flags, flag, words)
        setting = {"run": group} if group else {}
        for flag, value in chosen:
            setting[flag] = f"{setting[flag]} {value}" if flag in setting else value
        if number:
            parts.append(f"replicate-{number}")
            flags = of_replicate(flags, number, "_".join(parts))
        made.append(Combination(parts, setting, number, flags))
    for parts, number in Counter(tuple(one.parts) for one in made).items():
        if number > 1:
            raise UsageError(f"the grid has a run twice: {', '.join(parts)}")
    return made


def place_runs(made: list[Combination], out: Path) -> list[Run]:
    """Named by what they vary; with a hash where the name alone would not tell a run from others."""
    names = ["_".join(map(slug, one.parts)) or "run" for one in made]
    plain = Counter(names)
    runs = []
    for (parts, _, _, flags), name in zip(made, names):
        own = hashed(parts, name) if is_lost(parts, name) or plain[name] > 1 else name
        check_ratios(flags, own)
        runs.append(Run(own, out / own, flags, name))
    return runs


def make_runs(grid: Grid, out: Path) -> list[Run]:
    return place_runs(combinations(grid), out)
