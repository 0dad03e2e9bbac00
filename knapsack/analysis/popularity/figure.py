"""The figure of outside models: accuracy over popularity, a curve a model, and the threshold popularity over size with
the law's band, what was censored, and the largest as the others predict it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.laws.dose import DoseLaw
from knapsack.analysis.laws.holdout import Runs
from knapsack.analysis.popularity.curves import ModelCurve
from knapsack.analysis.popularity.items import Joined
from knapsack.analysis.psychometric import binned
from knapsack.analysis.style import BLUE, GREY, ORANGE, SHADE, SMALL, color_of, legend, marker_of, plt, save

MOST_NAMED = 10  # models in the legend


def draw_curves(axes: Any, joined: Joined, curves: list[ModelCurve], target: float) -> None:
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(curves)))
    fine = np.geomspace(joined.popularity.min(), joined.popularity.max(), 200)
    for model, one, color in zip(joined.models, curves, colors):
        places, shares = binned(one.cells)
        label = model.name.rpartition("/")[2] if len(curves) <= MOST_NAMED else None
        axes.plot(places, [share.value for share in shares], "o", color=color, markersize=3)
        axes.plot(fine, one.curve.at(fine), color=color, linewidth=1, label=label)
    axes.axhline(target, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="popularity", ylabel="accuracy", ylim=(-0.03, 1.03))


def draw_held(axes: Any, held: dict[str, Any]) -> None:
    """The left-out model's threshold as the others predict it."""
    for number, setting in enumerate(held["settings"]):
        predicted = setting["predicted"].get("threshold")
        if predicted:
            at = setting["at"][held["axis"]] * 1.04  # next to the measured one
            label = "predicted by the others" if number == 0 else None
            axes.plot(at, predicted[0], "D", color=ORANGE, fillstyle="none", label=label)
            if predicted[1] is not None:
                axes.plot([at] * 2, predicted[1:], color=ORANGE, linewidth=1)


def draw_law(axes: Any, joined: Joined, rows: list[dict[str, Any]], law: DoseLaw | None, runs: Runs, out: dict) -> None:
    """Families by color and marker."""
    if law is not None and "M" in law.covariates:
        M = runs.covariates["M"]
        fine = np.geomspace(M.min(), M.max(), 60)
        line = np.array([law.F50({"M": float(at)}) for at in fine])
        label = "a new model, 95 %" if law.fit.sd_cluster is None else "a model of a new family, 95 %"
        axes.fill_between(fine, line[:, 1], line[:, 2], color=SHADE, linewidth=0, zorder=0, label=label)
        axes.plot(fine, line[:, 0], color=BLUE, linewidth=1.2)
        if "settings" in out["holdout"]:
            draw_held(axes, out["holdout"])
    families = list(dict.fromkeys(joined.families))
    named = set()
    for row in rows:
        if row["M"] is None:
            continue
        number = families.index(row["family"])
        look = {"color": color_of(number), "label": row["family"] if row["family"] not in named else None}
        end = row["threshold"] or row["more_than"] or row["less_than"]
        if end is None:
            continue
        named.add(row["family"])
        marker = marker_of(number) if row["threshold"] else "$\u2191$" if row["more_than"] else "$\u2193$"
        axes.plot(row["M"], end, marker=marker, linestyle="", markersize=5, **look)
        if row["threshold_low"] and row["threshold_high"]:
            axes.plot([row["M"]] * 2, [row["threshold_low"], row["threshold_high"]], color=look["color"], linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="size M", ylabel="threshold popularity")


def draw(
    joined: Joined,
    curves: list[ModelCurve],
    rows: list[dict[str, Any]],
    law: DoseLaw | None,
    runs: Runs,
    out: dict[str, Any],
    target: float,
    path: Path,
) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.2))
    draw_curves(left, joined, curves, target)
    draw_law(right, joined, rows, law, runs, out)
    legend(left)
    legend(right)
    for one in (left, right):
        one.tick_params(labelsize=SMALL)
    save(figure, path)
