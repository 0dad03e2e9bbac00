"""A fact's history over the checkpoints: when it was learned and forgotten, exposures needed, curves of many facts."""

from __future__ import annotations

from typing import Any

import numpy as np

from knapsack.runs.answers import Answers, warn

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
EMPTY = -1  # in columns of counts and steps


def known_matrix(answers: Answers, share: float) -> np.ndarray:
    """(steps, facts): at least this share of the fact's questions is right."""
    asked = np.bincount(answers.fact_of, minlength=len(answers.facts))
    right = np.stack([np.bincount(answers.fact_of[row], minlength=len(answers.facts)) for row in answers.correct])
    return right >= share * asked - 1e-9


def histories(answers: Answers, known: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of PREFIX.csv that are numbers, EMPTY where there is nothing to tell; and exposures_told, at every
    step."""
    steps, facts, last = answers.steps, np.arange(known.shape[1]), len(known) - 1
    ever = known.any(axis=0)
    first = known.argmax(axis=0)
    lost = known[:-1] & ~known[1:]
    times = lost.sum(axis=0)
    last_lost = (lost * np.arange(1, last + 1)[:, None]).max(axis=0, initial=0)  # row in which it is unknown again
    stays = np.where(
        known.all(axis=0), 0, last + 1 - (~known[::-1]).argmax(axis=0)
    )  # first row of the known stretch at the end
    end = known[-1]
    count = answers.exposures
    at = lambda rows, use: np.where(use, count[np.minimum(rows, last), facts], EMPTY)  # noqa: E731
    return {
        "first_learned_step": np.where(ever, steps[first], EMPTY),
        "first_learned_exposures": at(first, ever),
        "last_forgotten_step": np.where(times > 0, steps[last_lost], EMPTY),
        "times_forgotten": times,
        "known_at_first": known[0].astype(int),
        "known_at_end": end.astype(int),
        "exposures_at_end": count[-1],
        "exposures_needed": at(stays, end),
        "exposures_before": at(np.maximum(stays - 1, 0), end & (stays > 0)),
        "never_learned": (~ever).astype(int),
        "censored": (~end).astype(int),
        "exposures_told": (count >= 0).all(axis=0),
    }


def kaplan_meier(times: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct times of events and the share without one after each; who is censored at a time was at risk at it."""
    moments = np.unique(times[event])
    ordered, events = np.sort(times), np.sort(times[event])
    at_risk = len(times) - np.searchsorted(ordered, moments, side="left")
    happened = np.searchsorted(events, moments, side="right") - np.searchsorted(events, moments, side="left")
    return moments, np.cumprod(1 - happened / at_risk)


def needed_quantiles(facts: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, Any] | None:
    """Of the facts whose exposures are told; None where there is none."""
    without = int((chosen & ~facts["exposures_told"]).sum())
    chosen = chosen & facts["exposures_told"]
    if not chosen.any():
        return None
    times = np.where(facts["known_at_end"] == 1, facts["exposures_needed"], facts["exposures_at_end"])[chosen]
    event = facts["known_at_end"][chosen] == 1
    report: dict[str, Any] = {
        "facts": int(chosen.sum()),
        "censored": int((~event).sum()),
        "never_learned": int(facts["never_learned"][chosen].sum()),
        "without_exposures": without,
    }
    moments, surviving = kaplan_meier(times, event)
    for q in QUANTILES:
        reached = np.flatnonzero(surviving <= 1 - q + 1e-12)
        report[f"q{100 * q:.0f}"] = int(moments[reached[0]]) if len(reached) else "not reached"
    return report


def mean_or_none(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def curve(answers: Answers, known: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    questions = chosen[answers.fact_of]
    told = chosen & (answers.exposures >= 0).all(axis=0)
    return {
        "facts": int(chosen.sum()),
        "questions": int(questions.sum()),
        "share_known": known[:, chosen].mean(axis=1).tolist(),
        "accuracy": answers.correct[:, questions].mean(axis=1).tolist(),
        "mean_nll": [mean_or_none(row[questions].astype(float)) for row in answers.nll],
        "mean_exposures": answers.exposures[:, told].mean(axis=1).tolist() if told.any() else None,
    }


def warn_of_untold(answers: Answers, told: np.ndarray) -> None:
    lacking = {answers.set_of[question] for question in np.flatnonzero(~told[answers.fact_of])}
    used = "those needed are reported for the other facts" if told.any() else "none needed are reported"
    warn(
        f"the answers do not tell the exposures (key 'exposures') of {int((~told).sum())} of {len(told)} facts at every "
        f"step, they are of {', '.join(sorted(lacking))}; {used}. Were the ledgers at hand?"
    )


def summary(
    answers: Answers, known: np.ndarray, facts: dict[str, np.ndarray], share: float, kind: str
) -> dict[str, Any]:
    everything = np.ones(len(answers.facts), bool)
    labels = {"group": np.array(answers.group), "attribute": np.array([attribute for _, _, attribute in answers.facts])}
    parts = {f"by_{name}": {str(value): of == value for value in dict.fromkeys(of)} for name, of in labels.items()}
    out: dict[str, Any] = {
        "format_version": 1,
        "kind": kind,
        "share": share,
        "steps": answers.steps.tolist(),
        "all": curve(answers, known, everything),
    }
    out |= {
        name: {value: curve(answers, known, chosen) for value, chosen in part.items()} for name, part in parts.items()
    }
    out["nll_not_finite"] = int((~np.isfinite(answers.nll)).sum())
    out["times_forgotten"] = {
        "facts_ever": int((facts["times_forgotten"] > 0).sum()),
        "mean": float(facts["times_forgotten"].mean()),
    }
    told = facts["exposures_told"]
    if not told.all():
        warn_of_untold(answers, told)
    if told.any():
        out["exposures_needed"] = {"all": needed_quantiles(facts, everything)}
        out["exposures_needed"] |= {
            name: {value: needed_quantiles(facts, chosen) for value, chosen in part.items()}
            for name, part in parts.items()
        }
    else:
        out["exposures_needed"] = None
    return out
