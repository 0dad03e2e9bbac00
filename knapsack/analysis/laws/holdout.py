"""Which law holds: runs left out and predicted, |ln(predicted / measured)| of F50, never R^2.

Left out is the largest size, or the longest horizon, with all its replicates: what a law is for. Next to the laws are
two baselines that know none: a constant F50 (the geometric mean of the others) and that of the nearest size (or
horizon) of runs that are alike otherwise. A law that does not beat both is no law. A law that says half is never
reached has no prediction; a setting whose runs did not reach half has a lower bound and no score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.dose import fit_answers, fit_thresholds
from knapsack.analysis.laws.evidence import Evidence, Shape, of_thresholds
from knapsack.analysis.laws.rivals import RIVALS, fit_rival
from knapsack.analysis.psychometric import Cells
from knapsack.common.errors import DataError

OWN, BASELINES = "threshold", ("constant F50", "nearest")
Setting = dict[str, float]  # the covariates of a run
Predictor = Callable[[Setting, float], Estimate | None]  # of F50, measured with this error of ln F50


class Threshold(NamedTuple):
    """ln F50 of a run alone and its error; NaN, and a bound to one side, where it is censored."""

    value: float
    error: float = 0.0
    low: float = np.nan
    high: float = np.nan


@dataclass
class Runs:
    """An element a run; without answers only the law of doses is fitted, to the thresholds."""

    covariates: dict[str, np.ndarray]
    cluster: np.ndarray
    thresholds: list[Threshold]
    answers: list[Cells] | None = None
    shape: Shape | None = None  # of a law that was fitted to them, where fits begin

    def take(self, use: np.ndarray) -> Runs:
        places = np.flatnonzero(use)
        answers = [self.answers[i] for i in places] if self.answers is not None else None
        covariates = {name: column[use] for name, column in self.covariates.items()}
        return Runs(covariates, self.cluster[use], [self.thresholds[i] for i in places], answers, self.shape)

    def setting(self, i: int) -> Setting:
        return {name: float(column[i]) for name, column in self.covariates.items()}


def evidence_of(thresholds: list[Threshold]) -> Evidence:
    return of_thresholds(*(np.array(column, float) for column in zip(*thresholds)))


def predictors(axis: str, rest: Runs) -> tuple[dict[str, Predictor], str | None]:
    """Of every law that can be fitted to these runs, and of the baselines; and why the law of doses cannot be."""
    known = np.array([one.value for one in rest.thresholds])
    found: dict[str, Predictor] = {}
    refused, law = None, None
    try:
        if rest.answers is not None:
            law = fit_answers(rest.answers, rest.covariates, rest.cluster, start=rest.shape)
        else:
            law = fit_thresholds(evidence_of(rest.thresholds), rest.covariates, rest.cluster)
        found[OWN] = law.F50
    except DataError as error:
        refused = str(error)
        found[OWN] = lambda at, error: None
    if rest.answers is not None:
        shape = law.shape if law else rest.shape or Shape()
        found |= {name: of_rival(name, rest, shape) for name in RIVALS}
    reached = np.isfinite(known)

    def constant(at: Setting, error: float) -> Estimate | None:
        return Estimate(float(np.exp(known[reached].mean()))) if reached.any() else None

    def nearest(at: Setting, error: float) -> Estimate | None:
        alike = reached.copy()
        for name, column in rest.covariates.items():
            if name != axis:
                alike &= np.isclose(column, at[name], rtol=1e-3)
        if not alike.any():
            return None
        value = rest.covariates[axis]
        at_nearest = alike & (value == value[alike].max())
        return Estimate(float(np.exp(known[at_nearest].mean())))

    return found | dict(zip(BASELINES, (constant, nearest))), refused


def of_rival(name: str, rest: Runs, shape: Shape) -> Predictor:
    ones = np.ones(len(rest.thresholds))
    M, S = (rest.covariates.get(axis, ones) for axis in ("M", "S"))
    rival = fit_rival(name, rest.answers, M, S, shape.lapse, shape.guess)
    shown = np.concatenate([cells.dose[cells.dose > 0] for cells in rest.answers])
    span = float(shown.min()), float(shown.max())

    def predict(at: Setting, error: float) -> Estimate | None:
        value = rival.F50(at.get("M", 1.0), at.get("S", 1.0), span)
        return None if value is None else Estimate(value)

    return predict


def hold_out(axis: str, runs: Runs) -> dict[str, Any]:
    """`laws`: a row a law with its mean error over the settings left out; `settings`: what was measured, what said."""
    values = runs.covariates[axis]
    out = np.isclose(values, values.max(), rtol=1e-3)
    if len(np.unique(values[~out])) < 2:
        raise DataError(f"{len(np.unique(values))} values of {axis}; at least 3 are needed to leave out the largest")
    said, refused = predictors(axis, runs.take(~out))
    settings = []
    keys = np.array([list(runs.setting(i).values()) for i in np.flatnonzero(out)])
    for key in np.unique(keys, axis=0):
        of = np.flatnonzero(out)[(keys == key).all(axis=1)]
        at = runs.setting(of[0])
        known = [runs.thresholds[i].value for i in of]
        reached = bool(np.isfinite(known).all())
        low = [runs.thresholds[i].low for i in of if np.isfinite(runs.thresholds[i].low)]
        predicted = {name: predict(at, 0.0) for name, predict in said.items()}
        within = [is_within(said[OWN](at, one.error), one) for one in (runs.thresholds[i] for i in of)]
        settings.append(
            {
                "at": at,
                "runs": len(of),
                "measured": float(np.exp(mean(known))) if reached else None,
                "more_than": float(np.exp(min(low))) if low and not reached else None,
                "predicted": {name: list(one) if one else None for name, one in predicted.items()},
                "covered": [one for one in within if one is not None],
            }
        )
    laws = [row_of(name, settings) for name in said]
    scored = {row["law"]: row["error"] for row in laws if row["error"] is not None}
    own = {name: error for name, error in scored.items() if name not in BASELINES}
    others = [scored[name] for name in BASELINES if name in scored]
    return {
        "axis": axis,
        "left_out": float(values.max()),
        "same_clusters": bool(np.isin(runs.cluster[out], runs.cluster[~out]).any()),
        "law_refused": refused,
        "settings": settings,
        "laws": laws,
        "best": min(own, key=own.__getitem__) if own else None,
        "beats_baselines": scored[OWN] < min(others) if OWN in scored and others else None,
    }


def is_within(predicted: Estimate | None, one: Threshold) -> bool | None:
    """A run's F50 in the interval of a run that is measured with its error; None where either is not known."""
    if predicted is None or predicted.low is None or not np.isfinite(one.value):
        return None
    return bool(predicted.low <= np.exp(one.value) <= predicted.high)


def row_of(name: str, settings: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean |ln ratio| over settings with a measured F50, None where a prediction is missing; of the law of doses
    how many of how many single runs are in their intervals."""
    measured = [one for one in settings if one["measured"]]
    predicted = [one["predicted"][name] for one in measured]
    error = None
    if measured and all(predicted):
        error = mean(abs(float(np.log(one[0] / s["measured"]))) for one, s in zip(predicted, measured))
    within = sum((one["covered"] for one in settings), []) if name == OWN else []
    return {
        "law": name,
        "error": error,
        "factor": float(np.exp(error)) if error is not None else None,
        "covered": sum(within) if within else None,
        "of": len(within) if within else None,
    }
