"""What a report says of the making: commands, environment, what failed, times."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from pathlib import Path

from knapsack.runs.files import is_there, read_json
from knapsack.runs.runner import Programs, eval_command, train_command
from knapsack.study import data
from knapsack.study.blocks import PACKAGE
from knapsack.study.data import relative
from knapsack.study.declare import Study
from knapsack.study.journal import LEFT_OUT, events_of
from knapsack.study.page import Code, Heading, Part, Table, Text
from knapsack.study.tables import Rows, number

OF_A_BUILD = ("commit", "compiler", "device", "matmul")  # of config.json
TIMES = "Times"  # the last section: all that differs when the same study is run again


def command(words: list[str], study: Study, program: str = "knapsack") -> str:
    """Without the machine's folders."""
    return shlex.join([program, *(relative(word, {study.out: "OUT", PACKAGE: PACKAGE.name}) for word in words)])


def command_parts(study: Study, programs: Programs) -> list[Part]:
    lines = [command(step.words, study) for step in study.steps if not step.after]
    for one in study.runs:
        train = [word for word in train_command(one.run, programs.train) if word != "--resume"]
        ask = eval_command(one.run, programs.evaluate)
        lines += [command(words[1:], study, Path(words[0]).name) for words in (train, ask)]
        lines += [command(step.words, study) for step in study.steps if step.after == one.run.name]
    said = "In order; OUT is the study's folder, other paths are from the folder in which the report was asked for."
    return [Heading("The command of every point"), Text(said), Code("\n".join(lines))]


def environment_parts(study: Study, rows: Rows) -> list[Part]:
    builds: Counter = Counter()
    for one in study.runs:
        if one.run.name in rows:
            config = read_json(one.run.directory / "config.json")
            builds[tuple(str(config.get(name, "-")) for name in OF_A_BUILD)] += 1
    table = [[*build, str(runs)] for build, runs in sorted(builds.items())]
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return [Heading("Environment"), Table([*OF_A_BUILD, "runs"], table), Text(machine + ".")]


def failure_parts(study: Study, rows: Rows) -> list[Part]:
    """What failed when it was last tried and is not done since, and what was not run because of it."""
    parts: list[Part] = []
    last = {name: of[-1] for name, of in events_of(study).items()}
    logs = {one.run.name: one.run.file("log") for one in study.runs if one.run.name not in rows}
    unmade = [step for step in study.steps if not is_there(data.stamp_of(study, step))]
    logs |= {data.job_name(step): data.log_of(study, step) for step in unmade}
    waiting: dict[str, list[str]] = {}
    for one in study.runs:
        event = last.get(one.run.name, {})
        if event.get("event") == LEFT_OUT and one.run.name in logs:
            waiting.setdefault(str(event.get("needs")), []).append(one.run.name)
    for name, log in logs.items():
        if last.get(name, {}).get("event") == "failed":
            said = f"Failed when it was last tried: {name}, {last[name].get('failure', '')} ({log})."
            rest = f" Not run because of it: {', '.join(waiting[name])}." if name in waiting else ""
            parts.append(Text(said + rest))
    return parts


def time_parts(study: Study, rows: Rows, written: str) -> list[Part]:
    runs = {one.run.name for one in study.runs}
    events = {name: of for name, of in events_of(study).items() if name in runs}
    begun = [one["time"] for of in events.values() for one in of if one["event"] == "begins"]
    seconds = {name: sum(one.get("seconds", 0.0) for one in of) for name, of in events.items()}
    first = min(begun, default="")
    table = [
        [name, f"{seconds[name]:.0f}" if seconds.get(name) else "-", number(row.get("perf/tokens_per_s"))]
        for name, row in rows.items()
    ]
    said = f"Predictions written {written or '-'}, first run begun {first or '-'}."
    return [Heading(TIMES), Text(said), Table(["run", "seconds (last start)", "tokens/s (median)"], table)]
