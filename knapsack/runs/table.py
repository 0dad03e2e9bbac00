"""Runs as a table: one row a run, out of config.json, metrics.jsonl, eval.jsonl and results.json.

  runs.py runs/quickstart                                    (every run below the folder, the columns that differ)
  runs.py runs/a runs/b --columns run,share/synbio,know/synbio/accuracy --format csv

Columns: run, state (done, failed, stopped), the options by their names (model, seed, lr, ...), what the run has seen of
each source (share/SOURCE, epochs/SOURCE, exposures/SOURCE: the mean over the ledger's facts), the last values of metrics.jsonl and eval.jsonl by theirs (train/loss,
val/web/loss, ...), and those of results.json, which win, with know/SET/accuracy_low and _high (95 %), chance and most_bits.

A run with a malformed file is left out and named on stderr; the exit code is then 3.
"""
from __future__ import annotations

import argparse
import contextlib
import csv
import difflib
import io
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Iterable, Iterator

import numpy as np

Row = dict[str, Any]
DEFAULT_COLUMNS = ("share/", "exposures/", "epochs/", "val/", "know/")
UNINTERESTING = ("_low", "_high", "/chance", "/most_bits", "/rank", "/bits_per_param")


class BadRun(ValueError):
    """A run's file is not what was expected; says which and where."""


def parse_object(text: bytes, path: Path, line: int = 1) -> dict:
    """A JSON object that begins in this line of the file."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRun(f"{path}:{line + error.lineno - 1}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{path}:{line}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BadRun(f"{path}:{line}: not a JSON object")
    return value


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRun(f"{path}: {error.strerror}") from None


def read_json(path: Path) -> dict:
    return parse_object(read_bytes(path), path) if path.exists() else {}


def read_lines(path: Path) -> list[dict]:
    """The objects of a .jsonl file; a last line that is not complete yet is left out."""
    if not path.exists():
        return []
    lines = read_bytes(path).split(b"\n")[:-1]
    return [parse_object(line, path, number) for number, line in enumerate(lines, 1)]


@contextlib.contextmanager
def blame(path: Path, line: int = 1) -> Iterator[None]:
    """What is missing or of another type in an object is told with its place."""
    try:
        yield
    except BadRun:
        raise
    except KeyError as error:
        raise BadRun(f"{path}:{line}: no key {error}") from None
    except (AttributeError, TypeError, ValueError, IndexError, EOFError, OSError) as error:
        raise BadRun(f"{path}:{line}: not as expected ({error})") from None


def last_line(path: Path) -> dict:
    """The last complete object, without reading the file whole."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 65536))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Run directories: the folders themselves, or what lies below them."""
    found: list[Path] = []
    for folder in folders:
        found += [path.parent for path in sorted(folder.rglob("config.json")) if "checkpoints" not in path.parts]
    return found


def run_state(run: Path) -> str:
    if (run / "DONE").exists():
        return "done"
    return "failed" if (run / "FAILED").exists() else "stopped"


def add_results(row: Row, results: dict) -> None:
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


def what_was_seen(run: Path, metrics: list[dict]) -> Row:
    """Of each source, by the run's own account: the last line of the log, and the ledgers."""
    row: Row = {}
    for name, value in (metrics[-1] if metrics else {}).items():
        kind, _, rest = name.partition("/")
        source, _, what = rest.rpartition("/")
        if kind == "data" and what in ("ratio", "epochs"):
            row[f"{'share' if what == 'ratio' else what}/{source}"] = value
    for ledger in sorted((run / "exposures").glob("*.npy")):
        try:
            row[f"exposures/{ledger.stem}"] = float(np.load(ledger)["count"].mean())
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise BadRun(f"{ledger}: not a ledger ({error})") from None
    return row


