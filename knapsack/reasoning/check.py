"""Judges generated texts by their final answer."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from typing import Any

from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import open_input, parse_json
from knapsack.reasoning.problems import Problem, final_answer, solve


def problem_of(record: dict[str, Any], task: str, place: str) -> Problem:
    numbers = record.get("problem")
    texts = [record[key] for key in ("question", "prompt") if isinstance(record.get(key), str)]
    if numbers is None and texts:  # eval_knowledge --generate: `question` is a number, `prompt` the text
        numbers = [int(number) for number in re.findall(r"\d+", texts[0])]
    valid = isinstance(numbers, list) and len(numbers) >= 1 and all(type(number) is int for number in numbers)
    if not valid or (task == "slope" and (len(numbers) != 4 or numbers[0] == numbers[2])):
        expected = "four numbers x1, y1, x2, y2 with x1 != x2" if task == "slope" else "at least one number"
        raise DataError(
            f"{place}: expected {expected} in 'problem' (a list), 'question' or 'prompt' (text), found {numbers!r}; "
            "the lines of PREFIX_heldout.jsonl have them"
        )
    return tuple(numbers)


def check_answer(line: bytes, place: str, task: str | None) -> tuple[str, bool]:
    """'right', 'wrong' or 'malformed', and whether a limit of tokens ended the text before its answer."""
    record = parse_json(line, place)
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DataError(f"{place}: expected an object with the generated text at 'text'")
    task = task or record.get("task")
    if task not in ("slope", "max"):
        raise UsageError(f"{place}: no 'task' there; say --task slope or --task max")
    answer, truth = final_answer(record["text"]), solve(task, problem_of(record, task, place))
    if answer is None:
        return "malformed", record.get("ended") is False
    return "right" if answer == truth else "wrong", False


def check(options: argparse.Namespace) -> None:
    from scipy.stats import binomtest  # slow to load, and needed here alone

    counts: Counter[str] = Counter()
    cut = 0
    try:
        with open_input(options.answers) as lines:
            for number, line in enumerate(lines, 1):
                verdict, was_cut = check_answer(line, f"{options.answers}:{number}", options.task)
                counts[verdict] += 1
                cut += was_cut
    except OSError as error:
        raise DataError(f"{options.answers}: {error.strerror}") from None
    right, total = counts["right"], sum(counts.values())
    if not total:
        raise DataError(f"{options.answers}: empty; expected one JSON object a generated text")
    low, high = binomtest(right, total).proportion_ci(method="wilson")
    print(
        f"{right} of {total} right: accuracy {right / total:.4f}, 95 % interval {low:.4f} to {high:.4f}; "
        f"{counts['wrong']} wrong, {counts['malformed']} malformed (counted as wrong)"
    )
    if cut:
        print(f"{cut} of the malformed were cut off; try a larger --generate-tokens", file=sys.stderr)
