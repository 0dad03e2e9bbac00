"""From runs to a law: the critical dose F50 of each run, how it falls with size M and moves with tokens S.

  knapsack laws runs/sizes --set bio --out out/sizes                    (runs trained with --per-question on)
  knapsack laws runs/sizes --out out/sizes --loss val/web/loss --ask M=1.2e6
  knapsack laws table.csv --size M --horizon none --out out/law         (columns F50, F50_low, F50_high, more_than)
  knapsack laws runs/mix --dose share/bio --response know/bio/accuracy_seen --out out/ratio      (critical ratio)
  knapsack laws runs/sizes --unit bits=out/capacity.json --out out/bits (M in bits of what `knapsack capacity` found)
  knapsack laws table.csv --target 0.4 --dose r --response acc --size none --out out/T           (tokens to a target)
  knapsack laws runs/infusion --infused wd --victim facts --out out/critical                 (critical infusion, F*)

  ln F50 = c - gamma ln M + (1 - beta) ln S, fitted to all answers at once with the scatter of people, runs and trunks
Writes PREFIX.json and, of a law with a covariate, PREFIX.png and PREFIX.svg: curves collapsing on F / F50, the law
without the largest size with what it predicts there. Runs that do not reach half count as "more than"; they are named.
A law is not asked beyond half of the range that its runs span (on the log scale). Intervals are over runs, 95 %, and
say their degrees of freedom.

--infused: ln F* = c + a ln M, F* the exposures beyond which retention falls: of each curve of `knapsack infusion`
(size, facts, budget) the bracket, or "no collapse up to F", in the likelihood; K F = const and others as rivals, put to
the largest size left out; no law where nothing collapses beyond chance (laws/infusion.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from knapsack.analysis.capacity.unit import Capacity, capacity_of
from knapsack.analysis.infusion.arguments import add_rule_arguments
from knapsack.analysis.intervals import in_words
from knapsack.analysis.laws import infusion_report, report
from knapsack.analysis.laws.study import TABLES, Asked, Study, read_study
from knapsack.analysis.laws.targets import analyse_targets
from knapsack.analysis.outputs import check_outputs, write_json
from knapsack.analysis.psychometric import DRAWS
from knapsack.common.arguments import make_parser, parse_count, parse_share, parse_values
from knapsack.common.errors import DataError, UsageError
from knapsack.common.numbers import is_number
from knapsack.runs.answers import Chosen
from knapsack.runs.files import files_of, find_runs, warn
from knapsack.runs.table import check_columns

FEWEST_DRAWS = 20
NOT_OF_INFUSED = (
    *("horizon", "covariate", "unit", "cluster", "free", "loss", "target"),
    *("set_name", "source", "kind", "dose", "response", "answers", "guess", "draws"),
)
FILE = ".json"  # of a unit: what `knapsack capacity` wrote
UNITS = {"parameters": "parameters", "non-embedding": "parameters_non_embedding"}


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=COLUMN")
    return name, value


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("laws", __doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR|TABLE", help="runs, folders of runs, or tables")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    law = parser.add_argument_group("the law")
    law.add_argument("--size", default="parameters", metavar="COLUMN", help="M (parameters); none")
    law.add_argument("--horizon", default="tokens", metavar="COLUMN", help="S (tokens); none")
    law.add_argument("--covariate", type=pair, action="append", default=[], metavar="NAME=COLUMN", help="one more")
    law.add_argument(
        "--unit", type=pair, action="append", default=[], metavar="NAME=COLUMN", help="M in another unit too; or a FILE"
    )
    law.add_argument("--cluster", metavar="COLUMN", help="what runs share (default: trunk, or seeds; run: nothing)")
    law.add_argument("--free", action="append", default=[], metavar="OPTION", help="may differ between runs")
    law.add_argument("--loss", metavar="COLUMN", help="fit E + A M^-alpha to it; gamma = alpha + 1 is predicted")
    law.add_argument(
        "--ask", type=parse_values, action="append", default=[], metavar="M=X,S=Y", help="F50 of a new run there"
    )
    law.add_argument("--target", type=parse_share, help="tokens to this response against the dose, horizons as S")
    read = parser.add_argument_group("what is read")
    read.add_argument("--set", dest="set_name", help="question set of the answers")
    read.add_argument("--source", help="only facts of this source")
    read.add_argument("--kind", default="seen", help="seen (default), heldout, question, or all")
    read.add_argument("--dose", metavar="COLUMN", help="one a run, of the table (default: the answers' exposures)")
    read.add_argument("--response", metavar="COLUMN", help="share right at that dose")
    read.add_argument("--answers", type=parse_count, default=500, help="independent ones in a response (500)")
    read.add_argument("--guess", type=parse_share, help="share right by guessing (default: results.json, else fitted)")
    read.add_argument("--draws", type=parse_count, default=DRAWS, help=f"of people, for each run's interval ({DRAWS})")
    infused = parser.add_argument_group("critical infusion")
    infused.add_argument("--infused", metavar="NAME", help="the infused source, and its question set")
    add_rule_arguments(infused.add_argument)
    args = parser.parse_args(argv)
    if not args.out.name:
        parser.error(f"--out {args.out}: expected the beginning of files' names")
    if (args.dose is None) != (args.response is None):
        parser.error("--dose and --response go together")
    if args.draws < FEWEST_DRAWS:
        parser.error(f"--draws {args.draws}: at least {FEWEST_DRAWS}, or a run's error is not known")
    if args.target is not None and args.dose is None:
        parser.error("--target needs --dose, the mixing ratio, and --response")
    only = ("base", "measure", "victim", "hold", "margin", "seed_sd", "loss_margin")
    if not args.infused and (given := [name for name in only if getattr(args, name) != parser.get_default(name)]):
        parser.error(f"--{given[0].replace('_', '-')} is of --infused")
    if args.infused and (given := [name for name in NOT_OF_INFUSED if getattr(args, name) != parser.get_default(name)]):
        parser.error(f"--{given[0].removesuffix('_name')} says nothing with --infused")
    names = ["M", "K", "KF", "D"] if args.infused else covariates_of(args)
    if wrong := [name for at in args.ask for name in at if name not in names]:
        parser.error(f"--ask {wrong[0]}=...: no covariate of that name; there is {', '.join(names) or 'none'}")
    return args


def covariates_of(args: argparse.Namespace) -> dict[str, str]:
    columns = {"M": args.size, "S": args.horizon} | dict(args.covariate)
    return {name: column for name, column in columns.items() if column not in ("none", args.dose)}


def analyse(args: argparse.Namespace, study: Study, capacities: dict[str, Capacity]) -> tuple[dict[str, Any], Any]:
    """PREFIX.json but for its head, and the law."""
    out: dict[str, Any] = {}
    if args.dose:
        out["critical"] = report.criticals(study, args.dose, args.response, args.answers, args.guess or 0.0)
    else:
        out["runs"] = report.rows_of(study)
    try:
        law = report.fit_law(study.runs, study.people)
    except DataError as error:
        return out | {"law": {"refused": str(error)}}, None
    study.runs.shape = law.shape
    out["law"] = report.describe_law(law, study.clustered)
    out["law"]["censored_runs"] = report.censored_names(study, law)
    out["holdout"] = report.holdouts(study)
    units = {name: column for name, column in UNITS.items() if column in study.table and args.size in UNITS.values()}
    units = ({"M": args.size} if args.size not in UNITS.values() else units) | dict(args.unit)
    if "M" in law.covariates:
        out["units"] = report.in_units(study, units, args.loss, capacities)
    out["asked"] = [report.ask(law, study.runs, at) for at in args.ask]
    return out, law


def with_capacities(study: Study, units: list[tuple[str, str]]) -> dict[str, Capacity]:
    """Puts the bits of capacity of each run into the table, where a unit is a file; these, by the name of the column,
    which is the file's. A size beyond those measured has none."""
    found = {}
    for _, column in units:
        if column.endswith(FILE):
            found[column] = capacity_of(Path(column))
            if wrong := check_columns([found[column].column], study.table):
                raise UsageError("\n".join(wrong))
            study.table[column] = found[column].at(study.table[found[column].column].to_numpy(float))
    return found


