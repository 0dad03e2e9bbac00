"""The figure of capacity: learned bits over what was to be learned, and each size's capacity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.style import BLUE, GREY, MARKERS, draw_points, legend, plt, save


def draw(sizes: list[dict[str, Any]], column: str, path: Path) -> None:
    """A capacity is a dot with its interval; where no plateau is shown the bound from below is an open triangle."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.6))
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.82, max(2, len(sizes))))
    for i, one in enumerate(sizes):
        of = one["populations"]
        means, runs = [p["bits"][0] for p in of], [p["values"] for p in of]
        intervals = [tuple(p["bits"][1:]) if p["bits"][1] is not None else None for p in of]
        draw_points(left, [p["most"] for p in of], means, runs=runs, intervals=intervals, color=tuple(colors[i]),
                    marker=MARKERS[i % len(MARKERS)], label=f"{one['size']:,.0f}")  # fmt: skip
        reached = "capacity" in one
        value = one["capacity"][0] if reached else one["more_than"]
        right.plot(one["size"], value, "o" if reached else "^", color=BLUE if reached else GREY,
                   fillstyle="full" if reached else "none")  # fmt: skip
        if reached and one["capacity"][1] is not None:
            right.plot([one["size"]] * 2, one["capacity"][1:], color=BLUE, linewidth=1)
    most = np.array([p["most"] for one in sizes for p in one["populations"]])
    left.plot([most.min(), most.max()], [most.min(), most.max()], ":", color=GREY, label="all of it")
    left.set(xscale="log", yscale="log", xlabel="bits to be learned", ylabel="bits learned, at least")
    places = np.array([one["size"] for one in sizes])
    for per, style in ((1.0, "--"), (0.1, ":")):
        right.plot(places, per * places, style, color=GREY, linewidth=1, label=f"{per:g} bits each")
    right.set(xscale="log", yscale="log", xlabel=column.replace("_", " "), ylabel="capacity, bits")
    for axes in (left, right):
        legend(axes)
    save(figure, path)
