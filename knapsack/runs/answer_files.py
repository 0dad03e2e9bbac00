"""Files of per-question answers (dev/formats.md, 8): which there are, and what each line says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.errors import DataError
from knapsack.runs.files import warn

Fact = tuple[str, int, str]  # source, entity, attribute
NUMBERED = re.compile(r"step_(\d+)\.jsonl$")


class Answer(NamedTuple):
    step: int
    question: tuple[str, int]  # set, number
    fact: Fact
    kind: str
    group: str
    correct: bool
    nll: float  # nan where it is not finite
    exposures: int  # -1 where the line has none


def answer_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are; of a run, or of its folder answers/, the step_*.jsonl in it."""
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
            continue
        if not path.is_dir():
            raise DataError(f"{path}: no such file or run directory")
        folder = path / "answers" if (path / "answers").is_dir() else path
        files = sorted(folder.glob("step_*.jsonl"))
        if not files:
            advice = "train with --per-question on, or give the files that eval_knowledge --per-question wrote"
            raise DataError(f"{path}: no answers/step_*.jsonl; {advice}")
        found += files
        if (path / "eval.jsonl").exists():
            warn_of_missing(path, files)
    return found


def step_in_name(path: Path) -> int | None:
    found = NUMBERED.search(path.name)
    return int(found[1]) if found else None


def warn_of_missing(run: Path, files: list[Path]) -> None:
    steps = set()
    try:
        for line in (run / "eval.jsonl").read_bytes().split(b"\n")[:-1]:
            steps.add(json.loads(line).get("step"))
    except (OSError, ValueError, AttributeError) as error:
        warn(f"{run / 'eval.jsonl'}: not one JSON object a line ({error}); steps without answers may go unnoticed")
    missing = sorted({step for step in steps if type(step) is int} - {step_in_name(file) for file in files})
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        warn(
            f"{run}: evaluated at {len(missing)} steps that have no file of answers ({shown}); changes of a fact "
            "between them go unseen"
        )


def read_file(path: Path) -> Iterator[tuple[int, Answer]]:
    """The answers with their lines' numbers."""
    named_step, number = step_in_name(path), 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield number, parse(line, named_step, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: after line {number}: not UTF-8 ({error.reason})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not number:
        raise DataError(f"{path}: empty; expected one JSON object a question")


def parse(line: str, named_step: int | None, place: str) -> Answer:
    """A set may have no source: it is one then."""
    try:
        answer = json.loads(line)
    except ValueError as error:
        cut = "; the line is cut off, was the file copied whole?" if not line.endswith("\n") else ""
        raise DataError(f"{place}: not a JSON object ({error}){cut}") from None
    try:
        step, question = answer.get("step", named_step), (answer["set"], answer["question"])
        fact = answer.get("source") or answer["set"], answer["entity"], answer["attribute"]
        kind, group, correct, nll = answer["kind"], answer["group"], answer["correct"], answer["nll"]
    except (KeyError, AttributeError) as error:
        missing = f"no key {error}" if isinstance(error, KeyError) else "not an object"
        raise DataError(f"{place}: {missing}; expected a line of --per-question (dev/formats.md, 8)") from None
    if step is None:
        raise DataError(
            f"{place}: no key 'step', as of a checkpoint without trainer_state.json; name the file step_NUMBER.jsonl"
        )
    exposures = answer.get("exposures")
    whole = (step, question[1], fact[1], -1 if exposures is None else exposures)
    if not all(type(number) is int for number in whole) or type(correct) is not bool:
        raise DataError(
            f"{place}: expected whole numbers at step, question, entity and exposures and true or false at correct, "
            f"found {answer}"
        )
    return Answer(step, question, fact, kind, group, correct, parse_nll(nll, place), whole[-1])


def parse_nll(nll: Any, place: str) -> float:
    try:
        return math.nan if nll is None else float(nll)
    except (TypeError, ValueError):
        raise DataError(f"{place}: expected a number at nll, found {nll!r}") from None
