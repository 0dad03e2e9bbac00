"""Names and contents of what an analysis writes."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from knapsack.common.errors import UsageError
from knapsack.runs.files import write_bytes

FIGURES = (".png", ".pdf", ".svg")


def figure_file(text: str) -> Path:
    """For argparse's type=."""
    path = Path(text)
    if path.suffix not in FIGURES or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in {' or '.join(FIGURES)}")
    return path


def strict(value: Any) -> Any:
    """JSON has no NaN: null for what is not a finite number."""
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Before anything is written: an output that is no file (a folder, a device, a FIFO), that is one of the inputs, or
    that is another output by a second name, is refused. Links are followed."""
    taken = {os.path.realpath(path): f"{path} is read, or is a run's own file" for path in inputs}
    for path in outputs:
        real = os.path.realpath(path)
        if os.path.lexists(real) and not os.path.isfile(real):
            raise UsageError(f"{path}: {'a folder' if os.path.isdir(real) else 'a device or a FIFO'}, expected a file")
        if real in taken or (same := same_file(real, taken)):
            raise UsageError(f"{path}: {taken[real if real in taken else same]}; give another name")
        taken[real] = f"{path} is written too"


def same_file(path: str, others: Iterable[str]) -> str | None:
    """Which of the others is this file by a hard link."""
    if not os.path.isfile(path) or os.stat(path).st_nlink == 1:
        return None
    return next((other for other in others if os.path.exists(other) and os.path.samefile(path, other)), None)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(strict(value), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A name of a file that is not UTF-8 keeps its bytes, half a surrogate pair becomes its number."""
    try:
        data = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        data = text.encode(errors="backslashreplace")
    write_bytes(path, data)
