"""Runs as a table: one row a run, out of config.json, metrics.jsonl, eval.jsonl and results.json.

  knapsack runs runs/quickstart                              (every run below the folder, the columns that differ)
  knapsack runs runs/a runs/b --columns run,share/synbio,know/synbio/accuracy --format csv

Columns: run, state (done, failed, stopped), step (updates done; steps and tokens are the plan's), the options by their
names (model, seed, lr, ...), what the run has seen of each source (share/SOURCE, epochs/SOURCE; facts/SOURCE: how many,
exposures/SOURCE: their mean, by the ledger), the last values of metrics.jsonl and eval.jsonl by theirs (train/loss,
val/web/loss, ...), and those of results.json, which win, with know/SET/accuracy_low and _high (95 %), chance and
most_bits.
results.json of an earlier step than the run's last is named and not used. Runs of one name in several folders have as
much of their path as tells them apart.

--sort puts numbers first, then words, then what lacks the column, and last what is not a finite number (NaN); such a
cell is warned of. A run with a malformed file is left out and named on stderr; the exit code is then 3.
"""

from __future__ import annotations

import argparse
import difflib
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError, UsageError
from knapsack.runs.files import (
    blame,
    find_runs,
    names_of,
    read_bytes,
    read_json,
    read_ledger,
    read_lines,
    read_results,
    run_state,
    warn,
)

Row = dict[str, Any]
ACCOUNTS = ("parameters", "parameters_non_embedding", "tokens", "steps")  # of config.json, as resolved
DEFAULT_COLUMNS = ("share/", "exposures/", "epochs/", "val/", "know/")
UNINTERESTING = ("_low", "_high", "/chance", "/most_bits", "/rank", "/bits_per_param")
NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # as the programs write them, since JSON has none
ASIDE = ("step", "out", "time", "ratio", "resume")  # differ between runs and say nothing that other columns do not


def add_results(row: Row, results: Row) -> None:
    row.update(results.get("metrics", {}))
    for name, knowledge in results.get("know", {}).items():
        everything = knowledge["all"]
        row[f"know/{name}/chance"] = everything.get("chance")
        for kind in knowledge.get("by_kind", []):
            if kind.get("accuracy_interval"):
                low_high = zip(("low", "high"), kind["accuracy_interval"])
                row.update({f"know/{name}/accuracy_{kind['kind']}_{end}": value for end, value in low_high})
        if everything.get("accuracy_interval"):
            row[f"know/{name}/accuracy_low"], row[f"know/{name}/accuracy_high"] = everything["accuracy_interval"]
        if "bits" in knowledge:
            row[f"know/{name}/most_bits"] = knowledge["bits"]["most"]
            if knowledge["bits"].get("interval"):
                row[f"know/{name}/bits_low"], row[f"know/{name}/bits_high"] = knowledge["bits"]["interval"]


def what_was_seen(run: Path, last: Row) -> Row:
    """Of each source, by the run's own account: the last line of the log, and the ledgers."""
    row: Row = {}
    for name, value in last.items():
        kind, _, rest = name.partition("/")
        source, _, what = rest.rpartition("/")
        if kind == "data" and what in ("ratio", "epochs"):
            row[f"{'share' if what == 'ratio' else what}/{source}"] = value
    for path in sorted((run / "exposures").glob("*.npy")):
        if "." in path.stem:  # NAME.doses, NAME.kept: no ledger
            continue
        count = read_ledger(path)["count"]
        row[f"facts/{path.stem}"], row[f"exposures/{path.stem}"] = int(count.size), float(count.mean())
    return row


