#!/usr/bin/env python3
"""Our CPU trainer next to PyTorch's four ways: eager and compiled, fp32 and bf16 autocast. The same shapes, the same
threads, one after the other in one run.

  dev/bench/cpu_vs_torch.py                          (PyTorch of the Python that runs it, where there is one)
  dev/bench/cpu_vs_torch.py --torch other/bin/python --rounds 5 --json FILE --markdown FILE
  dev/bench/cpu_vs_torch.py --shapes gpt2-124m-T64-B4 --seconds 10

The peer is torch_step.py: the same architecture and loss, which says what else. PyTorch's processes, one a way, compile
and warm up once and stay, idle while another is measured; ours starts anew for every measurement, and the first quarter
of its steps does not count. A round measures each way once, every other round in the opposite order. A rate is the
median step of a round, a result the median of the rounds, a ratio the median of the rounds' ratios. A way that compiles
again while it is measured ends the shape with an error; where there is no torch.compile (before PyTorch 2.0), those are
left out, and it says so. Memory is the largest resident set: of PyTorch's processes after compilation and warm-up
(its libraries contained: `imported` is what it has after `import torch`).

'GEMM bound': tokens/s that the linear layers' matrix products alone would allow at OpenBLAS's speed in fp32, measured
in the same rounds.

Exit codes: 0; 1 where a shape failed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from peers import ROOT, Ours, Peer, Shape, has_torch, scratch_folder, torch_version, why_not_compiled, write_shard

SHAPES = {
    "L4-C256-V50304-T256-B4": Shape("pythia", 4, 256, 4, 50304, 256, 4),
    "L6-C384-V50304-T256-B4": Shape("pythia", 6, 384, 6, 50304, 256, 4),
    "gpt2-124m-T64-B4": Shape("gpt2", 12, 768, 12, 50257, 64, 4),  # llm.c's default on a CPU
    "L4-C128-V4096-T256-B16": Shape("pythia", 4, 128, 4, 4096, 256, 16),
    "L2-C64-V2048-T128-B16": Shape("pythia", 2, 64, 2, 2048, 128, 16),
    # what dev/studies/cpu-law.json trains
    "L2-C32-V1024-T128-B16": Shape("pythia", 2, 32, 2, 1024, 128, 16),
    "L2-C128-V1024-T128-B16": Shape("pythia", 2, 128, 2, 1024, 128, 16),
    # nanoGPT's for a CPU, with more words than its characters
    "gpt2-L4-C128-V512-T64-B12": Shape("gpt2", 4, 128, 4, 512, 64, 12),
    "llama-L6-C384-V32000-T256-B4": Shape("llama", 6, 384, 6, 32000, 256, 4, 2, 1024),
}
OURS = {"ours fp32": ("--precision", "fp32"), "ours bf16": ("--precision", "bf16")}
PEERS = {
    "eager fp32": {"compile": False, "autocast": False},
    "compiled fp32": {"compile": True, "autocast": False},
    "eager bf16": {"compile": False, "autocast": True},
    "compiled bf16": {"compile": True, "autocast": True},
}
WARM_UP_STEPS = 12
FEWEST_STEPS, MOST_STEPS = 8, 1000
QUIET_LOAD = 0.5


class OpenBlas:
    """sgemm of the library, called directly."""

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


class Way:
    """One of the ways to train a shape, ready to be measured: `run` gives the steps' seconds and the peak in bytes."""

    def __init__(self, run: Callable[[int], tuple[list[float], int]], first: list[float], seconds: float) -> None:
        self.run = run
        self.steps = int(min(MOST_STEPS, max(FEWEST_STEPS, seconds / statistics.median(first))))
        self.rates: list[float] = []
        self.peaks: list[int] = []

    def measure(self, tokens: int) -> None:
        seconds, peak = self.run(self.steps)
        self.rates.append(tokens / statistics.median(seconds))
        self.peaks.append(peak)


def our_ways(shape: Shape, args: argparse.Namespace, folder: Path, refused: dict[str, str]) -> dict[str, Way]:
    ways = {}
    for name, flags in OURS.items():
        ours = Ours(args.program, shape, args.threads, folder, flags=flags)
        if reason := ours.refuses():
            refused[name] = reason
        else:
            ways[name] = Way(ours.measure, ours.measure(WARM_UP_STEPS)[0], args.seconds)
    return ways


