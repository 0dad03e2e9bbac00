"""What both comparisons with PyTorch share: a shape, random tokens for it, our trainer and PyTorch's as processes that
are asked for steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HEAD_ROWS = 1024  # rows of the head at a time (kernels/backend.h)
POLL_SECONDS = 0.05


class Shape(NamedTuple):
    family: str  # gpt2, pythia, llama
    L: int
    C: int
    heads: int
    V: int
    T: int
    B: int
    kv_heads: int = 0  # 0: as many as heads
    F: int = 0  # hidden channels; 0: 4 C

    @property
    def model(self) -> str:
        if (self.family, self.L, self.C, self.V) == ("gpt2", 12, 768, 50257):
            return "gpt2-124m"
        size = f"{self.family}:L{self.L}:C{self.C}:H{self.heads}"
        return size + (f":KV{self.kv_heads}" if self.kv_heads else "") + (f":F{self.F}" if self.F else "")

    @property
    def linear_layers(self) -> list[tuple[int, int, int, int]]:
        """(rows, inputs, outputs, how often) of every linear layer of a step."""
        N, C, F = self.B * self.T, self.C, self.F or 4 * self.C
        head = min(N, HEAD_ROWS)
        return [
            (N, C, C + 2 * C // self.heads * (self.kv_heads or self.heads), self.L),
            (N, C, C, self.L),
            (N, C, 2 * F if self.family == "llama" else F, self.L),
            (N, F, C, self.L),
            (head, C, self.V, N // head),
        ]

    @property
    def flops_per_token(self) -> float:
        """Forward and backward, as model/config.h counts them."""
        rows = self.B * self.T
        matrices = sum(n * inputs * outputs * times for n, inputs, outputs, times in self.linear_layers) / rows
        return 6.0 * matrices + 6.0 * self.L * self.C * self.T


def write_shard(prefix: Path, shape: Shape, tokens: int) -> None:
    """Random ids as a Megatron shard of documents of 512 tokens, with the sidecar that fixes the vocabulary."""
    ids = np.random.default_rng(1).integers(1, shape.V, tokens).astype("<u2")
    lengths = np.full(tokens // 512, 512, "<i4")
    offsets = np.arange(len(lengths), dtype="<i8") * 1024
    documents = np.arange(len(lengths) + 1, dtype="<i8")
    ids[511::512] = 0
    header = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(lengths), len(documents))
    Path(f"{prefix}.bin").write_bytes(ids.tobytes())
    Path(f"{prefix}.idx").write_bytes(header + lengths.tobytes() + offsets.tobytes() + documents.tobytes())
    sidecar = {
        "format_version": 1,
        "kind": "text",
        "tokenizer": {"name": "random", "sha256": "0" * 64, "file": "none"},
        "vocab_size": shape.V,
        "eot_id": 0,
        "documents": len(lengths),
        "tokens": tokens,
        "bytes": 4 * tokens,
        "checksums": {},
    }
    Path(f"{prefix}.json").write_text(json.dumps(sidecar))


def scratch_folder(needed: int) -> str | None:
    """Checkpoints that nobody reads go to memory where there is enough of it."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > needed else None


def environment_of(threads: int) -> dict[str, str]:
    return dict(os.environ, OMP_NUM_THREADS=str(threads))


def largest_resident(pid: int) -> int:
    """Bytes, so far. Not out of rusage, which counts what this process had before it became the program."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def run_measured(command: list[str], threads: int) -> int:
    """Runs a process of its own; returns its peak resident memory in bytes. RuntimeError where it fails."""
    peak = 0
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment_of(threads)
        )
        try:
            while process.poll() is None:
                peak = max(peak, largest_resident(process.pid))
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        text = out.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\nended with code {process.returncode}:\n{text[-2000:]}")
    return peak


class Ours:
    """Our trainer, which starts anew for every measurement. `folder` has the shard of write_shard as data.bin."""

    def __init__(
        self,
        program: Path,
        shape: Shape,
        threads: int,
        folder: Path,
        micro_steps: int = 1,
        flags: Sequence[str] = (),
    ) -> None:
        self.threads, self.folder = threads, folder
        self.command = [
            str(program),
            "--model",
            shape.model,
            "--source",
            f"data={folder}/data.bin",
            "--seq-len",
            str(shape.T),
            "--micro-batch",
            str(shape.B),
            "--batch-tokens",
            str(shape.B * shape.T * micro_steps),
            *flags,
        ]

    def refuses(self) -> str:
        """Why it would not train this, by --plan; '' where it would."""
        done = subprocess.run([*self.command, "--steps", "1", "--plan"], capture_output=True, text=True)
        if done.returncode == 0:
            return ""
        return (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]

    def measure(self, steps: int) -> tuple[list[float], int]:
        """Seconds of each step past the first quarter, which warms up; the process's largest resident memory."""
        out = self.folder / f"run{time.monotonic_ns()}"
        peak = run_measured([*self.command, "--steps", str(steps), "--out", str(out)], self.threads)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        shutil.rmtree(out)  # its checkpoint is as large as the model and its moments
        return [line["perf/step_ms"] / 1e3 for line in lines[len(lines) // 4 + 1 :]], peak


class Peer:
    """torch_step.py in a process of its own, which stays: what was compiled stays compiled."""

    def __init__(self, python: str, shape: Shape, threads: int, **options: Any) -> None:
        # the vocabulary in whole tiles, as our program pads it by itself
        padded = shape._asdict() | {"V": -(-shape.V // 128) * 128}
        options = {"shape": padded, "threads": threads, "serve": True, **options}
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [python, str(ROOT / "dev/bench/torch_step.py"), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment_of(threads),
        )
        try:
            self.read()
        except BaseException:
            self.close()
            raise

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(
                f"PyTorch's step ended with code {self.process.returncode}: {self.errors.read()[-1500:].strip()}"
            )
        return json.loads(line)

    def measure(self, steps: int) -> dict[str, Any]:
        assert self.process.stdin
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # read says why
        return self.read()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def has_torch(python: str) -> bool:
    return subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0


def why_not_compiled(python: str) -> str:
    """What torch.compile says where there is none, before PyTorch 2.0 or for a newer Python than it knows; '' where it
    is there."""
    command = [python, "-c", "import torch; torch.compile(torch.nn.Identity())"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]


def torch_version(python: str) -> str:
    command = [python, "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