def check_numbers(study: Study, args: argparse.Namespace) -> None:
    """Raises where a unit of size is not above 0 in all runs, or no run has a number for a loss."""
    for name, column in args.unit:
        numbers = [column.endswith(FILE) or (is_number(value) and value > 0) for value in study.table[column]]
        if not all(numbers):
            run = study.names[numbers.index(False)]
            raise DataError(f"--unit {name}={column}: run {run} has no number above 0 there")
    if args.loss and not any(map(is_number, study.table[args.loss])):
        raise DataError(f"--loss {args.loss}: no run has a number there")


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)

    def at(ending: str) -> Path:
        return args.out.with_name(args.out.name + ending)

    tables = [path for path in args.paths if path.suffix in TABLES and not path.is_dir()]
    folders = [path for path in args.paths if path not in tables]
    read = [Path(column) for _, column in args.unit if column.endswith(FILE)]
    check_outputs([at(".json"), at(".png"), at(".svg")], [*tables, *read, *files_of(find_runs(folders))])
    if args.infused:
        return of_infusion(args, folders, tables, at(".json"))
    chosen = Chosen(None if args.kind == "all" else args.kind, args.source, args.set_name)
    free = (*args.free, *([args.loss] if args.loss else []), *(column for _, column in args.unit), *UNITS.values())
    asked = Asked(
        covariates_of(args), args.dose, args.response, chosen, args.cluster, args.guess, args.answers, free, args.draws
    )
    left_out: list[Path] = []
    study = read_study(args.paths, asked, left_out)
    capacities = with_capacities(study, args.unit)
    named = [args.loss, *(column for _, column in args.unit)]
    if wrong := check_columns(filter(None, named), study.table):
        raise UsageError("\n".join(wrong))
    check_numbers(study, args)
    head = {"format_version": 1, "covariates": asked.covariates, "dose": args.dose or "exposures"}
    if args.target is not None:
        rows = analyse_targets(study, args.dose, args.response, args.target, args.cluster is not None)
        out, law = {"target": args.target, "settings": rows}, None
    else:
        out, law = analyse(args, study, capacities)
    write_json(at(".json"), head | out | {"left_out": [str(run) for run in left_out]})
    if law is not None and law.covariates:
        from knapsack.analysis.laws import figure  # matplotlib is slow to load

        paths = [at(ending) for ending in figure.ENDINGS]
        figure.draw(study, law, out.get("runs", []), out["holdout"], asked.covariates, head["dose"], paths)
    say(out)
    return 3 if left_out or is_refused(out) else 0


