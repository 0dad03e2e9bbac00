#!/usr/bin/env python3
"""compute-sanitizer's four tools over the kernel cases, a room at a time, and over whole small runs; several at a
time.

  sanitizer.py --cuda build/cuda-sm_90a --out DIR --json sanitizer.json [--tests tests.json] -- FLAGS OF A TINY RUN

memcheck (bad accesses), racecheck (shared memory without a barrier), initcheck (device memory that nobody wrote),
synccheck (barriers that not all reach), in this order, of each the rooms that took the tests (--tests) least time
first, whole runs last. A row of the JSON is one tool on one target: errors found, or that it ran over --each seconds.
What a tool said is in DIR/TOOL-TARGET.log. Exit code 1 where anything was found or failed, 3 where something did not
end or was not begun; 77 without compute-sanitizer, and where it cannot work on this machine.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from pathlib import Path

from jobs import UNDECIDED, Job, Row, run_job, run_jobs
from kernel_tests import find_rooms

TOOLS = ["memcheck", "racecheck", "initcheck", "synccheck"]
FOUND = 86  # compute-sanitizer's exit code where it found something; no code of our programs
REFUSED = re.compile(r"Device not supported|not supported on this (?:device|system)|Unable to find", re.IGNORECASE)


def find_jobs(tools: list[str], cuda: Path, out: Path, rooms: list[str], flags: list[str]) -> list[Job]:
    jobs = []
    for tool in tools:
        checked = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "20"]
        for room in rooms:
            command = [str(cuda / "run_kernel_tests"), f"[kernels][{room}]"]
            jobs.append(Job({"tool": tool, "target": room}, [*checked, *command]))
        for precision in ("bf16", "fp32") if flags else ():
            run = ["--precision", precision, "--out", str(out / f"{tool}-{precision}")]
            command = [str(cuda / "train_gpt"), *flags, *run]
            jobs.append(Job({"tool": tool, "target": f"train-{precision}"}, [*checked, *command]))
    return jobs


def errors_in(text: str) -> int | None:
    """The sum over the summaries; None where there is none."""
    found = re.findall(r"(?:ERROR SUMMARY: (\d+) errors?)|(?:RACECHECK SUMMARY: (\d+) hazards?)", text)
    return sum(int(a or b) for a, b in found) if found else None


def judge(code: int, text: str) -> Row:
    errors = errors_in(text)
    if errors is None:
        verdict = f"no summary, exit code {code}"
    elif errors or code == FOUND:
        verdict = "found"
    else:
        verdict = "clean" if code == 0 else f"exit code {code}"
    return {"verdict": verdict, "errors": errors}


def by_time(rooms: list[str], tests: Path | None) -> list[str]:
    rows = json.loads(tests.read_text())["rows"] if tests and tests.exists() else []
    seconds = {row["target"]: row["seconds"] for row in rows}
    return sorted(rooms, key=lambda room: seconds.get(room, 0.0))


def refusal(job: Job, out: Path) -> str:
    """Why the tool cannot work here (some virtual machines hide what it needs); nothing where it can."""
    run_job(Job({"tool": "first", "target": "try"}, job.command), judge, out, 30)
    text = (out / "first-try.log").read_text(errors="replace")
    refused = [line for line in text.splitlines() if REFUSED.search(line)]
    return refused[0].lstrip("= ") if refused else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", type=Path, required=True, metavar="DIR", help="folder of the CUDA programs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--tests", type=Path, metavar="FILE", help="what kernel_tests.py wrote: times of the rooms")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--jobs", type=int, default=8, help="at a time")
    parser.add_argument("--each", type=float, default=300, metavar="SECONDS", help="limit of one of them")
    parser.add_argument("--within", type=float, default=450, metavar="SECONDS", help="limit of all")
    parser.add_argument("--go-on", action="store_true", help="what has a verdict is not run again")
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="of a tiny training run; none: kernels only")
    args = parser.parse_args()
    if not shutil.which("compute-sanitizer"):
        print("skipped: compute-sanitizer is not installed")
        return 77
    if not args.go_on:
        shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True, exist_ok=True)
    rooms = by_time(find_rooms(args.cuda), args.tests)
    jobs = find_jobs(args.tools, args.cuda, args.out, rooms, args.flags)
    begin = time.monotonic()
    if reason := refusal(jobs[0], args.out):
        print(f"skipped: compute-sanitizer: {reason}")
        return 77
    rows = run_jobs(
        jobs, judge, args.out, args.json, args.jobs, args.each, args.within - (time.monotonic() - begin), args.go_on
    )
    verdicts = {row["verdict"] for row in rows}
    if verdicts - UNDECIDED - {"clean"}:
        return 1
    return 3 if verdicts & UNDECIDED else 0


if __name__ == "__main__":
    sys.exit(main())
