"""Runs a grid of trainings, one after the other, and questions each; stops and goes on where it was.

  sweep.py --out runs/mix --vary ratio=synbio=0.05,synbio=0.4 --vary seed=1,2 -- --model pythia:L2:C64:H2 --tokens 4M \\
      --source web=data/web.bin --source synbio=data/synbio.bin --questions data/synbio_questions
  sweep.py --out runs/mix --grid grid.json

Every combination of the values of --vary is a run RUN of train_gpt (with no GPU train_gpt_cpu) in OUT/RUN, with the flags behind '--'; then
eval_knowledge (or eval_knowledge_cpu) asks all of the questions (flags --questions, --val, --val-tokens, --tokenizer, --eot-id, --precision of the training)
and writes OUT/RUN/results.json. A grid file holds the same: {"vary": {"ratio": ["synbio=0.05", ...], "seed": [1, 2]},
"train": {"model": "pythia:L2:C64:H2", "source": ["web=...", "synbio=..."], ...}}. Flags that change together stand in "runs":
{"rare": {"ratio": "synbio=0.05", "tokens": "16M"}, "often": {...}}: each is made for every combination of "vary", beside or
instead of the flags of "train". dev/experiments has examples; their key "about" is for readers.

Finished runs are skipped, others resumed. A run that fails is recorded and the sweep goes on; the exit code is 1 then, 2 for a wrong grid, and 75
when it was stopped by Ctrl-C or a signal (the same command goes on). What a program prints is in OUT/RUN.log.
"""
from __future__ import annotations

import argparse
import itertools
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from knapsack.runs import table as runs

ROOT = Path(__file__).resolve().parents[2]
EVAL_FLAGS = ("questions", "val", "val-tokens", "tokenizer", "eot-id", "precision")
Flags = dict[str, list[str]]  # flag -> its values, [] for a switch


class Run(NamedTuple):
    name: str
    directory: Path
    flags: Flags


def as_list(value: Any) -> list[str]:
    if value is True:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def parse_flags(arguments: list[str]) -> Flags:
    """'--a 1 --a 2 --switch' as {a: [1, 2], switch: []}."""
    flags: Flags = {}
    name = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            flags.setdefault(name, []).extend([value] if equals else [])
        elif name is None:
            refuse(f"'{argument}' behind '--': expected a flag of train_gpt")
        else:
            flags[name].append(argument)
    return flags


def flag_words(flags: Flags) -> list[str]:
    words = []
    for name, values in flags.items():
        words += [f"--{name}"] if not values else [word for value in values for word in (f"--{name}", value)]
    return words


def refuse(message: str) -> NoReturn:
    print(f"knapsack sweep: {message}", file=sys.stderr)
    sys.exit(2)


class Grid(NamedTuple):
    vary: dict[str, list[str]]
    train: Flags
    together: dict[str, Flags]  # runs by name: flags that change together


def as_flags(values: dict[str, Any]) -> Flags:
    return {name: as_list(value) for name, value in values.items() if value is not False}


def check_grid(grid: Any, path: Path) -> None:
    """The shape of a grid file: objects of flags; a flag has a text, a number, true, false, or a list of texts and numbers."""
    if not isinstance(grid, dict) or (unknown := set(grid) - {"vary", "train", "runs", "about"}):
        found = ", ".join(sorted(unknown)) if isinstance(grid, dict) else "other JSON"
        refuse(f"{path}: expected an object with the keys vary, train, runs and about, found {found}")
    runs_ = grid.get("runs", {})
    if not isinstance(runs_, dict):
        refuse(f"{path}: runs: expected an object from names to flags, found {json.dumps(runs_)[:80]}")
    for place, flags in [*((key, grid.get(key, {})) for key in ("vary", "train")), *((f"runs: {name}", flags) for name, flags in runs_.items())]:
        if not isinstance(flags, dict):
            refuse(f"{path}: {place}: expected an object from flags to values, found {json.dumps(flags)[:80]}")
        for flag, value in flags.items():
            values = value if isinstance(value, list) else [value]
            if not values or not all(isinstance(one, (str, int, float)) for one in values):
                refuse(f"{path}: {place}: {flag}: expected a text or number, or a list of some, found {json.dumps(value)[:80]}")


