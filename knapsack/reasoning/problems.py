"""Problems, their templates (templates/), their right answers, and how an answer is read out of a text."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.tokenizer import END_OF_TEXT

TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
LIMIT = 100  # numbers are 0 ... 99
Problem = tuple[int, ...]


def read_templates(name: str) -> list[str]:
    """One a line, a line break inside it written \\n."""
    path = os.path.join(TEMPLATES, name)
    try:
        with open(path, encoding="utf-8") as file:
            return [line.replace("\\n", "\n") for line in file.read().splitlines()]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def identity(task: str, problem: Problem) -> tuple:
    """Equal for problems that are the same but for the order of points or numbers."""
    return tuple(sorted((problem[:2], problem[2:]))) if task == "slope" else tuple(sorted(problem))


def solve(task: str, problem: Problem) -> Fraction:
    if task == "max":
        return Fraction(max(problem))
    x1, y1, x2, y2 = problem
    return Fraction(y2 - y1, x2 - x1)


@dataclass
class Task:
    """Templates and how their fields are filled. Solution template i mod S belongs to question template i, so that a
    question has one worked solution."""

    name: str
    numbers: int = 30
    short: bool = False

    def __post_init__(self) -> None:
        kind = "answer" if self.name == "slope" else "short" if self.short else "steps"
        self.questions, self.solutions = (
            read_templates(self.name + ".question.txt"),
            read_templates(f"{self.name}.{kind}.txt"),
        )

    def draw(self, rng: np.random.Generator) -> Problem:
        if self.name == "max":
            return tuple(rng.integers(LIMIT, size=self.numbers).tolist())
        while True:
            x1, y1, x2, y2 = problem = tuple(rng.integers(LIMIT, size=4).tolist())
            if x1 != x2:
                return problem

    def fields(self, problem: Problem) -> dict[str, Any]:
        answer = solve(self.name, problem)
        if self.name == "slope":
            x1, y1, x2, y2 = problem
            dx, dy = x2 - x1, y2 - y1
            return {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "dx": dx, "dy": dy, "gcd": math.gcd(dx, dy), "k": answer}
        maxima = np.maximum.accumulate(problem).tolist()
        steps = (
            f"\n{new} is {'greater than' if new > old else 'not greater than'} {old}: {most}."
            for new, old, most in zip(problem[1:], maxima, maxima[1:])
        )
        return {
            "numbers": ", ".join(map(str, problem)),
            "first": problem[0],
            "max": answer,
            "maxima": ", ".join(map(str, maxima)),
            "comparisons": "".join(steps),
        }

    def render(self, problem: Problem, template: int) -> tuple[str, str]:
        """Question and worked solution."""
        fields = self.fields(problem)
        return self.questions[template].format(**fields), self.solutions[template % len(self.solutions)].format(
            **fields
        )


MARK = "Final Answer:"
NUMBER = re.compile(r"(?:k\s*=\s*)?([+-]?\d+(?:\.\d+)?)(?:\s*/\s*([+-]?\d+))?\.?")


def final_answer(text: str) -> Fraction | None:
    """What follows the last mark, up to the end of the line; None where that is no number. After the end of
    the document is another one."""
    _, mark, rest = text.partition(END_OF_TEXT)[0].rpartition(MARK)
    found = NUMBER.fullmatch(rest.strip().split("\n")[0].strip().strip("$").replace("\u2212", "-")) if mark else None
    if found is None or (found[2] is not None and int(found[2]) == 0):
        return None
    return Fraction(found[1]) / int(found[2] or 1)
