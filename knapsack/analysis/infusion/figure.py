"""The figure of an infusion study: retention against exposures, the base's validation loss below, policies side by
side.

Where a policy has one curve, its kinds of questions are the lines; where it has several, the curves are, with the
measure that was asked for. Controls are dotted. A bracket of collapse is shaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from knapsack.analysis.infusion.collapse import Curve, Rule  # noqa: E402

KINDS = {
    "_seen": ("training statements", "#0b6e99", "o"),
    "_heldout": ("held-out statements", "#d9730d", "s"),
    "_question": ("asked as a question", "#6940a5", "^"),
}
COLORS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#dfab01", "#64473a", "#e03e3e")
NAMES = {
    "accuracy": "exact match",
    "accuracy_normalized": "exact match, normalised",
    "choice": "right choice",
    "choice_norm": "right choice, per token",
    "bits_share": "learned bits, share of all",
}


def split_kind(measure: str) -> tuple[str, str]:
    return next(((measure[: -len(kind)], kind) for kind in KINDS if measure.endswith(kind)), (measure, ""))


def tick_labels(grid: list[float]) -> list[str]:
    """Of points that stand close only the first is named."""
    labels, last = [], 0.0
    apart = (grid[-1] / grid[0]) ** 0.06 if grid else 1.0
    for F in grid:
        labels.append(f"{F:g}" if F >= last * apart else "")
        last = F if labels[-1] else last
    return labels


def draw_line(axes: Any, curve: Curve, column: str, **style: Any) -> None:
    """Means over seeds, with the interval over facts as whiskers and the seeds as short strokes."""
    points = [point for point in curve.points if point.mean(column) is not None]
    if not points:
        return
    places, color = [point.F for point in points], style["color"]
    axes.plot(places, [point.mean(column) for point in points], markersize=4.5, linewidth=1.6, **style)
    for point in points:
        interval, values = point.interval(column), point.values(column)
        if interval:
            axes.plot([point.F] * 2, interval, color=color, linewidth=1, alpha=0.6)
        if len(values) > 1:
            axes.plot([point.F] * len(values), values, "_", color=color, alpha=0.6)


def draw_policy(upper: Any, lower: Any, pairs: list[tuple[Curve, dict]], rule: Rule) -> None:
    stem, kind = split_kind(rule.measure)
    for number, (curve, told) in enumerate(pairs):
        color, label = COLORS[number % len(COLORS)], curve.label
        if len(pairs) == 1:
            kinds = {stem + ending: style for ending, style in KINDS.items()}
            if not kind or not any(point.mean(rule.measure) is not None for point in curve.points):
                kinds[rule.measure] = ("all questions", COLORS[3], "D")
            for column, (name, of_kind, marker) in kinds.items():
                draw_line(upper, curve, column, color=of_kind, marker=marker, label=name)
                draw_line(upper, curve, f"control/{column}", color=of_kind, linestyle=":", label=None)
            upper.set_title(label, fontsize=9)
            color = "#37352f"
        else:
            draw_line(upper, curve, rule.measure, color=color, marker="os^Dv<>p"[number % 8], label=label)
            draw_line(upper, curve, f"control/{rule.measure}", color=color, linestyle=":", label=None)
        draw_line(lower, curve, rule.base_loss, color=color, marker="o", label=None)
        if told["without_infusion"]["base_loss"] is not None:
            lower.axhline(told["without_infusion"]["base_loss"], color=color, linewidth=1, linestyle="--", label="without")
            lower.legend(frameon=False, fontsize=8)
        if told["collapse"]["status"] == "bracket":
            for axes in (upper, lower):
                axes.axvspan(told["collapse"]["F_lo"], told["collapse"]["F_hi"], color=color, alpha=0.12, linewidth=0)
    if any(point.values(f"control/{rule.measure}") for curve, _ in pairs for point in curve.points):
        upper.plot([], [], color="#787774", linestyle=":", label="controls, never told")
    upper.legend(frameon=False, fontsize=8)


def draw(curves: list[Curve], told: list[dict], rule: Rule, out: Path) -> None:
    policies = list(dict.fromkeys(curve.key[2] for curve in curves))
    figure, axes = plt.subplots(
        2,
        len(policies),
        figsize=(max(6.5, 5.2 * len(policies)), 6.2),
        dpi=160,
        sharex="col",
        sharey="row",
        squeeze=False,
        gridspec_kw={"height_ratios": (5, 3)},
    )
    for column, policy in enumerate(policies):
        upper, lower = axes[:, column]
        draw_policy(upper, lower, [pair for pair in zip(curves, told) if pair[0].key[2] == policy], rule)
        if not upper.get_title():
            upper.set_title(policy, fontsize=9)
        grid = sorted({point.F for curve in curves if curve.key[2] == policy for point in curve.points})
        lower.set_xscale("log")
        lower.set_xticks(grid, tick_labels(grid), fontsize=8)
        lower.minorticks_off()
        lower.set_xlabel("exposures per fact")
        for one in (upper, lower):
            one.grid(alpha=0.25)
            one.spines[["top", "right"]].set_visible(False)
    stem, kind = split_kind(rule.measure)
    axes[0][0].set_ylabel(
        NAMES.get(stem, stem) + (f", {KINDS[kind][0]}" if kind and len(curves) > len(policies) else "")
    )
    axes[1][0].set_ylabel(f"{rule.base_loss}, nats")
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    plt.close(figure)
