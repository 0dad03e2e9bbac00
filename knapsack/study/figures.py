"""Figures of a report: what is known after a trunk; loss against size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.style import BLUE, GREY, SHADE, color_of, legend, marker_of, plt, save
from knapsack.study import hysteresis
from knapsack.study.fields import number_of
from knapsack.study.tables import number, over

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def draw_curves(reading: hysteresis.Reading, axis: str, path: Path) -> None:
    """What is known after the trunk, a marker a replicate; the line is the slope over the stable phase, which is
    shaded: what the cooldown makes of it comes after."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    trends: dict[tuple[str, int], hysteresis.Trend] = {}
    turn: Counter = Counter()
    for slope in reading.slopes:
        if slope.trend is not None:
            trends[slope.place, turn[slope.place]] = slope.trend
        turn[slope.place] += 1
    phases = [trend.tokens for trend in trends.values()]
    if phases:
        first, last = (pick(phase[i] for phase in phases) / 1e6 for i, pick in ((0, min), (1, max)))
        axes.axvspan(first, last, color=SHADE, alpha=0.5, linewidth=0, label="stable phase")
    for i, place in enumerate(sorted(reading.curves, key=lambda place: number_of(place, axis))):
        for j, (tokens, share) in enumerate(reading.curves[place]):
            look = {"color": color_of(i), "marker": marker_of(i), "fillstyle": "full" if j % 2 == 0 else "none"}
            label = place if j == 0 else None
            axes.plot(tokens / 1e6, share, label=label, markersize=4, linewidth=0.7, alpha=0.7, linestyle=":", **look)
            if (place, j) in trends:
                trend = trends[place, j]
                x = np.array(trend.tokens) / 1e6
                axes.plot(x, trend.middle + trend.slope.value * (x - trend.at), color=color_of(i), linewidth=1.8)
    axes.set(xlabel="million tokens after the trunk", ylabel="exact match", ylim=(-0.03, 1.03))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def draw_loss(pairs: Pairs, measure: str, found: dict[str, Any], path: Path) -> None:
    """A panel a unit of M; `pairs`: by unit, sizes and losses."""
    fitted = {unit: one for unit, one in found.items() if "refused" not in one}
    figure, axes = plt.subplots(1, len(fitted), squeeze=False, figsize=(3.6 * len(fitted), 3.2), sharey=True)
    for (unit, one), panel in zip(fitted.items(), axes[0]):
        x, y = pairs[unit]
        fine = np.geomspace(x.min() / 1.2, x.max() * 1.2, 100)
        panel.plot(fine, one["E"] + one["A"] * fine ** -one["alpha"][0], color=BLUE, linewidth=1.2)
        panel.plot(x, y, "o", color=BLUE, label="a run")
        panel.axhline(one["E"], color=GREY, linestyle=":", label=f"E = {number(one['E'])}")
        panel.set(xscale="log", xlabel=f"M, {unit}", title=f"alpha = {over(one['alpha'])}")
        legend(panel)
    axes[0][0].set(ylabel=measure)
    save(figure, path)
