#!/usr/bin/env python3
"""Our CPU trainer beside PyTorch: the same shapes, the same threads, one after the other in one run.

  dev/bench/cpu_vs_torch.py                          (PyTorch of the Python that runs it, where there is one)
  dev/bench/cpu_vs_torch.py --torch other/bin/python --rounds 5 --shapes gpt2-124m

For every shape it prints tokens/s of both (median step after warm-up, best of the rounds, which alternate), their
ratio, the tokens/s that the linear layers' matrix products alone would allow at OpenBLAS's speed ('GEMM bound',
measured in the same rounds), and the peak memory of both processes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HEAD_ROWS = 1024  # rows of the head at a time (model/activations.h)


class Shape(NamedTuple):
    neox: bool
    L: int
    C: int
    heads: int
    V: int
    T: int
    B: int

    @property
    def model(self) -> str:
        if (self.neox, self.L, self.C, self.V) == (False, 12, 768, 50257):
            return "gpt2-124m"
        return f"{'pythia' if self.neox else 'gpt2'}:L{self.L}:C{self.C}:H{self.heads}"

    @property
    def linear_layers(self) -> list[tuple[int, int, int, int]]:
        """(rows, inputs, outputs, how often) of every linear layer of a step."""
        N, C = self.B * self.T, self.C
        head = min(N, HEAD_ROWS)
        return [
            (N, C, 3 * C, self.L),
            (N, C, C, self.L),
            (N, C, 4 * C, self.L),
            (N, 4 * C, C, self.L),
            (head, C, self.V, N // head),
        ]

    def flops(self) -> float:
        linear = sum(6.0 * rows * inputs * outputs * count for rows, inputs, outputs, count in self.linear_layers)
        return linear + 7.0 * self.L * self.C * self.T * self.T * self.B


SHAPES = {
    "L4-C256-V50304-T256-B4": Shape(True, 4, 256, 4, 50304, 256, 4),
    "L6-C384-V50304-T256-B4": Shape(True, 6, 384, 6, 50304, 256, 4),
    "gpt2-124m-T64-B4": Shape(False, 12, 768, 12, 50257, 64, 4),
    "L4-C128-V4096-T256-B16": Shape(True, 4, 128, 4, 4096, 256, 16),
}


class Measurement(NamedTuple):
    tokens_per_s: float
    peak_bytes: int


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


def run_measured(command: list[str], threads: int) -> tuple[str, int]:
    """Runs a process of its own; returns its output and its peak resident memory."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\nended with code {process.returncode}:\n{text[-2000:]}")
    return text, usage.ru_maxrss * 1024


