"""The figure of a law, three panels: what each size knows over the dose, the same over F / F50 of each size, and F50
against size (or horizon) with what was left out, as predicted by the others and as measured.

The first two ask whether sizes differ in F50 alone: each has the mean of its runs' own F50, whatever the law says, and
one slope and lapse for all. Sizes that never reach half have no F50, no line, and are not in the second. The third
judges the law, which is fitted without the largest size, and without the longest horizon in the panel of horizons, so
that what is left out is predicted and not fitted; where too few runs are left, it is the law of all runs, and the
legend says so. Sizes differ in marker and brightness, not in hue alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from scipy.special import expit

from knapsack.analysis.intervals import in_words
from knapsack.analysis.laws.dose import NODES, WEIGHTS, DoseLaw
from knapsack.analysis.laws.holdout import BASELINES, OWN
from knapsack.analysis.laws.report import Row, fit_law
from knapsack.analysis.laws.study import Study
from knapsack.analysis.psychometric import binned
from knapsack.analysis.style import BLUE, GREY, INK, MARKERS, ORANGE, SHADE, SMALL, plt, save
from knapsack.common.errors import DataError

WIDTHS, HEIGHT = (2.7, 2.7, 3.6), 3.6  # inches: about 900 pixels of a page
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.19), "labelspacing": 0.35, "columnspacing": 1.0}  # legends
DODGE, ASIDE = 1.03, 1.13  # factors of x: between replicates, and of what is predicted
MOST_DOSES = 16  # of a run, drawn one by one
MOST_TICKS = 8
MOST_BAND = 4.0  # factor by which the band is drawn beyond what was measured
NAMES = {"parameters": "parameters", "parameters_non_embedding": "non-embedding parameters", "tokens": "tokens"}
LARGEST = {"M": "largest size", "S": "longest horizon"}
ORDER = ("law", "a", "above", "below", "left", "predicted", "nearest", "constant")  # of the legend, by first words
ENDINGS = (".png", ".svg")


def short(value: float) -> str:
    """39k, 1.2M, 24M"""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:{'.0f' if value >= 9.5 * unit else '.2g'}}{letter}"
    return f"{value:.3g}"


class Drawn:
    """What the panels share. `columns`: of the table of runs, by covariate."""

    def __init__(
        self, study: Study, law: DoseLaw, rows: list[Row], held: list[Row], columns: Mapping[str, str], dose: str
    ) -> None:
        self.study, self.law, self.rows, self.columns, self.dose = study, law, rows, columns, dose
        self.covariates = study.runs.covariates
        self.held = {one["axis"]: one for one in held if "settings" in one}
        self.middle = {name: float(np.exp(np.log(values).mean())) for name, values in self.covariates.items()}
        self.settings = [study.runs.setting(i) for i in range(len(study.table))]
        self.without = {axis: self.law_without(axis) for axis in self.held}
        self.by = next((axis for axis in ("M", "S") if axis in law.covariates), None)  # what runs are told apart by
        self.values = self.covariates[self.by] if self.by else np.ones(len(study.table))

    def is_largest(self, axis: str) -> np.ndarray:
        return np.isclose(self.covariates[axis], self.covariates[axis].max(), rtol=1e-3)

    def law_without(self, axis: str) -> DoseLaw | None:
        """As the hold-out fitted it."""
        try:
            return fit_law(self.study.runs.take(~self.is_largest(axis)), self.study.people)
        except DataError:
            return None

    def named(self, axis: str) -> str:
        """With its unit."""
        column = self.columns.get(axis, axis)
        return axis if column == axis else f"{axis}, {NAMES.get(column, column)}"

    def curve(self, law: DoseLaw, dose: np.ndarray) -> np.ndarray:
        """The accuracy at F / F50, of people who differ."""
        shape = law.shape
        own = np.exp(shape.people * NODES)
        risen = expit(shape.k * np.log(dose[:, None] / own)) @ (WEIGHTS / WEIGHTS.sum())
        guess = float(np.mean([one.guess for one in self.study.curves if one is not None]))
        return guess + (1 - guess - shape.lapse) * risen

    def own_F50(self) -> np.ndarray:
        """Of each run, the geometric mean over the runs of its setting; NaN where none reaches half."""
        of_setting: dict[tuple, list[float]] = {}
        keys = [tuple(sorted(setting.items())) for setting in self.settings]
        for key, row in zip(keys, self.rows):
            of_setting.setdefault(key, []).extend([np.log(row["F50"])] if row.get("F50") else [])
        return np.array([np.exp(np.mean(of_setting[key])) if of_setting[key] else np.nan for key in keys])

    def looks(self) -> list[dict[str, Any]]:
        """A marker and a brightness of each run, by its size, or horizon."""
        places = np.unique(self.values)
        colors = plt.get_cmap("viridis")(np.linspace(0, 0.82, max(2, len(places))))
        ranks = np.searchsorted(places, self.values)
        return [{"marker": MARKERS[rank % len(MARKERS)], "color": tuple(colors[rank])} for rank in ranks]


def draw_curves(raw: Any, collapsed: Any, drawn: Drawn) -> None:
    """Each run's accuracy by dose, 95 % over people, and the one curve moved to each size's own F50."""
    by, looks, own = drawn.by, drawn.looks(), drawn.own_F50()
    fine = np.geomspace(0.003, 300, 400)
    named = set()
    for i in np.argsort(drawn.values, kind="stable"):
        look, place, F50 = looks[i], drawn.values[i], own[i]
        places, shares = binned(drawn.study.runs.answers[i], MOST_DOSES)
        label = short(place) if by and place not in named else None
        for axes, x in ((raw, places), (collapsed, places / F50)):
            axes.plot(x, [one.value for one in shares], linestyle="", label=label if axes is raw else None,
                      markersize=3.2, markeredgewidth=0.8, zorder=3, **look)  # fmt: skip
        raw.vlines(places, *zip(*(one[1:] for one in shares)), color=look["color"], linewidth=0.5, alpha=0.25)
        if place not in named:
            raw.plot(fine * F50, drawn.curve(drawn.law, fine), color=look["color"], linewidth=0.9, alpha=0.8, zorder=2)
        named.add(place)
    shape = drawn.law.shape
    collapsed.plot(fine, drawn.curve(drawn.law, fine), color=INK, linewidth=1.3, zorder=4,
                   label=f"slope k = {shape.k:.2g}, lapse {100 * shape.lapse:.1f} %")  # fmt: skip
    doses = np.concatenate([cells.dose[cells.dose > 0] for cells in drawn.study.runs.answers])
    raw.set(xlim=(doses.min() / 1.3, doses.max() * 1.3), xlabel=f"F, {drawn.dose} of a fact", ylabel="exact match")
    what = {"M": "size", "S": "horizon"}.get(by, "run")
    found = own[np.isfinite(own)]
    if len(found):
        collapsed.set(xlim=(max(0.02, doses.min() / found.max()) / 1.3, min(50.0, doses.max() / found.min()) * 1.3))
    collapsed.set(xlabel=f"F / $F_{{50}}$ of the {what}")
    for axes in (raw, collapsed):
        axes.set(xscale="log", ylim=(-0.03, 1.03), yticks=np.linspace(0, 1, 6))
    if by:
        raw.legend(title=drawn.named(by), ncol=3, handletextpad=0.2, title_fontsize=SMALL, **BELOW)
    collapsed.legend(**BELOW)
    raw.set_title(f"a  a curve for each {what}", loc="left")
    collapsed.set_title(f"b  one shape for all {what}s", loc="left")


def draw_law(axes: Any, drawn: Drawn, axis: str, letter: str) -> None:
    """F50 of each run with 95 % over people, arrows for what is censored; the band is 95 % of a new run."""
    x = drawn.covariates[axis]
    others = [name for name in drawn.law.covariates if name != axis]
    without = drawn.without.get(axis)
    law, left_out = without or drawn.law, drawn.is_largest(axis) & (without is not None)
    fine = np.geomspace(x.min() / DODGE**2, x.max() * ASIDE * DODGE**2, 80)
    line = np.array([law.F50(drawn.middle | {axis: float(at)}) for at in fine])
    name = f"law without the\n{LARGEST.get(axis, 'largest')}" if without else "law of all runs"
    said = {"M": ("γ", "gamma"), "S": ("β", "beta")}.get(axis, (f"exponent of {axis}",) * 2)
    axes.fill_between(fine, line[:, 1], line[:, 2], color=SHADE, linewidth=0, zorder=0)
    axes.plot(
        fine,
        line[:, 0],
        color=BLUE,
        linewidth=1.2,
        label=f"{name}, {said[0]} = {law.exponents()[said[1]].value:.2f},\n95 % of a new run",
        zorder=1,
    )
    number = {value: 0 for value in x}
    seen = []  # what is drawn, for the limits
    for i, row in enumerate(drawn.rows):  # none where a run is one dose
        turn, number[x[i]] = number[x[i]], number[x[i]] + 1
        at = x[i] * DODGE ** (turn - (np.count_nonzero(x == x[i]) - 1) / 2)
        moved = 1.0  # to the others' geometric mean
        if others:
            moved = drawn.law.F50(drawn.middle | {axis: float(x[i])}).value / drawn.law.F50(drawn.settings[i]).value
        seen += draw_run(axes, at, row, moved, bool(left_out[i]), drawn.study.people)
    seen += draw_predicted(axes, drawn, axis) if without else []
    seen += line[:, 0].tolist()
    ends_of_band = np.clip([line[:, 1].min(), line[:, 2].max()], min(seen) / MOST_BAND, max(seen) * MOST_BAND)
    axes.set(xscale="log", yscale="log", ylim=(ends_of_band[0] / 1.1, ends_of_band[1] * 1.1))
    where = ", ".join(f"{name} = {short(drawn.middle[name])}" for name in others)
    axes.set(xlabel=drawn.named(axis), xlim=(fine[0] / 1.1, fine[-1] * 1.1))
    axes.set(ylabel=f"$F_{{50}}$, {drawn.dose}" + (f", moved to {where}" if where else ""))
    ticks = np.unique(x)
    if len(ticks) <= MOST_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if ends_of_band[1] < 50 * ends_of_band[0]:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    handles = sorted(zip(*axes.get_legend_handles_labels()), key=lambda one: ORDER.index(one[1].split()[0].rstrip(":")))
    axes.legend(*zip(*handles), ncol=2, fontsize=SMALL - 0.5, handlelength=1.2, handletextpad=0.4, **BELOW)
    axes.set_title(f"{letter}  {said[0]} = {in_words(drawn.law.exponents()[said[1]], '.2f')}, of all runs", loc="left")


def draw_run(axes: Any, at: float, row: Row, moved: float, left_out: bool, people: bool) -> list[float]:
    """The places that it takes. `people`: its interval is over them."""
    color, marker = (ORANGE, "s") if left_out else (BLUE, "o")
    if row.get("F50"):
        label = "left out, measured" if left_out else "a run, 95 %" + " over people" * people
        axes.plot(at, row["F50"] * moved, marker, color=color, markersize=3.6, label=once(axes, label), zorder=3)
        low, high = row["interval"]
        if low and high:
            axes.plot([at, at], [low * moved, high * moved], color=color, linewidth=1, zorder=2)
        return [row["F50"] * moved]
    up = row.get("more_than")
    end = up or row.get("less_than")
    if not end:
        return []
    axes.plot(at, end * moved, "^" if up else "v", color=GREY, markersize=5, fillstyle="none",
              label=once(axes, f"{'above' if up else 'below'} all doses"))  # fmt: skip
    return [end * moved]


def draw_predicted(axes: Any, drawn: Drawn, axis: str) -> list[float]:
    """The left-out settings as the other runs predict them, and as the baselines do."""
    held, seen = drawn.held[axis], []
    factors = {row["law"]: row["factor"] for row in held["laws"]}
    looks = {OWN: ("predicted", "D", ORANGE), "nearest": ("nearest", "x", INK)}
    looks["constant F50"] = "constant", "+", INK
    for setting in held["settings"]:
        at = setting["at"][axis] * ASIDE
        others = [name for name in drawn.law.covariates if name != axis]
        moved = 1.0
        if others:
            moved = drawn.law.F50(drawn.middle | {axis: setting["at"][axis]}).value / drawn.law.F50(setting["at"]).value
        for name in (OWN, *reversed(BASELINES)):
            predicted = setting["predicted"].get(name)
            if not predicted:
                continue
            words, marker, color = looks[name]
            off = f": off by ×{factors[name]:.2f}" if factors[name] else ""
            axes.plot(at, predicted[0] * moved, marker, color=color, markersize=4.5, fillstyle="none",
                      label=once(axes, words + off), zorder=4)  # fmt: skip
            seen.append(predicted[0] * moved)
            if predicted[1] is not None:
                axes.plot([at] * 2, [end * moved for end in predicted[1:]], color=color, linewidth=1)
    return seen


def once(axes: Any, label: str) -> str | None:
    """In the legend."""
    return label if label not in axes.get_legend_handles_labels()[1] else None


def draw(
    study: Study,
    law: DoseLaw,
    rows: list[Row],
    held: list[Row],
    columns: Mapping[str, str],
    dose: str,
    paths: list[Path],
) -> None:
    """The same figure at each path. `columns`: of the table of runs, by covariate."""
    drawn = Drawn(study, law, rows, held, columns, dose)
    collapses = 2 if study.people and law.shape else 0
    axes_of_law = [name for name in law.covariates if name in study.runs.covariates]
    widths = [*WIDTHS[:collapses], *([WIDTHS[2]] * len(axes_of_law))]
    for path in paths:
        figure, row = plt.subplots(
            1, len(widths), squeeze=False, figsize=(sum(widths), HEIGHT), gridspec_kw={"width_ratios": widths}
        )
        for axes in row[0]:
            axes.tick_params(labelsize=SMALL - 1)
            axes.xaxis.label.set_size(SMALL + 0.5)
            axes.yaxis.label.set_size(SMALL + 0.5)
        if collapses:
            draw_curves(*row[0][:2], drawn)
        for number, axis in enumerate(axes_of_law):
            draw_law(row[0][collapses + number], drawn, axis, "abcdefgh"[collapses + number])
        figure.tight_layout()  # once more in save: legends move with the panels
        save(figure, path)