def read_run(run: Path) -> Row:
    """A run as a row; raises DataError where a file is malformed."""
    config = read_json(run / "config.json")
    row: Row = {"run": run.name, "state": run_state(run)}
    with blame(run / "config.json"):
        row.update({name: value for name, value in config.get("options", {}).items() if value not in (None, "", [])})
    row.update({name: config[name] for name in ACCOUNTS if name in config})
    metrics, last_step = read_lines(run / "metrics.jsonl"), None
    row.update(what_was_seen(run, metrics[-1] if metrics else {}))
    if metrics:
        row.update({name: value for name, value in metrics[-1].items() if "/" in name})
        speeds = []
        for number, line in enumerate(metrics, 1):
            with blame(run / "metrics.jsonl", number):
                speeds.append(float(line["perf/tokens_per_s"]))
        row["perf/tokens_per_s"] = statistics.median(speeds)
        with blame(run / "metrics.jsonl", len(metrics)):
            row["time"] = metrics[-1]["time"]
            last_step = metrics[-1]["step"] + 1 if "step" in metrics[-1] else None
        row["step"] = last_step
    evaluations = read_lines(run / "eval.jsonl")
    row.update({name: value for name, value in (evaluations[-1] if evaluations else {}).items() if "/" in name})
    with blame(run / "results.json"):
        add_results(row, read_results(run, last_step))
    return row


def to_frame(rows: list[Row], index: list[Any] | None = None) -> pd.DataFrame:
    """Cells are what the files have: columns are of objects, None is what a row lacks; `.infer_objects()` makes columns
    of numbers."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame([[row.get(name) for name in names] for row in rows], index, names, object)


def read_runs(folders: Iterable[Path | str], left_out: list[Path] | None = None) -> pd.DataFrame:
    """The table: a row a run, by its directory. A run with a malformed file is named on stderr and left out, and added
    to `left_out`."""
    rows: list[Row] = []
    directories: list[Path] = []
    for run in find_runs(map(Path, folders)):
        try:
            rows.append(read_run(run))
            directories.append(run)
        except DataError as error:
            warn(f"{error}; run {run.name} is left out")
            if left_out is not None:
                left_out.append(run)
    for row, name in zip(rows, names_of(directories)):
        row["run"] = name
    return to_frame(rows, directories)


def is_not_finite(value: Any) -> bool:
    if isinstance(value, str):
        return value in NOT_FINITE
    return (
        isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max
    )  # JSON has whole numbers of any size


def warn_of_not_finite(runs: pd.DataFrame, columns: Iterable[str]) -> None:
    """A sentence for each column that in some run is no number where others have one, or was to be one."""
    for column in columns:
        if column in runs and (wrong := [is_not_finite(value) for value in runs[column]]).count(True):
            named = ", ".join(f"{run} ({value})" for run, value in zip(runs["run"][wrong], runs[column][wrong]))
            warn(f"{column} is not a finite number in {named}")


def finite_runs(runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The same with None where one of these columns is not a finite number, which is warned of."""
    columns = [column for column in columns if column in runs]
    warn_of_not_finite(runs, columns)
    finite = {name: [None if is_not_finite(value) else value for value in runs[name]] for name in columns}
    return runs.assign(**{name: pd.Series(values, runs.index, object) for name, values in finite.items()})


