"""How the threshold popularity P* falls with size: ln P* = c - gamma ln M + family, over models.

The regression is that of all laws (laws/mixed.py): a family is a cluster, with an effect of its own on the level; a
model whose threshold lies beyond the items is censored, not dropped; Student's t. Next to it is gamma with an interval
over items and units (units.py), which does not take the families' exponents as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from knapsack.analysis.laws.dose import DoseLaw
from knapsack.analysis.laws.holdout import Runs, Threshold, hold_out
from knapsack.analysis.laws.reach import SHARE, reach_of
from knapsack.analysis.laws.report import ask, describe_law, fit_law
from knapsack.analysis.popularity.curves import ModelCurve
from knapsack.analysis.popularity.items import FEWEST_SIZES, Joined, few
from knapsack.analysis.popularity.units import half_width, jackknife_variance, units_of
from knapsack.common.errors import DataError

INVERTED = 400  # sizes that are tried

Row = dict[str, Any]


def runs_of(joined: Joined, curves: list[ModelCurve]) -> tuple[Runs, list[int]]:
    """The models with a size whose curve rises, and their places."""
    use = [i for i, one in enumerate(curves) if joined.sized[i] and one.of_law is not None]
    clusters = units_of([joined.models[i].family for i in use]).of
    return Runs({"M": joined.M[use]}, clusters, [curves[i].of_law for i in use]), use


def fit(runs: Runs) -> DoseLaw:
    sizes, models = len(np.unique(runs.covariates["M"])), len(runs.thresholds)
    if sizes < FEWEST_SIZES:
        raise DataError(f"curves that rise: {few(models, sizes)}")
    return fit_law(runs)


def drawn_of(curves: list[ModelCurve], use: list[int]) -> np.ndarray:
    """(models, draws): ln P* with the items drawn anew, the same for all models, within the items' popularities."""
    return np.array([np.clip(curves[i].drawn, *np.log(curves[i].curve.doses)) for i in use])


def item_variances(weights: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """Of weights @ ln P*: by items, and by answers as if each model had items of its own."""
    return float(np.var(weights @ drawn, ddof=1)), float(weights**2 @ drawn.var(axis=1, ddof=1))


def gamma_weights(x: np.ndarray, families: np.ndarray) -> np.ndarray:
    """gamma = weights @ ln P* by least squares, the families' constants taken out."""
    inside = x - (np.bincount(families, x) / np.maximum(1, np.bincount(families)))[families]
    return -inside / (inside @ inside)


def gamma_two_way(joined: Joined, curves: list[ModelCurve], use: list[int]) -> Row:
    """gamma within families by least squares, a censored model at its bound, and its interval over items and units,
    which does not take the families' exponents as one. A family of one size has no slope: it counts where none has."""
    names = np.array([joined.models[i].family for i in use])
    sloped = [name for name in np.unique(names) if len(np.unique(joined.M[use][names == name])) > 1]
    if sloped:
        use, names = [i for i, name in zip(use, names) if name in sloped], names[np.isin(names, sloped)]
    units = units_of(names)
    constants = units.of if sloped and units.are_families else np.zeros(len(use), int)
    x, y = np.log(joined.M[use]), np.array([bound_of(curves[i].of_law) for i in use])
    left = units.left_out()
    if units.freedom < 1 or min(len(np.unique(x[rest])) for rest in left) < 2:
        return {"refused": f"{len(use)} models are too few to leave one out"}
    weights = gamma_weights(x, constants)
    without = np.array([gamma_weights(x[rest], constants[rest]) @ y[rest] for rest in left])
    value, variances = float(weights @ y), item_variances(weights, drawn_of(curves, use))
    half = half_width(jackknife_variance(without), *variances, units.freedom)
    return {"gamma": [value, value - half, value + half]} | units.describe()


def bound_of(one: Threshold) -> float:
    return next(float(value) for value in (one.value, one.low, one.high) if np.isfinite(value))


def ask_new(law: DoseLaw, runs: Runs, drawn: np.ndarray, at: dict[str, float]) -> Row:
    """P* of a new model, of a new family where there are several. What the items do to all models alike, which the
    models' scatter does not show, is in the interval."""
    said = ask(law, runs, at)
    if "F50" in said:
        X = np.column_stack([np.ones(len(drawn)), np.log(runs.covariates["M"])])
        items, answers = item_variances(law.row(at) @ np.linalg.pinv(X), drawn)
        said["F50"] = list(law.F50(at, float(np.sqrt(max(0.0, items - answers)))))
    return said


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


def report(
    joined: Joined, curves: list[ModelCurve], asked: Sequence[dict[str, float]] = ()
) -> tuple[Row, DoseLaw | None, Runs]:
    """JSON, the law (None: refused) and what it was fitted to. `asked`: sizes M of new models."""
    runs, use = runs_of(joined, curves)
    flat = [joined.models[i].name for i, one in enumerate(curves) if one.of_law is None]
    head: Row = {"no_rise": flat}
    try:
        law = fit(runs)
    except DataError as error:
        return head | {"refused": str(error)}, None, runs
    out = head | describe_law(law, "family")
    out["censored"] = [joined.models[i].name for i in use if not np.isfinite(curves[i].of_law.value)]
    units = units_of([joined.models[i].family for i in use])
    out["over"] = f"{len(use)} models of {units.count} families" if units.are_families else units.sentence
    out["items_and_units"] = gamma_two_way(joined, curves, use)
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
    out["asked_of"] = units.new
    out["asked"] = [ask_new(law, runs, drawn_of(curves, use), at) for at in asked]
    return out, law, runs
