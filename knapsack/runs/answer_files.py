"""Files of per-question answers (dev/formats.md, 8): which there are, and what each line says."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from knapsack.common.errors import DataError
from knapsack.runs.files import is_there, open_regular, parse_object, read_lines, warn

Fact = tuple[str, int, str]  # source, entity, attribute
NUMBERED = re.compile(r"step_(\d+)\.jsonl$")


class Answer(NamedTuple):
    step: int
    question: tuple[str, int]  # set, number
    fact: Fact
    kind: str
    group: str
    correct: bool  # never where nll is not finite
    nll: float  # nan where it is not finite
    exposures: int  # -1 where the line has none
    dose: int = -1  # the same: of --exposures NAME=random:LO:HI


def answer_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are; of a run, or of its folder answers/, the step_*.jsonl in it."""
    found: list[Path] = []  # each once, by whatever paths it was named
    for path in paths:
        if not path.is_dir():
            if not is_there(path):
                raise DataError(f"{path}: no such file or run directory")
            open_regular(path).close()
            found.append(path)
            continue
        folder = path / "answers" if (path / "answers").is_dir() else path
        files = sorted(folder.glob("step_*.jsonl"))
        if not files:
            advice = "train with --per-question on, or give the files that eval_knowledge --per-question wrote"
            raise DataError(f"{path}: no answers/step_*.jsonl; {advice}")
        found += files
        if (path / "eval.jsonl").exists():
            warn_of_missing(path, files)
    return list({os.path.realpath(file): file for file in reversed(found)}.values())[::-1]


def run_of(file: Path) -> Path | None:
    """The run whose answers/ this file is in."""
    folder = file.absolute().parent
    run = folder.parent if folder.name == "answers" else folder
    return Path(os.path.realpath(run)) if (run / "config.json").is_file() else None


def step_in_name(path: Path) -> int | None:
    found = NUMBERED.search(path.name)
    return int(found[1]) if found else None


def warn_of_missing(run: Path, files: list[Path]) -> None:
    steps = set()
    try:
        steps = {line.get("step") for line in read_lines(run / "eval.jsonl") if type(line.get("step")) is int}
    except DataError as error:
        warn(f"{error}: not one JSON object a line; steps without answers may go unnoticed")
    missing = sorted(steps - {step_in_name(file) for file in files})
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
        with open_regular(path) as lines:
            for number, line in enumerate(lines, 1):
                yield number, parse(line, named_step, path, number)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not number:
        raise DataError(f"{path}: empty; expected one JSON object a question")


def parse(line: bytes, named_step: int | None, path: Path, number: int) -> Answer:
    """A set may have no source: it is one then."""
    place = f"{path}:{number}"
    try:
        answer = parse_object(line.rstrip(b"\n"), path, number)
    except DataError as error:
        cut = "; the line is cut off, was the file copied whole?" if not line.endswith(b"\n") else ""
        raise DataError(f"{error}{cut}") from None
    try:
        step, question = answer.get("step", named_step), (answer["set"], answer["question"])
        fact = answer.get("source") or answer["set"], answer["entity"], answer["attribute"]
        kind, group, correct, nll = answer["kind"], answer["group"], answer["correct"], answer["nll"]
    except KeyError as error:
        raise DataError(f"{place}: no key {error}; expected a line of --per-question (dev/formats.md, 8)") from None
    if step is None:
        raise DataError(
            f"{place}: no key 'step', as of a checkpoint without trainer_state.json; name the file step_NUMBER.jsonl"
        )
    counts = (answer.get("exposures"), answer.get("dose"))
    words = (question[0], fact[0], fact[2], kind, group)
    if not all(isinstance(word, str) for word in words):
        raise DataError(f"{place}: expected texts at set, source, attribute, kind and group, found {answer}")
    whole = (step, question[1], fact[1], *(-1 if count is None else count for count in counts))
    if not all(type(number) is int and abs(number) < 1 << 62 for number in whole) or type(correct) is not bool:
        raise DataError(
            f"{place}: expected whole numbers at step, question, entity, exposures and dose, and true or false at "
            f"correct, found {answer}"
        )
    finite = parse_nll(nll, place)
    return Answer(step, question, fact, kind, group, correct and math.isfinite(finite), finite, *whole[3:])


def parse_nll(nll: Any, place: str) -> float:
    try:
        found = math.nan if nll is None else float(nll)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{place}: expected a number at nll, found {nll!r}") from None
    return found if math.isfinite(found) else math.nan
