"""A fact's history over the checkpoints: when it was learned and forgotten; curves of many facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from knapsack.analysis.forgetting.needed import needed
from knapsack.runs.answers import Answers
from knapsack.runs.files import warn

MOST_DOSES = 16


def known_matrix(answers: Answers, share: float) -> np.ndarray:
    """(steps, facts): at least this share of the fact's questions is right."""
    asked = np.bincount(answers.fact_of, minlength=len(answers.facts))
    right = np.stack([np.bincount(answers.fact_of[row], minlength=len(answers.facts)) for row in answers.correct])
    return right >= share * asked - 1e-9


def where(values: np.ndarray, use: np.ndarray) -> pd.arrays.IntegerArray:
    """Whole numbers of 0 or more, missing where they are not to be used or not known (-1)."""
    values = np.asarray(values, np.int64)
    return pd.arrays.IntegerArray(values, ~use | (values < 0))


def has_doses(answers: Answers) -> bool:
    return bool((answers.doses >= 0).any())


def histories(answers: Answers, known: np.ndarray) -> pd.DataFrame:
    """PREFIX.csv: a row a fact, cells missing where there is nothing to say. One more column than there: whether every
    step says the exposures."""
    steps, facts, last = answers.steps, np.arange(known.shape[1]), len(known) - 1
    ever, first, end = known.any(axis=0), known.argmax(axis=0), known[-1]
    lost = known[:-1] & ~known[1:]
    times = lost.sum(axis=0)
    last_lost = (lost * np.arange(1, last + 1)[:, None]).max(axis=0, initial=0)  # row in which it is unknown again
    count = answers.exposures

    def exposures(rows: np.ndarray, use: np.ndarray) -> pd.arrays.IntegerArray:
        return where(count[np.minimum(rows, last), facts], use)

    source, entity, attribute = zip(*answers.facts)
    columns = {
        "source": source,
        "entity": entity,
        "attribute": attribute,
        "group": answers.group,
        **({"dose": where(answers.doses, answers.doses >= 0)} if has_doses(answers) else {}),
        "first_learned_step": where(steps[first], ever),
        "first_learned_exposures": exposures(first, ever),
        "last_forgotten_step": where(steps[last_lost], times > 0),
        "times_forgotten": times,
        "known_at_first": known[0].astype(int),
        "known_at_end": end.astype(int),
        "exposures_at_end": where(count[-1], np.ones_like(end)),
        "never_learned": (~ever).astype(int),
        "exposures_given": (count >= 0).all(axis=0),
    }
    return pd.DataFrame(columns)


def write_histories(facts: pd.DataFrame) -> str:
    return facts.drop(columns="exposures_given").to_csv(index=False)


def mean_or_none(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def curve(answers: Answers, known: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """By step, of the chosen facts."""
    questions = chosen[answers.fact_of]
    given = chosen & (answers.exposures >= 0).all(axis=0)
    return {
        "facts": int(chosen.sum()),
        "questions": int(questions.sum()),
        "share_known": known[:, chosen].mean(axis=1).tolist(),
        "accuracy": answers.correct[:, questions].mean(axis=1).tolist(),
        "mean_nll": [mean_or_none(row[questions].astype(float)) for row in answers.nll],
        "mean_exposures": answers.exposures[:, given].mean(axis=1).tolist() if given.any() else None,
    }


def by_dose(answers: Answers) -> dict[str, np.ndarray]:
    """The facts of each dose, from small to large; in bins of a factor 2, named by their ends, where there are many."""
    doses = answers.doses
    known = np.unique(doses[doses >= 0])
    if len(known) <= MOST_DOSES:
        return {str(dose): doses == dose for dose in known}
    bins = np.where(doses > 0, np.floor(np.log2(np.maximum(doses, 1))), doses).astype(int)
    return {
        f"{2**number}-{2 ** (number + 1) - 1}": (doses > 0) & (bins == number) for number in np.unique(bins[doses > 0])
    }


def warn_of_missing_exposures(answers: Answers, given: np.ndarray) -> None:
    lacking = {answers.set_of[question] for question in np.flatnonzero(~given[answers.fact_of])}
    used = "those needed are reported for the other facts" if given.any() else "none needed are reported"
    warn(
        f"the answers lack the exposures (key 'exposures') of {int((~given).sum())} of {len(given)} facts at "
        f"every step, they are of {', '.join(sorted(lacking))}; {used}. Were the ledgers at hand?"
    )


def summary(
    answers: Answers, known: np.ndarray, facts: pd.DataFrame, share: float, kind: str, run: Path | None
) -> dict[str, Any]:
    """PREFIX.json, but for retention. `run`: whose results.json says the chance of guessing."""
    everything = np.ones(len(facts), bool)
    parts = {
        f"by_{name}": {str(value): (facts[name] == value).to_numpy() for value in facts[name].unique()}
        for name in ("group", "attribute")
    }
    if has_doses(answers):
        parts["by_dose"] = by_dose(answers)
    times, given = facts["times_forgotten"], facts["exposures_given"].to_numpy()
    if not given.all():
        warn_of_missing_exposures(answers, given)
    return {
        "format_version": 3,
        "kind": kind,
        "share": share,
        "steps": answers.steps.tolist(),
        "all": curve(answers, known, everything),
        **{name: {v: curve(answers, known, chosen) for v, chosen in part.items()} for name, part in parts.items()},
        "nll_not_finite": int((~np.isfinite(answers.nll)).sum()),
        "times_forgotten": {"facts_ever": int((times > 0).sum()), "mean": float(times.mean())},
        "exposures_needed": needed(answers, {name: parts[name] for name in ("by_group", "by_attribute")}, run),
    }
