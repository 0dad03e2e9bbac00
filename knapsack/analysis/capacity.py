"""Bits of capacity of each size, out of runs on facts alone: learned bits over the population, and where they stop.

  knapsack capacity runs/cpu-capacity/runs --set bio --out out/capacity      (PREFIX.json, PREFIX.png)
  knapsack laws runs/cpu-law/runs --set power --unit bits=out/capacity.json --out out/size

A small population is learned in full and says nothing of capacity; of larger ones ever less is learned of each. Of a
size the capacity is the mean over replicates at the population that gave the most bits. It is a plateau where the
largest population is at least 1.4 times the next and gives at most 10 % more, and no more than 90 % of what was to be
learned is known; otherwise a lower bound, "more than". All runs have as many exposures of each fact (within 10 %):
capacity after 100 exposures is not that after 1000 (Allen-Zhu & Li, arXiv 2404.05405). Bits are a bound from below
(bits_hedged, eval/README.md). Intervals are Student's t over replicates, 95 %.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from knapsack.analysis.held import FACTS, differing
from knapsack.analysis.intervals import Estimate, replicates, slope
from knapsack.analysis.laws.study import is_number
from knapsack.analysis.outputs import check_outputs, write_json
from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import files_of, find_runs, read_json, warn
from knapsack.runs.table import check_columns, finished_runs, read_runs

APART, RISE, KNOWN = 1.4, 1.1, 0.9  # of the largest population against the next: people, bits; share of all bits
ALIKE = 1.1  # factor within which exposures are equal
PLATEAU, RISING = "plateau", "rising"
FREE = {"model", "tokens", "warmup", "exposures"}  # follow from the size and the population, as FACTS do


@dataclass(frozen=True)
class Capacity:
    """What `knapsack laws --unit` asks."""

    column: str  # of the table of runs: what a size is
    sizes: np.ndarray  # (n,), rising
    bits: np.ndarray  # (n,)
    error: float  # relative half width of the exponent of bits in size; NaN where it has none

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """Power laws between the sizes measured; NaN beyond them."""
        x, known = np.log(np.asarray(sizes, float)), np.log(self.sizes)
        within = (x >= known[0] - 1e-6) & (x <= known[-1] + 1e-6)
        return np.where(within, np.exp(np.interp(x, known, np.log(self.bits))), np.nan)


def capacity_of(path: Path) -> Capacity:
    """Of PREFIX.json; sizes with a plateau alone. Raises DataError where there are not two."""
    found = read_json(path)
    try:
        sizes = sorted((one["size"], one["capacity"][0]) for one in found["sizes"] if one["state"] == PLATEAU)
        column, exponent = found["size_column"], found["exponent"]
        numbers = [float(number) for pair in sizes for number in pair]
    except (KeyError, TypeError, ValueError, IndexError):
        raise DataError(f"{path}: not what `knapsack capacity` writes") from None
    if len(sizes) < 2:
        raise DataError(f"{path}: {len(sizes)} sizes with a plateau; at least 2 are needed for a unit of size")
    has_error = exponent and is_number(exponent[1]) and exponent[0] > 0
    error = (exponent[2] - exponent[1]) / 2 / exponent[0] if has_error else np.nan
    return Capacity(column, np.array(numbers[::2]), np.array(numbers[1::2]), error)


def widened(estimate: Estimate, error: float) -> Estimate:
    """An exponent of size, in bits, by the relative error of the exponent of bits; where that is not known (NaN), the
    exponent has no interval."""
    if estimate.low is None:
        return estimate
    if not np.isfinite(error):
        return Estimate(estimate.value)
    value, more = estimate.value, abs(estimate.value) * error
    return Estimate(value, value - np.hypot(value - estimate.low, more), value + np.hypot(estimate.high - value, more))


def check_alike(table: pd.DataFrame) -> None:
    """But for size and population the runs are replicates, of one number of exposures."""
    if names := differing(table, FREE | {name for name in table if name.startswith(FACTS)}):
        raise UsageError(f"the runs differ in {', '.join(names)}: capacity is of one way to train; give fewer runs")
    shown_of = {
        name: [value for value in table[name] if is_number(value)] for name in table if name.startswith("exposures/")
    }
    if not any(shown_of.values()):
        raise DataError("no run counts exposures: expected runs of the trainer on a source of facts")
    for name, shown in shown_of.items():
        if shown and max(shown) > ALIKE * min(shown):
            raise UsageError(
                f"{name} is {min(shown):.4g} to {max(shown):.4g}: give the runs of one number of exposures"
            )


def of_size(size: float, rows: pd.DataFrame, measure: str, most: str) -> dict[str, Any]:
    """The populations of one size, and its capacity."""
    populations = []
    for bits, of in rows.groupby(rows[most].astype(float).round(1)):
        values = of[measure].astype(float).tolist()
        estimate = replicates(values).estimate
        populations.append({"most": float(bits), "runs": len(of), "bits": list(estimate), "values": values})
    means = [one["bits"][0] for one in populations]
    best = populations[int(np.argmax(means))]
    is_plateau = (
        len(means) > 1
        and populations[-1]["most"] >= APART * populations[-2]["most"]
        and means[-1] <= RISE * max(means[:-1])
        and 0 < best["bits"][0] <= KNOWN * best["most"]
    )
    out: dict[str, Any] = {"size": size, "state": PLATEAU if is_plateau else RISING, "populations": populations}
    if is_plateau:
        per = [None if end is None else end / size for end in best["bits"]]
        return out | {"capacity": best["bits"], "per_size": per, "at": best["most"]}
    return out | {"more_than": best["bits"][0]}


def read_capacity(table: pd.DataFrame, column: str, measure: str, most: str) -> dict[str, Any]:
    """PREFIX.json but for its head."""
    use = np.array([all(map(is_number, row)) for row in table[[column, measure, most]].to_numpy()], bool)
    if not use.any():
        raise DataError(f"no run has numbers in {column}, {measure} and {most}")
    if not use.all():
        lacking = ", ".join(map(str, table["run"][~use]))
        warn(f"runs without a number in {column}, {measure} or {most} are left out: {lacking}")
    table = table[use]
    sizes = [of_size(float(size), rows, measure, most) for size, rows in table.groupby(table[column].astype(float))]
    x = [
        one["size"]
        for one in sizes
        if "at" in one
        for p in one["populations"]
        if p["most"] == one["at"]
        for _ in p["values"]
    ]
    y = [v for one in sizes if "at" in one for p in one["populations"] if p["most"] == one["at"] for v in p["values"]]
    exponent = slope(np.log(x), np.log(y)) if len(set(x)) > 1 and min(y) > 0 else None
    return {"sizes": sizes, "exponent": list(exponent) if exponent else None}


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("capacity", __doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="runs or folders of runs")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    parser.add_argument("--set", dest="set_name", required=True, help="question set")
    parser.add_argument("--measure", default="bits_hedged", help="bits_hedged (default) or bits")
    parser.add_argument("--size", default="parameters", metavar="COLUMN", help="parameters; parameters_non_embedding")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    json_file, figure_file = (args.out.with_name(args.out.name + ending) for ending in (".json", ".png"))
    check_outputs([json_file, figure_file], files_of(find_runs(args.paths)))
    left_out: list[Path] = []
    table = read_runs(args.paths, left_out)
    if table.empty:
        raise DataError(f"no run (config.json) below {', '.join(map(str, args.paths))}")
    table = finished_runs(table)
    columns = [args.size, f"know/{args.set_name}/{args.measure}", f"know/{args.set_name}/most_bits"]
    if wrong := check_columns(columns, table):
        raise UsageError("\n".join(wrong))
    check_alike(table)
    found = read_capacity(table, *columns)
    head = {"format_version": 1, "size_column": args.size, "measure": columns[1]}
    write_json(json_file, head | found | {"left_out": [str(run) for run in left_out]})
    draw(found["sizes"], args.size, figure_file)
    say(found, args.size)
    has_plateau = any(one["state"] == PLATEAU for one in found["sizes"])
    if not has_plateau:
        warn("no size has a plateau: larger populations are needed")
    return 0 if has_plateau and not left_out else 3


def say(found: dict[str, Any], column: str) -> None:
    for one in found["sizes"]:
        tried = ", ".join(f"{p['bits'][0]:,.0f} of {p['most']:,.0f}" for p in one["populations"])
        said = f"more than {one['more_than']:,.0f} bits" if "more_than" in one else f"{one['capacity'][0]:,.0f} bits"
        if "capacity" in one and one["capacity"][1] is not None:
            said += f" [{one['capacity'][1]:,.0f}, {one['capacity'][2]:,.0f}]"
        per = f", {one['per_size'][0]:.3g} each" if "per_size" in one else ""
        print(f"{one['size']:,.0f} {column}: {said}{per} ({one['state']}; {tried})")
    if found["exponent"]:
        value, low, high = found["exponent"]
        print(f"bits rise as size^{value:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low is not None else ""))


def draw(sizes: list[dict[str, Any]], column: str, path: Path) -> None:
    """Learned bits over what was to be learned; each size's capacity."""
    from knapsack.analysis.style import (
        BLUE,
        GREY,
        MARKERS,
        draw_points,
        legend,
        plt,
        save,
    )  # matplotlib is slow to load

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