def peer_way(name: str, shape: Shape, args: argparse.Namespace, stack: ExitStack, started: dict[str, Any]) -> Way:
    begin = time.monotonic()
    peer = Peer(args.torch, shape, args.threads, **PEERS[name])
    stack.callback(peer.close)
    first = peer.measure(WARM_UP_STEPS)
    started[name] = {"seconds": time.monotonic() - begin, "imported_mib": first["imported_bytes"] / 2**20}

    def run(steps: int) -> tuple[list[float], int]:
        result = peer.measure(steps)
        if result["graphs"] != first["graphs"]:
            raise RuntimeError(f"{name} compiled again while it was measured: {first['graphs']}, {result['graphs']}")
        return result["step_seconds"], result["peak_bytes"]

    return Way(run, first["step_seconds"][WARM_UP_STEPS // 2 :], args.seconds)


def fastest(ways: dict[str, Way], names: list[str]) -> str:
    return max(names, key=lambda name: statistics.median(ways[name].rates))


def ratio(ours: Way, other: Way) -> dict[str, float]:
    """Of the rounds: the median, the smallest, the largest."""
    pairs = [a / b for a, b in zip(ours.rates, other.rates)]
    return {"median": statistics.median(pairs), "low": min(pairs), "high": max(pairs)}


def compare(shape: Shape, args: argparse.Namespace, blas: OpenBlas | None) -> dict[str, Any]:
    tokens = shape.B * shape.T
    row: dict[str, Any] = {"model": shape.model, **shape._asdict(), "refused": {}, "started": {}, "loads": []}
    bounds = []
    with tempfile.TemporaryDirectory(dir=scratch_folder(8 << 30)) as folder, ExitStack() as stack:
        write_shard(Path(folder) / "data", shape, 512 * max(64, min(4 << 20, MOST_STEPS * tokens) // 512))
        ways = our_ways(shape, args, Path(folder), row["refused"])
        for name, options in PEERS.items() if args.torch else ():
            if options["compile"] and args.not_compiled:
                row["refused"][name] = args.not_compiled
            else:
                ways[name] = peer_way(name, shape, args, stack, row["started"])
        for number in range(args.rounds):
            row["loads"].append(os.getloadavg()[0])
            for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
                ways[name].measure(tokens)
            if blas:
                bounds.append(blas.bound(shape))
    row["ways"] = {
        name: {
            "tokens_per_s": statistics.median(way.rates),
            "rounds": way.rates,
            "steps": way.steps,
            "peak_mib": max(way.peaks) / 2**20,
        }
        for name, way in ways.items()
    }
    ours, theirs = [name for name in OURS if name in ways], [name for name in PEERS if name in ways]
    if theirs:
        row["best_of_ours"], row["best_of_torch"] = best, rival = fastest(ways, ours), fastest(ways, theirs)
        rival_fp32 = fastest(ways, [name for name in theirs if name.endswith("fp32")])
        row["ratio"], row["ratio_fp32"] = ratio(ways[best], ways[rival]), ratio(ways["ours fp32"], ways[rival_fp32])
        row["best_fp32_of_torch"] = rival_fp32
    if "ours bf16" in ways:
        row["bf16_over_fp32"] = ratio(ways["ours bf16"], ways["ours fp32"])
    if bounds:
        row["gemm_bound"] = statistics.median(bounds)
    return row


COLUMNS = [*OURS, *PEERS]


def cells(name: str, row: dict[str, Any]) -> list[str]:
    ways = row["ways"]
    rates = [f"{ways[way]['tokens_per_s']:,.0f}" if way in ways else "-" for way in COLUMNS]
    ratios = [f"{row[key]['median']:.2f}" if key in row else "-" for key in ("ratio", "ratio_fp32", "bf16_over_fp32")]
    bound = f"{ways['ours fp32']['tokens_per_s'] / row['gemm_bound']:.0%}" if "gemm_bound" in row else "-"
    memory = [f"{ways[way]['peak_mib']:,.0f}" if way in ways else "-" for way in OURS]
    peers = [ways[way]["peak_mib"] for way in PEERS if way in ways]
    return [name, *rates, *ratios, bound, *memory, f"{min(peers):,.0f}" if peers else "-"]


HEADER = ["shape", *COLUMNS, "ratio", "fp32 ratio", "bf16/fp32", "of bound", "fp32 MiB", "bf16 MiB", "torch MiB"]
WIDTHS = [26, 10, 10, 11, 14, 11, 14, 6, 11, 10, 9, 9, 9, 10]


def print_cells(words: list[str]) -> None:
    first, *rest = [
        word.ljust(width) if i == 0 else word.rjust(width) for i, (word, width) in enumerate(zip(words, WIDTHS))
    ]
    print(first, *rest, flush=True)


def markdown(facts: dict[str, Any], rows: dict[str, dict[str, Any]]) -> str:
    """The table of README: tokens/s of all ways, ratios, memory."""
    lines = [
        "| shape | ours fp32 | ours bf16 | eager fp32 | compiled fp32 | eager bf16 | compiled bf16 "
        "| our best against PyTorch's | fp32 against its fp32 | our bf16 against our fp32 | fp32 of the GEMM bound "
        "| memory, MiB: ours fp32, bf16 | PyTorch's least |",
        "|---" * 13 + "|",
    ]
    for name, row in rows.items():
        if "error" in row:
            continue
        shape, *rest, fp32, bf16, torch = cells(name, row)
        words = [f"{word}x" if 6 <= i < 9 and word != "-" else word for i, word in enumerate(rest)]
        lines.append("| " + " | ".join([shape.replace("-", " "), *words, f"{fp32}, {bf16}", torch]) + " |")
    quiet = "" if facts["quiet"] else " Others worked on the machine meanwhile: no measurement."
    said = (
        f"Tokens/s, {facts['threads']} threads of {facts['cpu']}, {facts['rounds']} alternating rounds, "
        f"PyTorch {facts['torch']}, {facts['date']}, {facts['commit']}.{quiet}"
    )
    return "\n".join([said, "", *lines]) + "\n"


def cpu_name() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch (default: the one that runs this)")
    parser.add_argument("--program", type=Path, default=ROOT / "train_gpt_cpu", help="default: train_gpt_cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="aimed at for one measurement")
    parser.add_argument("--no-bound", action="store_true", help="leaves out the GEMM bound")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers of every round")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table of README")
    args = parser.parse_args()
    if not args.program.exists():
        parser.error(f"{args.program} is not built; make train_gpt_cpu")
    args.torch = args.torch or sys.executable
    if not has_torch(args.torch):
        print(f"{args.torch} has no torch: our own numbers only", file=sys.stderr)
        args.torch = None
    args.not_compiled = why_not_compiled(args.torch) if args.torch else ""
    blas: OpenBlas | None = None
    try:
        blas = None if args.no_bound else OpenBlas(args.threads)
    except OSError:
        print("libopenblas.so.0 not found: no GEMM bound", file=sys.stderr)
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "threads": args.threads,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "torch": torch_version(args.torch) if args.torch else None,
        "openblas": blas.name if blas else None,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "load_before": os.getloadavg()[0],
    }
    facts["quiet"] = facts["load_before"] < QUIET_LOAD
    print(f"{args.threads} threads, {args.rounds} alternating rounds, PyTorch {facts['torch']}, {facts['openblas']}")
    if not facts["quiet"]:
        print(f"the load is {facts['load_before']:.1f}: others work here, which is no measurement")
    print_cells(HEADER)
    rows: dict[str, dict[str, Any]] = {}
    said = set()
    for name in args.shapes:
        try:
            rows[name] = row = compare(SHAPES[name], args, blas)
            print_cells(cells(name, row))
            for way, reason in row["refused"].items():
                if (way, reason) not in said:
                    print(f"  {way} is left out: {reason}")
                    said.add((way, reason))
        except RuntimeError as error:
            rows[name] = {"error": str(error)}
            print(f"{name} FAILED: {error}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(facts | {"shapes": rows}, indent=2) + "\n")
        if args.markdown:
            args.markdown.write_text(markdown(facts, rows))
    return 1 if any("error" in row for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
