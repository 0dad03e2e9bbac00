"""A study's data: each step is a command of knapsack, done once, known by its words."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import dump_json
from knapsack.runs.files import is_there, read_json, write_bytes
from knapsack.runs.runner import Watcher
from knapsack.runs.work import POLL_SECONDS, Command, CommandWork
from knapsack.study.blocks import PACKAGE
from knapsack.study.declare import Step, Study, text_file


def package_environment() -> dict[str, str]:
    """In which `python -m knapsack` is this package, wherever we are."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def relative(word: str, names: Mapping[Path, str] | None = None) -> str:
    """A word of a command, its path (of NAME=PATH and NAME=file:PATH that) from the folder we are in, or from one that
    has a name."""
    name, equals, path = ("", "", word) if word.startswith("/") else word.partition("=")
    if path.startswith("file:"):  # of --subsample NAME=file:PATH
        equals, path = "=file:", path[5:]
    if not path.startswith("/"):
        return word
    for folder, short in (names or {}).items():
        if path == str(folder) or path.startswith(f"{folder}/"):
            return name + equals + short + path[len(str(folder)) :]
    return name + equals + os.path.relpath(path)


def command_of(step: Step) -> str:
    """As one would type it here."""
    return shlex.join(["knapsack", *map(relative, step.words)])


def shown(job: Command) -> str:
    """The same, of a job."""
    return shlex.join(["knapsack", *map(relative, job.words[3:])])


def name_of(step: Step) -> str:
    return f"{step.name}.{step.replicate}" if step.replicate else step.name


def job_name(step: Step) -> str:
    return f"data {name_of(step)}"


def log_of(study: Study, step: Step) -> Path:
    return study.data / f"{name_of(step)}.log"


def stamp_of(study: Study, step: Step) -> Path:
    return study.data / f"{name_of(step)}.done.json"


def is_made(study: Study, step: Step) -> bool:
    """Raises UsageError where it was made by another command: runs may have learned from it."""
    path = stamp_of(study, step)
    if not is_there(path):
        return False
    words = read_json(path).get("command")
    if words != step.words:
        was = shlex.join(words) if isinstance(words, list) and all(isinstance(one, str) for one in words) else words
        raise UsageError(
            f"data {name_of(step)} of {study.out} were made with another command (knapsack {was}, not knapsack "
            f"{shlex.join(step.words)}); choose another --out"
        )
    return True


def job_of(study: Study, step: Step) -> Command:
    """The step as the runner takes it; it needs the run that it is made of."""
    study.data.mkdir(parents=True, exist_ok=True)
    if step.replicate:
        for word in step.words:
            if f"{study.data}/" in word:
                Path(word).parent.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        write_bytes(stamp_of(study, step), dump_json({"format_version": 1, "command": step.words}))

    return Command(
        job_name(step),
        [sys.executable, "-m", "knapsack", *step.words],
        log_of(study, step),
        {"PYTHONPATH": package_environment()["PYTHONPATH"]},
        lambda: is_made(study, step),
        keep,
        (step.after,) if step.after else (),
    )


def make(job: Command, watcher: Watcher) -> None:
    """A command that fails ends the study: no run could be right. A command that a killed study left at work is waited
    for."""
    watcher.begins(job)
    work = CommandWork(job, {})
    try:
        while (failure := work.advance()) is None:
            work.wait(POLL_SECONDS)
    except BaseException:
        work.stop()
        work.close()
        raise
    work.close()
    watcher.ended(job, failure, time.monotonic() - work.begun)
    if failure:
        raise DataError(f"{job.name} failed, and no run could be right without it")


def make_all(study: Study, steps: list[Step], watcher: Watcher) -> None:
    """Steps that need no run, in order."""
    if study.text and not is_there(text_file(study.out)):
        study.data.mkdir(parents=True, exist_ok=True)
        write_bytes(text_file(study.out), dump_json({"text": study.text}))
    for step in [step for step in steps if not is_made(study, step)]:
        make(job_of(study, step), watcher)
