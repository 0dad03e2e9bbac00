"""A study's data: each step is a command of knapsack, done once, known by its words."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import dump_json
from knapsack.runs.files import is_there, read_bytes, read_json, write_bytes
from knapsack.study.declare import PACKAGE, Step, Study, text_file


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


def name_of(step: Step) -> str:
    return f"{step.name}.{step.replicate}" if step.replicate else step.name


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


def make(study: Study, step: Step, say: Callable[[str], Any]) -> None:
    """A command that fails ends the study: no run could be right. A command that a killed study left at work is waited
    for."""
    study.data.mkdir(parents=True, exist_ok=True)
    path = study.data / f"{name_of(step)}.log"
    if step.replicate:
        for word in step.words:
            if f"{study.data}/" in word:
                Path(word).parent.mkdir(parents=True, exist_ok=True)
    say(f"data {name_of(step)}: {command_of(step)}")
    with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.write(f"$ knapsack {shlex.join(step.words)}\n")
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "knapsack", *step.words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=package_environment(),
        )
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code:
        last = read_bytes(path).decode(errors="replace").strip().splitlines()[-1:]
        raise DataError(f"data {name_of(step)}: ended with code {code}: {''.join(last)} ({path})")
    write_bytes(stamp_of(study, step), dump_json({"format_version": 1, "command": step.words}))


def make_all(study: Study, steps: list[Step], say: Callable[[str], Any]) -> None:
    if study.text and not is_there(text_file(study.out)):
        study.data.mkdir(parents=True, exist_ok=True)
        write_bytes(text_file(study.out), dump_json({"text": study.text}))
    todo = [step for step in steps if not is_made(study, step)]
    for step in todo:
        make(study, step, say)
