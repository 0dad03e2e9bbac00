"""What models that others trained know, by the popularity of the items: logs of lm-evaluation-harness.

  lm_eval --model hf --model_args pretrained=EleutherAI/pythia-1b --include_path tasks --tasks popqa \\
      --output_path logs --log_samples                                      (a task over akariasai/PopQA, say)
  knapsack popularity logs --out out/popqa                                  (popularity: field s_pop of each doc)
  knapsack popularity logs --items popqa.tsv --key id --models models.csv --out out/popqa --ask M=7e9 --ask M=7e9,f=1000

Gives each model's threshold popularity: where its accuracy is the target, by a curve with guess and lapse, 95 % over
items, next to the paper's cumulative rule (our reading); the law ln P* = c - gamma ln M over models, with the largest
left out; the accuracy as a sigmoid of a ln M + b ln f + c, with each model left out. Items count that all answered.
Writes PREFIX.csv, a row a model, PREFIX.json, PREFIX.png. Nothing is said beyond half of the range (log scale) of the
sizes. Exit 3: no law.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from knapsack.analysis.outputs import check_outputs, write_json, write_text
from knapsack.analysis.popularity import law as size_law
from knapsack.analysis.popularity import sigmoid_report
from knapsack.analysis.popularity.curves import Rule, curves_of, row_of
from knapsack.analysis.popularity.items import join, make_models, read_models
from knapsack.analysis.popularity.logs import Wanted, find_logs
from knapsack.analysis.psychometric import DRAWS
from knapsack.common.arguments import make_parser, parse_count, parse_share, parse_values
from knapsack.common.errors import DataError
from knapsack.runs.files import warn

FEWEST_DRAWS = 20
Row = dict[str, Any]


def named(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=VALUE")
    return name, value


def sized(text: str) -> tuple[str, float]:
    """NAME=7e9, NAME=410M, NAME=? (NaN)."""
    name, value = named(text)
    if value == "?":
        return name, float("nan")
    scale = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}.get(value[-1], 1.0)
    try:
        number = float(value[:-1] if scale > 1 else value) * scale
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=N, such as 410M or 7e9, or NAME=? to infer it")
    return name, number


def place(text: str) -> dict[str, float]:
    """M=7e9 or M=7e9,f=1000."""
    found = parse_values(text)
    if "M" not in found or found.keys() - {"M", "f"}:
        raise argparse.ArgumentTypeError(f"'{text}': expected M=SIZE or M=SIZE,f=POPULARITY, above 0")
    return found


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("popularity", __doc__)
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="folders of lm_eval, or samples_*.jsonl")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    items = parser.add_argument_group("items")
    items.add_argument("--task", help="of which the logs are (default: the one there is)")
    items.add_argument("--metric", help="which says right or wrong (exact_match, acc, or the one there is)")
    items.add_argument("--filter", help="of the harness, such as strict-match (default: the one there is)")
    items.add_argument("--popularity", default="s_pop", metavar="FIELD", help="of doc, or column of --items (s_pop)")
    items.add_argument("--items", type=Path, metavar="TABLE", help="popularity by item: .tsv, .csv, .jsonl")
    items.add_argument("--key", metavar="FIELD", help="the item's name in doc and table (id, doc_hash or doc_id)")
    models = parser.add_argument_group("models")
    models.add_argument("--models", type=Path, metavar="TABLE", help="columns model, parameters, family")
    models.add_argument(
        "--size", type=sized, action="append", default=[], metavar="NAME=N", help="parameters; ?: infer"
    )
    models.add_argument("--family", type=named, action="append", default=[], metavar="NAME=F", help="(by its name)")
    law = parser.add_argument_group("what is fitted")
    law.add_argument("--target", type=parse_share, default=0.6, help="accuracy at the threshold (0.6)")
    law.add_argument("--guess", type=parse_share, help="share right by guessing (default: fitted)")
    law.add_argument("--failures", type=parse_count, default=5, help="of the cumulative rule (5)")
    law.add_argument("--fewest", type=parse_count, default=100, help="items of the cumulative rule (100)")
    law.add_argument("--draws", type=parse_count, default=DRAWS, help=f"of items, for thresholds ({DRAWS})")
    law.add_argument("--ask", type=place, action="append", default=[], metavar="M=X[,f=Y]", help="P*, or the accuracy")
    args = parser.parse_args(argv)
    if not args.out.name:
        parser.error(f"--out {args.out}: expected the beginning of files' names")
    if args.draws < FEWEST_DRAWS:
        parser.error(f"--draws {args.draws}: at least {FEWEST_DRAWS}, or an error is not known")
    if not args.target:
        parser.error("--target 0: every popularity reaches it")
    return args


def ends(values: list[float | None] | None) -> str:
    if not values or values[0] is None:
        return "-"
    value, low, high = values
    return f"{value:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low is not None and high is not None else "")


def format_rows(rows: list[Row]) -> str:
    """CSV; thresholds of the items above come last."""
    columns = [name for name in rows[0] if name not in ("cumulative", "rule", "log")]
    names = ("cumulative", "cumulative_low", "cumulative_high", "rule_threshold", "rule_less_than")
    lines = [",".join([*columns, *names])]
    for row in rows:
        values = [row[name] for name in columns] + [row["cumulative"]["threshold"], *row["cumulative"]["interval"]]
        values += [row["rule"]["threshold"], row["rule"]["less_than"]]
        lines.append(",".join("" if value is None else quoted(str(value)) for value in values))
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in ',"\n') else text


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)

    def at(ending: str) -> Path:
        return args.out.with_name(args.out.name + ending)

    logs = find_logs(args.logs, args.task)
    tables = [path for path in (args.items, args.models) if path]
    read = [*(log.path for log in logs), *(log.results for log in logs if log.results), *tables]
    check_outputs([at(".csv"), at(".json"), at(".png")], read)
    table = read_models(args.models) if args.models else {}
    models = make_models(logs, dict(args.size), dict(args.family), table)
    wanted = Wanted(args.metric, args.filter, args.key, None if args.items else args.popularity)
    joined = join(models, wanted, args.items, args.popularity)
    rule = Rule(args.target, args.failures, args.fewest)
    curves = curves_of(joined, rule, args.guess, args.draws)
    rows = [row_of(joined, i, one, rule) for i, one in enumerate(curves)]
    said, law, runs = size_law.report(joined, curves, [one for one in args.ask if "f" not in one])
    try:
        surface = sigmoid_report.report(joined, args.guess, [one for one in args.ask if "f" in one])
    except DataError as error:
        surface = {"refused": str(error)}
    out = {
        "format_version": 1,
        "task": logs[0].task,
        "metric": joined.metric,
        "items": len(joined.items),
        "items_left_out": joined.left_out,
        "target": args.target,
        "models": rows,
        "law": said,
        "sigmoid": surface,
    }
    write_text(at(".csv"), format_rows(rows))
    write_json(at(".json"), out)
    from knapsack.analysis.popularity import figure  # matplotlib is slow to load

    figure.draw(joined, curves, rows, law, runs, said, args.target, at(".png"))
    say(out)
    return 3 if "refused" in said else 0


def say(out: Row) -> None:
    """The tables that people look for."""
    width = max(len(row["model"]) for row in out["models"])
    head = f"popularity of {out['target']:g} (95 % over items); of items above: curve, rule (our reading)"
    print(f"{'model':{width}}  {'family':12} {'M':>9}  accuracy  {head}")
    for row in out["models"]:
        value = beyond(row) or ends([row["threshold"], row["threshold_low"], row["threshold_high"]])
        above = ", ".join(beyond(one) or f"{one['threshold']:.4g}" for one in (row["cumulative"], row["rule"]))
        M = f"{row['M']:.4g}" if row["M"] else "?"
        print(f"{row['model']:{width}}  {row['family']:12} {M:>9}  {row['accuracy']:8.3f}  {value}; {above}")
    if high := [row["model"] for row in out["models"] if row["lapse_at_bound"]]:
        warn(f"the curve's top is lower than a lapse of 0.1 allows: {', '.join(high)}")
    say_law(out["law"])
    say_sigmoid(out["sigmoid"])


def beyond(row: Row) -> str:
    """Of a threshold that is not within the items; empty for one that is."""
    if row["threshold"] is not None:
        return ""
    for name in ("more_than", "less_than"):
        if row.get(name) is not None:
            return f"{name.replace('_', ' ')} {row[name]:.4g}"
    return "no rise"


def say_law(law: Row) -> None:
    if "refused" in law:
        warn(f"no law of the threshold: {law['refused']}")
        return
    gamma = ends(law["exponents"].get("gamma"))
    drawn = law["items_and_models"].get("gamma")
    also = f"; within families, over items and models {ends(drawn)}" if drawn else ""
    print(f"ln P* = c - gamma ln M: gamma {gamma}, {law['runs']} models, {len(law['censored'])} censored{also}")
    for row in law["families"]:
        print(f"  {row['family']}: {row['models']} models, gamma {ends(row.get('gamma'))}")
    held = law["holdout"]
    if "refused" in held:
        print(f"left out: {held['refused']}")
    else:
        scores = ", ".join(f"{row['law']} {row['error']:.2f}" for row in held["laws"] if row["error"] is not None)
        print(f"left out M = {held['left_out']:.4g}, |ln ratio| of P*: {scores or 'not reached there'}")
    for one in law["inferred"]:
        found = one.get("refused") or f"{ends([one['M'], *one['interval']])} {one['note']}".rstrip()
        print(f"size of {one['model']}: {found}")
    for one in law["asked"]:
        value = f", {ends(one['F50'])}" if "F50" in one else ""
        print(f"P* at M = {one['at']['M']:g}: {one['state']}{value} {one['reason']}".rstrip())


def say_sigmoid(surface: Row) -> None:
    if "refused" in surface:
        warn(f"no sigmoid in M and f: {surface['refused']}")
        return
    said = ", ".join(f"{name} {ends(value)}" for name, value in surface["parameters"].items())
    print(f"logit = a ln M + b ln f + c: {said}; a / b {ends(surface['gamma'])}; {quality_of(surface['all'])}")
    for row in surface["families"]:
        own = row["alone"]
        alone = f"no law of its own: {own['refused']}" if "refused" in own else f"alone {quality_of(own)}"
        print(f"  {row['family']}: {row['models']} models, {quality_of(row['law'])}, {alone}")
    if surface["log_loss"]:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in surface["log_loss"].items())
        print(f"each model left out, nats an answer: {scores}")
    for one in surface["asked"]:
        value = f", {ends(one['accuracy'])}" if "accuracy" in one else ""
        where = f"M = {one['at']['M']:g}, f = {one['at']['f']:g}"
        print(f"accuracy at {where}: {one['state']}{value} {one['reason']}".rstrip())


def quality_of(row: Row) -> str:
    return f"R2 {number(row['R2'])}, deviance explained {number(row['deviance_explained'])}"


def number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.2f}"
