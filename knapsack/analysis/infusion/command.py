"""How much of what is infused is retained, and where more exposures make it less (after Lv et al., arXiv 2509.19371).

  knapsack infusion runs/append runs/replace --infused wd --out out/infusion.csv --figure out/infusion.png

Writes a row a run: size, tokens, facts, exposures planned and realised, and every measure of the question sets NAME,
NAME_once, NAME_early and NAME_control with its 95 % interval. Next to it as .json: the columns with their units, and
for each curve R(F) of equal N, K, budget policy, token budget and options whether it collapses: a bracket [F_lo, F_hi]
of the grid, not_replicated (seen in single runs), censored (no collapse inside the grid: F_c > F_lo), nothing_retained,
or too_few_points; collapse.py says how. --victim says what is lost: the infused facts themselves, the facts shown early
(NAME_early), or the web's loss. --hold KF makes curves of equal K F, along which the facts become fewer as each is
shown more often, and the facts' tokens stay the same. Over several sizes: `knapsack laws DIR --infused NAME`.

`_minus_control` is the difference of two independent means, other facts and other questions: the half-widths of their
intervals are added in quadrature. Runs that did not finish are rows, but not points of a curve. A run without NAME is a
row with F = 0. Exit code 3: a run with a malformed file was named and left out, or there is no run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from knapsack.analysis.infusion.arguments import add_rule_arguments, check_names, rule_of
from knapsack.analysis.infusion.collapse import Rule
from knapsack.analysis.infusion.curves import make_curves
from knapsack.analysis.infusion.report import columns_of, describe, report
from knapsack.analysis.infusion.rows import GROUPS, read_study
from knapsack.analysis.outputs import check_outputs, figure_file, write_json, write_text
from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError
from knapsack.runs.files import files_of, find_runs, warn
from knapsack.runs.table import format_csv, format_table

VARYING = ("state", "N", "K", "policy", "budget_tokens", "seed")  # printed where infused runs differ in them
ORDER = ["policy", "budget_tokens", "N", "K", "F", "seed", "run"]


def table_columns(study: pd.DataFrame, columns: list[str], rule: Rule) -> list[str]:
    """What people look for first; the file has everything."""
    measure, infused = rule.measure, study[study["F"] > 0]
    wanted = ["run", "state", "N", "K", "policy", "budget_tokens", "seed", "F", "F_mean", "share"]
    wanted += [measure, f"{measure}_low", f"{measure}_high", "accuracy_heldout", "accuracy_question"]
    wanted += [f"{group}/{measure}" for group in GROUPS] + [f"{measure}_minus_control", rule.base_loss]
    same = {name for name in VARYING if infused[name].nunique(dropna=False) == 1}
    same -= {"state"} if (infused["state"] != "done").any() else set()
    return [name for name in dict.fromkeys(wanted) if name in columns and name not in same]


def table_file(text: str) -> Path:
    path = Path(text)
    if path.suffix == ".json" or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: expected a file; the table is CSV, its .json comes next to it")
    return path


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("infusion", __doc__)
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="DIR", help="runs, or folders of runs")
    add("--infused", required=True, metavar="NAME", help="the infused source, and its question set")
    add("--out", type=table_file, required=True, metavar="TABLE.csv", help="a .json comes next to it")
    add("--figure", type=figure_file, metavar="FILE.png")
    add_rule_arguments(add)
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    outputs = [args.out, args.out.with_suffix(".json"), *([args.figure] if args.figure else [])]
    check_outputs(outputs, files_of(find_runs(args.folders)))
    left_out: list[Path] = []
    study, rule = read_study(args.folders, args.infused, args.base, left_out), rule_of(args)
    if study.empty:
        if left_out:
            return 3
        raise DataError(f"no run (config.json) below {', '.join(map(str, args.folders))}")
    check_names(study, rule, args.base)
    study = study.sort_values(ORDER, key=lambda column: column.map(str) if column.name == "seed" else column.fillna(0))
    found = make_curves(study, args.infused, rule.column, args.hold)
    curves, columns = [report(curve, rule) for curve in found], columns_of(study)
    out = {
        "format_version": 4,
        "infused": args.infused,
        "base": args.base,
        "measure": args.measure,
        "victim": args.victim,
        "hold": args.hold,
        "margin": args.margin,
        "seed_sd": args.seed_sd,
        "loss_margin": args.loss_margin,
        "columns": describe(columns),
        "curves": curves,
        "left_out": [str(run) for run in left_out],
    }
    write_text(args.out, format_csv(study, columns))
    write_json(args.out.with_suffix(".json"), out)
    if args.figure:
        from knapsack.analysis.infusion import figure  # matplotlib is slow to load

        figure.draw(found, curves, rule, args.figure)
    short = study.assign(run=[Path(run).name for run in study["run"]])
    print(format_table(short, table_columns(study, columns, rule)))
    for curve in curves:
        print(curve["sentence"])
        for run in curve["not_counted"]:
            warn(f"run {run['run']} is no point of this curve: {run['why']}")
    return 3 if left_out else 0
