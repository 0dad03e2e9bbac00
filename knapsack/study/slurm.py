"""Programs as Slurm jobs, by the package submitit: what the runner starts here elsewhere."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from typing import Any, TextIO

from knapsack.common.errors import UsageError
from knapsack.runs.runner import Environment, Programs
from knapsack.study.declare import Study

try:
    import submitit
except ModuleNotFoundError:
    submitit = None

POLL_SECONDS = 1.0


def call(command: list[str], log: str, environment: Environment) -> int:
    """On the node. A job of a runner that was killed may still work on the run: waits for it."""
    with open(f"{log}.lock", "a") as lock, open(log, "a") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                               env=os.environ | environment)  # fmt: skip


class Job:
    """A job as the runner sees a process."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        try:
            return int(self.job.result())
        except Exception:  # the job was lost: by its time, a node, scancel; submitit's classes of that differ
            return 1

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() >= end:
                raise subprocess.TimeoutExpired("job", timeout or 0)
            time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))
        return code

    def send_signal(self, number: int) -> None:
        """A job is cancelled; the program gets SIGTERM from Slurm and saves a checkpoint."""
        self.job.cancel()


class Slurm:
    """A launcher of the runner: one job a program, with one GPU where the program is for one."""

    def __init__(self, study: Study, partition: str, hours: int, programs: Programs) -> None:
        if submitit is None:
            raise UsageError("--slurm: the Python package 'submitit' is missing; install it with: pip install submitit")
        self.executor = submitit.AutoExecutor(folder=str(study.out / "slurm"))
        gpus = 0 if programs.train.name.endswith("_cpu") else 1
        self.executor.update_parameters(
            name=study.path.stem, slurm_partition=partition, timeout_min=60 * hours, gpus_per_node=gpus
        )

    def __call__(self, command: list[str], log: TextIO, environment: Environment) -> Job:
        return Job(self.executor.submit(call, command, log.name, environment))
