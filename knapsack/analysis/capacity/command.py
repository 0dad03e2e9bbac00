"""Bits of capacity of each size, out of runs on facts alone: learned bits over the population, and where they stop.

  knapsack capacity runs/cpu-capacity/runs --set bio --out out/capacity      (PREFIX.json, PREFIX.png)
  knapsack laws runs/cpu-law/runs --set power --unit bits=out/capacity.json --out out/size

A small population is learned in full and says nothing of capacity; of larger ones ever less is learned of each. Of a
size the capacity is the mean over replicates at the population that gave the most bits, where a plateau is shown: from
the next to the largest population, at least 1.4 times as large, bits change by less than --margin to either side (two
one-sided tests at 5 % over replicates, at least 3 of each), and no more than 90 % of what was to be learned is known.
Otherwise a plateau is "not shown", with the reason, and the capacity is a lower bound, "more than". All runs have as
many exposures of each fact (within 10 %): capacity after 100 exposures is not that after 1000 (Allen-Zhu & Li, arXiv
2404.05405). Bits are a bound from below (bits_hedged, eval/README.md). Intervals are Student's t over replicates, 95 %;
that of the change 90 %, as the two tests have it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from knapsack.analysis.capacity.plateau import MARGIN, PLATEAU, read_capacity
from knapsack.analysis.held import FACTS, differing
from knapsack.analysis.intervals import in_words
from knapsack.analysis.outputs import check_outputs, write_json
from knapsack.common.arguments import make_parser, parse_share
from knapsack.common.errors import DataError, UsageError
from knapsack.common.numbers import is_number
from knapsack.runs.files import files_of, find_runs, is_there, warn
from knapsack.runs.table import check_columns, finished_runs, read_runs

ALIKE = 1.1  # factor within which exposures are equal
FREE = {"model", "tokens", "warmup", "exposures"}  # follow from the size and the population, as FACTS do


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


def without_results(paths: list[Path]) -> list[str]:
    """What to do for runs that were trained by hand: the trainer itself does not write results.json."""
    if any(is_there(run / "results.json") for run in find_runs(paths)):
        return []
    return [
        "no run has a results.json, where the bits of its last checkpoint are; `knapsack sweep` and `study` have it "
        "written, for others: eval_knowledge --checkpoint RUN/checkpoints/step_N --questions SET --out RUN/results.json"
    ]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("capacity", __doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="runs or folders of runs")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    parser.add_argument("--set", dest="set_name", required=True, help="question set")
    parser.add_argument("--measure", default="bits_hedged", help="bits_hedged (default) or bits")
    parser.add_argument("--size", default="parameters", metavar="COLUMN", help="parameters; parameters_non_embedding")
    said = "of bits, within which they count as equal (default: 0.1)"
    parser.add_argument("--margin", type=parse_share, default=MARGIN, metavar="SHARE", help=said)
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
        raise UsageError("\n".join(wrong + without_results(args.paths)))
    check_alike(table)
    found = read_capacity(table, *columns, args.margin)
    head = {"format_version": 2, "size_column": args.size, "measure": columns[1]}
    write_json(json_file, head | found | {"left_out": [str(run) for run in left_out]})
    from knapsack.analysis.capacity.figure import draw  # matplotlib is slow to load

    draw(found["sizes"], args.size, figure_file)
    say(found, args.size)
    has_plateau = any(one["state"] == PLATEAU for one in found["sizes"])
    if not has_plateau:
        warn("no size has a plateau that is shown: larger populations are needed, or more replicates")
    return 0 if has_plateau and not left_out else 3


def say(found: dict[str, Any], column: str) -> None:
    for one in found["sizes"]:
        tried = ", ".join(f"{p['bits'][0]:,.0f} of {p['most']:,.0f}" for p in one["populations"])
        if "capacity" in one:
            said = f"{in_words(one['capacity'], ',.0f')} bits, {one['per_size'][0]:.3g} each"
            shown = f"plateau: bits change by {in_words(one['change'], '+.1%')}"
        else:
            said, shown = f"more than {one['more_than']:,.0f} bits", f"plateau not shown: {one['why']}"
        print(f"{one['size']:,.0f} {column}: {said} ({shown}; {tried})")
    if found["exponent"]:
        print(f"bits rise as size^{in_words(found['exponent'])}")
