"""What `study run` would refuse or fail at, before anything is made."""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knapsack.common.errors import ScriptError
from knapsack.runs.grid import flag_words
from knapsack.runs.identity import SHARDS, check_distinct, contents_of
from knapsack.runs.runner import Programs, check_programs, check_runs, is_finished
from knapsack.study import data
from knapsack.study.blocks import STARTS, Planned
from knapsack.study.choose import steps_for
from knapsack.study.declare import Study

GIB = 2.0**30
QUESTIONS = ".questions.json"
# What a command of the data does with its words, but for doing it.
PARSED = """
import argparse, sys
from knapsack.__main__ import main
def parsed(self, words=None, namespace=None):
    _, more = self.parse_known_args(words, namespace)
    if more:
        self.error("unrecognized arguments: " + " ".join(more))
    raise SystemExit(0)
argparse.ArgumentParser.parse_args = parsed
sys.exit(main(sys.argv[1:]))
"""

Said = tuple[str, str]  # of which run, what is wrong


def refusals(
    study: Study, chosen: list[Planned], programs: Programs, disk: float, memories: Sequence[float], jobs: int
) -> list[str]:
    """A sentence for each thing that `run` would refuse or fail at; `disk`, and memory of each run, in bytes."""
    found = []

    def ask(question: Any, *given: Any) -> None:
        try:
            question(*given)
        except ScriptError as error:
            found.append(str(error))

    ask(check_programs, programs)
    for step in steps_for(study, chosen):
        ask(data.is_made, study, step)
    found += by_commands(study, chosen)
    found += by_sources(study, chosen)
    ask(check_distinct, [one.run for one in study.runs])
    if study.folder.is_dir():
        ask(check_runs, [one.run for one in study.runs], study.folder)
    if study.text and ":" not in study.text and not Path(study.text).exists():
        found.append(f"--text {study.text}: there is no such file")
    here = study.out
    while not here.is_dir():
        here = here.parent
    free = shutil.disk_usage(here).free
    if disk > free:
        found.append(f"{disk / GIB:,.1f} GiB of checkpoints and answers, {free / GIB:,.1f} GiB are free on {here}")
    memory = sum(sorted(memories, reverse=True)[:jobs])
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if programs.train.name.endswith("_cpu") and memory > has and not study.rates:
        found.append(f"{jobs} runs at a time take {memory / GIB:,.1f} GiB of memory; the machine has {has / GIB:,.1f}")
    return found


def by_commands(study: Study, chosen: list[Planned]) -> list[str]:
    """Commands of the data that there are none of or that do not take their words, and arguments of laws that `knapsack
    laws` does not take: it is asked about a folder that is not there."""

    def asked(how: list[str], *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *how, *words], capture_output=True, text=True, env=data.package_environment()
        )
        return done.stderr.strip() if done.returncode == 2 else ""

    found = []
    for step in {step.name: step for step in steps_for(study, chosen)}.values():
        if said := asked(["-c", PARSED], *(step.words or [""])).rpartition("\n")[2]:
            found.append(f"data: {step.name}: {said}")
    with tempfile.TemporaryDirectory() as folder:
        for name, law in study.laws.items():
            words = shlex.split(law.get("arguments", ""))
            if words and "usage:" in (
                said := asked(["-m", "knapsack"], "laws", f"{folder}/runs", "--out", f"{folder}/law", *words)
            ):
                found.append(f"laws: {name}: arguments: {said.rpartition('error: ')[2]}; see knapsack laws --help")
    return found


def by_sources(study: Study, chosen: list[Planned]) -> list[str]:
    """Sources and question sets in the study's own folder that are not there and that no step makes: none of its words
    begins their path."""
    own = f"{study.data}/"
    words = [word.rpartition("=")[2] for step in study.steps for word in step.words if own.rstrip("/") in word]
    found: dict[str, str] = {}
    for one in chosen:
        for flag in (*SHARDS, "questions"):
            for value in one.run.flags.get(flag, []):
                path = value.rpartition("=")[2] if flag in SHARDS else f"{value.removesuffix(QUESTIONS)}{QUESTIONS}"
                fixed = re.split(r"[*?[]", path)[0]  # of a glob
                made = any(fixed.startswith(word) or word.startswith(fixed) for word in words)
                if path.startswith(own) and not made and not glob.glob(path):
                    found.setdefault(f"--{flag} {data.relative(value)}", one.run.name)
    return [f"{run}: {flag}: no step of data makes it" for flag, run in found.items()]


def by_trainer(study: Study, chosen: list[Planned], programs: Programs) -> tuple[list[Said], int]:
    """What the trainer's own --plan refuses, and how many runs it could be asked about by their options alone: their
    data, or the checkpoint they go on from, are not there yet."""
    found, not_asked = [], 0
    for one in chosen:
        if is_finished(one.run):
            continue
        shards = [value for flag in SHARDS for value in one.run.flags.get(flag, [])]
        folders = [value for flag in STARTS[1:] for value in one.run.flags.get(flag, [])]
        is_whole = all(contents_of("source", value) for value in shards) and all(map(os.path.isdir, folders))
        not_asked += not is_whole
        done = subprocess.run(
            [str(programs.train), *flag_words(one.run.flags), "--plan"], capture_output=True, text=True
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
            named = [value.rpartition("=")[2] for value in shards + folders]
            if is_whole or not any(path in said for path in [str(study.out), *named]):
                found.append((one.run.name, said))
    return found, not_asked


def together(said: list[Said]) -> list[str]:
    """A sentence once, with the first of the runs that it is of."""
    runs: dict[str, list[str]] = {}
    for run, sentence in said:
        runs.setdefault(sentence, []).append(run)
    return [f"{of[0]}{f' and {len(of) - 1} more' if len(of) > 1 else ''}: {text}" for text, of in runs.items()]