def finished_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Those that are done; the others, whose numbers are of an early step, are named. Raises DataError where none is.
    A run that its --stop-at ended is done, and named too: it is shorter than its plan."""
    done = runs["state"] == "done"
    for directory, row in runs.iterrows():
        if row["state"] != "done":
            warn(f"run {row['run']} has not finished (its state is '{row['state']}'), left out")
        elif (ended := read_bytes(directory / "DONE").decode(errors="replace").strip()).startswith("stopped"):
            warn(f"run {row['run']} ended before its plan ({ended})")
    if not done.any():
        raise DataError(f"none of {len(runs)} runs has finished")
    return runs[done]


def numbers(runs: pd.DataFrame, column: str) -> list[Any]:
    """A column of the runs that have it."""
    return [value for value in runs[column] if value is not None] if column in runs else []


def default_columns(runs: pd.DataFrame) -> list[str]:
    """Run, state, how far where not all are done, the scalar options that differ between rows, and the numbers people
    look for."""

    def shown(name: str) -> bool:
        interesting = name.startswith(DEFAULT_COLUMNS) and not name.endswith(UNINTERESTING)
        return interesting or ("/" not in name and runs[name].map(json.dumps).nunique() > 1)

    first = ["run", "state", *(["step"] if "step" in runs and (runs["state"] != "done").any() else [])]
    return first + [name for name in runs if name not in (*first, *ASIDE) and shown(name)]


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return join(value) if isinstance(value, list) else str(value)


def join(value: Any) -> Any:
    """A flag that repeats as one word; any other value as it is."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def format_table(runs: pd.DataFrame, columns: list[str]) -> str:
    """Aligned columns; a name such as know/synbio/bits is stacked, a part a line."""
    heads = [column.split("/") for column in columns]
    height = max(map(len, heads))
    lines = [[([""] * (height - len(head)) + head)[i] for head in heads] for i in range(height)]
    lines += runs[columns].applymap(cell).values.tolist()
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    padded = (
        [line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:]))] for line in lines
    )
    return "".join("  ".join(line).rstrip() + "\n" for line in padded)


def format_csv(runs: pd.DataFrame, columns: list[str]) -> str:
    """All digits; what a run lacks is empty."""
    cells = [[join(value) for value in row] for row in runs.reindex(columns=columns).values.tolist()]
    return pd.DataFrame(cells, columns=columns, dtype=object).to_csv(index=False)


def format_json(runs: pd.DataFrame, columns: list[str]) -> str:
    return json.dumps(runs[columns].to_dict("records"), indent=2) + "\n"  # to_json would round


FORMATS = {"table": format_table, "csv": format_csv, "json": format_json}


def check_columns(wanted: Iterable[str], runs: pd.DataFrame) -> list[str]:
    """A sentence for each of these names that no run has, with the nearest that some have."""
    have = list(runs)
    said = []
    for name in wanted:
        if name not in have:
            parts = [other for other in have if name and name.lower() in other.lower()]
            near = ", ".join(difflib.get_close_matches(name, have, 3, 0.5) or parts[:3])
            said.append(
                f"no run has a column '{name}'; "
                + (f"near it: {near}" if near else "`knapsack runs DIR --columns all` shows all")
            )
    return said


def sort_runs(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Ascending: numbers, then words and lists, then what lacks it, then what is not a finite number."""

    def rank(value: Any) -> tuple:
        if is_not_finite(value):
            return (4, str(value))
        if value is None or isinstance(value, (str, list)):
            return (3,) if value is None else (2, list(map(str, value))) if isinstance(value, list) else (1, value)
        return (0, value) if isinstance(value, (int, float)) else (2, [str(value)])

    ranks = [rank(value) for value in runs[column]]
    return runs.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("runs", __doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--columns", metavar="A,B,...", help="'all', or names as above")
    parser.add_argument("--sort", metavar="COLUMN", help="ascending")
    parser.add_argument("--format", choices=list(FORMATS), default="table")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    left_out: list[Path] = []
    runs = read_runs(args.folders, left_out)
    if runs.empty:
        if left_out:
            return 3
        raise DataError(f"no run (config.json) below {', '.join(map(str, args.folders))}")
    wanted = args.columns.split(",") if args.columns not in (None, "all") else []
    if unknown := check_columns([*wanted, *([args.sort] if args.sort else [])], runs):
        raise UsageError("\n".join(unknown))
    if args.sort:
        runs = sort_runs(runs, args.sort)
    columns = list(runs) if args.columns == "all" else wanted or default_columns(runs)
    warn_of_not_finite(runs, dict.fromkeys([*columns, *([args.sort] if args.sort else [])]))
    sys.stdout.write(FORMATS[args.format](runs, columns))
    return 3 if left_out else 0
