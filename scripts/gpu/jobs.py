"""Processes side by side within a time, each a row of a JSON file that is written anew whenever one is over: whatever
stops them, the file says what was found, what did not end and what was not begun."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
NOT_BEGUN, RUNNING, NOT_ENDED = "not begun", "running", "did not end"
UNDECIDED = {NOT_BEGUN, RUNNING, NOT_ENDED}


class Job(NamedTuple):
    names: dict[str, str]  # the first columns of its row, and the name of its log
    command: list[str]
    environment: dict[str, str] = {}


Judge = Callable[[int, str], Row]  # of an exit code and what was said: the column verdict, and others


def write_json(path: Path, value: Any) -> None:
    """Whole at any time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)


def run_job(job: Job, judge: Judge, logs: Path, seconds: float) -> Row:
    start, log = time.monotonic(), logs / f"{'-'.join(job.names.values()).replace(' ', '_')}.log"
    # coreutils' timeout ends all that the command started, too
    command = ["timeout", "--kill-after=3", f"{seconds:.0f}", *job.command]
    with log.open("w") as file:
        code = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **job.environment},
        ).returncode
    ended = code not in (124, 137, -9)
    found = judge(code, log.read_text(errors="replace")) if ended else {"verdict": NOT_ENDED}
    return job.names | found | {"seconds": round(time.monotonic() - start, 1)}


def run_jobs(
    jobs: list[Job], judge: Judge, logs: Path, table: Path, at_a_time: int, each: float, within: float, go_on: bool
) -> list[Row]:
    """In the order given, none after `within` seconds, each for at most `each`. go_on: those that the table has a
    verdict on are not run again."""
    end = time.monotonic() + within
    logs.mkdir(parents=True, exist_ok=True)
    before = json.loads(table.read_text())["rows"] if go_on and table.exists() else []
    rows: list[Row] = []
    for job in jobs:
        done = [row for row in before if job.names.items() <= row.items()]
        done = [row for row in done if row["verdict"] not in UNDECIDED]
        rows.append(done[0] if done else job.names | {"verdict": NOT_BEGUN, "seconds": 0.0})
    writing = threading.Lock()

    def write() -> None:
        write_json(table, {"jobs_at_a_time": at_a_time, "rows": rows})

    def one(number: int) -> None:
        left = min(each, end - time.monotonic())
        if rows[number]["verdict"] != NOT_BEGUN or left < 1:
            return
        with writing:
            rows[number]["verdict"] = RUNNING
            write()
        row = run_job(jobs[number], judge, logs, left)
        with writing:
            rows[number] = row
            print(f"{' '.join(jobs[number].names.values()):24} {row['verdict']} in {row['seconds']} s", flush=True)
            write()

    write()
    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(one, range(len(jobs))))
    return rows
