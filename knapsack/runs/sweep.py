"""Runs a grid of trainings, one after the other, and questions each; stops and goes on where it was.

  knapsack sweep --out runs/mix --vary ratio=synbio=0.05,synbio=0.4 --vary seed=1,2 -- --model pythia:L2:C64:H2 \\
      --tokens 4M --source web=data/web.bin --source synbio=data/synbio.bin --questions data/synbio_questions
  knapsack sweep --out runs/mix --grid grid.json

Every combination of the values of --vary is a run RUN of train_gpt (with no GPU train_gpt_cpu) in OUT/RUN, with the
flags after '--'; then eval_knowledge (or eval_knowledge_cpu) asks all of the questions (flags --questions, --val,
--val-tokens, --tokenizer, --eot-id, --precision of the training) and writes OUT/RUN/results.json. A grid file holds the
same: {"vary": {"ratio": ["synbio=0.05", ...], "seed": [1, 2]}, "train": {"model": "pythia:L2:C64:H2", ...}}. Flags that
change together are in "runs": {"rare": {"ratio": "synbio=0.05", "tokens": "16M"}, "often": {...}}: each is made for
every combination of "vary", next to or instead of the flags of "train". "replicates": 3 makes every run three times,
with 1, 2 and 3 as its seed, its data-seed, and {replicate} in a value, such as "source": "bio=data/bio{replicate}.bin":
people of its own. dev/experiments has examples; their key "about" is for readers.

--vary of one flag twice is one dimension more where the values name other sources (ratio=a=..., ratio=b=...), else more
values. RUN is what varies, with a hash where that alone does not tell runs apart ("web_1", "web-1").

Finished runs are skipped, others resumed. A run is known by its options and the content of its data
(OUT/RUN.flags.json): one with other options or data is refused before anything runs (2, 3), data that moved are the
same. A run that fails is recorded and the sweep goes on; the exit code is 1 then, 2 for a wrong grid, and 75 when it
was stopped by Ctrl-C or a signal (the same command goes on). What a program prints is in OUT/RUN.log.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from knapsack.common.arguments import make_parser
from knapsack.common.progress import Progress
from knapsack.runs.files import read_bytes
from knapsack.runs.grid import Run, make_runs, read_grid
from knapsack.runs.identity import earlier_name
from knapsack.runs.runner import (
    STOPPED,
    Programs,
    Task,
    check_programs,
    check_runs,
    eval_command,
    find_program,
    how_far,
    run_all,
    stop_at_hangup,
    train_command,
)
from knapsack.runs.table import default_columns, format_table, read_runs


def last_words(run: Run) -> str:
    text = read_bytes(run.file("log")).decode(errors="replace").replace("\r", "\n")
    return "\n".join("    " + line for line in text.strip().splitlines()[-3:])


class Report:
    """A line a run, and a bar of the one at work."""

    def __init__(self, runs: list[Run]) -> None:
        self.labels = {run.name: f"[{number}/{len(runs)}] {run.name}" for number, run in enumerate(runs, 1)}
        self.bar: Progress | None = None

    def finished_before(self, run: Run) -> None:
        print(f"{self.labels[run.name]}: done before", flush=True)

    def begins(self, run: Run) -> None:
        self.bar = Progress(self.labels[run.name], 1.0)

    def goes_on(self, active: list[Run]) -> None:
        if self.bar and (far := how_far(active[0])):
            self.bar.update(*far)

    def ended(self, run: Run, failure: str, seconds: float) -> None:
        self.close()
        said = f"FAILED, {failure}; {run.file('log')} ends\n{last_words(run)}" if failure else ""
        print(f"{self.labels[run.name]}: {said or f'done in {seconds:.0f} s'}", flush=True)

    def left_out(self, run: Run, needed: str) -> None:
        print(f"{self.labels[run.name]}: not run: it needs {needed}, which failed", flush=True)

    def stopped(self) -> None:
        if self.bar:
            self.bar.say(f"{self.bar.label}: stopped; the same command goes on")
            self.close()

    def close(self) -> None:
        if self.bar:
            self.bar.close()
            self.bar = None


def sweep(runs: list[Run], programs: Programs) -> int:
    """The exit code."""
    report = Report(runs)
    try:
        failures = run_all([Task(run) for run in runs], programs, report)
    except KeyboardInterrupt:
        report.stopped()
        return STOPPED
    finally:
        report.close()
    if failures:
        print(f"{failures} of {len(runs)} runs failed", file=sys.stderr)
    return 1 if failures else 0


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("sweep", __doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the runs' folder")
    parser.add_argument("--grid", type=Path, metavar="FILE", help="grid file (JSON); --vary and flags add to it")
    parser.add_argument("--vary", action="append", default=[], metavar="FLAG=A,B,...", help="one dimension of the grid")
    parser.add_argument("--columns", metavar="A,B,...", help="of the table at the end, as for knapsack runs")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    parser.add_argument("--train-program", type=Path, metavar="FILE")
    parser.add_argument("--eval-program", type=Path, metavar="FILE")
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="of train_gpt, the same for every run")
    return parser.parse_args(argv)


def programs_of(args: argparse.Namespace) -> Programs:
    """Absolute: not sought in PATH."""
    named = args.train_program or find_program("train_gpt"), args.eval_program or find_program("eval_knowledge")
    return Programs(*(path.absolute() for path in named))


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    runs = [earlier_name(run) for run in make_runs(read_grid(args.grid, args.vary, args.flags), args.out)]
    programs = programs_of(args)
    if args.dry_run:
        for run in runs:
            print(shlex.join(train_command(run, programs.train)))
            print(shlex.join(eval_command(run, programs.evaluate)))
        return 0
    check_programs(programs)
    check_runs(runs, args.out)
    stop_at_hangup()
    code = sweep(runs, programs)
    table = read_runs([args.out])
    if not table.empty:
        print("\n" + format_table(table, args.columns.split(",") if args.columns else default_columns(table)), end="")
    return code
