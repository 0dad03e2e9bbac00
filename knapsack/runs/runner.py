"""Runs as processes: each is trained, then asked; several at a time, none before what it needs; stopped and gone on
with at any moment.

One loop in one thread; nothing in it waits for a program. Commands that make data of runs are jobs next to them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.common.files import dump_json
from knapsack.runs.files import (
    checkpoint_step,
    is_there,
    last_line,
    read_json,
    read_results,
    warn,
    write_bytes,
)
from knapsack.runs.grid import Run, flag_words
from knapsack.runs.identity import check_distinct, check_same, note_of, with_config
from knapsack.runs.work import POLL_SECONDS, Command, CommandWork, Environment, Launcher, Work, start

ROOT = Path(__file__).resolve().parents[2]  # of a checkout
EVAL_FLAGS = ("questions", "val", "val-tokens", "tokenizer", "eot-id", "precision")
STOPPED = 75  # exit code, of the programs too: the same command goes on


class Programs(NamedTuple):
    train: Path
    evaluate: Path


class Task(NamedTuple):
    run: Run
    needs: tuple[str, ...] = ()  # names of runs and commands that must be finished before

    @property
    def name(self) -> str:
        return self.run.name


Later = Callable[[], Task | None]  # what the task is, known when it may begin; None: nothing is to be done
Job = Run | Command


class Watcher(Protocol):
    """Who is notified of what happens."""

    def finished_before(self, run: Run) -> None: ...
    def begins(self, job: Job) -> None: ...
    def goes_on(self, active: list[Job]) -> None: ...
    def ended(self, job: Job, failure: str, seconds: float) -> None: ...
    def left_out(self, job: Job, needed: str) -> None: ...  # what it needs failed, or was left out itself


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


def is_finished(run: Run) -> bool:
    return is_trained(run) and is_asked(run)


def how_far(run: Run) -> tuple[float, str] | None:
    """Of a training by its log, a share and in words; a log that does not say it is no reason to end the training."""
    with contextlib.suppress(DataError, KeyError, TypeError, ValueError):
        line = last_line(run.directory / "metrics.jsonl")
        steps = read_json(run.directory / "config.json").get("steps", 0)
        if line and steps:
            done = line["step"] + 1
            rest = (steps - done) * line["perf/step_ms"] / 1e3
            speed = f"{line['perf/tokens_per_s']:,.0f} tokens/s"
            loss = float(line["train/loss"])
            return done / steps, f"step {done:,} of {steps:,}, loss {loss:.3f}, {speed}, {rest:.0f} s to go"
    return None


class RunWork(Work):
    def __init__(self, run: Run, programs: Programs, launcher: Launcher, environment: Environment) -> None:
        super().__init__(run.file("log"), launcher, environment)
        self.run, self.programs, self.program = run, programs, programs.train

    def next_command(self) -> list[str]:
        if not is_trained(self.run):
            if not self.run.directory.is_dir() or not any(self.run.directory.iterdir()):
                write_bytes(self.run.file("flags.json"), dump_json(note_of(self.run)))
            self.program = self.programs.train
            return train_command(self.run, self.program)
        if not is_asked(self.run):
            self.program = self.programs.evaluate
            return eval_command(self.run, self.program)
        return []

    def ended(self, code: int) -> str:
        """A program that was stopped stops us too."""
        if code == STOPPED and self.program == self.programs.train:
            raise KeyboardInterrupt
        return f"{self.program.name} ended with code {code}" if code else ""


class Active(NamedTuple):
    job: Job
    work: Work
    slot: int


def run_all(
    tasks: Sequence[Task | Command | Later],
    programs: Programs,
    watcher: Watcher,
    slots: Sequence[Environment] = ({},),
    launcher: Launcher = start,
) -> int:
    """How many failed or were left out because what they need did. As many at a time as there are slots, whose
    variables a job's programs get. KeyboardInterrupt, after all have saved, where it or one of the programs was
    stopped."""
    waiting, active, failed = list(tasks), [], set()
    free = list(range(len(slots)))
    try:
        while waiting or active:
            for item in list(waiting):
                if not free:
                    break
                task = item if isinstance(item, (Task, Command)) else item()
                unfinished = {other.name for other in waiting if isinstance(other, (Task, Command))}
                if task and (unfinished | {one.job.name for one in active}) & set(task.needs):
                    continue
                waiting.remove(item)
                if task is None:
                    continue
                job = task.run if isinstance(task, Task) else task
                if lost := [name for name in task.needs if name in failed]:
                    failed.add(job.name)
                    watcher.left_out(job, lost[0])
                elif isinstance(job, Run) and is_finished(job):
                    watcher.finished_before(job)
                else:
                    watcher.begins(job)
                    free.sort()
                    variables = slots[free[0]]
                    if isinstance(job, Run):
                        work: Work = RunWork(job, programs, launcher, variables)
                    else:
                        work = CommandWork(job, variables)
                    active.append(Active(job, work, free.pop(0)))
            if active:
                watcher.goes_on([one.job for one in active])
            for one in list(active):
                try:
                    failure = one.work.advance()
                except ScriptError as error:  # such as a broken file of the run's own
                    failure = str(error)
                if failure is None:
                    one.work.wait(POLL_SECONDS / len(active))
                    continue
                active.remove(one)
                one.work.close()
                free.append(one.slot)
                if failure:
                    failed.add(one.job.name)
                watcher.ended(one.job, failure, time.monotonic() - one.work.begun)
    except BaseException:  # a signal, or nobody reads the progress: no program must go on without us
        for one in active:
            one.work.stop()
        for one in active:
            one.work.close()
        raise
    return len(failed)


def find_program(name: str) -> Path:
    """The CUDA program where it is built and there is a GPU, else the CPU's: of the checkout, else on PATH."""
    cuda = ROOT / name
    if cuda.exists() and gpus():
        return cuda
    own, installed = ROOT / f"{name}_cpu", shutil.which(f"{name}_cpu")
    return own if own.exists() or not installed else Path(installed)


def gpus() -> int:
    """How many NVIDIA GPUs the driver lists."""
    nvidia = shutil.which("nvidia-smi")
    if not nvidia:
        return 0
    done = subprocess.run([nvidia, "-L"], capture_output=True, text=True)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


def check_programs(programs: Programs) -> None:
    for path in programs:
        if not path.exists():
            raise UsageError(f"{path} is not there; build it with `make` or name another one")
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UsageError(f"{path} is not a program")


def stop_at_hangup() -> None:
    """Not under nohup: the terminal is gone, stop as at Ctrl-C."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))


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
