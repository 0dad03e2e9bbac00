"""What models that others trained know, by the popularity of the items: logs of lm-evaluation-harness.

  lm_eval --model hf --model_args pretrained=EleutherAI/pythia-1b --include_path tasks --tasks popqa \\
      --output_path logs --log_samples                                      (a task over akariasai/PopQA, say)
  knapsack popularity logs --out out/popqa                                  (popularity: field s_pop of each doc)
  knapsack popularity logs --items popqa.tsv --key id --models models.csv --out out/popqa --ask M=7e9 --ask M=7e9,f=1000

Gives each model's threshold popularity: where its accuracy is the target, by a curve with guess and lapse, 95 % over
items, next to the paper's cumulative rule (our reading); the law ln P* = c - gamma ln M over models, with the largest
left out; the accuracy as a sigmoid of a ln M + b ln f + c, with each model left out. Items count that all answered.
A model's family is the part of its name before the size, printed, unless --family or --models says another. Intervals
of laws are over whole families where there are several, else over the models of that family, and then say nothing of
another. What is asked of a size is a new model's (of a new family), with the scatter of models and families. Nothing is
said beyond half of the range (log scale) of the sizes. Writes PREFIX.csv, a row a model, PREFIX.json, PREFIX.png. Exit
3: no law.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from knapsack.analysis.outputs import check_outputs, write_json, write_text
from knapsack.analysis.popularity import law as size_law
from knapsack.analysis.popularity import said, sigmoid_report
from knapsack.analysis.popularity.curves import Rule, curves_of, row_of
from knapsack.analysis.popularity.items import join, make_models, read_models
from knapsack.analysis.popularity.logs import Wanted, find_logs
from knapsack.analysis.psychometric import DRAWS
from knapsack.common.arguments import make_parser, parse_count, parse_share, parse_values
from knapsack.common.errors import DataError

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
    try:
        return name, float(parse_count(value))
    except argparse.ArgumentTypeError:
        said = f"'{text}': expected NAME=N, N parameters such as 410M, 1.4B or 7e9, or NAME=?"
        raise argparse.ArgumentTypeError(said) from None


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
    of_size, law, runs = size_law.report(joined, curves, [one for one in args.ask if "f" not in one])
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
        "law": of_size,
        "sigmoid": surface,
    }
    write_text(at(".csv"), said.format_rows(rows))
    write_json(at(".json"), out)
    from knapsack.analysis.popularity import figure  # matplotlib is slow to load

    figure.draw(joined, curves, rows, law, runs, of_size, args.target, at(".png"))
    said.say(out)
    return 3 if "refused" in of_size else 0
