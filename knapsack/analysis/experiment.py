"""Any column of `knapsack runs` against any other: one figure, and its numbers as .csv next to it.

  knapsack plot experiment share/bio know/bio/accuracy_seen know/bio/accuracy_heldout \\
      --runs runs/mix --lines model --out mix.png
  knapsack plot experiment exposures/bio know/bio/accuracy --runs runs/f --lines tokens --log x --out exposures.png

A line for each Y and each value of the --lines column; words on the x axis are points without lines. Runs of equal X
(to three digits) are replicates around their mean, and must differ in seeds and data paths alone: others are refused by
the options in which they differ. A single run shows its 95 % interval, over people, where results.json has one.
Runs that have not finished, that lack X or Y, or whose X or Y is not a finite number, are named and left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import pandas as pd

from knapsack.analysis.held import check_replicates, facts_axis
from knapsack.analysis.outputs import check_outputs, figure_file, write_text
from knapsack.analysis.points import Point, place, points_of
from knapsack.analysis.style import color_of, draw_points, legend, marker_of, plt, save
from knapsack.common.errors import DataError, UsageError
from knapsack.common.numbers import is_number
from knapsack.runs.files import files_of, find_runs, warn
from knapsack.runs.table import (
    Row,
    cell,
    check_columns,
    finished_runs,
    finite_runs,
    format_csv,
    is_not_finite,
    read_runs,
    to_frame,
)


class Line(NamedTuple):
    y: str
    value: str | None  # of the lines column
    points: list[Point]
    held: str  # where the number of facts varies along it


def usable(runs: pd.DataFrame, x: str, ys: list[str]) -> pd.DataFrame:
    """The runs that have X and one of Y, the others named; X a column of numbers, or else of words."""
    has = runs[x].notna() & runs[ys].notna().any(axis=1)
    if not has.any():
        raise DataError("no run has both X and Y")
    for name in runs["run"][~has]:
        warn(f"run {name} has no {x} or none of {', '.join(ys)}, left out")
    found = runs[has]
    if all(isinstance(value, (int, float)) for value in found[x]):
        return found
    return found.assign(**{x: found[x].map(cell)})  # a list, as of a flag that repeats, is one word


def lines_of(runs: pd.DataFrame, x: str, ys: list[str], lines: str | None) -> list[Line]:
    values = runs[lines].map(cell) if lines else pd.Series(None, runs.index, object)
    found = []
    for y in ys:
        for value in sorted(values.unique()) if lines else [None]:
            chosen = runs[(values == value).values] if lines else runs
            chosen = chosen.dropna(subset=[y]).sort_values(x, kind="stable")
            if not chosen.empty:
                points = points_of(chosen, x, place)
                split = "split them with --lines and one of these" if not lines else f"lines of equal {lines} join them"
                check_replicates(points, x, f"{split}, or give fewer runs")
                found.append(Line(y, value, points, facts_axis(chosen)))
    return found


def summary(line: Line, x: str, lines: str | None) -> list[Row]:
    """The rows of the .csv: a point each, with mean, standard deviation, number of runs, the interval of a single
    one."""
    rows = []
    for point in line.points:
        values = [float(value) for value in point.values(line.y)]
        at = mean(point.values(x)) if isinstance(point.at, float) else point.at
        several = len(values) > 1
        first = point.runs.iloc[0]
        low, high = (None if several else first.get(f"{line.y}_{end}") for end in ("low", "high"))
        row = {"y": line.y, **({lines: line.value} if lines else {}), x: at, "mean": mean(values)}
        rows.append(row | {"sd": stdev(values) if several else None, "runs": len(values), "low": low, "high": high})
    return rows


def draw_figure(lines: list[Line], tables: list[list[Row]], args: argparse.Namespace) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.6))
    words = sorted({row[args.x] for table in tables for row in table if isinstance(row[args.x], str)})
    several = len({line.y for line in lines}) > 1
    for number, (line, table) in enumerate(zip(lines, tables)):
        label = [line.y] * several + [f"{args.lines} {line.value}"] * bool(args.lines)
        draw_points(
            axes,
            [words.index(row[args.x]) + 0.12 * number if words else row[args.x] for row in table],
            [row["mean"] for row in table],
            runs=[point.values(line.y) for point in line.points],
            intervals=[None if None in (row["low"], row["high"]) else (row["low"], row["high"]) for row in table],
            color=color_of(number),
            marker=marker_of(number),
            linestyle="none" if words else "-",
            label=", ".join(label) or None,
        )
    axes.set(xscale="log" if "x" in args.log and not words else "linear", yscale="log" if "y" in args.log else "linear")
    if words:  # after the scale, which makes ticks of its own
        axes.set_xticks(range(len(words)), words, rotation=20, ha="right")
    held = "; ".join(dict.fromkeys(line.held for line in lines if line.held))
    axes.set_xlabel(args.xlabel or (f"{args.x} ({held})" if held else args.x))
    axes.set_ylabel(args.ylabel or ("" if several else lines[0].y))
    legend(axes)
    save(figure, args.out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("x", metavar="X")
    parser.add_argument("y", nargs="+", metavar="Y")
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="runs, or folders of runs")
    parser.add_argument("--lines", metavar="COLUMN", help="a line for each of its values")
    parser.add_argument("--log", choices=["x", "y", "xy"], default="", help="logarithmic axes")
    parser.add_argument("--xlabel")
    parser.add_argument("--ylabel")
    parser.add_argument("--out", type=figure_file, required=True, metavar="FILE.png")


def draw(args: argparse.Namespace) -> None:
    table = args.out.with_suffix(".csv")
    check_outputs([args.out, table], files_of(find_runs(args.runs)))
    runs = read_runs(args.runs)
    if runs.empty:
        raise DataError(f"no run (config.json) below {', '.join(map(str, args.runs))}")
    wrong = check_columns([args.x, *args.y, *([args.lines] if args.lines else [])], runs)
    wrong += [
        f"run {run['run']}: {y} is '{run[y]}', not a number"
        for _, run in runs.iterrows()
        for y in args.y
        if run.get(y) is not None and not is_number(run[y]) and not is_not_finite(run[y])
    ]
    if wrong:
        raise UsageError("\n".join(wrong))
    chosen = usable(finite_runs(finished_runs(runs), [args.x, *args.y]), args.x, args.y)
    lines = lines_of(chosen, args.x, args.y, args.lines)
    tables = [summary(line, args.x, args.lines) for line in lines]
    draw_figure(lines, tables, args)
    numbers = to_frame([row for table in tables for row in table])
    write_text(table, format_csv(numbers, list(numbers)))
    print(f"{args.out} and {table}: {len(chosen)} runs, {len(numbers)} points")
