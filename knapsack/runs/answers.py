"""The per-question answers of several checkpoints as arrays: by question, fact and step.

A question is (set, number), a fact (source, entity, attribute), where a set without a source is one of its own. Files
are read line by line; a few numbers a question and step are kept. What would make a join wrong is refused with file and
line: lines that are not JSON, a question twice in a step, steps that asked different questions, one number for two
questions, exposures that fall, doses that change.
"""

from __future__ import annotations

import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from knapsack.common.errors import DataError
from knapsack.runs.answer_files import Answer, Fact, read_file
from knapsack.runs.files import warn


@dataclass
class Answers:
    """steps (S), facts (F), questions (Q); correct and nll are (S, Q), exposures (S, F) and doses (F), -1 where no line
    has them; fact_of and set_of (Q) are a question's."""

    steps: np.ndarray
    facts: list[Fact]
    group: list[str]
    fact_of: np.ndarray
    correct: np.ndarray
    nll: np.ndarray
    exposures: np.ndarray
    set_of: list[str] = field(default_factory=list)
    doses: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def by_fact(self, values: np.ndarray) -> np.ndarray:
        """The mean over a fact's questions of one step's values, those that are not finite left out."""
        finite = np.isfinite(values)
        total = np.bincount(self.fact_of[finite], values[finite], len(self.facts))
        number = np.bincount(self.fact_of[finite], minlength=len(self.facts))
        return np.divide(total, number, out=np.full(len(self.facts), np.nan), where=number > 0)


@dataclass
class Chosen:
    """Which questions are read; None: all."""

    kind: str | None = "seen"
    source: str | None = None
    set_name: str | None = None

    def takes(self, answer: Answer) -> bool:
        return (
            self.kind in (None, answer.kind)
            and self.source in (None, answer.fact[0])
            and self.set_name in (None, answer.question[0])
        )

    def __str__(self) -> str:
        names = (("kind", self.kind or "all"), ("source", self.source), ("set", self.set_name))
        return ", ".join(f"{name} {value}" for name, value in names if value)


@dataclass
class Step:
    """What one step's lines say, as columns in the order of the lines."""

    question: array.array = field(default_factory=lambda: array.array("q"))
    correct: array.array = field(default_factory=lambda: array.array("b"))
    nll: array.array = field(default_factory=lambda: array.array("d"))
    exposures: array.array = field(default_factory=lambda: array.array("q"))
    dose: array.array = field(default_factory=lambda: array.array("q"))
    line: array.array = field(default_factory=lambda: array.array("q"))
    file: array.array = field(default_factory=lambda: array.array("q"))


