#!/usr/bin/env python3
"""Writes report.md and report.json whenever a part of on_gpu.sh found something, for as long as that lives.

  watch.py runs/on_gpu PID [--result DIR] [--every SECONDS]

Ends after a last report: at SIGTERM, and when the process PID is gone. In that case nobody else ends what it had
started (the processes that work/processes names, and theirs), so this does. Has a session of its own, which a signal
to that of on_gpu.sh does not reach.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from report import write_report

REPORTS = ("report.md", "report.json")
FIGURE = "mixing.png"  # which report.md shows


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def newest(folder: Path) -> float:
    times = [0.0]
    for file in folder.iterdir():
        if file.name not in REPORTS and not file.name.startswith("."):
            try:
                times.append(file.stat().st_mtime)
            except FileNotFoundError:  # replaced just now
                pass
    return max(times)


def descendants(pid: int) -> list[int]:
    """The process and what came of it, parents first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                pass
    return found


def end_processes(listed: Path, folder: Path) -> None:
    """Those of the list that still are what was started: their command line names the folder."""
    for pid in map(int, listed.read_text().split()) if listed.exists() else ():
        try:
            if str(folder).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
            for process in descendants(pid):
                os.kill(process, signal.SIGKILL)
        except OSError:
            pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pid", type=int)
    parser.add_argument("--result", type=Path, metavar="DIR", help="a second place for the report")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    args = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if os.getpid() != os.getpgrp():
        os.setsid()

    def write() -> None:
        try:
            write_report(args.folder, args.folder / REPORTS[0])
            if args.result:
                args.result.mkdir(parents=True, exist_ok=True)
                for name in (*REPORTS, FIGURE) if (args.folder / FIGURE).exists() else REPORTS:
                    shutil.copyfile(args.folder / name, args.result / f".{name}")
                    (args.result / f".{name}").replace(args.result / name)
        except (OSError, ValueError) as error:  # a disk that is full now need not be so in a second
            print(f"error: {error}", file=sys.stderr, flush=True)

    seen = -1.0
    while not over.is_set() and is_alive(args.pid):
        now = newest(args.folder)
        if now != seen:
            write()
        seen = now
        over.wait(args.every)
    if not over.is_set():
        end_processes(args.folder / "work/processes", args.folder)
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
