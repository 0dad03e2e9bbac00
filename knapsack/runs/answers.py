"""The per-question files of several checkpoints (dev/formats.md, 8) as arrays: by question, fact and step.

A question is (set, number), a fact (source, entity, attribute), where a set without a source stands for one. Files are
read line by line; a few numbers a question and step are kept. What would make a join wrong is refused with file and
line: lines that are not JSON, a question twice in a step, steps that asked different questions, one number for two
questions, exposures that fall.
"""

from __future__ import annotations

import array
import json
import math
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable

import numpy as np


class Refusal(Exception):
    """Told in one sentence; the code is the exit code: 2 usage, 3 bad data."""

    def __init__(self, message: str, code: int = 3) -> None:
        super().__init__(message)
        self.code = code


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def answer_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are; of a run, or of its folder answers/, the step_*.jsonl in it."""
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
            continue
        if not path.is_dir():
            raise Refusal(f"{path}: no such file or run directory")
        folder = path / "answers" if (path / "answers").is_dir() else path
        files = sorted(folder.glob("step_*.jsonl"))
        if not files:
            raise Refusal(
                f"{path}: no answers/step_*.jsonl; train with --per-question on, or give the files that eval_knowledge "
                "--per-question wrote"
            )
        found += files
        if (path / "eval.jsonl").exists():
            warn_of_missing(path, files)
    return found


def warn_of_missing(run: Path, files: list[Path]) -> None:
    have = {int(number) for file in files for number in re.findall(r"step_(\d+)\.jsonl$", file.name)}
    steps = set()
    try:
        for line in (run / "eval.jsonl").read_bytes().split(b"\n")[:-1]:
            steps.add(json.loads(line).get("step"))
    except (OSError, ValueError, AttributeError) as error:
        warn(f"{run / 'eval.jsonl'}: not one JSON object a line ({error}); steps without answers may go unnoticed")
    missing = sorted({step for step in steps if type(step) is int} - have)
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        warn(
            f"{run}: evaluated at {len(missing)} steps that have no file of answers ({shown}); changes of a fact "
            "between them go unseen"
        )


@dataclass
class Step:
    """What one step's lines say, as columns in the order of the lines."""

    question: array.array = field(default_factory=lambda: array.array("q"))
    correct: array.array = field(default_factory=lambda: array.array("b"))
    nll: array.array = field(default_factory=lambda: array.array("d"))
    exposures: array.array = field(default_factory=lambda: array.array("q"))  # -1: not told
    line: array.array = field(default_factory=lambda: array.array("q"))
    file: array.array = field(default_factory=lambda: array.array("q"))


@dataclass
class Answers:
    """steps (S), facts (F), questions (Q); correct and nll are (S, Q), exposures (S, F), -1 where no line tells; set_of
    is the set of each question."""

    steps: np.ndarray
    facts: list[tuple[str, int, str]]
    group: list[str]
    fact_of: np.ndarray
    correct: np.ndarray
    nll: np.ndarray
    exposures: np.ndarray
    set_of: list[str] = field(default_factory=list)

    def by_fact(self, values: np.ndarray) -> np.ndarray:
        """The mean over a fact's questions of one step's values, those that are not finite left out."""
        finite = np.isfinite(values)
        total = np.bincount(self.fact_of[finite], values[finite], len(self.facts))
        number = np.bincount(self.fact_of[finite], minlength=len(self.facts))
        return np.divide(total, number, out=np.full(len(self.facts), np.nan), where=number > 0)


