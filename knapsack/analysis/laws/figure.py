"""The figure of the laws: the curves of all runs collapsing on F / F50, and F50 against size or horizon, with what was
left out, predicted and measured, and what was censored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.laws.dose import DoseLaw
from knapsack.analysis.laws.study import Study
from knapsack.analysis.psychometric import Curve, binned
from knapsack.analysis.style import BLUE, GREY, INK, ORANGE, SHADE, legend, plt, save


def draw_collapse(axes: Any, study: Study, law: DoseLaw) -> None:
    """Accuracy over F / F50, a color a size; the curve is the law's."""
    sizes = study.runs.covariates.get("M", np.ones(len(study.table)))
    ranks = {size: rank for rank, size in enumerate(np.unique(sizes))}
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(ranks)))
    named = set()
    for i in np.argsort(sizes, kind="stable"):
        curve, cells, size = study.curves[i], study.runs.answers[i], sizes[i]
        if curve is None or curve.F50 is None:
            continue
        places, shares = binned(cells)
        label = f"M = {size:,.0f}" if size not in named and "M" in study.runs.covariates else None
        named.add(size)
        color = colors[ranks[size]]
        axes.plot(places / curve.F50, [one.value for one in shares], "o", label=label, color=color, markersize=3)
        for place, one in zip(places / curve.F50, shares):
            axes.plot([place] * 2, [one.low, one.high], color=color, linewidth=0.5, alpha=0.25)
    if law.shape:
        spread = 1 / np.sqrt(1 + law.shape.people**2 * law.shape.k**2 / 2.9)  # of people, on the logistic's scale
        fine = np.geomspace(0.02, 50, 300)
        curve = Curve(
            0.0, law.shape.k * spread, law.shape.lapse, law.shape.guess, "reached", 0.0, 1.0, 0, 0, (0.0, 1.0)
        )
        axes.plot(fine, curve.at(fine), color=INK, linewidth=1.2, label=f"k = {law.shape.k:.2g}", zorder=0)
    axes.set(xscale="log", xlabel="F / F50", ylabel="exact match", ylim=(-0.03, 1.03), xlim=(0.03, 30))


def draw_law(
    axes: Any, study: Study, law: DoseLaw, rows: list[dict[str, Any]], held: list[dict[str, Any]], axis: str
) -> None:
    """F50 of each run with its interval over people; arrows for what is censored; the line is the law at the others'
    geometric mean, the band a new run's 95 %."""
    x = study.runs.covariates[axis]
    middle = {name: float(np.exp(np.log(column).mean())) for name, column in study.runs.covariates.items()}
    fine = np.geomspace(x.min(), x.max(), 60)
    line = np.array([law.F50(middle | {axis: float(at)}) for at in fine])
    axes.fill_between(fine, line[:, 1], line[:, 2], color=SHADE, linewidth=0, zorder=0, label="a new run, 95 %")
    axes.plot(fine, line[:, 0], color=BLUE, linewidth=1.2)
    for at, row in zip(x, rows):
        if row.get("F50"):
            axes.plot(at, row["F50"], "o", color=BLUE, markersize=4)
            low, high = row["interval"]
            if low and high:
                axes.plot([at, at], [low, high], color=BLUE, linewidth=1, alpha=0.6)
        else:
            up = row.get("more_than")
            end = up or row.get("less_than")
            if end:
                axes.plot(at, end, "^" if up else "v", color=GREY, markersize=6, fillstyle="none")
    for one in held:
        if one.get("axis") == axis and "settings" in one:
            draw_held(axes, one)
    unit = {"M": "size M", "S": "tokens S"}.get(axis, axis)
    axes.set(xscale="log", yscale="log", xlabel=unit, ylabel="F50")


def draw_held(axes: Any, held: dict[str, Any]) -> None:
    """The left-out settings as predicted by the other runs."""
    for number, setting in enumerate(held["settings"]):
        predicted = setting["predicted"].get("threshold")
        if predicted:
            at = setting["at"][held["axis"]] * 1.04
            label = "predicted by the others" if number == 0 else None
            axes.plot(at, predicted[0], "D", color=ORANGE, fillstyle="none", label=label)
            if predicted[1] is not None:
                axes.plot([at] * 2, predicted[1:], color=ORANGE, linewidth=1)


def draw(study: Study, law: DoseLaw, rows: list[dict[str, Any]], held: list[dict[str, Any]], path: Path) -> None:
    collapses = study.people and any(curve is not None and curve.F50 for curve in study.curves)
    axes_of_law = [name for name in law.covariates if name in study.runs.covariates]
    figure, axes = plt.subplots(
        1,
        max(1, collapses + len(axes_of_law)),
        squeeze=False,
        figsize=(5.2 * max(1, collapses + len(axes_of_law)), 4.2),
    )
    places = list(axes[0])
    if collapses:
        draw_collapse(places.pop(0), study, law)
    for axis, place in zip(axes_of_law, places):
        draw_law(place, study, law, rows, held, axis)
    for one in axes[0]:
        legend(one)
    save(figure, path)
