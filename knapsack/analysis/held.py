"""What runs share that are points of one curve. An option that is new in the trainer is held without a line here.

Runs of one point are replicates: they may differ in their seeds and in their data's paths (each may have people of its
own), in nothing else that is part of training. A figure or a fit that would join others refuses them by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from knapsack.analysis.points import Point
from knapsack.common.errors import UsageError
from knapsack.runs.table import ACCOUNTS, Row, cell

Held = dict[str, str]
REPLICATES = {"seed", "data-seed"}
NO_PART_OF_TRAINING = {
    *("out", "resume", "plan", "print-order", "manifest", "checkpoint-at", "keep"),
    *("val", "val-tokens", "questions", "questions-per-set", "eval-at", "per-question", "stop-at"),
    *("micro-batch", "recompute", "cuda-graph", "zero"),  # the same training, summed in another order
}
PATHS = {"source", "branch"}  # what comes after the name, or whether it is given at all, is no option
OF_A_ROW = {"run", "state", "step", "time", "tokenizer", "steps", *ACCOUNTS} - {"tokens"}  # steps follow from tokens


def held_options(row: Row, free: Iterable[str] = ()) -> Held:
    """Of a row of the table of runs (runs/table.py), but for columns that may differ."""
    held: Held = {}
    for name, value in row.items():
        if "/" in name or name in REPLICATES | NO_PART_OF_TRAINING | OF_A_ROW or name in free or is_missing(value):
            continue
        values = value if isinstance(value, list) else [value]
        if name in PATHS:
            values = [str(one).partition("=")[0] if "=" in str(one) else "given" for one in values]
        held[name] = " ".join(sorted(map(cell, values)))
    return held


def is_missing(value: Any) -> bool:
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, (str, list)) and not value)
    )


def differing(runs: pd.DataFrame, free: Iterable[str] = ()) -> list[str]:
    """The options in which these runs are no replicates."""
    free = set(free)
    held = [held_options(row, free) for row in runs.to_dict("records")]
    names = dict.fromkeys(name for one in held for name in one)
    return [name for name in names if len({one.get(name) for one in held}) > 1]


def check_replicates(points: Iterable[Point], x: str, advice: str) -> None:
    """Raises UsageError where a point joins runs that are no replicates; `advice`: what splits them."""
    for point in points:
        if names := differing(point.runs):
            shown = ", ".join(map(str, point.runs["run"].iloc[:4])) + (", ..." if len(point.runs) > 4 else "")
            raise UsageError(
                f"runs {shown} have the same {x} ({cell(point.at)}) but differ in {', '.join(names)}: they are no "
                f"replicates, and no point of one curve; {advice}"
            )
