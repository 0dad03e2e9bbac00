"""Tokens to a target out of a study whose runs are horizons: a bracket a trunk, both laws, and the smallest ratio left
out."""

from __future__ import annotations

from typing import Any

import numpy as np

from knapsack.analysis.laws.study import Study
from knapsack.analysis.laws.target import LAWS, TargetLaw, bracket, evidence_of, fit_target
from knapsack.common.errors import DataError


def analyse_targets(study: Study, ratio: str, response: str, target: float) -> dict[str, Any]:
    """`targets`: a row a (ratio, cluster); `laws`: by name, parameters and what they say of the ratio left out."""
    if "S" not in study.runs.covariates:
        raise DataError("tokens to a target need the runs' horizons: --horizon COLUMN")
    r, reached = (study.table[name].to_numpy(float) for name in (ratio, response))
    S, places = study.runs.covariates["S"], np.round(np.log(r), 3)
    rows = []
    for at in np.unique(places):
        for cluster in trunks(study.runs.cluster, places == at):
            low, high = bracket(S[cluster], reached[cluster], target)
            rows.append({"r": float(r[cluster][0]), "low": low, "high": high, "horizons": int(cluster.sum())})
    columns = (np.array([row[name] for row in rows]) for name in ("r", "low", "high"))
    r, low, high = columns
    return {"target": target, "targets": rows, "laws": {name: describe(name, r, low, high) for name in LAWS}}


def trunks(cluster: np.ndarray, of: np.ndarray) -> list[np.ndarray]:
    """The runs of a ratio by trunk; where every run is a trunk of its own they are horizons of one."""
    numbers = np.unique(cluster[of])
    if len(numbers) == of.sum():
        return [of]
    return [of & (cluster == one) for one in numbers]


def describe(name: str, r: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    try:
        law = fit_target(name, r, evidence_of(low, high), np.arange(len(r)))
    except DataError as error:
        return {"refused": str(error)}
    found = {key: list(value) for key, value in law.parameters().items()}
    out = {"parameters": found, "sd": law.fit.sd_run, "censored": law.fit.censored, "loglik": law.fit.loglik}
    rest = r > r.min() * 1.001
    try:
        told = fit_target(name, r[rest], evidence_of(low[rest], high[rest]), np.arange(int(rest.sum())))
    except DataError:
        return out
    return out | {"held_out": score(told, float(r.min()), low[~rest], high[~rest])}


def score(law: TargetLaw, r: float, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """|ln| of how far the prediction is outside the bracket, 0 inside; only too little can be outside an open one."""
    told = law.tokens(r)
    under = np.where(np.isnan(low), 0.0, np.maximum(0.0, np.log(low) - np.log(told.value)))
    over = np.where(np.isnan(high), 0.0, np.maximum(0.0, np.log(told.value) - np.log(high)))
    error = float((under + over).mean())
    interval = f"{told.value:.3g} [{told.low:.3g}, {told.high:.3g}]"
    said = f"predicted {interval}, outside its bracket by a factor {np.exp(error):.3g}"
    return {"r": r, "predicted": list(told), "error": error, "said": said}
