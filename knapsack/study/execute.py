"""A study is run: predictions registered, data made, then the runs; what happened when goes into OUT/journal.jsonl."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sys
import time
from collections.abc import Iterator

from knapsack.common.errors import UsageError
from knapsack.common.parallel import available_cores
from knapsack.runs.grid import Run
from knapsack.runs.runner import STOPPED, Job, Later, Programs, Task, check_runs, gpus, how_far, is_finished, run_all
from knapsack.runs.work import Command, Environment, Launcher
from knapsack.study import data, predictions
from knapsack.study.adaptive import share_of
from knapsack.study.blocks import Block, Planned
from knapsack.study.choose import steps_for
from knapsack.study.declare import Step, Study
from knapsack.study.journal import LEFT_OUT, Journal

EVERY_SECONDS = 60.0  # a line of progress where there is no terminal
REDRAW_SECONDS = 1.0


def slots(jobs: int, programs: Programs) -> list[Environment]:
    """A GPU each where the driver lists several; the cores shared out."""
    found: list[Environment] = [{} for _ in range(jobs)]
    devices = 0 if programs.train.name.endswith("_cpu") else gpus()
    for number, environment in enumerate(found):
        if jobs > 1 and "OMP_NUM_THREADS" not in environment:
            environment["OMP_NUM_THREADS"] = str(max(1, available_cores() // jobs))
        if devices > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(number % devices)
    return found


@contextlib.contextmanager
def alone(study: Study) -> Iterator[None]:
    """One runner a study."""
    study.folder.mkdir(parents=True, exist_ok=True)
    with (study.out / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another `knapsack study run` is at work in {study.out}") from None
        except OSError:  # a file system without locks
            pass
        yield


class LiveTable:
    """On a terminal a table that is drawn anew: blocks, and what is at work; elsewhere a line an event."""

    def __init__(self, chosen: list[Planned], journal: Journal) -> None:
        self.block = {one.run.name: one.block for one in chosen}
        self.number = {one.run.name: i for i, one in enumerate(chosen, 1)}
        self.state = dict.fromkeys(self.number, "waits")
        self.total = len(chosen)
        self.failed_data: list[str] = []
        self.journal, self.terminal = journal, sys.stderr.isatty()
        self.drawn, self.next_time = 0, time.monotonic() + (0 if self.terminal else EVERY_SECONDS)

    def say(self, text: str) -> None:
        self.erase()
        print(text, flush=True)

    def label(self, job: Job) -> str:
        return f"[{self.number[job.name]}/{self.total}] {job.name}" if job.name in self.number else job.name

    def count(self, state: str) -> int:
        return list(self.state.values()).count(state)

    def placed(self, before: Planned, now: Planned | None) -> None:
        """What a run to come turned out to be; None: it is not needed."""
        number, state, block = (column.pop(before.run.name) for column in (self.number, self.state, self.block))
        if now:
            name = now.run.name
            self.number[name], self.state[name], self.block[name] = number, state, block

    def finished_before(self, run: Run) -> None:
        self.state[run.name] = "done"
        self.say(f"{self.label(run)}: done before")

    def begins(self, job: Job) -> None:
        self.journal.write("begins", job)
        if isinstance(job, Command):
            self.say(f"{job.name}: {data.shown(job)}")
        else:
            self.state[job.name] = "runs"

    def goes_on(self, active: list[Job]) -> None:
        if time.monotonic() < self.next_time:
            return
        self.next_time = time.monotonic() + (REDRAW_SECONDS if self.terminal else EVERY_SECONDS)
        lines = [f"{self.label(job)}: {far_of(job)}" for job in active]
        if not self.terminal:
            print("\n".join(lines), file=sys.stderr, flush=True)
            return
        kinds = ("done", "failed", LEFT_OUT)
        rows = [f"{'block':12} {'runs':>5} {'done':>5} {'failed':>6} {LEFT_OUT:>7}"]
        for block in dict.fromkeys(self.block.values()):
            states = [state for name, state in self.state.items() if self.block[name] == block]
            done, failed, left_out = map(states.count, kinds)
            rows.append(f"{block:12} {len(states):5} {done:5} {failed:6} {left_out:7}")
        self.erase()
        width = shutil.get_terminal_size().columns - 1  # a line that is broken would not be erased
        sys.stderr.write("".join(f"{line[:width]}\n" for line in rows + lines))
        sys.stderr.flush()
        self.drawn = len(rows + lines)

    def erase(self) -> None:
        if self.drawn:
            sys.stderr.write(f"\033[{self.drawn}A\033[J")
            sys.stderr.flush()
            self.drawn = 0

    def ended(self, job: Job, failure: str, seconds: float) -> None:
        more = {"failure": failure} if failure else {}
        self.journal.write("failed" if failure else "done", job, seconds=round(seconds, 1), **more)
        if isinstance(job, Run):
            self.state[job.name] = "failed" if failure else "done"
            said = f"FAILED, {failure}; see {job.file('log')}" if failure else f"done in {seconds:.0f} s"
            self.say(f"{self.label(job)}: {said}")
        elif failure:
            self.failed_data.append(job.name)
            self.say(f"{job.name}: FAILED, {failure}; its command was {data.shown(job)}; see {job.log}")

    def left_out(self, job: Job, needed: str) -> None:
        self.journal.write(LEFT_OUT, job, needs=needed)
        if isinstance(job, Run):
            self.state[job.name] = LEFT_OUT
            self.say(f"{self.label(job)}: not run: it needs {needed}, which failed")

    def summary(self) -> str:
        """What failed, '' where nothing did."""
        failed, left = self.count("failed"), self.count(LEFT_OUT)
        said = [f"{failed} of {self.total} runs failed"] if failed else []
        said += [f"{len(self.failed_data)} steps of the data failed"] if self.failed_data else []
        said += [f"{left} of {self.total} runs were not run because of that"] if left else []
        return ", ".join(said)


def far_of(job: Job) -> str:
    if isinstance(job, Command):
        return "is made"
    if job.has("DONE"):
        return "is asked"
    far = how_far(job)
    return far[1] if far else "begins"


def tasks_of(study: Study, chosen: list[Planned], steps: list[Step], table: LiveTable) -> list[Task | Command | Later]:
    """A step that is made of a run is a job before the first of the branches that need it; one that nobody needs any
    more is none."""
    needed = [step for step in steps if step.after and not data.is_made(study, step)]
    found: list[Task | Command | Later] = []
    for one in chosen:
        if one.role == "next":
            found.append(later_of(study, one, table))
            continue
        jobs = [data.job_of(study, step) for step in needed if step.after in one.needs and not is_finished(one.run)]
        found += [job for job in jobs if job.name not in {other.name for other in found if isinstance(other, Command)}]
        found.append(one.task._replace(needs=(*one.needs, *(job.name for job in jobs))))
    return found


def later_of(study: Study, one: Planned, table: LiveTable) -> Later:
    """Of a run to come of a block that places them: where it goes is asked when it may begin."""
    block = study.blocks[one.block]

    def later() -> Task | None:
        was_over = block.placed.is_over
        placed = next_run(block)
        if placed is None and not was_over:
            table.say(f"block {block.name}: no more runs: {block.placed.why}")
        table.placed(one, placed)
        return placed.task if placed else None

    return later


def next_run(block: Block) -> Planned | None:
    """The run that a block places next, by those of its runs that are finished; those that are not count as begun."""
    from knapsack.runs.table import read_run  # pandas is slow to load

    placed = block.placed
    finished, pending = [], []
    for one, level in zip(block.runs, placed.levels):
        if is_finished(one.run):
            finished.append((level, share_of(read_run(one.run.directory), placed.place, one.run.name)))
        else:
            pending.append(level)
    level = placed.next(finished, pending)
    if level is None:
        return None
    block.runs.append(block.placed_run(level, len(placed.levels)))
    return block.runs[-1]


def run_study(
    study: Study,
    chosen: list[Planned],
    with_data: list[Planned],
    programs: Programs,
    environments: list[Environment],
    launcher: Launcher,
) -> int:
    """The exit code. `with_data`: runs whose data are made. Refuses, before anything is made, what is there and is not
    this study's."""
    steps = steps_for(study, with_data)
    for step in steps:
        data.is_made(study, step)
    before = [step for step in steps if not step.after]
    check_runs([one.run for one in study.runs], study.folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(study))
        journal = stack.enter_context(Journal(study))
        table = LiveTable(chosen, journal)
        try:
            data.make_all(study, before, table)
            check_runs([one.run for one in study.runs], study.folder)
            if chosen:
                predictions.register(study)
            failures = run_all(tasks_of(study, chosen, steps, table), programs, table, environments, launcher)
        except KeyboardInterrupt:
            table.say("stopped; the same command goes on")
            return STOPPED
    if failures:
        print(table.summary(), file=sys.stderr)
    rest = sum(not is_finished(one.run) for one in study.runs)
    if rest and not failures:
        print(f"{rest} runs of other blocks are not made yet")
    for block in study.blocks.values():
        if block.to_come:
            print(f"block {block.name} may place up to {len(block.to_come)} more runs")
    return 1 if failures else 0