def read_grid(args: argparse.Namespace) -> Grid:
    vary: dict[str, list[str]] = {}
    train: Flags = {}
    together: dict[str, Flags] = {}
    if args.grid:
        try:
            grid = json.loads(args.grid.read_text())
        except (OSError, ValueError) as error:
            refuse(f"{args.grid}: {error}")
        check_grid(grid, args.grid)
        vary = {name: as_list(values) for name, values in grid.get("vary", {}).items()}
        train = as_flags(grid.get("train", {}))
        together = {name: as_flags(flags) for name, flags in grid.get("runs", {}).items()}
    for text in args.vary:
        name, _, values = text.partition("=")
        if not values:
            refuse(f"--vary {text}: expected FLAG=VALUE,VALUE,...")
        vary[name] = values.split(",")
    train.update(parse_flags(args.flags))
    return Grid(vary, train, together)


def make_runs(grid: Grid, out: Path) -> list[Run]:
    result = []
    for group, *values in itertools.product(grid.together or [""], *grid.vary.values()):
        chosen = dict(zip(grid.vary, values))
        parts = [group] * bool(group) + [f"{flag}-{value}" for flag, value in chosen.items()]
        name = "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", part) for part in parts) or "run"
        flags = {**grid.train}
        for flag, words in [*grid.together.get(group, {}).items(), *((flag, [value]) for flag, value in chosen.items())]:
            # the value of one source goes beside those of others
            named = flag in flags and all("=" in word for word in words)
            flags[flag] = flags[flag] + words if named else words
        result.append(Run(name, out / name, flags))
    return result


def train_command(run: Run, program: Path) -> list[str]:
    resume = ["--resume"] if run.directory.is_dir() and any(run.directory.iterdir()) else []
    return [str(program), *flag_words(run.flags), "--out", str(run.directory), *resume]


def eval_command(run: Run, program: Path) -> list[str]:
    checkpoints = sorted((run.directory / "checkpoints").glob("step_????????"))
    checkpoint = checkpoints[-1] if checkpoints else run.directory / "checkpoints" / "step_XXXXXXXX"
    flags = {name: run.flags[name] for name in EVAL_FLAGS if name in run.flags}
    return [str(program), "--checkpoint", str(checkpoint), *flag_words(flags), "--out", str(run.directory / "results.json")]


