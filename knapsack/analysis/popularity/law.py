"""How the threshold popularity P* falls with size: ln P* = c - gamma ln M + family, over models.

The regression is that of all laws (laws/mixed.py): a family is a cluster, with an effect of its own; a model whose
threshold lies beyond the items is censored, not dropped; Student's t over models. Next to it an interval over items
and models: all models answered the same questions, so a draw of items is one for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from knapsack.analysis.laws.dose import DoseLaw
from knapsack.analysis.laws.holdout import Runs, Threshold, hold_out
from knapsack.analysis.laws.reach import SHARE, reach_of
from knapsack.analysis.laws.report import describe_law, fit_law
from knapsack.analysis.popularity.curves import ModelCurve
from knapsack.analysis.popularity.items import FEWEST_SIZES, Joined, few
from knapsack.analysis.popularity.two_way import jackknife_variance, two_way
from knapsack.common.errors import DataError

INVERTED = 400  # sizes that are tried

Row = dict[str, Any]


def families_of(names: list[str]) -> np.ndarray:
    """Clusters; each model its own where there is one family, since nothing tells its effect from the constant."""
    _, number = np.unique(names, return_inverse=True)
    return number if number.max(initial=0) else np.arange(len(names))


def runs_of(joined: Joined, curves: list[ModelCurve]) -> tuple[Runs, list[int]]:
    """The models with a size whose curve rises, and their places."""
    use = [i for i, one in enumerate(curves) if joined.sized[i] and one.of_law is not None]
    families = families_of([joined.models[i].family for i in use])
    return Runs({"M": joined.M[use]}, families, [curves[i].of_law for i in use]), use


def fit(runs: Runs) -> DoseLaw:
    sizes, models = len(np.unique(runs.covariates["M"])), len(runs.thresholds)
    if sizes < FEWEST_SIZES:
        raise DataError(f"curves that rise: {few(models, sizes)}")
    return fit_law(runs)


def gamma_within(x: np.ndarray, y: np.ndarray, families: np.ndarray) -> float:
    """By least squares, the families' constants taken out; NaN where no family has two sizes."""
    counts = np.maximum(1, np.bincount(families))
    a, b = (one - (np.bincount(families, one) / counts)[families] for one in (x, y))
    return -float(a @ b / (a @ a)) if a @ a > 1e-9 else np.nan


def with_draws(joined: Joined, curves: list[ModelCurve], use: list[int]) -> Row:
    """gamma within families by least squares, a censored model at its bound, and its interval over items, the same for
    all models, and models, each left out in turn. What both contain, each model's own draw of answers, is taken off
    (Cameron, Gelbach and Miller 2011); Student's t of the models."""
    x = np.log(joined.M[use])
    families = families_of([joined.models[i].family for i in use])
    families = families if families.max() < len(use) - 1 else np.zeros(len(use), int)
    _, families = np.unique(families, return_inverse=True)
    freedom = len(use) - 1 - len(np.unique(families))
    drawn = np.array([np.clip(curves[i].drawn, *np.log(curves[i].curve.doses)) for i in use])
    y = np.array([bound_of(curves[i].of_law) for i in use])
    others = [np.arange(len(use)) != i for i in range(len(use))]
    jackknife = np.array([gamma_within(x[of], y[of], families[of]) for of in others])
    value = gamma_within(x, y, families)
    if freedom < 1 or not np.isfinite([value, *jackknife]).all():
        return {"refused": f"{len(use)} models are too few to leave one out"}
    random = np.random.default_rng(1)
    mixed = np.array([random.permutation(row) for row in drawn])  # each model's items its own
    of_items, of_answers = (np.var([gamma_within(x, d, families) for d in one.T], ddof=1) for one in (drawn, mixed))
    of_models = jackknife_variance(jackknife)
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(two_way(of_models, float(of_items), float(of_answers))))
    return {"gamma": [value, value - half, value + half], "degrees_of_freedom": freedom}


def bound_of(one: Threshold) -> float:
    return next(float(value) for value in (one.value, one.low, one.high) if np.isfinite(value))


def within_families(joined: Joined, runs: Runs, use: list[int]) -> list[Row]:
    """The law of each family alone, where it has models enough."""
    rows = []
    names = np.array([joined.models[i].family for i in use])
    for family in np.unique(names):
        of = names == family
        row: Row = {"family": str(family), "models": int(of.sum())}
        try:
            part = runs.take(of)
            part.cluster = np.arange(int(of.sum()))
            row["gamma"] = list(fit(part).exponents()["gamma"])
        except DataError as error:
            row["refused"] = str(error)
        rows.append(row)
    return rows


def infer_size(law: DoseLaw, runs: Runs, one: Threshold) -> Row:
    """The sizes at which a new model of a new family would have this threshold (95 %), within the reach of the law."""
    reach = reach_of(runs.covariates["M"])
    low, high = reach.limits
    sizes = np.geomspace(low, high, INVERTED)
    said = [law.fit.predict(law.row({"M": float(M)}), one.error) for M in sizes]
    middle = np.array([each.value for each in said])
    if np.isfinite(one.value):
        fits = np.array([each.low <= one.value <= each.high for each in said])
        nearest = int(np.abs(middle - one.value).argmin())
    else:  # censored: every size whose interval reaches beyond the bound
        fits = np.array([each.high >= one.low if np.isfinite(one.low) else each.low <= one.high for each in said])
        nearest = -1
    if not fits.any():
        return {
            "refused": f"no size from {low:.3g} to {high:.3g}, which is {SHARE:.0%} of the others' range (log scale) "
            "beyond them, has this threshold"
        }
    inside = 0 < nearest < INVERTED - 1 and bool(fits[nearest])
    ends = [float(sizes[fits][0]) if not fits[0] else None, float(sizes[fits][-1]) if not fits[-1] else None]
    note = (
        "" if None not in ends else f"an end without a number lies beyond the reach of the law, {low:.3g} to {high:.3g}"
    )
    return {"M": float(sizes[nearest]) if inside else None, "interval": ends, "note": note}


def report(joined: Joined, curves: list[ModelCurve]) -> tuple[Row, DoseLaw | None, Runs]:
    runs, use = runs_of(joined, curves)
    flat = [joined.models[i].name for i, one in enumerate(curves) if one.of_law is None]
    head: Row = {"no_rise": flat}
    try:
        law = fit(runs)
    except DataError as error:
        return head | {"refused": str(error)}, None, runs
    out = head | describe_law(law, "family")
    out["censored"] = [joined.models[i].name for i in use if not np.isfinite(curves[i].of_law.value)]
    out["items_and_models"] = with_draws(joined, curves, use)
    out["families"] = within_families(joined, runs, use)
    try:
        out["holdout"] = hold_out("M", runs)
    except DataError as error:
        out["holdout"] = {"axis": "M", "refused": str(error)}
    out["inferred"] = [
        {"model": model.name}
        | (infer_size(law, runs, one.of_law) if one.of_law else {"refused": "its curve does not rise"})
        for model, one, sized in zip(joined.models, curves, joined.sized)
        if not sized
    ]
    return out, law, runs
