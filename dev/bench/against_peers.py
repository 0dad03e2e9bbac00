#!/usr/bin/env python3
"""Our CUDA trainer next to PyTorch on the same GPU, in one run: whole training steps of Pythia, GPT-2 and Llama
shapes.

  dev/bench/against_peers.py --json peers.json             (PyTorch of the Python that runs it)
  dev/bench/against_peers.py --torch other/bin/python --shapes pythia-70m --rounds 5
  dev/bench/against_peers.py --compile --json compiled.json      PyTorch's compilations alone, one shape after another
  dev/bench/against_peers.py --device cpu           tiny shapes, the CPU programs: tests this program, no measurement

The peer (torch_step.py): torch.compile, bf16, fused AdamW, the fastest of PyTorch's fused attentions at that shape. It
compiles once and stays; our program starts anew each time, so its first steps are left out. Both take the same tokens a
step in the same micro-batches. A round is one measurement of each, in alternating order, after one of each that does
not count, in which memory is read: the most that the GPU had in use, less what it had before. A rate is the median step
of a round, a result the median of the rounds. What PyTorch takes until its first steps are over, compilation included,
is counted apart. The JSON is written after every measurement; --go-on measures what it does not have in full.
MFU is Shape.flops_per_token x tokens/s over 989 TFLOP/s, the dense bf16 peak of H100 and H200: 6 a weight of the linear
layers and of the head, grouped keys and values and gated feed-forwards as they are, and 6 L C T for causal attention.

Exit codes: 0; 1 where a shape failed; 3 where one was not begun; 4 no GPU; 77 no PyTorch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from peers import ROOT, Ours, Peer, Shape, has_torch, scratch_folder, torch_version, write_shard

PEAK_FLOPS, PEAK_DEVICES = 989e12, ("H100", "H200")
WARM_UP_STEPS, MOST_STEPS, SHARD_TOKENS = 12, 400, 4 << 20


class Task(NamedTuple):
    shape: Shape  # B rows at a time
    micro_steps: int

    @property
    def tokens(self) -> int:
        return self.shape.B * self.shape.T * self.micro_steps

    @property
    def flops_per_token(self) -> float:
        return self.shape.flops_per_token


# In the order of their value, where time is short. 65,536 tokens a step. At most 32,768 rows of logits at a time: over
# 2^31 of them cost PyTorch 64-bit indices.
TASKS = {
    "pythia-70m": Task(Shape("pythia", 6, 512, 8, 50304, 2048, 16), 2),
    "gpt2-124m": Task(Shape("gpt2", 12, 768, 12, 50257, 1024, 32), 2),
    "pythia-14m": Task(Shape("pythia", 6, 128, 4, 50304, 2048, 16), 2),
    "pythia-160m": Task(Shape("pythia", 12, 768, 12, 50304, 2048, 16), 2),
    "pythia-410m": Task(Shape("pythia", 24, 1024, 16, 50304, 2048, 8), 4),
    "llama-L30-C576-KV3": Task(Shape("llama", 30, 576, 9, 49152, 2048, 16, 3, 1536), 2),
}
TINY_TASKS = {
    "tiny-pythia": Task(Shape("pythia", 2, 32, 2, 512, 64, 2), 2),
    "tiny-gpt2": Task(Shape("gpt2", 2, 32, 2, 512, 64, 2), 2),
    "tiny-llama": Task(Shape("llama", 2, 64, 4, 512, 64, 2, 2, 96), 2),
}


def device_memory() -> int:
    """Bytes in use on the first GPU."""
    command = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) << 20


class MemoryWatch:
    """The most memory in use on the GPU while something ran, less what was in use before."""

    def __enter__(self) -> MemoryWatch:
        self.before = self.most = device_memory()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.over.wait(0.1):
            self.most = max(self.most, device_memory())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.bytes = self.most - self.before


def watched(measure: Callable[[], Any], device: str) -> tuple[Any, int]:
    if device == "cpu":
        return measure(), 0
    with MemoryWatch() as watch:
        result = measure()
    return result, watch.bytes


def start_peer(task: Task, args: argparse.Namespace) -> tuple[Peer, dict[str, Any], float]:
    """The peer, what it said of its first steps, and the seconds until then."""
    start = time.monotonic()
    options = {"device": args.device, "micro_steps": task.micro_steps}
    peer = Peer(args.torch, task.shape, args.threads, **options)
    try:
        return peer, peer.measure(WARM_UP_STEPS), time.monotonic() - start
    except BaseException:
        peer.close()
        raise


def summary(task: Task, row: dict[str, Any], peak: float | None) -> None:
    """Medians of the rounds so far."""
    rounds = row["rounds"]
    for who in ("ours", "torch"):
        if rounds[who]:
            row[who]["tokens_per_s"] = rate = statistics.median(rounds[who])
            if peak:
                row[who]["mfu"] = rate * task.flops_per_token / peak
    pairs = list(zip(rounds["ours"], rounds["torch"]))
    if pairs:
        row["ratio"] = statistics.median(a / b for a, b in pairs)


def compare(task: Task, args: argparse.Namespace, folder: Path, row: dict[str, Any], save: Callable[[], None]) -> None:
    """Fills the row, and saves it after every measurement. Ours comes first: it has no compilation to wait for."""
    rounds: dict[str, list[float]] = {"ours": [], "torch": []}
    sizes = {"tokens_a_step": task.tokens, "micro_batch": task.shape.B, "seq_len": task.shape.T}
    row |= sizes | {"rounds": rounds}

    def steps_for(times: list[float]) -> int:
        return int(min(MOST_STEPS, max(8, args.seconds / statistics.median(times))))

    def measure(who: str, times: list[float]) -> None:
        rounds[who].append(task.tokens / statistics.median(times))
        summary(task, row, args.peak)
        save()

    write_shard(folder / "data", task.shape, min(SHARD_TOKENS, 64 * task.tokens))
    ours = Ours(args.program, task.shape, args.threads, folder, task.micro_steps)
    (times, resident), memory = watched(lambda: ours.measure(WARM_UP_STEPS), args.device)
    our_steps = steps_for(times)
    row["ours"] = {"memory_bytes": memory or resident}
    order = [
        who for number in range(args.rounds) for who in (("ours", "torch") if number % 2 == 0 else ("torch", "ours"))
    ]
    measure("ours", ours.measure(our_steps)[0])
    (peer, first, seconds), memory = watched(lambda: start_peer(task, args), args.device)
    try:
        torch_steps = steps_for(first["step_seconds"][WARM_UP_STEPS // 2 :])
        row |= {"attention": first["attention"], "torch_start_seconds": seconds, "steps": [our_steps, torch_steps]}
        row["torch"] = {"memory_bytes": memory or first["peak_bytes"], "own_peak_bytes": first["peak_bytes"]}
        for who in order[1:]:
            measure(who, (ours.measure(our_steps)[0] if who == "ours" else peer.measure(torch_steps)["step_seconds"]))
    finally:
        peer.close()
    row["complete"] = True
    save()


def print_row(name: str, row: dict[str, Any]) -> None:
    if "error" in row:
        print(f"{name:18} FAILED: {row['error']}", flush=True)
        return
    ours, torch = row["ours"], row["torch"]
    mfu = "".join(f" {who['mfu']:9.1%}" if "mfu" in who else f" {'-':>9}" for who in (ours, torch))
    memory = "".join(f" {who['memory_bytes'] / 2**20:10,.0f}" for who in (ours, torch))
    print(
        f"{name:18} {ours['tokens_per_s']:12,.0f} {torch['tokens_per_s']:12,.0f} {row['ratio']:6.2f}{mfu}{memory} "
        f"{row['torch_start_seconds']:9.1f}  {row['attention']}",
        flush=True,
    )


def gpu_name() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--id=0", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def stop(number: int, frame: FrameType | None) -> None:
    """Over: what is being measured ends now, not after a step and a checkpoint, and the scratch folder goes."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    signal.default_int_handler(number, frame)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument(
        "--shapes",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(TASKS)}; with --device cpu of {', '.join(TINY_TASKS)}",
    )
    parser.add_argument(
        "--torch",
        metavar="PYTHON",
        default=sys.executable,
        help="a Python that has torch (default: the one that runs this)",
    )
    parser.add_argument("--program", type=Path, help="default: train_gpt, with --device cpu train_gpt_cpu")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="aimed at for one measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers")
    parser.add_argument("--within", type=float, default=math.inf, metavar="SECONDS", help="no shape begins later")
    parser.add_argument("--go-on", action="store_true", help="keeps what --json has in full")
    parser.add_argument(
        "--compile", action="store_true", help="PyTorch's first steps alone: its compiler's cache is full then"
    )
    args = parser.parse_args()
    begin = time.monotonic()
    tasks = TASKS if args.device == "cuda" else TINY_TASKS
    if unknown := [name for name in args.shapes or [] if name not in tasks]:
        parser.error(f"--shapes {unknown[0]}: expected some of {', '.join(tasks)}")
    device = gpu_name() if args.device == "cuda" else "the CPU"
    if not device:
        print(
            "error: no GPU here (nvidia-smi names none); --device cpu tests this program without one", file=sys.stderr
        )
        return 4
    if not has_torch(args.torch):
        print(f"skipped: {args.torch} has no PyTorch, so there is no peer; --torch PYTHON names one that has")
        return 77
    args.program = args.program or ROOT / ("train_gpt" if args.device == "cuda" else "train_gpt_cpu")
    if not args.compile and not args.program.exists():
        parser.error(f"{args.program} is not built; make {args.program.name}")
    args.peak = PEAK_FLOPS if any(name in device for name in PEAK_DEVICES) else None
    signal.signal(signal.SIGTERM, stop)
    version = torch_version(args.torch)
    print(
        f"{device}, PyTorch {version}, {args.rounds} alternating rounds"
        + ("" if args.device == "cuda" else "; not a measurement")
    )
    print(
        f"{'shape':18} {'ours t/s':>12} {'torch t/s':>12} {'ratio':>6} {'ours MFU':>9} {'torch MFU':>9} "
        f"{'ours MiB':>10} {'torch MiB':>10} {'to start':>9}  attention"
    )
    names = args.shapes or list(tasks)
    go_on = args.go_on and args.json and args.json.exists()
    rows: dict[str, dict[str, Any]] = json.loads(args.json.read_text())["shapes"] if go_on else {}

    def missing() -> list[str]:
        return [name for name in names if not rows.get(name, {}).get("complete")]

    facts = {"device": device, "torch": version, "peak_flops": args.peak, "measurement": args.device == "cuda"}

    def save() -> None:
        if args.json:
            temporary = args.json.with_name(f".{args.json.name}")
            temporary.write_text(json.dumps(facts | {"missing": missing(), "shapes": rows}, indent=2) + "\n")
            temporary.replace(args.json)

    save()
    for name in missing():
        if time.monotonic() - begin > args.within:
            break
        row = rows[name] = {}
        try:
            if args.compile:
                peer, first, row["cold_start_seconds"] = start_peer(tasks[name], args)
                peer.close()
                row |= {"attention": first["attention"], "complete": True}
                print(f"{name}: {row['cold_start_seconds']:.1f} s to {WARM_UP_STEPS} steps", flush=True)
                continue
            with tempfile.TemporaryDirectory(dir=scratch_folder(32 << 30)) as folder:
                compare(tasks[name], args, Path(folder), row, save)
            print_row(name, row)
        except RuntimeError as error:
            row["error"] = str(error)
            print_row(name, row)
        finally:
            save()
    if any("error" in row for row in rows.values()):
        return 1
    return 3 if missing() else 0


if __name__ == "__main__":
    sys.exit(main())
