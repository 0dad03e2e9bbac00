"""A job at work: its programs one after the other; its log is locked, and they hold the lock too, so that a runner that
was killed and started again while a program still works waits for it instead of starting a second one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO

from knapsack.common.errors import DataError
from knapsack.runs.files import naming, read_bytes

Environment = dict[str, str]
POLL_SECONDS = 0.5


class Process(Protocol):
    """A started program, here or elsewhere (subprocess.Popen is one)."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int) -> None: ...


class Launcher(Protocol):
    def __call__(self, command: list[str], log: TextIO, environment: Environment) -> Process: ...


def start(command: list[str], log: TextIO, environment: Environment) -> subprocess.Popen:
    """In a session of its own, so that Ctrl-C reaches it once, from here: it saves a checkpoint and ends."""
    options = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=os.environ | environment, **options)


class Work:
    """One job; what its next command is, and what the end of one means, is of the subclass."""

    def __init__(self, log: Path, launcher: Launcher, environment: Environment) -> None:
        self.launcher, self.environment = launcher, environment
        self.begun = time.monotonic()
        self.process: Process | None = None
        self.path = log
        with naming(log):
            self.log = log.open("a", encoding="utf-8", errors="backslashreplace")

    def next_command(self) -> list[str]:
        """Of what is not done yet; [] where all is."""
        raise NotImplementedError

    def ended(self, code: int) -> str:
        """What failed, '' where nothing did."""
        raise NotImplementedError

    def advance(self) -> str | None:
        """None: it goes on. Else what became of it: '' or what failed."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return None
            self.process = None
            if failure := self.ended(code):
                return failure
        elif not self.is_ours():
            return None
        command = self.next_command()
        if not command:
            return ""
        with naming(self.path):
            self.log.write(f"$ {shlex.join(command)}\n")
            self.log.flush()
        self.process = self.launcher(command, self.log, self.environment)
        return None

    def is_ours(self) -> bool:
        """Whether no program of an earlier start works on it."""
        try:
            fcntl.flock(self.log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def stop(self) -> None:
        """A run saves a checkpoint; close() waits for that."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> None:
        if self.process is None:
            time.sleep(seconds)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=seconds)

    def close(self) -> None:
        if self.process is not None:
            self.process.wait()
        self.log.close()


class Command(NamedTuple):
    """A job of one command, which is no run."""

    name: str
    words: list[str]
    log: Path
    environment: Environment
    is_made: Callable[[], bool]
    keep: Callable[[], None]  # notes that it is made
    needs: tuple[str, ...] = ()


class CommandWork(Work):
    """Here, whoever launches runs: what it reads and writes is here. After a kill it is made from its beginning."""

    def __init__(self, command: Command, environment: Environment) -> None:
        super().__init__(command.log, start, environment | command.environment)
        self.command = command

    def next_command(self) -> list[str]:
        return [] if self.command.is_made() else self.command.words

    def ended(self, code: int) -> str:
        if code:
            with contextlib.suppress(DataError):
                last = read_bytes(self.path).decode(errors="replace").strip().splitlines()[-1:]
                return f"ended with code {code}: {''.join(last)}"
            return f"ended with code {code}"
        self.command.keep()
        return ""
