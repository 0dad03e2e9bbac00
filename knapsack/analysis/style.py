"""How every figure looks, and how it is saved. Importing this module loads matplotlib (half a second)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from knapsack.analysis.points import Interval  # noqa: E402
from knapsack.runs.files import write_bytes  # noqa: E402

COLORS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#dfab01", "#64473a", "#e03e3e")
BLUE, ORANGE, PURPLE, GREEN = COLORS[:4]
INK, GREY, SHADE = "#37352f", "#787774", "#e9e5e3"
MARKERS = "os^Dv<>p"
KINDS = {  # of questions: label, color, marker
    "seen": ("training templates", BLUE, "o"),
    "heldout": ("held-out wordings", ORANGE, "s"),
    "question": ("asked as a question", PURPLE, "^"),
}
SMALL = 8  # points
UNDATED: dict[str, dict[str, Any]] = {  # the same figure is the same bytes
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    ".svg": {"Date": None},
}

plt.rcParams.update(
    {
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": SMALL + 1,
        "figure.dpi": 160,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "svg.hashsalt": "knapsack",
    }
)


def draw_points(
    axes: Any,
    places: Sequence[float],
    means: Sequence[float],
    *,
    runs: Sequence[Sequence[float]],
    intervals: Sequence[Interval | None],
    color: str,
    **look: Any,
) -> None:
    """A line through means; at each place its runs as short strokes where there are several, an interval as a
    whisker."""
    axes.plot(places, means, color=color, **look)
    for place, values, interval in zip(places, runs, intervals):
        if len(values) > 1:
            axes.plot([place] * len(values), values, "_", color=color, alpha=0.6)
        if interval:
            axes.plot([place] * 2, interval, color=color, linewidth=1, alpha=0.6)


def color_of(number: int) -> str:
    return COLORS[number % len(COLORS)]


def marker_of(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def legend(axes: Any) -> None:
    """Where something has a label."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend()


def save(figure: Any, path: Path) -> None:
    """Whole or not at all."""
    image = io.BytesIO()
    figure.tight_layout()
    figure.savefig(image, format=path.suffix[1:], metadata=UNDATED.get(path.suffix))
    plt.close(figure)
    write_bytes(path, image.getvalue())
