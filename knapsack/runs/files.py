"""The files of a run (dev/formats.md, 4), and what is wrong with one said with its place: DataError."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.common.errors import DataError

TAIL = 1 << 16  # bytes: longer than any line of metrics.jsonl


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


@contextlib.contextmanager
def blame(path: Path, line: int = 1) -> Iterator[None]:
    """What is missing or of another type in an object is said with its place."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"{path}:{line}: no key {error}") from None
    except (AttributeError, TypeError, ValueError, IndexError, EOFError, OSError) as error:
        raise DataError(f"{path}:{line}: not as expected ({error})") from None


def parse_object(text: bytes, path: Path, line: int = 1) -> dict[str, Any]:
    """A JSON object that begins in this line of the file."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line + error.lineno - 1}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: not a JSON object")
    return value


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def read_json(path: Path) -> dict[str, Any]:
    """{} where there is no such file."""
    return parse_object(read_bytes(path), path) if path.exists() else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a last line that is not complete yet is left out."""
    if not path.exists():
        return []
    lines = read_bytes(path).split(b"\n")[:-1]
    return [parse_object(line, path, number) for number, line in enumerate(lines, 1)]


def last_line(path: Path) -> dict[str, Any]:
    """The last complete object, without reading the file whole; {} where there is none yet."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return parse_object(lines[-1], path) if lines and lines[-1].startswith(b"{") else {}


def read_ledger(path: Path) -> np.ndarray | None:
    """(entities, slots) of count, cut, first_step, last_step; None where there is no such file."""
    if not path.exists():
        return None
    try:
        ledger = np.load(path)
        ledger["count"]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not a ledger ({error})") from None
    return ledger


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Run directories: the folders themselves, or what is below them."""
    return [
        path.parent
        for folder in folders
        for path in sorted(folder.rglob("config.json"))
        if "checkpoints" not in path.parts
    ]


def run_state(run: Path) -> str:
    """done, failed or stopped."""
    if (run / "DONE").exists():
        return "done"
    return "failed" if (run / "FAILED").exists() else "stopped"
