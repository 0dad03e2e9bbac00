"""What is said of a study: the law with its intervals, what was censored, the hold-outs, the answers to questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from knapsack.analysis.capacity.unit import Capacity, widened
from knapsack.analysis.intervals import Estimate
from knapsack.analysis.laws.critical import find
from knapsack.analysis.laws.dose import DoseLaw, fit_answers, fit_thresholds
from knapsack.analysis.laws.evidence import Answers
from knapsack.analysis.laws.evidence import of_answers as evidence_of_answers
from knapsack.analysis.laws.holdout import Runs, evidence_of, hold_out
from knapsack.analysis.laws.loss import fit_loss, predicted
from knapsack.analysis.laws.reach import reach_of
from knapsack.analysis.laws.study import Study
from knapsack.analysis.psychometric import interval_of
from knapsack.analysis.thresholds import threshold
from knapsack.common.errors import DataError
from knapsack.common.numbers import is_number

PAPER_TARGET = 0.8  # accuracy of the frequency threshold

Row = dict[str, Any]


def rows_of(study: Study) -> list[Row]:
    """A row a run."""
    rows = []
    for i, name in enumerate(study.names):
        one = study.runs.thresholds[i]
        row: Row = {"run": name, **study.runs.setting(i), "cluster": int(study.runs.cluster[i])}
        if study.curves[i] is not None:
            curve, cells = study.curves[i], study.runs.answers[i]
            row |= {
                "state": curve.state,
                "F50": curve.F50,
                "interval": list(interval_of(curve, study.drawn[i])),
                "k": curve.k,
            }
            row |= {"lapse": curve.lapse, "overdispersion": curve.overdispersion, "people": curve.people}
            row |= {"frequency_threshold": threshold(cells, PAPER_TARGET, curve, study.drawn[i])}
        elif np.isfinite(one.value):
            half = 1.96 * one.error
            ends = np.exp([one.value - half, one.value + half]).tolist()
            row |= {"state": "reached", "F50": float(np.exp(one.value)), "interval": ends if half else [None, None]}
        for what, end in (("more_than", one.low), ("less_than", one.high)):
            if np.isfinite(end):
                row |= {"state": "censored", what: float(np.exp(end))} | {"F50": None}
        rows.append(row)
    return rows


def fit_law(runs: Runs, people: bool = True) -> DoseLaw:
    if runs.answers is not None:
        return fit_answers(runs.answers, runs.covariates, runs.cluster, people, runs.shape)
    return fit_thresholds(evidence_of(runs.thresholds), runs.covariates, runs.cluster)


def describe_law(law: DoseLaw, clustered: str) -> Row:
    """`clustered`: what a cluster of runs is."""
    out: Row = {
        "covariates": law.covariates,
        "exponents": {name: list(one) for name, one in law.exponents().items()},
        "degrees_of_freedom": {name: law.fit.degrees(x) for name, x in zip(law.fit.names, np.eye(len(law.fit.names)))},
        "b": dict(zip(law.fit.names, law.fit.b.tolist())),
        "sd_runs": law.fit.sd_run,
        "sd_clusters": law.fit.sd_cluster,
        "runs": law.fit.runs,
        "clusters": law.fit.clusters,
        "cluster": clustered if law.fit.sd_cluster is not None else "run",
        "without_end": law.fit.censored,
        "loglik": law.fit.loglik,
    }
    if law.shape:
        out |= {"k": law.shape.k, "sd_people": law.shape.people, "lapse": law.shape.lapse, "guess": law.shape.guess}
    if not law.covariates:
        out["F50"] = [float(np.exp(end)) for end in law.fit.estimate("c")]
    return out


def censored_names(study: Study, law: DoseLaw) -> list[str]:
    """Runs that count in the fit as "more than" or "less than"; of runs of one dose those too near 0 or 1."""
    runs = study.runs
    if runs.answers is not None and not study.people and law.shape:
        censored = evidence_of_answers(Answers(runs.answers), law.shape).censored
    else:
        censored = [not np.isfinite(one.value) for one in runs.thresholds]
    return [name for name, is_censored in zip(study.names, censored) if is_censored]


def ask(law: DoseLaw, runs: Runs, at: dict[str, float]) -> Row:
    """F50 of a new run at these covariates, or why not."""
    lacking = [name for name in law.covariates if name not in at]
    if lacking:
        return {"at": at, "state": "refused", "reason": f"the law has {', '.join(lacking)} too: say where"}
    judged = [(name, *reach_of(runs.covariates[name]).judge(name, value)) for name, value in at.items()]
    reasons = [reason for _, state, reason in judged if reason]
    states = [state for _, state, _ in judged]
    if "refused" in states:
        return {"at": at, "state": "refused", "reason": "; ".join(reasons)}
    state = "extrapolated" if "extrapolated" in states else "inside"
    return {"at": at, "state": state, "reason": "; ".join(reasons), "F50": list(law.F50(at))}


def holdouts(study: Study) -> list[Row]:
    """The largest size and the longest horizon, each where there are three."""
    found = []
    if study.runs.answers is not None and not study.people:
        return found  # a run of one dose has no threshold of its own to be compared with
    for axis in ("M", "S"):
        if axis in study.runs.covariates and len(np.unique(study.runs.covariates[axis])) > 2:
            try:
                found.append(hold_out(axis, study.runs))
            except DataError as error:
                found.append({"axis": axis, "refused": str(error)})
    return found


def in_units(
    study: Study, units: dict[str, str], loss: str | None, capacities: Mapping[str, Capacity] | None = None
) -> list[Row]:
    """gamma in each unit of M, and alpha + 1 of the losses in the same unit. A run whose size has no number in a unit
    is left out of it and named. `capacities`, by column: their error is in the intervals of both."""
    rows = []
    for unit, column in units.items():
        M = study.table[column].to_numpy(float)
        use = np.isfinite(M)
        row: Row = {"unit": unit, "column": column, "runs": int(use.sum())}
        if not use.all():
            row["outside"] = [name for name, is_used in zip(study.names, use) if not is_used]
        error = capacities[column].error if capacities and column in capacities else 0.0
        try:
            if len(np.unique(M[use])) < 2:
                raise DataError(f"{len(np.unique(M[use]))} sizes are within what was measured, at least 2 are needed")
            runs = study.runs.take(use)
            runs = replace(runs, covariates=runs.covariates | {"M": M[use]})
            row["gamma"] = list(widened(fit_law(runs, study.people).exponents()["gamma"], error))
        except DataError as failure:
            row["refused"] = str(failure)
        if loss:
            row |= of_loss(study, M, loss, row.get("gamma"), error)
        rows.append(row)
    return rows


def of_loss(study: Study, M: np.ndarray, column: str, gamma: list[float] | None, error: float) -> Row:
    has = np.isfinite(M) & np.array([is_number(value) for value in study.table[column]])
    try:
        law = fit_loss(M[has], study.table[column][has].to_numpy(float))
    except DataError as failure:
        return {"loss": {"refused": str(failure)}}
    alpha = widened(law.alpha, error)
    out: Row = {"loss": {"E": law.E, "A": law.A, "alpha": list(alpha), "sizes": law.sizes, "note": law.note}}
    if gamma:
        out |= predicted(alpha, Estimate(*gamma))
    return out


def criticals(study: Study, dose: str, response: str, answers: float, guess: float) -> list[Row]:
    """Where the response rises along the dose, at each setting of the covariates."""
    settings = np.array([list(study.runs.setting(i).values()) for i in range(len(study.table))]).reshape(
        len(study.table), -1
    )
    found = []
    for key in np.unique(settings, axis=0):
        of = (settings == key).all(axis=1)
        x, share = (study.table[name][of].to_numpy(float) for name in (dose, response))
        row: Row = {"at": dict(zip(study.runs.covariates, key.tolist())), "runs": int(of.sum())}
        try:
            one = find(x, share, answers, guess, study.runs.cluster[of])
            row |= {"state": one.state, "critical": list(one.at) if one.at else None, "bracket": list(one.bracket)}
            row |= {"slope": one.slope, "p_of_no_rise": one.p_value}
        except DataError as error:
            row["refused"] = str(error)
        found.append(row)
    return found
