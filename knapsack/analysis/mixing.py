"""The figure of a sweep over mixing ratios: exact match and learned bits against the ratio, with exposures above and
web epochs below.

  knapsack plot mixing runs/quickstart --out mixing.png

A line a model; several runs at one ratio (seeds, to three digits) are points around their mean, a single run shows its
95 % interval. Runs that have not finished, that lack the source or the questions, or whose numbers are not finite, are
named and left out. The numbers drawn are written next to the figure as .csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import pandas as pd

from knapsack.analysis.held import check_replicates, facts_axis
from knapsack.analysis.outputs import check_outputs, figure_file, write_text
from knapsack.analysis.points import place, points_of
from knapsack.analysis.style import GREEN, GREY, KINDS, draw_points, legend, plt, save
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import files_of, find_runs, warn
from knapsack.runs.table import cell, finished_runs, finite_runs, format_csv, numbers, read_runs

MEASURES = ("accuracy", "accuracy_seen", "accuracy_heldout", "accuracy_question", "chance", "bits", "most_bits")


class Names(NamedTuple):
    source: str  # whose ratio is varied
    web: str
    knowledge: str  # question set

    @property
    def ratio(self) -> str:
        return f"share/{self.source}"

    def know(self, measure: str) -> str:
        return f"know/{self.knowledge}/{measure}"


def the_source(runs: pd.DataFrame, knowledge: str | None) -> str:
    """The one source with a question set of its name. Where --set has another name than its source, the only knowledge
    source (one with exposures) is taken."""
    sources = [name.removeprefix("share/") for name in runs if name.startswith("share/")]
    asked = [name for name in sources if f"know/{name}/accuracy" in runs]
    if not asked and knowledge:
        asked = [name.removeprefix("exposures/") for name in runs if name.startswith("exposures/")]
    if len(asked) > 1:
        raise UsageError(f"question sets of {len(asked)} sources: {', '.join(asked)}; choose one with --source")
    if not asked:
        raise UsageError("no source of these runs has a question set of its name; name both with --source and --set")
    return asked[0]


def draw_line(axes: Any, runs: pd.DataFrame, names: Names, column: str, scale: float, **look: Any) -> None:
    """Mean over runs of equal ratio; whiskers where there is one run with an interval."""
    if column not in runs:
        return
    points = points_of(runs.dropna(subset=[column]), names.ratio, place)
    check_replicates(points, names.ratio, "give the runs of one sweep, or draw them with `plot experiment --lines`")
    facts_axis(runs)
    intervals = [point.interval(column) if len(point.runs) == 1 else None for point in points]
    draw_points(
        axes,
        [point.at for point in points],
        [scale * point.mean(column) for point in points],
        runs=[[scale * value for value in point.values(column)] for point in points],
        intervals=[interval and (scale * interval[0], scale * interval[1]) for interval in intervals],
        **look,
    )


def of_all(values: list[float], form: str) -> str:
    """What the runs of a ratio have, from the least to the most; '-' where none has any."""
    return "\N{EN DASH}".join(dict.fromkeys(format(end, form) for end in (min(values), max(values)))) if values else "-"


def label_ratios(axes: Any, runs: pd.DataFrame, names: Names) -> None:
    """Ratio and web epochs at the bottom, exposures at the top."""
    points = points_of(runs, names.ratio, place)
    epochs = [of_all(point.values(f"epochs/{names.web}"), ".2g") for point in points]
    exposures = [of_all(point.values(f"exposures/{names.source}"), ".0f") for point in points]
    ratios = [point.at for point in points]
    axes.set_xticks(ratios, [f"{ratio:.3g}\n{epoch}" for ratio, epoch in zip(ratios, epochs)])
    axes.set_xlabel(f"mixing ratio of {names.source}, and epochs of {names.web} below")
    above = axes.secondary_xaxis("top")
    above.set_xticks(ratios, exposures)
    above.set_xlabel("exposures per fact")


def draw_baseline(axes: Any, value: float, label: str) -> None:
    axes.axhline(value, color=GREY, linewidth=1, linestyle=":", label=label)


def draw_figure(runs: pd.DataFrame, names: Names, out: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    models = pd.Series([cell(model or "") for model in runs.get("model", [""] * len(runs))], runs.index)
    for number, model in enumerate(models.unique()):
        chosen = runs[(models == model).values]
        line = ["-", "--", ":", "-."][number % 4]
        suffix = f", {model}" if models.nunique() > 1 else ""
        for kind, (label, color, marker) in KINDS.items():
            look = {"label": label + suffix, "color": color, "marker": marker, "linestyle": line}
            draw_line(left, chosen, names, names.know(f"accuracy_{kind}"), 100, **look)
        look = {"label": "learned bits" + suffix, "color": GREEN, "marker": "o", "linestyle": line}
        draw_line(right, chosen, names, names.know("bits"), 1e-3, **look)
    if chance := numbers(runs, names.know("chance")):
        draw_baseline(left, 100 * mean(chance), f"chance ({100 * mean(chance):.2g} %)")
    most = max(numbers(runs, names.know("most_bits")), default=0) / 1e3
    if most:
        draw_baseline(right, most, f"all there is ({most:.3g} kbit)")
    left.set(ylabel="exact match (%)", ylim=(-3, 103))
    right.set(ylabel="learned bits (kbit)", ylim=(-0.03 * (most or 1e-3), None))
    for axes in (left, right):
        label_ratios(axes, runs, names)
        legend(axes)
    save(figure, out)


def csv_columns(names: Names) -> list[str]:
    columns = [*("run", "model", "seed", names.ratio, f"exposures/{names.source}"), f"epochs/{names.web}"]
    columns += [f"val/{names.web}/loss", *(names.know(measure) for measure in MEASURES)]
    return columns + [c + end for c in columns if c.startswith(names.know("accuracy")) for end in ("_low", "_high")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="runs, or folders of runs")
    parser.add_argument("--source", help="whose ratio is varied (default: the only one with a question set)")
    parser.add_argument("--web", default="web", help="the other source")
    parser.add_argument("--set", dest="knowledge", help="question set (default: the source's name)")
    parser.add_argument("--out", type=figure_file, required=True, metavar="FILE.png")


def draw(args: argparse.Namespace) -> None:
    table = args.out.with_suffix(".csv")
    check_outputs([args.out, table], files_of(find_runs(args.folders)))
    below = f"below {', '.join(map(str, args.folders))}"
    runs = read_runs(args.folders)
    if runs.empty:
        raise DataError(f"no run (config.json) {below}")
    source = args.source or the_source(runs, args.knowledge)
    names = Names(source, args.web, args.knowledge or source)
    needed = [names.ratio, names.know("accuracy")]
    if not set(needed) <= set(runs):
        raise DataError(f"no run {below} with source {source} and question set {names.knowledge}")
    runs = finite_runs(finished_runs(runs), csv_columns(names)[3:])
    has = runs[needed].notna().all(axis=1)
    for name in runs["run"][~has]:
        warn(f"run {name} has no {' or no '.join(needed)}, left out")
    if not has.any():
        raise DataError(f"no finished run {below} with source {source} and question set {names.knowledge}")
    runs = runs[has].sort_values(names.ratio, kind="stable")
    draw_figure(runs, names, args.out)
    write_text(table, format_csv(runs, csv_columns(names)))
    print(f"{args.out} and {table}: {len(runs)} runs")
