"""Tokens to a target out of a study whose runs are horizons: a bracket a trunk or replicate, both laws, and the
smallest ratio left out; at each setting of the other covariates, such as the size, on its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from knapsack.analysis.laws.study import Study, seeds_of
from knapsack.analysis.laws.target import LAWS, TargetLaw, bracket, evidence_of, fit_target
from knapsack.common.errors import DataError, UsageError

SIZES = ("parameters", "parameters_non_embedding")


def analyse_targets(study: Study, ratio: str, response: str, target: float, named: bool) -> list[dict[str, Any]]:
    """A row a setting of the covariates but S: `at`, `targets` (a row a ratio and trunk), `laws` (by name, parameters
    and what they say of the ratio left out). `named`: clusters are of a column, not trunks."""
    covariates = study.runs.covariates
    if "S" not in covariates:
        raise DataError("tokens to a target need the runs' horizons: --horizon COLUMN")
    if "M" not in covariates:
        for column in (name for name in SIZES if name in study.table and name != ratio):
            if (values := study.table[column].nunique()) > 1:
                raise UsageError(f"the runs have {values} values of {column}, and T is of one size: --size {column}")
    others = [name for name in covariates if name != "S"]
    settings = np.array([[study.runs.setting(i)[name] for name in others] for i in range(len(study.table))])
    settings = settings.reshape(len(study.table), len(others))
    found = []
    for key in np.unique(settings, axis=0):
        of = (settings == key).all(axis=1)
        at = dict(zip(others, key.tolist()))
        rows = targets_of(study, ratio, response, target, of, named)
        columns = [np.array([row[name] for row in rows]) for name in ("r", "low", "high")]
        found.append({"at": at, "targets": rows, "laws": {name: describe(name, *columns) for name in LAWS}})
    return found


def targets_of(
    study: Study, ratio: str, response: str, target: float, of: np.ndarray, named: bool
) -> list[dict[str, Any]]:
    """The brackets of T of these runs (n,), by ratio."""
    r, reached = (study.table[name].to_numpy(float) for name in (ratio, response))
    S, places = study.runs.covariates["S"], np.round(np.log(r), 3)
    rows = []
    for place in np.unique(places[of]):
        for runs in one_series_each(study, of & (places == place), named):
            horizons, often = np.unique(S[runs], return_counts=True)
            if often.max() > 1:
                raise DataError(
                    f"several runs of S = {horizons[often > 1][0]:.4g} at {ratio} = {r[runs][0]:.4g}: replicates? "
                    "name them with --cluster"
                )
            low, high = bracket(S[runs], reached[runs], target)
            rows.append({"r": float(r[runs][0]), "low": low, "high": high, "horizons": int(runs.sum())})
    return rows


def one_series_each(study: Study, of: np.ndarray, named: bool) -> list[np.ndarray]:
    """The runs of a ratio by cluster; where there is no trunk that several share, and no column was named, by seeds."""
    cluster = study.runs.cluster
    if not named and len(np.unique(cluster[of])) == of.sum():
        cluster = seeds_of(study.table)
    return [of & (cluster == one) for one in np.unique(cluster[of])]


def describe(name: str, r: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    try:
        law = fit_target(name, r, evidence_of(low, high), np.arange(len(r)))
    except DataError as error:
        return {"refused": str(error)}
    found = {key: list(value) for key, value in law.parameters().items()}
    out = {"parameters": found, "sd": law.fit.sd_run, "censored": law.fit.censored, "loglik": law.fit.loglik}
    rest = r > r.min() * 1.001
    try:
        others = fit_target(name, r[rest], evidence_of(low[rest], high[rest]), np.arange(int(rest.sum())))
    except DataError:
        return out
    return out | {"held_out": score(others, float(r.min()), low[~rest], high[~rest])}


def score(law: TargetLaw, r: float, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """|ln| of how far the prediction is outside the bracket, 0 inside; only too little can be outside an open one."""
    predicted = law.tokens(r)
    under = np.where(np.isnan(low), 0.0, np.maximum(0.0, np.log(low) - np.log(predicted.value)))
    over = np.where(np.isnan(high), 0.0, np.maximum(0.0, np.log(predicted.value) - np.log(high)))
    error = float((under + over).mean())
    interval = f"{predicted.value:.3g} [{predicted.low:.3g}, {predicted.high:.3g}]"
    said = f"predicted {interval}, outside its bracket by a factor {np.exp(error):.3g}"
    return {"r": r, "predicted": list(predicted), "error": error, "said": said}
