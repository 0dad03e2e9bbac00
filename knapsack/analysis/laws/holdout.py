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
Predictor = Callable[[Setting], Estimate | None]  # of F50


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


def predictors(axis: str, rest: Runs) -> dict[str, Predictor]:
    """Of every law that can be fitted to these runs, and of the baselines."""
    known = np.array([one.value for one in rest.thresholds])
    found: dict[str, Predictor] = {}
    try:
        if rest.answers is not None:
            found[OWN] = fit_answers(rest.answers, rest.covariates, rest.cluster, start=rest.shape).F50
        else:
            found[OWN] = fit_thresholds(evidence_of(rest.thresholds), rest.covariates, rest.cluster).F50
    except DataError:
        found[OWN] = lambda at: None
    if rest.answers is not None:
        found |= {name: of_rival(name, rest) for name in RIVALS if name != OWN}
    reached = np.isfinite(known)

    def constant(at: Setting) -> Estimate | None:
        return Estimate(float(np.exp(known[reached].mean()))) if reached.any() else None

    def nearest(at: Setting) -> Estimate | None:
        alike = reached.copy()
        for name, column in rest.covariates.items():
            if name != axis:
                alike &= np.isclose(column, at[name], rtol=1e-3)
        if not alike.any():
            return None
        value = rest.covariates[axis]
        at_nearest = alike & (value == value[alike].max())
        return Estimate(float(np.exp(known[at_nearest].mean())))

    return found | dict(zip(BASELINES, (constant, nearest)))


def of_rival(name: str, rest: Runs) -> Predictor:
    ones = np.ones(len(rest.thresholds))
    rival = fit_rival(name, rest.answers, rest.covariates.get("M", ones), rest.covariates.get("S", ones))
    shown = np.concatenate([cells.dose[cells.dose > 0] for cells in rest.answers])
    span = float(shown.min()), float(shown.max())

    def predict(at: Setting) -> Estimate | None:
        value = rival.F50(at.get("M", 1.0), at.get("S", 1.0), span)
        return None if value is None else Estimate(value)

    return predict


def hold_out(axis: str, runs: Runs) -> dict[str, Any]:
    """`laws`: a row a law with its mean error over the settings left out; `settings`: what was measured, what said."""
    values = runs.covariates[axis]
    out = np.isclose(values, values.max(), rtol=1e-3)
    if len(np.unique(values[~out])) < 2:
        raise DataError(f"{len(np.unique(values))} values of {axis}; at least 3 are needed to leave out the largest")
    said = predictors(axis, runs.take(~out))
    settings = []
    keys = np.array([list(runs.setting(i).values()) for i in np.flatnonzero(out)])
    for key in np.unique(keys, axis=0):
        of = np.flatnonzero(out)[(keys == key).all(axis=1)]
        at = runs.setting(of[0])
        known = [runs.thresholds[i].value for i in of]
        reached = bool(np.isfinite(known).all())
        low = [runs.thresholds[i].low for i in of if np.isfinite(runs.thresholds[i].low)]
        told = {name: predict(at) for name, predict in said.items()}
        settings.append(
            {
                "at": at,
                "runs": len(of),
                "measured": float(np.exp(mean(known))) if reached else None,
                "more_than": float(np.exp(min(low))) if low and not reached else None,
                "predicted": {name: list(one) if one else None for name, one in told.items()},
            }
        )
    laws = [row_of(name, settings) for name in said]
    scored = {row["law"]: row["error"] for row in laws if row["error"] is not None}
    own = {name: error for name, error in scored.items() if name not in BASELINES}
    others = [scored[name] for name in BASELINES if name in scored]
    return {
        "axis": axis,
        "left_out": float(values.max()),
        "settings": settings,
        "laws": laws,
        "best": min(own, key=own.__getitem__) if own else None,
        "beats_baselines": scored[OWN] < min(others) if OWN in scored and others else None,
    }


def row_of(name: str, settings: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean |ln ratio| over settings with a measured F50, None where a prediction is missing."""
    measured = [one for one in settings if one["measured"]]
    told = [one["predicted"][name] for one in measured]
    error = covered = None
    if measured and all(told):
        error = mean(abs(float(np.log(one[0] / s["measured"]))) for one, s in zip(told, measured))
        if told[0][1] is not None:
            covered = sum(low <= s["measured"] <= high for (_, low, high), s in zip(told, measured))
    return {
        "law": name,
        "error": error,
        "factor": float(np.exp(error)) if error is not None else None,
        "covered": covered,
        "of": len(measured),
    }