class Progress:
    """Where the sweep stands: a line that rewrites itself on a terminal, a line every 15 s elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.terminal, self.next = total, sys.stdout.isatty(), 0.0

    def show(self, number: int, run: Run) -> None:
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + (0.5 if self.terminal else 15.0)
        line = runs.last_line(run.directory / "metrics.jsonl")
        steps = runs.read_json(run.directory / "config.json").get("steps", 0)
        if not line or not steps:
            return
        done = line["step"] + 1
        rest = (steps - done) * line["perf/step_ms"] / 1e3
        text = (f"[{number}/{self.total}] {run.name}: {100 * done / steps:3.0f} %, loss {line['train/loss']:.3f}, "
                f"{line['perf/tokens_per_s']:,.0f} tokens/s, {rest:.0f} s to go")
        print(f"\r{text}\033[K" if self.terminal else text, end="" if self.terminal else "\n", flush=True)

    def say(self, text: str) -> None:
        print(("\r" if self.terminal else "") + text + ("\033[K" if self.terminal else ""), flush=True)


def run_program(command: list[str], log: TextIO, tick) -> int:
    """In a session of its own, so that Ctrl-C reaches it once, from here: it saves a checkpoint and ends."""
    log.write(f"$ {shlex.join(command)}\n")
    log.flush()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        while True:
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                tick()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def check_same_flags(run: Run) -> None:
    """A run that stands there already must be the one that is meant."""
    note = run.directory.parent / f"{run.name}.flags.json"
    if note.exists() and run.directory.is_dir() and json.loads(note.read_text()) != run.flags:
        before = shlex.join(flag_words(json.loads(note.read_text())))
        refuse(f"{run.directory} was made with other flags ({before}); choose another --out or remove it")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(run.flags) + "\n")


def do_run(run: Run, number: int, progress: Progress, args: argparse.Namespace) -> str:
    """Trains and questions one run; says what became of it: '' or what failed."""
    with (run.directory.parent / f"{run.name}.log").open("a") as log:
        if not (run.directory / "DONE").exists():
            code = run_program(train_command(run, args.train_program), log, lambda: progress.show(number, run))
            if code == 75:
                raise KeyboardInterrupt
            if code != 0:
                return f"{args.train_program.name} ended with code {code}"
        if any(name in run.flags for name in ("questions", "val")) and not (run.directory / "results.json").exists():
            code = run_program(eval_command(run, args.eval_program), log, lambda: None)
            if code != 0:
                return f"{args.eval_program.name} ended with code {code}"
    return ""


def last_words(run: Run) -> str:
    text = (run.directory.parent / f"{run.name}.log").read_text(errors="replace").replace("\r", "\n")
    return "\n".join("    " + line for line in text.strip().splitlines()[-3:])


def sweep(all_runs: list[Run], args: argparse.Namespace) -> int:
    progress, failures = Progress(len(all_runs)), 0
    for number, run in enumerate(all_runs, 1):
        if (run.directory / "DONE").exists() and (run.directory / "results.json").exists():
            progress.say(f"[{number}/{len(all_runs)}] {run.name}: done before")
            continue
        start = time.monotonic()
        try:
            failure = do_run(run, number, progress, args)
        except KeyboardInterrupt:
            progress.say(f"[{number}/{len(all_runs)}] {run.name}: stopped; the same command goes on")
            raise
        if failure:
            failures += 1
            progress.say(f"[{number}/{len(all_runs)}] {run.name}: FAILED, {failure}; {run.directory}.log ends\n{last_words(run)}")
        else:
            progress.say(f"[{number}/{len(all_runs)}] {run.name}: done in {time.monotonic() - start:.0f} s")
    if failures:
        print(f"{failures} of {len(all_runs)} runs failed", file=sys.stderr)
    return 1 if failures else 0


def program(name: str) -> Path:
    """The CUDA program where it is built and there is a GPU to run it, else the CPU's."""
    cuda = ROOT / name
    if cuda.exists() and shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0:
        return cuda
    return ROOT / f"{name}_cpu"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the runs' folder")
    parser.add_argument("--grid", type=Path, metavar="FILE", help="grid file (JSON); --vary and flags add to it")
    parser.add_argument("--vary", action="append", default=[], metavar="FLAG=A,B,...", help="one dimension of the grid")
    parser.add_argument("--columns", metavar="A,B,...", help="of the table at the end, as for runs.py")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    parser.add_argument("--train-program", type=Path, default=program("train_gpt"), metavar="FILE")
    parser.add_argument("--eval-program", type=Path, default=program("eval_knowledge"), metavar="FILE")
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="of train_gpt, the same for every run")
    args = parser.parse_args(argv)
    args.train_program, args.eval_program = args.train_program.absolute(), args.eval_program.absolute()  # not sought in PATH
    all_runs = make_runs(read_grid(args), args.out)
    if args.dry_run:
        for run in all_runs:
            print(shlex.join(train_command(run, args.train_program)))
            print(shlex.join(eval_command(run, args.eval_program)))
        return 0
    for path in (args.train_program, args.eval_program):
        if not path.exists():
            parser.error(f"{path} is not there; build it with `make` or name another one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for run in all_runs:
        check_same_flags(run)
    try:
        code = sweep(all_runs, args)
    except KeyboardInterrupt:
        code = 75
    rows = runs.read_runs([args.out])
    if rows:
        columns = args.columns.split(",") if args.columns else runs.default_columns(rows)
        print("\n" + runs.format_table(rows, columns), end="")
    return code
