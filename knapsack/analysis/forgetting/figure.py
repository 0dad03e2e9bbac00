"""The figures of `knapsack curves`: what is known by step, and what is kept after a window closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.forgetting.laws import evaluate
from knapsack.analysis.forgetting.needed import cells_of
from knapsack.analysis.forgetting.retention import Window
from knapsack.analysis.psychometric import Curve, binned
from knapsack.analysis.style import BLUE, COLORS, GREEN, GREY, ORANGE, PURPLE, SHADE, SMALL, legend, plt, save
from knapsack.runs.answers import Answers

MOST_PARTS = 12  # lines of groups or attributes
SHARE = (-0.03, 1.03)
DOTS = {"marker": "o", "markersize": 3}


def draw_known(axes: Any, out: dict[str, Any]) -> None:
    whole, label = out["all"], f"facts known (share {out['share']:g} of {out['kind']} questions)"
    axes.plot(out["steps"], whole["share_known"], color=BLUE, label=label, **DOTS)
    axes.plot(out["steps"], whole["accuracy"], "--", color=ORANGE, label="questions right")
    axes.set(xlabel="step", ylabel="share", ylim=SHARE)


def draw_nll(axes: Any, out: dict[str, Any]) -> None:
    whole = out["all"]
    axes.plot(out["steps"], np.array(whole["mean_nll"], float), color=GREEN, label="nll", **DOTS)
    axes.set(xlabel="step", ylabel="mean nll (nats an answer)")
    if whole["mean_exposures"]:
        right = axes.twinx()
        right.plot(out["steps"], whole["mean_exposures"], ":", color=GREY)
        right.set_ylabel("mean exposures (dotted)")
        right.spines["right"].set_visible(True)
        right.grid(False)


def draw_parts(axes: Any, out: dict[str, Any]) -> None:
    """By group, or by attribute where there is one group."""
    part = "by_group" if len(out["by_group"]) > 1 else "by_attribute"
    shown = list(out[part].items())[:MOST_PARTS]
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(shown)))
    for (name, values), color in zip(shown, colors):
        axes.plot(out["steps"], values["share_known"], color=color, label=name)
    left_out = len(out[part]) - len(shown)
    title = part.replace("_", " ") + (f" (first {MOST_PARTS}, {left_out} not shown)" if left_out else "")
    axes.set(xlabel="step", ylabel="share of facts known", ylim=SHARE, title=title)


def draw_needed(axes: Any, out: dict[str, Any], answers: Answers) -> None:
    """Answers right by exposures, in bins, with the fitted curve and F50."""
    needed = out["exposures_needed"] and out["exposures_needed"]["all"]
    if not needed:
        axes.text(0.5, 0.5, "exposures not in the answers", ha="center", transform=axes.transAxes)
        return
    given = (answers.exposures >= 0).all(axis=0)
    places, shares = binned(cells_of(answers, given, np.full(len(answers.fact_of), np.nan)))
    axes.plot(places, [share.value for share in shares], "o", color=PURPLE, label="answers right")
    for place, share in zip(places, shares):
        axes.plot([place] * 2, [share.low, share.high], color=PURPLE, linewidth=1, alpha=0.6)
    fine = np.geomspace(*needed["doses"], 200)
    axes.plot(fine, Curve.of_report(needed).at(fine), color=GREY, label=f"curve ({needed['state']})")
    if needed["F50"]:
        low, high = needed["interval"]
        axes.axvspan(low or needed["doses"][0], high or needed["doses"][1], color=SHADE, zorder=0)
        axes.axvline(needed["F50"], color=GREY, linestyle=":", label=f"F50 = {needed['F50']:.3g}")
    axes.set(xscale="log", xlabel="exposures", ylabel="share of answers right", ylim=SHARE)


def draw_curves(out: dict[str, Any], answers: Answers, path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 8))
    draw_known(axes[0, 0], out)
    draw_nll(axes[0, 1], out)
    draw_parts(axes[1, 0], out)
    draw_needed(axes[1, 1], out, answers)
    for one in axes.flat:
        legend(one)
    title(figure, out["unfinished"])
    save(figure, path)


def draw_runs(out: dict[str, Any], path: Path) -> None:
    """The share of facts known: each run, their mean, 95 % over runs."""
    figure, axes = plt.subplots(figsize=(7, 4.6))
    for number, said in enumerate(out["runs"].values()):
        label = "runs" if not number else None
        axes.plot(said["steps"], said["all"]["share_known"], color=GREY, linewidth=1, label=label)
    low, high = np.array(out["all"]["share_known_over_runs"], float).T
    axes.fill_between(out["steps"], np.clip(low, 0, 1), np.clip(high, 0, 1), color=SHADE, label="95 % over runs")
    axes.plot(out["steps"], out["all"]["share_known"], color=BLUE, label="mean", **DOTS)
    axes.set(xlabel="step", ylabel=f"facts known (share {out['share']:g} of {out['kind']} questions)", ylim=SHARE)
    legend(axes)
    title(figure, next((said["unfinished"] for said in out["runs"].values() if said["unfinished"]), None))
    save(figure, path)


def title(figure: Any, unfinished: str | None) -> None:
    if unfinished:
        figure.suptitle(unfinished, fontsize=SMALL, wrap=True)


def draw_fits(axes: Any, t: list[float], values: list[float], fits: dict[str, Any], what: str, since: str) -> None:
    t, values = np.array(t, float), np.array(values, float)
    axes.plot(t[t > 0], values[t > 0], "ko", markersize=4, label="measured")
    for (name, fit), color in zip(fits.items(), COLORS):
        if "refused" not in fit:
            fine = np.geomspace(t[t > 0].min(), t.max(), 200)
            late = "" if fit["late_error"] is None else f", late error {fit['late_error']:.2g}"
            label = name.replace("_", "-") + late
            axes.plot(fine, evaluate(name, fit, fine), color=color, linewidth=1.4, label=label)
    axes.set(xscale="log", xlabel=f"steps since {since}", ylabel=what)


def draw_log_probability(axes: Any, steps: np.ndarray, logp: np.ndarray, window: Window) -> None:
    axes.plot(steps, np.nanmean(logp, axis=1), color=GREEN, **DOTS)
    opened = steps[0] if window.opened is None else window.opened
    axes.axvspan(opened, window.closed, color=SHADE, zorder=0, label="window")
    axes.set(xlabel="step", ylabel="mean log-probability (nats an answer)")


def draw_retention(out: dict[str, Any], steps: np.ndarray, logp: np.ndarray, window: Window, path: Path) -> None:
    """`logp`: (steps, facts)."""
    result = out["retention"]
    chang, what = result["log_probability"], f"share of the facts known at closing, of {result['of']}"
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2))
    draw_fits(axes[0], result["t"], result["share_known"], result["fits"], what, "the window closed")
    if "refused" in chang:
        said = "no retainability:\n" + chang["refused"]
        place = {"ha": "center", "va": "center", "transform": axes[1].transAxes}
        axes[1].text(0.5, 0.5, said, fontsize=SMALL, wrap=True, **place)
    else:
        since = f"t_LAM ({chang['t_lam']})"
        draw_fits(
            axes[1], chang["t"], chang["retainability"], chang["fits"], f"retainability R(t) of {result['of']}", since
        )
    draw_log_probability(axes[2], steps, logp, window)
    for one in axes:
        legend(one)
    title(figure, out.get("unfinished"))
    save(figure, path)
