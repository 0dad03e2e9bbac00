"""The chance of guessing right, where a run's results.json says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knapsack.runs.answers import Answers
from knapsack.runs.files import blame, read_json


def chance_by_attribute(run: Path, names: set[str]) -> dict[tuple[str, str], float]:
    """By (set, attribute); {} without results.json."""
    known = read_json(run / "results.json").get("know", {})
    found = {}
    with blame(run / "results.json"):
        for name in names & known.keys():
            for cell in known[name].get("by_attribute", []):
                if isinstance(cell.get("chance"), (int, float)) and 0 <= cell["chance"] < 1:
                    found[name, cell["attribute"]] = float(cell["chance"])
    return found


def guesses_of(answers: Answers, run: Path | None) -> np.ndarray:
    """(Q,): of each question, NaN where it is not known."""
    known = chance_by_attribute(run, set(answers.set_of)) if run else {}
    pairs = ((name, answers.facts[fact][2]) for name, fact in zip(answers.set_of, answers.fact_of))
    return np.array([known.get(pair, np.nan) for pair in pairs])


def persons_of(answers: Answers) -> np.ndarray:
    """(F,): a number of each fact's entity, by source."""
    names = [f"{source}\0{entity}" for source, entity, _ in answers.facts]
    return np.unique(names, return_inverse=True)[1].ravel()