def read_run(run: Path) -> Row:
    config = read_json(run / "config.json")
    row: Row = {"run": run.name, "state": run_state(run)}
    with blame(run / "config.json"):
        row.update({name: value for name, value in config.get("options", {}).items() if value not in (None, "", [])})
    row.update({name: config[name] for name in ("parameters", "parameters_non_embedding", "tokens", "steps") if name in config})
    metrics = read_lines(run / "metrics.jsonl")
    row.update(what_was_seen(run, metrics))
    if metrics:
        row.update({name: value for name, value in metrics[-1].items() if "/" in name})
        speeds = []
        for number, line in enumerate(metrics, 1):
            with blame(run / "metrics.jsonl", number):
                speeds.append(float(line["perf/tokens_per_s"]))
        row["perf/tokens_per_s"] = statistics.median(speeds)
        with blame(run / "metrics.jsonl", len(metrics)):
            row["time"] = metrics[-1]["time"]
    evaluations = read_lines(run / "eval.jsonl")
    row.update({name: value for name, value in (evaluations[-1] if evaluations else {}).items() if "/" in name})
    with blame(run / "results.json"):
        add_results(row, read_json(run / "results.json"))
    return row


def read_runs(folders: Iterable[Path], left_out: list[Path] | None = None) -> list[Row]:
    """A run with a malformed file is told on stderr and left out, and added to `left_out`."""
    rows = []
    for run in find_runs(folders):
        try:
            rows.append(read_run(run))
        except BadRun as error:
            print(f"warning: {error}; run {run.name} is left out", file=sys.stderr)
            if left_out is not None:
                left_out.append(run)
    return rows


def default_columns(rows: list[Row]) -> list[str]:
    """Run, state, the scalar options that differ between rows, and the numbers people look for."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = ["run", "state"]
    for name in names:
        interesting = name.startswith(DEFAULT_COLUMNS) and not name.endswith(UNINTERESTING)
        differs = "/" not in name and len({json.dumps(row.get(name)) for row in rows}) > 1
        if name not in ("run", "state", "out", "time", "ratio", "resume") and (interesting or differs):
            columns.append(name)
    return columns


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def format_table(rows: list[Row], columns: list[str]) -> str:
    """Aligned columns; a name such as know/synbio/bits is stacked, a part a line."""
    heads = [column.split("/") for column in columns]
    height = max(map(len, heads))
    lines = [[([""] * (height - len(head)) + head)[i] for head in heads] for i in range(height)]
    lines += [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    padded = ([line[0].ljust(widths[0])] + [text.rjust(width) for text, width in zip(line[1:], widths[1:])] for line in lines)
    return "".join("  ".join(line).rstrip() + "\n" for line in padded)


def format_csv(rows: list[Row], columns: list[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow(["" if value is None else " ".join(map(str, value)) if isinstance(value, list) else value for value in values])
    return out.getvalue()


def unknown_columns(names: Iterable[str], rows: list[Row]) -> list[str]:
    """A sentence for each of these names that no row has, with the nearest that some have."""
    have = list(dict.fromkeys(name for row in rows for name in row))
    said = []
    for name in names:
        if name not in have:
            parts = [other for other in have if name and name.lower() in other.lower()]
            near = ", ".join(difflib.get_close_matches(name, have, 3, 0.5) or parts[:3])
            said.append(f"no run has a column '{name}'; " + (f"near it: {near}" if near else "--columns all shows all"))
    return said


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--columns", metavar="A,B,...", help="'all', or names as above")
    parser.add_argument("--sort", metavar="COLUMN", help="ascending")
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table")
    args = parser.parse_args(argv)
    left_out: list[Path] = []
    rows = read_runs(args.folders, left_out)
    if not rows:
        if not left_out:
            print(f"knapsack runs: no run (config.json) below {', '.join(map(str, args.folders))}", file=sys.stderr)
        return 3
    wanted = args.columns.split(",") if args.columns not in (None, "all") else []
    unknown = unknown_columns([*wanted, *([args.sort] if args.sort else [])], rows)
    if unknown:
        print("\n".join(f"knapsack runs: {text}" for text in unknown), file=sys.stderr)
        return 2
    if args.sort:
        rows.sort(key=lambda row: (row.get(args.sort) is None, row.get(args.sort)))
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = names if args.columns == "all" else wanted or default_columns(rows)
    if args.format == "json":
        print(json.dumps([{name: row.get(name) for name in columns} for row in rows], indent=2))
    else:
        sys.stdout.write(format_table(rows, columns) if args.format == "table" else format_csv(rows, columns))
    return 3 if left_out else 0
