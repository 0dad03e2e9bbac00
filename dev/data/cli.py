"""What every script here shares: errors with exit codes, counts like 32M, a progress line, an ordered parallel map."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Callable, Iterable, Iterator

# Work is spread over processes; threads of the tokenizer library inside each of them would only compete (and warn
# after a fork).
os.environ["TOKENIZERS_PARALLELISM"] = "false"


class ScriptError(Exception):
    """An error that is told in one sentence; the class says the exit code."""

    code = 1


class UsageError(ScriptError):
    code = 2


class DataError(ScriptError):
    code = 3


def run(main: Callable[[], None]) -> None:
    """Call main and leave with its exit code: 0, 1 run-time error, 2 usage, 3 bad data."""
    program = os.path.basename(sys.argv[0])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, with the files cleared away
    try:
        main()
    except ScriptError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(error.code)
    except BrokenProcessPool:
        print(f"{program}: a worker process died, perhaps for want of memory; try fewer --workers", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"{program}: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{program}: interrupted; unfinished files are removed", file=sys.stderr)
        sys.exit(1)


def parse_count(text: str) -> int:
    """'1500', '20k', '1.5M', '32B' as a whole number; for argparse's type=."""
    scale = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}.get(text[-1:], 1)
    try:
        value = float(text[:-1] if scale > 1 else text) * scale
    except ValueError:
        value = -1.0
    if not 1 <= value < 1e15 or value != int(value):  # beyond any data set; infinity and nan too
        raise argparse.ArgumentTypeError(f"'{text}' is not a count such as 500, 20k or 1.5M")
    return int(value)


def add_workers_flag(parser: argparse.ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=parse_count, default=cores, help=f"processes (default: all cores, {cores})")


class Progress:
    """One line that rewrites itself on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, label: str, total: float | None = None) -> None:
        self.label, self.total = label, total
        self.tty = sys.stderr.isatty()
        self.start = time.monotonic()
        self.next_print = self.start + (0.1 if self.tty else 10.0)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.start, 1e-9)

    def update(self, done: float, note: str) -> None:
        now = time.monotonic()
        if now < self.next_print:
            return
        self.next_print = now + (0.1 if self.tty else 10.0)
        share = min(done / self.total, 1.0) if self.total else 0.0
        percent = f"{100 * share:3.0f} % " if self.total else ""
        bar = f"[{'=' * int(20 * share):20}] " if self.total and self.tty else ""
        print(
            f"\r{self.label} {bar}{percent}{note}\033[K" if self.tty else f"{self.label} {percent}{note}",
            end="" if self.tty else "\n",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _follow(parent: int) -> None:
    """A worker whose parent was killed would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _start_worker(initializer: Callable[..., None], initargs: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    initializer(*initargs)


def ordered_map(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: int,
    initializer: Callable[..., None],
    initargs: tuple = (),
) -> Iterator[Any]:
    """Results in the order of the items, whatever the number of processes. At most four items a process are under way,
    so that an endless input is read no faster than it is used. The processes are forked: initargs are not copied."""
    if workers <= 1:
        initializer(*initargs)
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, get_context("fork"), _start_worker, (initializer, initargs))
    under_way: deque = deque()
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) >= 4 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
