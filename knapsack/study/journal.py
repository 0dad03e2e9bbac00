"""What happened to a study when: OUT/journal.jsonl (dev/formats.md, 12.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from knapsack.runs.files import is_there, naming, read_bytes
from knapsack.runs.grid import Run
from knapsack.runs.runner import Job
from knapsack.study.declare import Study
from knapsack.study.predictions import now

LEFT_OUT = "not run"  # what it needs failed
DATA = "data "  # before the name of a step: its job's


class Journal:
    """A line an event of a run or a step of the data; a line that was cut off by a kill is closed."""

    def __init__(self, study: Study) -> None:
        self.path = path_of(study)
        cut = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with naming(self.path):
            self.file = self.path.open("a", encoding="utf-8")
            if cut:
                self.file.write("\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, event: str, job: Job, **more: Any) -> None:
        of = {"run": job.name} if isinstance(job, Run) else {"data": job.name.removeprefix(DATA)}
        with naming(self.path):
            self.file.write(json.dumps({"time": now(), "event": event} | of | more) + "\n")
            self.file.flush()


def path_of(study: Study) -> Path:
    return study.out / "journal.jsonl"


def events_of(study: Study) -> dict[str, list[dict[str, Any]]]:
    """By job, in order: a run by its name, a step by that of its job."""
    found: dict[str, list[dict[str, Any]]] = {}
    path = path_of(study)
    for line in read_bytes(path).splitlines() if is_there(path) else []:
        try:
            event = json.loads(line)
            name = event["run"] if "run" in event else DATA + event["data"]
            found.setdefault(name, []).append(event | {"event": event["event"], "time": event["time"]})
        except (ValueError, KeyError, TypeError):  # cut off by a kill
            continue
    return found
