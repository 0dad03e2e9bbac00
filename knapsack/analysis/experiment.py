"""Any column of runs.py against any other: one figure, and its numbers as .csv beside it.

  plot_experiment.py share/bio know/bio/accuracy_seen know/bio/accuracy_heldout --runs runs/mix --lines model --out mix.png
  plot_experiment.py exposures/bio know/bio/accuracy --runs runs/f --lines tokens --log x --out exposures.png

A line for each Y and each value of the --lines column; words on the x axis stand apart, without lines. Runs of equal X
(to three digits: seeds) are points around their mean, a single run shows its 95 % interval where results.json has one.
Runs that lack X or Y are named and left out.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from knapsack.runs import table as runs

COLORS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#dfab01", "#64473a", "#e03e3e")
Points = dict[tuple[str, Any], dict[Any, list[runs.Row]]]  # (y, value of the lines column) -> x -> rows


def grouped(rows: list[runs.Row], x: str, ys: list[str], lines: str | None) -> Points:
    points: Points = {}
    for y in ys:
        for value in sorted({runs.cell(row.get(lines)) for row in rows}) if lines else [None]:
            chosen = [row for row in rows if row.get(y) is not None and (not lines or runs.cell(row.get(lines)) == value)]
            for row in sorted(chosen, key=lambda row: (isinstance(row[x], str), row[x])):
                at = float(f"{row[x]:.3g}") if isinstance(row[x], float) else row[x]
                points.setdefault((y, value), {}).setdefault(at, []).append(row)
    return points


def summary(points: Points, x: str, lines: str | None) -> list[runs.Row]:
    """The rows of the .csv: a point each, with mean, standard deviation, number of runs, the interval of a single one."""
    table = []
    for (y, value), at in points.items():
        for position, group in at.items():
            numbers = [float(row[y]) for row in group]
            place = mean(row[x] for row in group) if isinstance(position, float) else position
            ends = {end: group[0].get(f"{y}_{end}") if len(group) == 1 else None for end in ("low", "high")}
            table.append({"y": y, **({lines: value} if lines else {}), x: place, "mean": mean(numbers),
                          "sd": stdev(numbers) if len(group) > 1 else None, "runs": len(group), **ends})
    return table


def draw(points: Points, table: list[runs.Row], args: argparse.Namespace) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.6), dpi=160)
    words = sorted({row[args.x] for row in table if isinstance(row[args.x], str)})
    several = len({y for y, _ in points}) > 1
    for number, ((y, value), at) in enumerate(points.items()):
        own = [row for row in table if row["y"] == y and (not args.lines or row[args.lines] == value)]
        places = [words.index(str(row[args.x])) + 0.12 * number if words else row[args.x] for row in own]
        label = ", ".join(part for part in (y if several else "", f"{args.lines} {value}" if args.lines else "") if part)
        color = COLORS[number % len(COLORS)]
        axes.plot(places, [row["mean"] for row in own], linestyle="none" if words else "-", markersize=5, linewidth=1.6,
                  color=color, marker="os^Dv<>p"[number % 8], label=label or None)
        for place, row, group in zip(places, own, at.values()):
            if len(group) > 1:
                axes.plot([place] * len(group), [run[y] for run in group], "_", color=color, alpha=0.6)
            elif row["low"] is not None and row["high"] is not None:
                axes.plot([place] * 2, [row["low"], row["high"]], color=color, linewidth=1, alpha=0.6)
    if words:
        axes.set_xticks(range(len(words)), words, rotation=20, ha="right")
    axes.set(xlabel=args.xlabel or args.x, ylabel=args.ylabel or ("" if several else next(iter(points))[0]))
    axes.set(xscale="log" if "x" in args.log and not words else "linear", yscale="log" if "y" in args.log else "linear")
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(args.out)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("x", metavar="X")
    parser.add_argument("y", nargs="+", metavar="Y")
    parser.add_argument("--runs", nargs="+", type=Path, required=True, metavar="DIR", help="runs, or folders of runs")
    parser.add_argument("--lines", metavar="COLUMN", help="a line for each of its values")
    parser.add_argument("--log", choices=["x", "y", "xy"], default="", help="logarithmic axes")
    parser.add_argument("--xlabel")
    parser.add_argument("--ylabel")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    args = parser.parse_args(argv)
    rows = runs.read_runs(args.runs)
    wrong = runs.unknown_columns([args.x, *args.y, *([args.lines] if args.lines else [])], rows) if rows else []
    wrong += [f"run {row['run']}: {y} is '{row[y]}', not a number" for row in rows for y in args.y
              if row.get(y) is not None and (isinstance(row[y], bool) or not isinstance(row[y], (int, float)))]
    usable = [row for row in rows if row.get(args.x) is not None and any(row.get(y) is not None for y in args.y)]
    if wrong or not usable:
        what = wrong or [f"no run (config.json) below {', '.join(map(str, args.runs))} has both X and Y"]
        print("\n".join(f"knapsack plot: {text}" for text in what), file=sys.stderr)
        return 2 if wrong else 3
    for row in rows:
        if not any(row is other for other in usable):
            print(f"warning: run {row['run']} has no {args.x} or none of {', '.join(args.y)}, left out", file=sys.stderr)
    if not all(isinstance(row[args.x], (int, float)) for row in usable):
        for row in usable:  # a list, as of a flag that repeats, is one word
            row[args.x] = runs.cell(row[args.x])
    points = grouped(usable, args.x, args.y, args.lines)
    table = summary(points, args.x, args.lines)
    draw(points, table, args)
    args.out.with_suffix(".csv").write_text(runs.format_csv(table, list(table[0])))
    print(f"{args.out} and {args.out.with_suffix('.csv')}: {len(usable)} runs, {len(table)} points")
    return 0
