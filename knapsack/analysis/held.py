"""What runs share that are points of one curve. An option that is new in the trainer is held without a line here.

Runs of one point are replicates: they may differ in their seeds and in their data's paths (each may have people of its
own, as many as the others, of the same make), in nothing else that is part of training. A figure or a fit that would
join others refuses them by name. Along a line the number of facts K of a source may vary where one number is held:
their exposures F, or K F, the exposures of all facts together (the axis of equal budget); else the line would be of two
things at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from knapsack.analysis.datasets import data_of, no_replicates
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
FACTS, EXPOSURES = "facts/", "exposures/"  # columns, by source
SAME = 0.02  # relative: exposures as realised, of whole documents
PATHS = {"source", "branch"}  # what comes after the name, or whether it is given at all, is no option
OF_A_ROW = {"run", "state", "step", "time", "tokenizer", "steps", *ACCOUNTS} - {"tokens"}  # steps follow from tokens


def held_options(row: Row, free: Iterable[str] = ()) -> Held:
    """Of a row of the table of runs (runs/table.py), but for columns that may differ."""
    held: Held = {}
    for name, value in row.items():
        if (
            ("/" in name and not name.startswith(FACTS))
            or name in REPLICATES | NO_PART_OF_TRAINING | OF_A_ROW
            or name in free
            or is_missing(value)
        ):
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


def facts_axis(runs: pd.DataFrame) -> str:
    """Of the runs of a line: what is held where the number of facts varies, "" where it does not. Raises UsageError
    where neither exposures nor K F are the same."""
    said = []
    for column in (name for name in runs if name.startswith(FACTS)):
        source = column.removeprefix(FACTS)
        known = runs[runs[column].notna()]
        K = known[column].to_numpy(float)
        if len(set(K)) < 2:
            continue
        F = known[EXPOSURES + source].to_numpy(float)
        held = [(what, values) for what, values in (("F", F), ("K F", K * F)) if np.ptp(values) <= SAME * values.max()]
        if not held:
            numbers = ", ".join(f"{k:g} x {f:g}" for k, f in sorted(set(zip(K, F)))[:4])
            raise UsageError(
                f"the runs of a line differ in {column} and in {EXPOSURES}{source} ({numbers}), and K F is not the "
                "same either: they show two things at once; give runs of equal K, of equal F, or of equal K F"
            )
        said.append(f"{held[0][0]} of {source} held at {held[0][1].mean():.4g}")
    return "; ".join(said)


def check_replicates(points: Iterable[Point], x: str, advice: str) -> None:
    """Raises UsageError where a point joins runs that are no replicates; `advice`: what splits them."""
    for point in points:
        names = differing(point.runs)
        said = f"differ in {', '.join(names)}" if names else other_data(point.runs)
        if said:
            shown = ", ".join(map(str, point.runs["run"].iloc[:4])) + (", ..." if len(point.runs) > 4 else "")
            raise UsageError(
                f"runs {shown} have the same {x} ({cell(point.at)}) but {said}: they are no "
                f"replicates, and no point of one curve; {advice}"
            )


def other_data(runs: pd.DataFrame, equal_facts: bool = True) -> str:
    """In which source runs by directory were trained on data of another make; empty where nothing is known of it.
    `equal_facts`: as many are expected."""
    values = runs["source"].items() if "source" in runs else ()
    listed = {run: value for run, value in values if isinstance(run, Path) and isinstance(value, list)}
    given = {run: [str(one).partition("=")[0] for one in value] for run, value in listed.items()}
    for source in dict.fromkeys(name for names in given.values() for name in names):
        first, *others = (data_of(run, source) for run, names in given.items() if source in names)
        for other in others:
            if reason := no_replicates(first, other, equal_facts):
                return f"were trained on {first.path} and {other.path} as {source} ({reason})"
    return ""
