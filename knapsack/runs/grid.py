"""A grid of runs: flags that every run has, flags that vary, flags that change together; out of a file and a command
line."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.errors import UsageError

KEYS = ("vary", "train", "runs", "about")
Flags = dict[str, list[str]]  # flag -> its values, [] for a switch


class Grid(NamedTuple):
    vary: dict[str, list[str]]
    train: Flags
    together: dict[str, Flags]  # runs by name: flags that change together


class Run(NamedTuple):
    name: str
    directory: Path
    flags: Flags

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


def check_grid(grid: Any, path: Path) -> None:
    """The shape of a grid file: objects of flags."""
    if not isinstance(grid, dict) or set(grid) - set(KEYS):
        found = ", ".join(sorted(set(grid) - set(KEYS))) if isinstance(grid, dict) else "other JSON"
        raise UsageError(f"{path}: expected an object with the keys vary, train, runs and about, found {found}")
    together = grid.get("runs", {})
    if not isinstance(together, dict):
        found = json.dumps(together)[:80]
        raise UsageError(f"{path}: runs: expected an object from names to flags, found {found}")
    for key in ("vary", "train"):
        check_flags(grid.get(key, {}), f"{path}: {key}")
    for name, flags in together.items():
        check_flags(flags, f"{path}: runs: {name}")


def read_grid(path: Path | None, vary: Iterable[str] = (), flags: Iterable[str] = ()) -> Grid:
    """The file's grid, with FLAG=A,B,... and flags of the command line, which win."""
    grid: dict[str, Any] = {}
    if path:
        try:
            grid = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None
        check_grid(grid, path)
    varied = {name: as_list(values) for name, values in grid.get("vary", {}).items()}
    for text in vary:
        name, _, values = text.partition("=")
        if not values:
            raise UsageError(f"--vary {text}: expected FLAG=VALUE,VALUE,...")
        varied[name] = values.split(",")
    train = as_flags(grid.get("train", {})) | parse_flags(flags)
    return Grid(varied, train, {name: as_flags(flags) for name, flags in grid.get("runs", {}).items()})


def make_runs(grid: Grid, out: Path) -> list[Run]:
    """Every combination, named by what it varies."""
    runs = []
    for group, *values in itertools.product(grid.together or [""], *grid.vary.values()):
        chosen = dict(zip(grid.vary, values))
        parts = [group] * bool(group) + [f"{flag}-{value}" for flag, value in chosen.items()]
        name = "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", part) for part in parts) or "run"
        flags = dict(grid.train)
        varied = {flag: [value] for flag, value in chosen.items()}
        for flag, words in [*grid.together.get(group, {}).items(), *varied.items()]:
            # the value of one source goes next to those of others
            named = flag in flags and all("=" in word for word in words)
            flags[flag] = flags[flag] + words if named else words
        runs.append(Run(name, out / name, flags))
    return runs
