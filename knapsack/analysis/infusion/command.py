"""How much of what is infused is retained, and where more exposures make it less (after Lv et al., arXiv 2509.19371).

  infusion.py runs/append runs/replace --infused wd --out out/infusion.csv --figure out/infusion.png

Writes a row a run: size, tokens, facts, exposures planned and realised, and every measure of the question sets NAME,
NAME_once, NAME_early and NAME_control with its 95 % interval. Beside it as .json: the columns with their units, and for
each curve R(F) of equal N, K, budget policy and token budget whether it collapses: a bracket [F_lo, F_hi] of the grid,
censored (no collapse inside the grid: F_c > F_lo), nothing_retained, or too_few_points; collapse.py says how.

`_minus_control` is the difference of two independent means, other facts and other questions: the half-widths of their
intervals are added in quadrature. Runs that did not finish are rows, but not points of a curve. A run without NAME is a
row with F = 0. Exit code 3: a run with a malformed file was named and left out, or there is no run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from knapsack.analysis.infusion import collapse
from knapsack.runs import table as runs
from knapsack.analysis.infusion.report import columns_of, report, unit_of
from knapsack.analysis.infusion.rows import GROUPS, MEASURES, Row, read_rows


def print_table(rows: list[Row], columns: list[str], rule: collapse.Rule) -> None:
    """What people look for first; the file has everything."""
    measure = rule.measure
    wanted = ["run", "state", "N", "K", "policy", "budget_tokens", "seed", "F", "F_mean", "share"]
    wanted += list(
        dict.fromkeys([measure, f"{measure}_low", f"{measure}_high", "accuracy_heldout", "accuracy_question"])
    )
    wanted += [f"{group}/{measure}" for group in GROUPS] + [f"{measure}_minus_control", rule.base_loss]
    varying = ("state", "N", "K", "policy", "budget_tokens", "seed")
    shown = [
        name
        for name in wanted
        if name in columns and not (name in varying and len({row[name] for row in rows if row["F"] > 0}) == 1)
    ]
    print(runs.format_table([row | {"run": Path(row["run"]).name} for row in rows], shown))


def check_names(rows: list[Row], args: argparse.Namespace) -> str | None:
    sources = list(dict.fromkeys(source for row in rows for source in row["_sources"]))
    if not any(row["F"] > 0 for row in rows):
        return f"no run has infused a source '{args.infused}'; the runs have {', '.join(sources)}"
    if not any(row[f"val/{args.base}/loss"] is not None for row in rows) and args.base not in sources:
        return f"no run has a source '{args.base}'; name the base with --base (the runs have {', '.join(sources)})"
    have = [measure for measure in MEASURES if measure != "bits" and any(row.get(measure) is not None for row in rows)]
    if args.measure == "bits":
        return "--measure bits: --margin is a share; read bits_share, the bits as a share of all there are"
    if args.measure not in have:
        return (
            f"no run has a measure '{args.measure}' of the set '{args.infused}'; they have {', '.join(have) or 'none'}"
        )
    return None


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="runs, or folders of runs")
    parser.add_argument("--infused", required=True, metavar="NAME", help="the infused source, and its question set")
    parser.add_argument(
        "--base", default="web", metavar="NAME", help="whose validation loss stands beside (default: web)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE.csv", help="a .json comes beside it")
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    parser.add_argument("--measure", default="accuracy_seen", help="what R is (default: accuracy_seen)")
    parser.add_argument(
        "--margin", type=positive, default=0.05, help="least fall that counts, in units of R (default: 0.05)"
    )
    parser.add_argument("--k", type=positive, default=2.0, help="and in standard deviations between seeds (default: 2)")
    parser.add_argument(
        "--loss-margin",
        type=positive,
        default=0.05,
        metavar="NATS",
        help="least rise of the base's loss that counts (default: 0.05)",
    )
    return parser.parse_args(argv)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 0 or more")
    return value


def wrong_outputs(args: argparse.Namespace) -> str | None:
    """Before anything is read or written."""
    if args.out.suffix == ".json":
        return f"--out {args.out}: the table is CSV; its .json comes beside it"
    if args.figure and args.figure.suffix not in (".png", ".pdf", ".svg"):
        return f"--figure {args.figure}: expected a name that ends in .png, .pdf or .svg"
    for flag, path in (("--out", args.out), ("--figure", args.figure)):
        if path and path.is_dir():
            return f"{flag} {path}: a folder; expected a file"
    return None


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    if wrong := wrong_outputs(args):
        print(f"knapsack infusion: {wrong}", file=sys.stderr)
        return 2
    left_out: list[Path] = []
    rows = read_rows(args.folders, args.infused, args.base, left_out)
    if not rows:
        if not left_out:
            print(f"knapsack infusion: no run (config.json) below {', '.join(map(str, args.folders))}", file=sys.stderr)
        return 3
    wrong = check_names(rows, args)
    if wrong:
        print(f"knapsack infusion: {wrong}", file=sys.stderr)
        return 2
    rows.sort(
        key=lambda row: (
            row["policy"],
            row["budget_tokens"],
            row["N"],
            row["K"] or 0,
            row["F"],
            str(row["seed"]),
            row["run"],
        )
    )
    rule = collapse.Rule(args.measure, f"val/{args.base}/loss", args.margin, args.k, args.loss_margin)
    found = collapse.make_curves(rows, args.infused, args.measure)
    curves, columns = [report(curve, rule) for curve in found], columns_of(rows)
    out = {
        "format_version": 1,
        "infused": args.infused,
        "base": args.base,
        "measure": args.measure,
        "margin": args.margin,
        "k": args.k,
        "loss_margin": args.loss_margin,
        "columns": [dict(zip(("name", "unit", "about"), (name, *unit_of(name)))) for name in columns],
        "curves": curves,
        "left_out": [str(run) for run in left_out],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(runs.format_csv(rows, columns))
    args.out.with_suffix(".json").write_text(json.dumps(out, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    if args.figure:
        from knapsack.analysis.infusion import figure  # matplotlib is slow to load

        figure.draw(found, curves, rule, args.figure)
    print_table(rows, columns, rule)
    for curve in curves:
        print(curve["sentence"])
        for run in curve["not_counted"]:
            print(f"warning: run {run['run']} is no point of this curve: {run['why']}", file=sys.stderr)
    return 3 if left_out else 0
