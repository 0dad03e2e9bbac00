"""Names and contents of what an analysis writes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from knapsack.common.files import dump_json, write_file

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


def write_json(path: Path, value: Any) -> None:
    write_file(str(path), dump_json(strict(value)))


def write_text(path: Path, text: str) -> None:
    write_file(str(path), text.encode())
