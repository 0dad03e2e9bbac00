"""The files of a run (dev/formats.md, 4), and what is wrong with one said with its place: DataError."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.files import write_file

TAIL = 1 << 16  # bytes: longer than any line of metrics.jsonl
OWN = ("config.json", "metrics.jsonl", "eval.jsonl", "results.json", "mixture.json", "DONE", "FAILED")  # of a run


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


@contextlib.contextmanager
def blame(path: Path, line: int = 1) -> Iterator[None]:
    """What is missing or of another type in an object is said with its place."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"{path}:{line}: no key {error}") from None
    except (AttributeError, TypeError, ValueError, ArithmeticError, IndexError, EOFError, OSError) as error:
        raise DataError(f"{path}:{line}: not as expected ({error})") from None


def parse_object(text: bytes, path: Path, line: int = 1) -> dict[str, Any]:
    """A JSON object that begins in this line of the file."""
    try:
        value = json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{line}: not JSON (not UTF-8: {error.reason})") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line + error.lineno - 1}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: not a JSON object")
    return value


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of writing, such as a full disk, names the file."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, f"{os.path.realpath(path)}.tmp"):
            error.filename = str(path)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all; the file that a link points to is written, the link stays."""
    with naming(path):
        write_file(os.path.realpath(path), data)


def open_regular(path: Path) -> BinaryIO:
    """For reading; a FIFO, which would wait for a writer, and a device, which may never end, are refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{path}: {'a folder' if path.is_dir() else 'a FIFO or a device'}, expected a file")
    return open(descriptor, "rb")


def is_there(path: Path) -> bool:
    """Whatever it is; where that may not be asked is an error, not "missing"."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return True


def read_bytes(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def read_json(path: Path) -> dict[str, Any]:
    """{} where there is no such file."""
    return parse_object(read_bytes(path), path) if is_there(path) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a last line that is not complete yet is left out."""
    if not is_there(path):
        return []
    lines = read_bytes(path).split(b"\n")[:-1]
    return [parse_object(line, path, number) for number, line in enumerate(lines, 1)]


def last_line(path: Path) -> dict[str, Any]:
    """The last complete object, without reading the file whole; {} where there is none yet."""
    if not is_there(path):
        return {}
    with open_regular(path) as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return parse_object(lines[-1], path) if lines and lines[-1].startswith(b"{") else {}


def read_ledger(path: Path) -> np.ndarray | None:
    """(entities, slots) of count, cut, first_step, last_step; None where there is no such file."""
    if not is_there(path):
        return None
    try:
        with open_regular(path) as file:
            ledger = np.load(file)
        ledger["count"]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not a ledger ({error})") from None
    return ledger


def is_checkpoint(folder: Path) -> bool:
    return folder.parent.name == "checkpoints" and folder.name.startswith("step_")


def not_readable(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror}")


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Run directories: the folders themselves, or what is below them; each once, by whatever paths it was named."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            said = "it is not a folder" if is_there(folder) else "there is no such folder"
            raise DataError(f"no run (config.json) below {folder}: {said}")
        here = []
        for parent, below, files in os.walk(folder, onerror=not_readable):
            below[:] = [name for name in below if not is_checkpoint(Path(parent, name))]
            if "config.json" in files and not is_checkpoint(Path(parent).absolute()):
                here.append(Path(parent))
        for run in sorted(here):
            found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def names_of(runs: list[Path]) -> list[str]:
    """By which a table tells runs apart: the directory's name, with as much of its path as makes it the only one."""
    paths = [run.absolute().parts for run in runs]
    length = 1
    names = [run.name or run.absolute().name for run in runs]
    while len(set(names)) < len(names):
        length += 1
        seen: dict[str, int] = {}
        for name in names:
            seen[name] = seen.get(name, 0) + 1
        names = ["/".join(path[-length:]) if seen[name] > 1 else name for name, path in zip(names, paths)]
    return names


def files_of(runs: Iterable[Path]) -> list[Path]:
    """What these runs' tables and figures are made of, there or not: no output may take its place."""
    found = []
    for run in runs:
        found += [run / name for name in OWN]
        found += [path for folder in ("exposures", "answers") for path in (run / folder).glob("*")]
    return found


def run_state(run: Path) -> str:
    """done, failed or stopped."""
    if is_there(run / "DONE"):
        return "done"
    return "failed" if is_there(run / "FAILED") else "stopped"


def checkpoint_step(path: str) -> int | None:
    """Of a checkpoint's directory, by its name; None where it has another."""
    found = re.search(r"step_(\d+)/*$", path)
    return int(found[1]) if found else None


def read_results(run: Path, steps: int | None, say: bool = True) -> dict[str, Any]:
    """results.json; {} where there is none, or where it is of another checkpoint than the run's last step's, which is
    warned of if `say`."""
    path = run / "results.json"
    results = read_json(path)
    with blame(path):
        step = checkpoint_step(results.get("config", {}).get("options", {}).get("checkpoint", ""))
    if None in (step, steps) or step == steps:
        return results
    if say:
        warn(f"{path} is of step {step}, the run is at step {steps}: not used; make it again with eval_knowledge")
    return {}
