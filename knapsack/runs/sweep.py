"""Runs a grid of trainings, one after the other, and questions each; stops and goes on where it was.

  knapsack sweep --out runs/mix --vary ratio=synbio=0.05,synbio=0.4 --vary seed=1,2 -- --model pythia:L2:C64:H2 \\
      --tokens 4M --source web=data/web.bin --source synbio=data/synbio.bin --questions data/synbio_questions
  knapsack sweep --out runs/mix --grid grid.json

Every combination of the values of --vary is a run RUN of train_gpt (with no GPU train_gpt_cpu) in OUT/RUN, with the
flags after '--'; then eval_knowledge (or eval_knowledge_cpu) asks all of the questions (flags --questions, --val,
--val-tokens, --tokenizer, --eot-id, --precision of the training) and writes OUT/RUN/results.json. A grid file holds the
same: {"vary": {"ratio": ["synbio=0.05", ...], "seed": [1, 2]}, "train": {"model": "pythia:L2:C64:H2", ...}}. Flags that
change together are in "runs": {"rare": {"ratio": "synbio=0.05", "tokens": "16M"}, "often": {...}}: each is made for
every combination of "vary", next to or instead of the flags of "train". dev/experiments has examples; their key "about"
is for readers.

--vary of one flag twice is one dimension more where the values name other sources (ratio=a=..., ratio=b=...), else more
values. RUN is what varies, with a hash where that alone does not tell runs apart ("web_1", "web-1").

Finished runs are skipped, others resumed. A run is known by its options and the content of its data
(OUT/RUN.flags.json): one with other options or data is refused before anything runs (2, 3), data that moved are the
same. A run that fails is recorded and the sweep goes on; the exit code is 1 then, 2 for a wrong grid, and 75 when it
was stopped by Ctrl-C or a signal (the same command goes on). What a program prints is in OUT/RUN.log.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.common.files import dump_json
from knapsack.common.progress import Progress
from knapsack.runs.files import (
    checkpoint_step,
    is_there,
    last_line,
    naming,
    read_bytes,
    read_json,
    read_results,
    warn,
    write_bytes,
)
from knapsack.runs.grid import Run, flag_words, make_runs, read_grid
from knapsack.runs.identity import check_distinct, check_same, earlier_name, note_of, with_config
from knapsack.runs.table import default_columns, format_table, read_runs

ROOT = Path(__file__).resolve().parents[2]  # of a checkout
EVAL_FLAGS = ("questions", "val", "val-tokens", "tokenizer", "eot-id", "precision")
STOPPED = 75  # exit code, of the programs too: the same command goes on
POLL_SECONDS = 0.5


def train_command(run: Run, program: Path) -> list[str]:
    resume = ["--resume"] if run.directory.is_dir() and any(run.directory.iterdir()) else []
    return [str(program), *flag_words(run.flags), "--out", str(run.directory), *resume]


def last_checkpoint(run: Run) -> Path | None:
    found = sorted((run.directory / "checkpoints").glob("step_????????"))
    return found[-1] if found else None


def eval_command(run: Run, program: Path) -> list[str]:
    checkpoint = last_checkpoint(run) or run.directory / "checkpoints" / "step_XXXXXXXX"
    given = with_config(run.flags)
    flags = flag_words({name: given[name] for name in EVAL_FLAGS if name in given})
    return [str(program), "--checkpoint", str(checkpoint), *flags, "--out", str(run.directory / "results.json")]


def show(run: Run, progress: Progress) -> None:
    """How far the training is, by its log; a log that does not say it is no reason to end the training."""
    with contextlib.suppress(DataError, KeyError, TypeError, ValueError):
        line = last_line(run.directory / "metrics.jsonl")
        steps = read_json(run.directory / "config.json").get("steps", 0)
        if line and steps:
            done = line["step"] + 1
            rest = (steps - done) * line["perf/step_ms"] / 1e3
            speed = f"{line['perf/tokens_per_s']:,.0f} tokens/s"
            loss = float(line["train/loss"])
            progress.update(done / steps, f"step {done:,} of {steps:,}, loss {loss:.3f}, {speed}, {rest:.0f} s to go")


def run_program(command: list[str], log: TextIO, tick: Callable[[], None] = lambda: None) -> int:
    """In a session of its own, so that Ctrl-C reaches it once, from here: it saves a checkpoint and ends."""
    log.write(f"$ {shlex.join(command)}\n")
    log.flush()
    options = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        while True:
            try:
                return process.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                tick()
    except BaseException:  # a signal, or nobody reads the progress: the program must not go on without us
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def check_runs(runs: list[Run], out: Path) -> None:
    """Before anything runs: where they are written, and that those that are there are those that are meant."""
    for folder in (out, *out.parents):
        if is_there(folder):
            if not folder.is_dir():
                raise UsageError(f"--out {out}: {folder} is not a folder")
            break
    for run in runs:
        for path in (run.file("log"), run.file("flags.json")):
            if is_there(path) and not path.is_file():
                raise UsageError(f"{path} is not a file, but the run's is written there; choose another --out")
        if is_there(run.directory) and not run.directory.is_dir():
            raise UsageError(f"{run.directory} is not a folder; choose another --out or remove it")
    check_distinct(runs)
    if unknown := [run.name for run in runs if not check_same(run)]:
        named = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        warn(f"whether the data of runs that have no checksums of them are still the same is not known: {named}")
    out.mkdir(parents=True, exist_ok=True)


def is_trained(run: Run) -> bool:
    """A run that no sweep made, which has no note, is for the trainer to judge."""
    return run.has("DONE") and is_there(run.file("flags.json"))


def is_asked(run: Run) -> bool:
    """Whether results.json is there, of the last checkpoint, or nothing is to be asked."""
    if not {"questions", "val"} & set(with_config(run.flags)):
        return True
    try:
        return bool(read_results(run.directory, checkpoint_step(str(last_checkpoint(run))), say=False))
    except DataError:  # broken: made again
        return False


def do_run(run: Run, progress: Progress, args: argparse.Namespace) -> str:
    """Trains and questions one run; says what became of it: '' or what failed."""
    with run.file("log").open("a", encoding="utf-8", errors="backslashreplace") as log, naming(run.file("log")):
        if not is_trained(run):
            if not run.directory.is_dir() or not any(run.directory.iterdir()):
                write_bytes(run.file("flags.json"), dump_json(note_of(run)))
            code = run_program(train_command(run, args.train_program), log, lambda: show(run, progress))
            if code == STOPPED:
                raise KeyboardInterrupt
            if code != 0:
                return f"{args.train_program.name} ended with code {code}"
        if not is_asked(run):
            code = run_program(eval_command(run, args.eval_program), log)
            if code != 0:
                return f"{args.eval_program.name} ended with code {code}"
    return ""


def last_words(run: Run) -> str:
    text = read_bytes(run.file("log")).decode(errors="replace").replace("\r", "\n")
    return "\n".join("    " + line for line in text.strip().splitlines()[-3:])


def sweep(runs: list[Run], args: argparse.Namespace) -> int:
    """The exit code."""
    failures = 0
    for number, run in enumerate(runs, 1):
        label = f"[{number}/{len(runs)}] {run.name}"
        if is_trained(run) and is_asked(run):
            print(f"{label}: done before", flush=True)
            continue
        with Progress(label, 1.0) as progress:
            try:
                failure = do_run(run, progress, args)
            except KeyboardInterrupt:
                progress.say(f"{label}: stopped; the same command goes on")
                return STOPPED
            except ScriptError as error:  # such as a broken file of the run's own
                failure = str(error)
        failures += bool(failure)
        said = f"FAILED, {failure}; {run.file('log')} ends\n{last_words(run)}" if failure else ""
        print(f"{label}: {said or f'done in {progress.seconds:.0f} s'}", flush=True)
    if failures:
        print(f"{failures} of {len(runs)} runs failed", file=sys.stderr)
    return 1 if failures else 0


def find_program(name: str) -> Path:
    """The CUDA program where it is built and there is a GPU, else the CPU's: of the checkout, else on PATH."""
    cuda = ROOT / name
    nvidia = shutil.which("nvidia-smi")
    if cuda.exists() and nvidia and subprocess.run([nvidia, "-L"], capture_output=True).returncode == 0:
        return cuda
    own, installed = ROOT / f"{name}_cpu", shutil.which(f"{name}_cpu")
    return own if own.exists() or not installed else Path(installed)


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
    args = parser.parse_args(argv)
    # absolute: not sought in PATH
    args.train_program = (args.train_program or find_program("train_gpt")).absolute()
    args.eval_program = (args.eval_program or find_program("eval_knowledge")).absolute()
    return args


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    runs = [earlier_name(run) for run in make_runs(read_grid(args.grid, args.vary, args.flags), args.out)]
    if args.dry_run:
        for run in runs:
            print(shlex.join(train_command(run, args.train_program)))
            print(shlex.join(eval_command(run, args.eval_program)))
        return 0
    for path in (args.train_program, args.eval_program):
        if not path.exists():
            raise UsageError(f"{path} is not there; build it with `make` or name another one")
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UsageError(f"{path} is not a program")
    check_runs(runs, args.out)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup: the terminal is gone, stop as at Ctrl-C
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    code = sweep(runs, args)
    table = read_runs([args.out])
    if not table.empty:
        print("\n" + format_table(table, args.columns.split(",") if args.columns else default_columns(table)), end="")
    return code