class Reader:
    def __init__(self, kind: str = "seen", source: str | None = None, set_name: str | None = None) -> None:
        self.kind, self.source, self.set_name = kind, source, set_name
        self.questions: dict[tuple[str, int], int] = {}
        self.question_fact: list[int] = []
        self.question_kind: list[str] = []
        self.facts: dict[tuple[str, int, str], int] = {}
        self.group: list[str] = []
        self.steps: dict[int, Step] = {}
        self.files: list[Path] = []
        self.kinds_met: set[str] = set()

    def read(self, path: Path) -> None:
        self.files.append(path)
        named = re.search(r"step_(\d+)\.jsonl$", path.name)
        number = 0
        try:
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        answer = json.loads(line)
                    except ValueError as error:
                        cut = "; the line is cut off, was the file copied whole?" if not line.endswith("\n") else ""
                        raise Refusal(f"{path}:{number}: not a JSON object ({error}){cut}") from None
                    self.take(answer, int(named[1]) if named else None, path, number)
        except UnicodeDecodeError as error:
            raise Refusal(f"{path}: after line {number}: not UTF-8 ({error.reason})") from None
        except OSError as error:
            raise Refusal(f"{path}: {error.strerror}") from None
        if not number:
            raise Refusal(f"{path}: empty; expected one JSON object a question")

    def take(self, answer: Any, named_step: int | None, path: Path, number: int) -> None:
        try:
            step = answer.get("step", named_step)
            key = answer["set"], answer["question"]
            fact = (
                answer.get("source") or answer["set"],
                answer["entity"],
                answer["attribute"],
            )  # a set may have no source
            kind, group, correct, nll = answer["kind"], answer["group"], answer["correct"], answer["nll"]
        except (KeyError, AttributeError) as error:
            missing = f"no key {error}" if isinstance(error, KeyError) else "not an object"
            raise Refusal(
                f"{path}:{number}: {missing}; expected a line of --per-question (dev/formats.md, 8)"
            ) from None
        if step is None:
            raise Refusal(
                f"{path}:{number}: no key 'step', as of a checkpoint without trainer_state.json; name the file "
                "step_NUMBER.jsonl"
            )
        exposures = answer.get("exposures")
        if not (
            type(step) is type(key[1]) is type(fact[1]) is int
            and type(correct) is bool
            and (exposures is None or type(exposures) is int)
        ):
            raise Refusal(
                f"{path}:{number}: expected whole numbers at step, question, entity and exposures and true or false at "
                f"correct, found {answer}"
            )
        self.kinds_met.add(kind)
        if (
            (self.kind not in ("all", kind))
            or (self.source not in (None, fact[0]))
            or (self.set_name not in (None, key[0]))
        ):
            return
        try:
            nats = math.nan if nll is None else float(nll)
        except (TypeError, ValueError):
            raise Refusal(f"{path}:{number}: expected a number at nll, found {nll!r}") from None
        fact_number = self.facts.setdefault(fact, len(self.facts))
        if fact_number == len(self.group):
            self.group.append(group)
        question = self.questions.setdefault(key, len(self.question_fact))
        if question == len(self.question_fact):
            self.question_fact.append(fact_number)
            self.question_kind.append(kind)
        elif self.question_fact[question] != fact_number or self.question_kind[question] != kind:
            raise Refusal(
                f"{path}:{number}: question {key[1]} of {key[0]} asks for {fact} ({kind}), elsewhere for "
                f"{list(self.facts)[self.question_fact[question]]} ({self.question_kind[question]}): two question sets "
                "of one name; give the files of one"
            )
        columns = self.steps.setdefault(step, Step())
        columns.question.append(question)
        columns.correct.append(correct)
        columns.nll.append(nats)
        columns.exposures.append(-1 if exposures is None else exposures)
        columns.line.append(number)
        columns.file.append(len(self.files) - 1)

    def place(self, columns: Step, i: int) -> str:
        return f"{self.files[columns.file[i]]}:{columns.line[i]}"

    def asked(self, step: int) -> np.ndarray:
        """The line of each question (-1: not asked); twice in a step is refused, since one of the two would be lost."""
        columns = self.steps[step]
        at = np.full(len(self.question_fact), -1)
        numbers = np.frombuffer(columns.question, np.int64)
        at[numbers] = np.arange(len(numbers))
        twice = np.flatnonzero(at[numbers] != np.arange(len(numbers)))
        if len(twice):
            first, second = int(twice[0]), int(at[numbers[twice[0]]])
            name, question = list(self.questions)[int(numbers[first])]
            raise Refusal(
                f"{self.place(columns, second)}: question {question} of {name} occurs twice at step {step}, first in "
                f"{self.place(columns, first)}; join the files of one run only, each step once"
            )
        return at

    def finish(self, common: bool = False) -> Answers:
        if not self.questions:
            met = ", ".join(sorted(self.kinds_met))
            chosen = ", ".join(
                f"{name} {value}"
                for name, value in (("kind", self.kind), ("source", self.source), ("set", self.set_name))
                if value
            )
            raise Refusal(f"no question with {chosen} in {len(self.files)} files, whose kinds are: {met}; try --kind")
        steps = sorted(self.steps)
        at = np.stack([self.asked(step) for step in steps])
        kept = np.ones(at.shape[1], bool)
        if (at < 0).any():
            kept = (at >= 0).all(axis=0)
            self.tell_difference(steps, at, common, int(kept.sum()))
        used, fact_of = np.unique(np.array(self.question_fact)[kept], return_inverse=True)
        facts, rows = list(self.facts), at[:, kept]
        column = lambda name, dtype: np.stack(
            [np.array(getattr(self.steps[s], name), dtype)[row] for s, row in zip(steps, rows)]
        )  # noqa: E731
        answers = Answers(
            np.array(steps),
            [facts[i] for i in used],
            [self.group[i] for i in used],
            fact_of.ravel(),
            column("correct", bool),
            column("nll", np.float32),
            np.empty((0, 0)),
            [name for (name, _), use in zip(self.questions, kept) if use],
        )
        answers.exposures = self.fact_exposures(answers, column("exposures", np.int64), rows)
        return answers

    def tell_difference(self, steps: list[int], at: np.ndarray, common: bool, shared: int) -> None:
        row, question = (int(i[0]) for i in np.nonzero(at < 0))
        name, number = list(self.questions)[question]
        text = (
            f"the steps asked different questions: step {steps[row]} has {int((at[row] >= 0).sum())} of {at.shape[1]}, "
            f"it lacks question {number} of {name}; "
            f"{shared} were asked at every step"
        )
        if not common or not shared:
            raise Refusal(
                text
                + ("" if not shared else "; --common takes those, or give files made with the same --questions-per-set")
            )
        warn(text + " and are used")

    def fact_exposures(self, answers: Answers, told: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """A fact's questions must agree on it, and it must not fall: else the files are of different runs."""
        most = np.full((len(answers.steps), len(answers.facts)), -1, np.int64)
        for i, step in enumerate(answers.steps):
            np.maximum.at(most[i], answers.fact_of, told[i])
            wrong = np.flatnonzero((told[i] >= 0) & (told[i] != most[i][answers.fact_of]))
            if i and not len(wrong):
                wrong = np.flatnonzero((most[i] < most[i - 1])[answers.fact_of] & (told[i] >= 0))
            if len(wrong):
                q, columns = int(wrong[0]), self.steps[int(step)]
                fact = int(answers.fact_of[q])
                others = (
                    f"{most[i, fact]} in another line of step {step}"
                    if told[i, q] != most[i, fact]
                    else f"{most[i - 1, fact]} at step {answers.steps[i - 1]} before"
                )
                raise Refusal(
                    f"{self.place(columns, int(rows[i, q]))}: {told[i, q]} exposures of {answers.facts[fact]}, but "
                    f"{others}; are these files of one run?"
                )
        return most


def read_answers(
    paths: Iterable[Path],
    kind: str = "seen",
    source: str | None = None,
    set_name: str | None = None,
    common: bool = False,
) -> Answers:
    reader = Reader(kind, source, set_name)
    for path in answer_files(paths):
        reader.read(path)
    return reader.finish(common)
