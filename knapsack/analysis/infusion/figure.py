"""The figure of an infusion study: retention against exposures, the base's validation loss below, policies side by
side.

Where a policy has one curve, its kinds of questions are the lines; where it has several, the curves are, with the
measure that was asked for. Controls are dotted. A bracket of collapse is shaded. What is not replicated is open:
points of one run, and hatched the fall that single runs show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knapsack.analysis.infusion.collapse import Rule
from knapsack.analysis.infusion.curves import Curve
from knapsack.analysis.points import Point
from knapsack.analysis.style import GREEN, GREY, INK, KINDS, SMALL, color_of, draw_points, legend, marker_of, plt, save
from knapsack.runs.table import Row

NAMES = {
    "accuracy": "exact match",
    "accuracy_normalized": "exact match, normalised",
    "choice": "right choice",
    "choice_norm": "right choice, per token",
    "bits_share": "learned bits, share of all",
}
SPANS = {  # of a reading, from F_lo to F_hi
    "bracket": {"alpha": 0.12, "linewidth": 0},
    "not_replicated": {"alpha": 0.3, "linewidth": 0, "facecolor": "none", "hatch": "///"},
}


def split_kind(measure: str) -> tuple[str, str | None]:
    """accuracy_seen is accuracy of the kind seen."""
    stem, _, kind = measure.rpartition("_")
    return (stem, kind) if kind in KINDS else (measure, None)


def tick_labels(grid: list[float]) -> list[str]:
    """Of points that are close only the first is named."""
    labels, last = [], 0.0
    apart = (grid[-1] / grid[0]) ** 0.06 if grid else 1.0
    for F in grid:
        labels.append(f"{F:g}" if F >= last * apart else "")
        last = F if labels[-1] else last
    return labels


def draw_line(axes: Any, points: list[Point], column: str, **look: Any) -> None:
    """Means over seeds, with the interval over facts as whiskers and the seeds as short strokes."""
    points = [point for point in points if point.values(column)]
    draw_points(
        axes,
        [point.at for point in points],
        [point.mean(column) for point in points],
        runs=[point.values(column) for point in points],
        intervals=[point.interval(column) for point in points],
        **look,
    )
    single = [point for point in points if len(point.values(column)) == 1]
    if single and look.get("marker"):
        at, values = [point.at for point in single], [point.mean(column) for point in single]
        open_marker = {"marker": look["marker"], "markerfacecolor": "white"}
        axes.plot(at, values, linestyle="none", color=look["color"], **open_marker)


def draw_measure(axes: Any, curve: Curve, measure: str, color: str, marker: str, label: str) -> None:
    draw_line(axes, curve.points, measure, color=color, marker=marker, label=label)
    draw_line(axes, curve.points, f"control/{measure.rpartition('/')[2]}", color=color, linestyle=":")


def draw_kinds(axes: Any, curve: Curve, measure: str) -> None:
    """Of the one curve of a policy; all questions together where that was asked for, or nothing else is there."""
    stem, kind = split_kind(measure)
    for name, (label, color, marker) in KINDS.items():
        draw_measure(axes, curve, f"{stem}_{name}", color, marker, label)
    if not kind or not any(point.values(measure) for point in curve.points):
        draw_measure(axes, curve, measure, GREEN, "D", "all questions")
    axes.set_title(curve.label)


def draw_base(axes: Any, curve: Curve, said: Row, base_loss: str, color: str) -> None:
    draw_line(axes, curve.points, base_loss, color=color, marker="o")
    without = said["without_infusion"]["base_loss"]
    if without is not None:
        axes.axhline(without, color=color, linewidth=1, linestyle="--", label="without")


def draw_policy(upper: Any, lower: Any, pairs: list[tuple[Curve, Row]], rule: Rule) -> None:
    """Curves with what the report says of them; `upper` for what is retained, `lower` for the base's loss."""
    for number, (curve, said) in enumerate(pairs):
        color = INK if len(pairs) == 1 else color_of(number)
        if len(pairs) == 1 and rule.victim == "facts":
            draw_kinds(upper, curve, rule.measure)
        else:
            draw_measure(upper, curve, rule.column, color, marker_of(number), curve.label)
            upper.set_title(curve.policy)
        draw_base(lower, curve, said, rule.base_loss, color)
        reading = said["collapse"]
        look = SPANS.get(reading["status"])
        for axes in (upper, lower) if look else ():
            axes.axvspan(
                reading["F_lo"], reading["F_hi"], **look | {"edgecolor" if "hatch" in look else "color": color}
            )
    if any(point.values(f"control/{rule.measure}") for curve, _ in pairs for point in curve.points):
        upper.plot([], [], color=GREY, linestyle=":", label="controls, never shown")
    if any(said["collapse"]["single_runs"] for _, said in pairs):
        upper.plot(
            [], [], color=GREY, linestyle="none", marker="o", markerfacecolor="white", label="1 run: not replicated"
        )
    for axes in (upper, lower):
        legend(axes)


def label_exposures(axes: Any, curves: list[Curve]) -> None:
    grid = sorted({point.at for curve in curves for point in curve.points})
    axes.set_xscale("log")
    axes.set_xticks(grid, tick_labels(grid), fontsize=SMALL)
    axes.minorticks_off()
    held = "; the facts are fewer to the right: K F is held" if any(curve.hold == "KF" for curve in curves) else ""
    axes.set_xlabel(f"exposures per fact{held}", wrap=True)


def draw(curves: list[Curve], reports: list[Row], rule: Rule, out: Path) -> None:
    policies = list(dict.fromkeys(curve.policy for curve in curves))
    figure, axes = plt.subplots(
        2,
        len(policies),
        figsize=(max(6.5, 5.2 * len(policies)), 6.2),
        sharex="col",
        sharey="row",
        squeeze=False,
        gridspec_kw={"height_ratios": (5, 3)},
    )
    for column, policy in enumerate(policies):
        pairs = [(curve, said) for curve, said in zip(curves, reports) if curve.policy == policy]
        draw_policy(*axes[:, column], pairs, rule)
        label_exposures(axes[1, column], [curve for curve, _ in pairs])
    stem, kind = split_kind(rule.measure if rule.of_facts else rule.base_loss)
    of_kind = f", {KINDS[kind][0]}" if kind and len(curves) > len(policies) else ""
    of_victim = ", of the facts shown early" if rule.victim == "early" else ""
    axes[0][0].set_ylabel(NAMES.get(stem, stem) + of_kind + of_victim)
    axes[1][0].set_ylabel(f"{rule.base_loss}, nats")
    save(figure, out)
