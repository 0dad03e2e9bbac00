#!/usr/bin/env python3
"""Every kernel case on this machine's GPU, a room at a time, several rooms side by side; and whole small runs.

  kernel_tests.py --cuda build/cuda-sm_90a --out DIR --json tests.json [--first matmul] [--rooms NAME...] [--go-on]

A row of the JSON is a room, or the end-to-end tests of the CUDA programs (`runs`): verdict, counts, and the end of what
it said where it did not pass. Most of a room's time goes into the formula in double, on one core of the CPU. Exit code
1 where anything failed, 3 where a test did not end or was not begun.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "scripts")]

from jobs import UNDECIDED, Job, Row, run_jobs  # noqa: E402
from run_tests import catch2_counts, unittest_counts  # noqa: E402


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


def judge(code: int, text: str) -> Row:
    lines = text.splitlines()
    counts = catch2_counts(lines) or unittest_counts(lines)
    row: Row = dict(zip(("passed", "failed", "skipped"), counts or (0, 0, 0)))
    good = code == 0 and counts is not None and counts.failed == 0
    row["verdict"] = "passed" if good else "failed"
    return row if good else row | {"code": code, "said": text[-3000:]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", type=Path, required=True, metavar="DIR", help="folder of the CUDA programs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="logs")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--first", default="matmul", metavar="ROOM", help="whose verdict is wanted first")
    parser.add_argument("--rooms", nargs="+", metavar="ROOM", help="not all")
    parser.add_argument("--runs", nargs="*", metavar="NAME", help="end-to-end tests whose name contains one of these")
    parser.add_argument("--within", type=float, default=280, metavar="SECONDS")
    parser.add_argument("--go-on", action="store_true", help="what passed or failed before is not run again")
    args = parser.parse_args()
    rooms = args.rooms or find_rooms(args.cuda)
    rooms.sort(key=lambda room: room != args.first)
    cores = len(os.sched_getaffinity(0))
    one_thread = {"OMP_NUM_THREADS": "1"}
    jobs = [
        Job({"target": room}, [str(args.cuda / "run_kernel_tests"), f"[kernels][{room}]"], one_thread) for room in rooms
    ]
    discover = [sys.executable, "-m", "unittest", "discover", "-v", "-s", str(ROOT / "test/e2e")]
    chosen = [word for name in args.runs or [] for word in ("-k", name)]
    jobs.append(
        Job(
            {"target": "runs"},
            [*discover, "-p", "test_cuda_on_cpu.py", *chosen],
            {"KNAPSACK_SIMT": str(args.cuda.resolve())},
        )
    )
    rows = run_jobs(jobs, judge, args.out, args.json, cores, args.within, args.within, args.go_on)
    for row in rows:
        if "said" in row:
            print(f"== {row['target']}\n{row['said']}")
    if failed := [row["target"] for row in rows if row["verdict"] == "failed"]:
        print(f"error: failed: {', '.join(failed)}")
    verdicts = {row["verdict"] for row in rows}
    return 1 if "failed" in verdicts else 3 if verdicts & UNDECIDED else 0


if __name__ == "__main__":
    sys.exit(main())