class Reader:
    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.questions: dict[tuple[str, int], int] = {}
        self.question_fact: list[int] = []
        self.question_kind: list[str] = []
        self.facts: dict[Fact, int] = {}
        self.group: list[str] = []
        self.steps: dict[int, Step] = {}
        self.files: list[Path] = []
        self.kinds_met: set[str] = set()

    def read(self, path: Path) -> None:
        self.files.append(path)
        for number, answer in read_file(path):
            self.kinds_met.add(answer.kind)
            if self.chosen.takes(answer):
                self.add(answer, number)

    def add(self, answer: Answer, number: int) -> None:
        """`number`: of the line, in the file that is being read."""
        columns = self.steps.setdefault(answer.step, Step())
        columns.question.append(self.number_of(answer, f"{self.files[-1]}:{number}"))
        columns.correct.append(answer.correct)
        columns.nll.append(answer.nll)
        columns.exposures.append(answer.exposures)
        columns.dose.append(answer.dose)
        columns.line.append(number)
        columns.file.append(len(self.files) - 1)

    def number_of(self, answer: Answer, place: str) -> int:
        """The question's number here; a new one is entered, with its fact."""
        fact = self.facts.setdefault(answer.fact, len(self.facts))
        if fact == len(self.group):
            self.group.append(answer.group)
        question = self.questions.setdefault(answer.question, len(self.question_fact))
        if question == len(self.question_fact):
            self.question_fact.append(fact)
            self.question_kind.append(answer.kind)
        before = self.question_fact[question], self.question_kind[question]
        if before != (fact, answer.kind):
            name, number = answer.question
            raise DataError(
                f"{place}: question {number} of {name} asks for {answer.fact} ({answer.kind}), elsewhere for "
                f"{list(self.facts)[before[0]]} ({before[1]}): two question sets of one name; give the files of one"
            )
        return question

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
            raise DataError(
                f"{self.place(columns, second)}: question {question} of {name} occurs twice at step {step}, first in "
                f"{self.place(columns, first)}; join the files of one run only, each step once"
            )
        return at

    def finish(self, common: bool = False) -> Answers:
        """`common`: questions that were not asked at every step are left out instead of refused."""
        if not self.questions:
            met = ", ".join(sorted(self.kinds_met))
            raise DataError(
                f"no question with {self.chosen} in {len(self.files)} files, whose kinds are: {met}; try --kind"
            )
        steps = sorted(self.steps)
        at = np.stack([self.asked(step) for step in steps])
        kept = (at >= 0).all(axis=0)
        if not kept.all():
            self.say_difference(steps, at, common, int(kept.sum()))
        used, fact_of = np.unique(np.array(self.question_fact)[kept], return_inverse=True)
        facts, rows = list(self.facts), at[:, kept]

        def column(name: str, dtype: type) -> np.ndarray:
            return np.stack([np.array(getattr(self.steps[s], name), dtype)[row] for s, row in zip(steps, rows)])

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
        answers.doses = self.fact_doses(answers, column("dose", np.int64), rows)
        return answers

    def say_difference(self, steps: list[int], at: np.ndarray, common: bool, shared: int) -> None:
        row, question = (int(i[0]) for i in np.nonzero(at < 0))
        name, number = list(self.questions)[question]
        text = (
            f"the steps asked different questions: step {steps[row]} has {int((at[row] >= 0).sum())} of {at.shape[1]}, "
            f"it lacks question {number} of {name}; {shared} were asked at every step"
        )
        if not common or not shared:
            advice = "; --common takes those, or give files made with the same --questions-per-set"
            raise DataError(text + (advice if shared else ""))
        warn(text + " and are used")

    def fact_exposures(self, answers: Answers, given: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """`given`: (S, Q), by question. A fact's questions must agree on it, and it must not fall: else the files are
        of different runs."""
        most = np.full((len(answers.steps), len(answers.facts)), -1, np.int64)
        for i, step in enumerate(answers.steps):
            np.maximum.at(most[i], answers.fact_of, given[i])
            wrong = np.flatnonzero((given[i] >= 0) & (given[i] != most[i][answers.fact_of]))
            if i and not len(wrong):
                wrong = np.flatnonzero((most[i] < most[i - 1])[answers.fact_of] & (given[i] >= 0))
            if len(wrong):
                q, columns = int(wrong[0]), self.steps[int(step)]
                fact = int(answers.fact_of[q])
                others = (
                    f"{most[i, fact]} in another line of step {step}"
                    if given[i, q] != most[i, fact]
                    else f"{most[i - 1, fact]} at step {answers.steps[i - 1]} before"
                )
                raise DataError(
                    f"{self.place(columns, int(rows[i, q]))}: {given[i, q]} exposures of {answers.facts[fact]}, but "
                    f"{others}; are these files of one run?"
                )
        return most

    def fact_doses(self, answers: Answers, given: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """`given`: (S, Q), by question. A fact has one dose, in all lines of all steps."""
        doses = np.full(len(answers.facts), -1, np.int64)
        np.maximum.at(doses, answers.fact_of, given.max(axis=0))
        wrong = np.argwhere((given >= 0) & (given != doses[answers.fact_of]))
        if len(wrong):
            i, q = (int(number) for number in wrong[0])
            fact, columns = int(answers.fact_of[q]), self.steps[int(answers.steps[i])]
            raise DataError(
                f"{self.place(columns, int(rows[i, q]))}: dose {given[i, q]} of {answers.facts[fact]}, but "
                f"{doses[fact]} in another line; are these files of one run?"
            )
        return doses


def read_answers(files: Iterable[Path], chosen: Chosen, common: bool = False) -> Answers:
    """`files`: as answer_files finds them."""
    reader = Reader(chosen)
    for path in files:
        reader.read(path)
    return reader.finish(common)
