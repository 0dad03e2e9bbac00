"""Exposures needed: the count at which half of the answers are right, by the curve of psychometric.py over the answers
of all checkpoints.

Not the step from which on a fact stays known: that is defined by what comes after, every later miss postpones it, and
it depends on how often one evaluates (2 % misses make 240 out of 60 exposures, evaluated every 5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.guesses import guesses_of, persons_of
from knapsack.analysis.psychometric import Cells, collect, report
from knapsack.runs.answers import Answers

DRAWS = 200  # of people


def cells_of(answers: Answers, chosen: np.ndarray, guess: np.ndarray) -> Cells:
    """All answers to these facts (F,) at all steps; guess (Q,)."""
    use = np.flatnonzero(chosen[answers.fact_of])
    fact, steps = answers.fact_of[use], len(answers.steps)
    dose = answers.exposures[:, fact].ravel()
    person, guess = (np.broadcast_to(one, (steps, len(use))).ravel() for one in (persons_of(answers)[fact], guess[use]))
    return collect(dose, answers.correct[:, use].ravel(), person, guess)


def needed(answers: Answers, parts: dict[str, dict[str, np.ndarray]], run: Path | None) -> dict[str, Any] | None:
    """`exposures_needed` of PREFIX.json: of all facts, and by part (by_group, by_attribute: facts by name); facts whose
    exposures are not given at every step are left out, None where no fact's are."""
    given = (answers.exposures >= 0).all(axis=0)
    if not given.any():
        return None
    guess = guesses_of(answers, run)
    made: dict[bytes, dict[str, Any]] = {}  # a part may be all there is

    def said(chosen: np.ndarray) -> dict[str, Any] | None:
        use = chosen & given
        if not use.any() or not (answers.exposures[:, use] > 0).any():
            return None
        key = use.tobytes()
        if key not in made:
            made[key] = report(cells_of(answers, use, guess), DRAWS)
        return {"facts": int(use.sum()), "without_exposures": int((chosen & ~given).sum())} | made[key]

    out: dict[str, Any] = {"all": said(np.ones(len(given), bool))}
    return out | {name: {value: said(chosen) for value, chosen in part.items()} for name, part in parts.items()}