def of_infusion(args: argparse.Namespace, folders: list[Path], tables: list[Path], path: Path) -> int:
    if tables:
        raise UsageError(f"{tables[0]}: --infused needs run directories")
    left_out: list[Path] = []
    out = infusion_report.analyse(args, folders, left_out)
    write_json(path, out | {"left_out": [str(run) for run in left_out]})
    infusion_report.say(out)
    return 3 if left_out or "refused" in out["law"] else 0


def is_refused(out: dict[str, Any]) -> bool:
    """No law at all: exit 3, also where there are brackets or curves."""
    laws = [out["law"]] if "law" in out else [law for one in out["settings"] for law in one["laws"].values()]
    return all("refused" in law for law in laws)


def say(out: dict[str, Any]) -> None:
    """The table that people look for."""
    for row in out.get("critical", []):
        where = ", ".join(f"{name} {value:.4g}" for name, value in row["at"].items())
        found = row.get("refused") or (
            f"{row['state']}, critical {in_words(row['critical'])}, bracket {row['bracket']}, "
            f"slope {row['slope'] or 0:.3g}"
        )
        print(f"{where or 'all runs'}: {found}")
    if "settings" in out:
        for setting in out["settings"]:
            where = "".join(f"{name} {value:.4g}, " for name, value in setting["at"].items())
            for name, one in setting["laws"].items():
                if "refused" in one:
                    warn(f"no law: {where}{name}: {one['refused']}")
                    continue
                said = ", ".join(f"{key} {in_words(value)}" for key, value in one["parameters"].items())
                held = one.get("held_out")
                print(f"{where}{name}: {said}" + (f"; left out r {held['r']:g}: {held['said']}" if held else ""))
        return
    law = out["law"]
    if "refused" in law:
        warn(f"no law: {law['refused']}")
        return
    for name, values in law["exponents"].items():
        print(f"{name:6} {in_words(values)}")
    print(
        f"scatter of ln F50: runs {law['sd_runs']:.2g}"
        + (f", {law['cluster']}s {law['sd_clusters']:.2g} ({law['clusters']})" if law["sd_clusters"] else "")
    )
    if "k" in law:
        print(f"slope k {law['k']:.3g}, people {law['sd_people']:.2g}, lapse {law['lapse']:.2g}")
    if censored := law["censored_runs"]:
        print(f"censored: {len(censored)} of {law['runs']} runs ({', '.join(censored)})")
    for held in out["holdout"]:
        if "refused" in held:
            print(f"left out: {held['refused']}")
            continue
        scores = ", ".join(
            f"{row['law']} {row['error']:.2f}" if row["error"] is not None else f"{row['law']} -"
            for row in held["laws"]
        )
        same = f" (same {law['cluster']}s)" if held["same_clusters"] else ""
        print(f"left out {held['axis']} = {held['left_out']:.4g}{same}, |ln ratio| of F50: {scores}")
        if held["law_refused"]:
            print(f"  no law without them: {held['law_refused']}")
    for row in out.get("units", []):
        if "refused" in row:
            print(f"no gamma in {row['unit']}: {row['refused']}")
            continue
        said = f"gamma {in_words(row['gamma'])} in {row['unit']}"
        if "outside" in row:
            said += f" (of {row['runs']} runs; capacity was not measured at the size of {len(row['outside'])})"
        if "gamma_predicted" in row:
            said += f", alpha + 1 = {in_words(row['gamma_predicted'])}" + ": they disagree" * bool(row["disagree"])
        print(said)
    for one in out["asked"]:
        where = ", ".join(f"{name} = {value:g}" for name, value in one["at"].items())
        print(
            f"F50 at {where}: {one['state']}"
            + (f", {in_words(one['F50'])}" if "F50" in one else "")
            + f" {one['reason']}".rstrip()
        )
