#!/usr/bin/env python3
"""compute-sanitizer's four tools over the kernel cases, a room at a time, and over whole small runs; several at a
time.

  sanitizer.py --cuda build/cuda-sm_90a --out DIR --json sanitizer.json -- FLAGS OF A TINY train_gpt RUN

memcheck (bad accesses), racecheck (shared memory without a barrier), initcheck (device memory that nobody wrote),
synccheck (barriers that not all reach). A row of the JSON is one tool on one target: errors found, or that it ran over
--each seconds. What a tool said is in DIR/TOOL-TARGET.log. Exit code 1 where anything was found, failed or did not end;
77 without compute-sanitizer.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

TOOLS = ["memcheck", "racecheck", "initcheck", "synccheck"]
FOUND = 86  # compute-sanitizer's exit code where it found something; no code of our programs


class Job(NamedTuple):
    tool: str
    target: str
    command: list[str]


def read_rooms(text: str) -> list[str]:
    """The tags that Catch2 lists for the tests tagged [kernels]: each of those has one more, its room."""
    tags = re.findall(r"^\s*\d+\s+\[(\w+)\]\s*$", text, re.MULTILINE)
    return [tag for tag in tags if tag != "kernels"]


def find_rooms(cuda: Path) -> list[str]:
    command = [str(cuda / "run_kernel_tests"), "--list-tags", "[kernels]"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # its code counts the tags
    rooms = read_rooms(done.stdout)
    if not rooms:
        sys.exit(f"{' '.join(command)} lists no room:\n{done.stdout}{done.stderr}")
    return rooms


def find_jobs(tools: list[str], cuda: Path, out: Path, flags: list[str]) -> list[Job]:
    """Whole runs first: they take longest."""
    jobs = []
    for precision in ("bf16", "fp32") if flags else ():
        for tool in tools:
            run = out / f"{tool}-{precision}"
            jobs.append(
                Job(
                    tool,
                    f"train-{precision}",
                    [str(cuda / "train_gpt"), *flags, "--precision", precision, "--out", str(run)],
                )
            )
    jobs += [
        Job(tool, room, [str(cuda / "run_kernel_tests"), f"[kernels][{room}]"])
        for room in find_rooms(cuda)
        for tool in tools
    ]
    return jobs


def errors_in(text: str) -> int | None:
    """The sum over the summaries; None where there is none."""
    found = re.findall(r"(?:ERROR SUMMARY: (\d+) errors?)|(?:RACECHECK SUMMARY: (\d+) hazards?)", text)
    return sum(int(a or b) for a, b in found) if found else None


def run_job(job: Job, out: Path, seconds: float) -> dict[str, Any]:
    start, log = time.monotonic(), out / f"{job.tool}-{job.target}.log"
    # coreutils' timeout ends the program under test, too, not the sanitizer alone
    command = [
        "timeout",
        "--kill-after=5",
        f"{seconds:.0f}",
        "compute-sanitizer",
        "--tool",
        job.tool,
        "--error-exitcode",
        str(FOUND),
        "--print-limit",
        "20",
        *job.command,
    ]
    with log.open("w") as file:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT).returncode
    errors = errors_in(log.read_text(errors="replace"))
    if code in (124, 137, -9):
        verdict = "did not end"
    elif errors is None:
        verdict = f"no summary, exit code {code}"
    elif errors or code == FOUND:
        verdict = "found"
    else:
        verdict = "clean" if code == 0 else f"exit code {code}"
    row = {
        "tool": job.tool,
        "target": job.target,
        "verdict": verdict,
        "errors": errors,
        "seconds": round(time.monotonic() - start, 1),
    }
    print(
        f"{job.tool:10} {job.target:12} {verdict}{f' ({errors})' if errors else ''} in {row['seconds']} s", flush=True
    )
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", type=Path, required=True, metavar="DIR", help="folder of the CUDA programs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--jobs", type=int, default=8, help="at a time")
    parser.add_argument("--each", type=float, default=300, metavar="SECONDS", help="limit of one of them")
    parser.add_argument(
        "--within",
        type=float,
        default=450,
        metavar="SECONDS",
        help="limit of all: what has not begun by then is not begun",
    )
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="of a tiny training run; none: kernels only")
    args = parser.parse_args()
    if not shutil.which("compute-sanitizer"):
        print("skipped: compute-sanitizer is not installed")
        return 77
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    end = time.monotonic() + args.within
    rows: list[dict[str, Any]] = []
    writing = threading.Lock()

    def one(job: Job) -> None:
        left = min(args.each, end - time.monotonic())
        row = {"tool": job.tool, "target": job.target, "verdict": "not begun", "errors": None, "seconds": 0.0}
        if left > 1:
            row = run_job(job, args.out, left)
        with writing:
            rows.append(row)
            args.json.write_text(json.dumps({"jobs_at_a_time": args.jobs, "rows": rows}, indent=2) + "\n")

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(one, find_jobs(args.tools, args.cuda, args.out, args.flags)))
    return 0 if all(row["verdict"] == "clean" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
