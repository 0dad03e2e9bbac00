"""The threshold popularity of each model: the popularity at which its accuracy is a target, by the fitted curve with an
interval over items, where EDGE items and more lie above and below. Next to it what Gu et al. 2025 (arXiv 2505.18091,
section 5.2, algorithm 1) seek: the smallest popularity such that the items above it together have that accuracy, which
lies lower; by the curve, and by a rule.

The rule is our reading: the lines of the paper's loop are not known in full. It walks from popular to unpopular items
and stops at the popularity at which the accuracy so far is under the target for the N-th time, where it is of at least
so many items: of few the first wrong answer would end it. `eval_knowledge` reads it in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from knapsack.analysis.laws.holdout import Threshold
from knapsack.analysis.popularity.items import Joined
from knapsack.analysis.psychometric import (
    BELOW,
    BEYOND,
    FLAT,
    MOST_LAPSE,
    NOT_REACHED,
    REACHED,
    Cells,
    Curve,
    bootstrap,
    collect,
    fit_curve,
)
from knapsack.analysis.thresholds import threshold

EDGE = 20  # items: a threshold with fewer above it, or below, hangs on single answers and is not reached
MOSTLY = 0.9  # of the draws: what is at a bound in so many is no accident


class Rule(NamedTuple):
    target: float = 0.6
    failures: int = 5
    items: int = 100  # of which the accuracy so far must be


@dataclass
class ModelCurve:
    """Of one model. The doses of `curve` are the popularities beyond which EDGE items lie; `drawn`: ln of the threshold
    in each draw of items, within BEYOND of them; a draw is of the same items for all models."""

    cells: Cells
    curve: Curve
    said: dict[str, Any]  # as threshold() says it
    drawn: np.ndarray
    of_law: Threshold | None  # None: no rise, which says nothing of a threshold


def cumulative_rule(popularity: np.ndarray, correct: np.ndarray, rule: Rule) -> dict[str, Any]:
    """Items of equal popularity count together. Where it never stops the threshold is less than the smallest."""
    order = np.argsort(-popularity, kind="stable")
    ends = np.flatnonzero(np.diff(popularity[order], append=-1.0))  # the last item of each popularity
    so_far = np.cumsum(correct[order])[ends] / (ends + 1)
    failed = np.cumsum((so_far < rule.target) & (ends + 1 >= rule.items))
    stops = np.flatnonzero(failed >= rule.failures)
    at = int(stops[0]) if len(stops) else len(ends) - 1
    return {
        "reading": "ours",
        "threshold": float(popularity[order][ends[at]]) if len(stops) else None,
        "less_than": None if len(stops) else float(popularity.min()),
        "items_at_least": int(ends[at] + 1),
        "accuracy": float(so_far[at]),
        "failures": rule.failures,
        "fewest_items": rule.items,
    }


def cumulative_by_curve(popularity: np.ndarray, curve: Curve, drawn: np.ndarray, target: float) -> dict[str, Any]:
    """What the rule seeks, without its noise: the smallest popularity such that the items of at least that popularity
    have the target accuracy, by the curve; 95 % over items. None where it is beyond them."""
    if curve.state == FLAT:
        return {"threshold": None, "interval": [None, None], "less_than": None, "more_than": None}
    places, counts = np.unique(popularity, return_counts=True)
    places, counts = places[::-1], counts[::-1]

    def at(one: Curve) -> float:
        so_far = np.cumsum(one.at(places) * counts) / np.cumsum(counts)
        reached = np.flatnonzero((so_far >= target) & (np.cumsum(counts) >= EDGE))
        return np.inf if not len(reached) else float(places[reached[-1]]) if reached[-1] + 1 < len(places) else 0.0

    found = [at(replace(curve, ln_F50=d[0], k=d[1], lapse=d[2], guess=d[3])) for d in drawn]
    ends = np.percentile(found, (2.5, 97.5), method="nearest")
    said = at(curve)
    value, low, high = (one if 0 < one < np.inf else None for one in map(float, (said, *ends)))
    beyond = {
        "less_than": float(places[-1]) if said == 0 else None,
        "more_than": curve.doses[1] if said > 1e300 else None,
    }
    return {"threshold": value, "interval": [low, high]} | beyond


def ln_thresholds(curve: Curve, drawn: np.ndarray, target: float) -> np.ndarray:
    """Of each draw; a curve that does not reach the target has it far beyond the popularities."""
    low, high = np.log(curve.doses)
    share = (target - drawn[:, 3]) / (1 - drawn[:, 3] - drawn[:, 2])
    inside = np.clip(share, 1e-9, 1 - 1e-9)
    values = drawn[:, 0] + np.log(inside / (1 - inside)) / drawn[:, 1]
    return np.clip(values, low - BEYOND, high + BEYOND)


def threshold_of_law(curve: Curve, said: dict[str, Any], drawn: np.ndarray) -> Threshold | None:
    """What the law over models takes: ln of the value with its error, or a bound where it is censored."""
    if said["state"] == REACHED:
        low, high = np.percentile(drawn, (2.5, 97.5))
        return Threshold(float(np.log(said["threshold"])), float(high - low) / (2 * 1.96))
    if said["state"] == NOT_REACHED:
        return Threshold(np.nan, 0.0, float(np.log(curve.doses[1])))
    return Threshold(np.nan, 0.0, np.nan, float(np.log(curve.doses[0]))) if said["state"] == BELOW else None


def curves_of(joined: Joined, rule: Rule, guess: float | None, draws: int) -> list[ModelCurve]:
    """One a model. `guess`: the share right by guessing; None: it is fitted."""
    found = []
    items = np.arange(len(joined.items))
    edges = tuple(map(float, np.sort(joined.popularity)[[EDGE - 1, -EDGE]]))
    for correct in joined.correct:
        cells = collect(joined.popularity, correct, items, np.nan if guess is None else guess)
        curve = replace(fit_curve(cells), doses=edges)
        drawn = bootstrap(cells, curve, draws)
        said = threshold(cells, rule.target, curve, drawn)
        del said["first_group_below"]  # a rule for groups, not for items
        said["cumulative"] = cumulative_by_curve(joined.popularity, curve, drawn, rule.target)
        at_bound = (drawn[:, 2] > 0.99 * MOST_LAPSE).mean() > MOSTLY
        said["lapse_at_bound"] = bool(at_bound) and curve.state != FLAT
        values = ln_thresholds(curve, drawn, rule.target)
        found.append(ModelCurve(cells, curve, said, values, threshold_of_law(curve, said, values)))
    return found


def row_of(joined: Joined, i: int, one: ModelCurve, rule: Rule) -> dict[str, Any]:
    """Of the table of models."""
    model, curve = joined.models[i], one.curve
    low, high = one.said["interval"]
    return {
        "model": model.name,
        "family": model.family,
        "M": model.M if np.isfinite(model.M) else None,
        "items": len(joined.items),
        "accuracy": float(joined.correct[i].mean()),
        "target": rule.target,
        "threshold": one.said["threshold"],
        "threshold_low": low,
        "threshold_high": high,
        "state": one.said["state"],
        "more_than": one.said["more_than"],
        "less_than": one.said["less_than"],
        "P50": curve.F50 if curve.F50 and curve.doses[0] <= curve.F50 <= curve.doses[1] else None,
        "k": curve.k,
        "guess": curve.guess,
        "lapse": curve.lapse,
        "lapse_at_bound": one.said["lapse_at_bound"],
        "cumulative": one.said["cumulative"],
        "rule": cumulative_rule(joined.popularity, joined.correct[i], rule),
        "log": str(model.log.path),
    }