def median_rate(step_seconds: list[float], tokens: int) -> float:
    return tokens / statistics.median(step_seconds[len(step_seconds) // 4 + 1 :])


def measure_ours(shape: Shape, steps: int, threads: int, folder: Path) -> Measurement:
    run = folder / f"run{time.monotonic_ns()}"
    rows = str(shape.B * shape.T)
    command = [
        str(ROOT / "train_gpt_cpu"),
        "--model",
        shape.model,
        "--source",
        f"data={folder}/data.bin",
        "--steps",
        str(steps),
        "--seq-len",
        str(shape.T),
        "--micro-batch",
        str(shape.B),
        "--batch-tokens",
        rows,
        "--out",
        str(run),
    ]
    _, peak = run_measured(command, threads)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return Measurement(median_rate([line["perf/step_ms"] / 1e3 for line in lines], shape.B * shape.T), peak)


def measure_torch(python: str, shape: Shape, steps: int, threads: int) -> tuple[Measurement, str]:
    options = json.dumps({"threads": threads, "steps": steps, "shape": shape._asdict()})
    text, peak = run_measured([python, str(ROOT / "dev/bench/torch_step.py"), options], threads)
    result = json.loads(text.splitlines()[-1])
    return Measurement(median_rate(result["step_seconds"], shape.B * shape.T), peak), result["torch"]


class OpenBlas:
    """sgemm of the library that the trainer links, called directly."""

    def __init__(self, threads: int) -> None:
        self.library = ctypes.CDLL("libopenblas.so.0")
        self.library.openblas_set_num_threads(threads)
        self.library.openblas_get_config.restype = ctypes.c_char_p
        self.name = self.library.openblas_get_config().decode()

    def seconds(self, M: int, N: int, K: int, transpose_a: bool, transpose_b: bool) -> float:
        """The faster of some calls of C (M, N) = op(A) op(B), all row-major."""
        a, b, c = (np.ones(n, np.float32) for n in (M * K, K * N, M * N))
        pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (a, b, c)]
        best, spent = float("inf"), 0.0
        while spent < 0.15:
            start = time.perf_counter()
            self.library.cblas_sgemm(
                101,
                112 if transpose_a else 111,
                112 if transpose_b else 111,
                M,
                N,
                K,
                ctypes.c_float(1),
                pointers[0],
                M if transpose_a else K,
                pointers[1],
                K if transpose_b else N,
                ctypes.c_float(0),
                pointers[2],
                N,
            )
            elapsed = time.perf_counter() - start
            best, spent = min(best, elapsed), spent + elapsed
        return best

    def bound(self, shape: Shape) -> float:
        """Tokens/s if a step were nothing but its linear layers' products: forward, input gradient, weight gradient."""
        total = 0.0
        for rows, inputs, outputs, count in shape.linear_layers:
            total += count * (
                self.seconds(rows, outputs, inputs, False, True)
                + self.seconds(rows, inputs, outputs, False, False)
                + self.seconds(outputs, inputs, rows, True, False)
            )
        return shape.B * shape.T / total


def has_torch(python: str) -> bool:
    return subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0


def compare(name: str, shape: Shape, args: argparse.Namespace, blas: OpenBlas | None) -> dict:
    steps = int(min(400, max(8, args.seconds * 1e11 / shape.flops())))
    ours, peers, bounds, version = [], [], [], None
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "data", shape, 512 * max(64, steps * shape.B * shape.T // 512 + 8))
        for _ in range(args.rounds):
            ours.append(measure_ours(shape, steps, args.threads, Path(folder)))
            if args.torch:
                peer, version = measure_torch(args.torch, shape, steps, args.threads)
                peers.append(peer)
            if blas:
                bounds.append(blas.bound(shape))
    row: dict = {
        "shape": name,
        "steps": steps,
        "ours": max(m.tokens_per_s for m in ours),
        "ours_peak_mib": max(m.peak_bytes for m in ours) / 2**20,
    }
    if peers:
        row |= {
            "torch": max(m.tokens_per_s for m in peers),
            "torch_version": version,
            "torch_peak_mib": min(m.peak_bytes for m in peers) / 2**20,
        }
        row["speedup"] = row["ours"] / row["torch"]
    if bounds:
        row |= {"gemm_bound": max(bounds), "share_of_bound": row["ours"] / max(bounds)}
    return row


def print_row(row: dict) -> None:
    def cell(key: str, form: str) -> str:
        return format(row[key], form) if key in row else "-"

    print(
        f"{row['shape']:24} {cell('ours', ',.0f'):>9} {cell('torch', ',.0f'):>9} {cell('speedup', '.2f'):>8} "
        f"{cell('gemm_bound', ',.0f'):>10} "
        f"{cell('share_of_bound', '.0%'):>9} {cell('ours_peak_mib', ',.0f'):>9} {cell('torch_peak_mib', ',.0f'):>10}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch (default: the one that runs this)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="aimed at for one measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers, for the record")
    args = parser.parse_args()
    if not (ROOT / "train_gpt_cpu").exists():
        parser.error("train_gpt_cpu is not built; make train_gpt_cpu")
    args.torch = args.torch or sys.executable
    if not has_torch(args.torch):
        print(f"{args.torch} has no torch: our own numbers only", file=sys.stderr)
        args.torch = None
    try:
        blas: OpenBlas | None = OpenBlas(args.threads)
    except OSError:
        blas = None
        print("libopenblas.so.0 not found: no GEMM bound", file=sys.stderr)
    print(f"{args.threads} threads, {args.rounds} alternating rounds; {blas.name if blas else 'no OpenBLAS'}")
    print(
        f"{'shape':24} {'ours t/s':>9} {'torch t/s':>9} {'ratio':>8} {'GEMM bound':>10} {'of bound':>9} "
        f"{'ours MiB':>9} {'torch MiB':>10}"
    )
    rows = []
    for name in args.shapes:
        rows.append(compare(name, SHAPES[name], args, blas))
        print_row(rows[-1])
    if rows and "torch_version" in rows[0]:
        print(f"torch {rows[0]['torch_version']}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
