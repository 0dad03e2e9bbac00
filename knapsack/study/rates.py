"""How fast a model trains on this machine: timed on random tokens, kept in OUT/rates.json until the machine is quieter.

A short run says tokens per second and the largest memory; the trainer's --plan says parameters, FLOPs and the size of a
checkpoint, of any model, without training. Evaluations are not in it.
"""

from __future__ import annotations

import os
import re
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from knapsack.common.arguments import parse_count
from knapsack.common.errors import ScriptError
from knapsack.common.files import dump_json
from knapsack.common.parallel import available_cores
from knapsack.runs.files import read_json, read_lines, write_bytes
from knapsack.runs.grid import Flags, flag_words

SHAPE = ("model", "seq-len", "batch-tokens", "micro-batch", "precision", "recompute", "doc-mask", "lanes")
SHARD_TOKENS = 1 << 16
FLOPS = 4e10  # of a timed run: seconds on a core
MOST_FLOPS = 4e11  # beyond it a model is not timed
MOST_ROWS = 16 * 2048  # tokens of a step where none are named
STEPS = 4, 40  # of a timed run, least and most
POLL_SECONDS = 0.02
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Cost(NamedTuple):
    """Of a run, by the trainer's --plan."""

    parameters: float
    flops_per_token: float
    memory: float  # bytes, weights to activations
    checkpoint: float  # bytes


class Rate(NamedTuple):
    """Of each of `jobs` runs at a time."""

    tokens_per_s: float
    memory: float  # bytes, the largest resident
    load: float  # of the machine, the minute before it was timed

    @property
    def was_busy(self) -> bool:
        return self.load > available_cores()


def write_random_shard(prefix: Path, vocabulary: int) -> None:
    """As dev/formats.md, 1, says: one sequence a document, EOT is 0."""
    tokens = np.random.default_rng(1).integers(1, vocabulary, SHARD_TOKENS)
    lengths = np.full(SHARD_TOKENS // 256, 256, "<i4")
    tokens[255::256] = 0
    wide = vocabulary > 65535
    tokens = tokens.astype("<i4" if wide else "<u2")
    offsets = np.arange(len(lengths), dtype="<i8") * 256 * tokens.itemsize
    head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 4 if wide else 8, len(lengths), len(lengths) + 1)
    ends = np.arange(len(lengths) + 1, dtype="<i8")
    prefix.with_suffix(".bin").write_bytes(tokens.tobytes())
    prefix.with_suffix(".idx").write_bytes(head + lengths.tobytes() + offsets.tobytes() + ends.tobytes())
    about = {
        "format_version": 1,
        "kind": "text",
        "vocab_size": vocabulary,
        "eot_id": 0,
        "dtype": "int32" if wide else "uint16",
    }
    about |= {"documents": len(lengths), "tokens": SHARD_TOKENS, "bytes": 4 * SHARD_TOKENS}
    about |= {"tokenizer": {"name": "random", "sha256": "0" * 64}}
    prefix.with_suffix(".json").write_bytes(dump_json(about))


class Clock:
    """Times models with one program; what was timed before, by the same program on as many cores, is kept."""

    def __init__(self, out: Path, program: Path, vocabulary: int, timing: bool) -> None:
        self.path, self.program, self.timing = out / "rates.json", program, timing
        self.folder = tempfile.TemporaryDirectory()
        self.shard = Path(self.folder.name) / "random"
        write_random_shard(self.shard, vocabulary)
        built = f"{program.stat().st_size}.{int(program.stat().st_mtime)}" if program.exists() else "none"
        self.machine = f"{os.cpu_count()} cores, {program.name} {built}, {vocabulary} ids"
        self.costs: dict[str, Cost] = {}
        self.kept: dict[str, Any] = read_json(self.path).get(self.machine, {})

    def close(self) -> None:
        self.folder.cleanup()
        before = read_json(self.path)
        if self.kept and before.get(self.machine) != self.kept:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, dump_json(before | {self.machine: self.kept}))

    def words(self, flags: Flags) -> list[str]:
        shape = {name: flags[name] for name in SHAPE if name in flags}
        return [str(self.program), *flag_words(shape), "--source", f"random={self.shard}.bin"]

    def cost(self, flags: Flags) -> Cost:
        """Raises ScriptError with what the trainer says of flags that cannot be."""
        words = [*self.words(flags), *(["--tokens", flags["tokens"][0]] if "tokens" in flags else []), "--plan"]
        key = " ".join(words)
        if key not in self.costs:
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise ScriptError((done.stderr.strip().splitlines() or ["the trainer's --plan failed"])[-1])
            self.costs[key] = read_cost(done.stdout)
        return self.costs[key]

    def time(self, flags: Flags, jobs: int, threads: int) -> Rate | None:
        """Of each of so many runs at once; None where the model is too large to be timed, or timing is off."""
        key = f"{' '.join(self.words(flags)[1:-2])} | {jobs} x {threads}"
        load = os.getloadavg()[0]
        kept = Rate(*self.kept[key]) if key in self.kept else None
        if kept and not (self.timing and kept.was_busy and load < kept.load / 2):  # else it is quieter now
            return kept
        step = self.cost(flags).flops_per_token * tokens_of_step(flags)
        if not self.timing or STEPS[0] * step > MOST_FLOPS:
            return None
        steps = int(min(max(FLOPS // step, STEPS[0]), STEPS[1]))
        folders = [Path(tempfile.mkdtemp(dir=self.folder.name)) for _ in range(jobs)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        processes = []
        for folder in folders:
            words = [*self.words(flags), "--steps", str(steps), "--eval-at", "end", "--out", str(folder / "run")]
            processes.append(
                subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
            )
        memory = 0.0
        try:
            while any([process.poll() is None for process in processes]):
                memory = max(memory, *(largest_resident(process.pid) for process in processes))
                time.sleep(POLL_SECONDS)
        finally:  # interrupted, they would go on writing to a folder that is taken away
            for process in processes:
                process.kill()
                process.wait()
        if any(process.returncode for process in processes):
            raise ScriptError(f"{self.program.name} ended with code {processes[0].returncode} while it was timed")
        lines = [read_lines(folder / "run" / "metrics.jsonl") for folder in folders]
        speeds = [statistics.median(line["perf/tokens_per_s"] for line in one) for one in lines]
        self.kept[key] = [statistics.mean(speeds), memory, load]
        return Rate(*self.kept[key])


def largest_resident(pid: int) -> float:
    """Bytes, so far; not out of rusage, which counts this process before it became the program."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # it has ended, or another system
        return 0.0
    return float(found[1]) * 1024 if found else 0.0


def tokens_of_step(flags: Flags) -> int:
    return parse_count(flags["batch-tokens"][0]) if "batch-tokens" in flags else MOST_ROWS


def read_cost(text: str) -> Cost:
    """Out of what --plan prints."""

    def find(pattern: str) -> re.Match:
        found = re.search(pattern, text)
        if not found:
            raise ScriptError(f"the trainer's --plan says nothing like {pattern}")
        return found

    def size(value: str, unit: str) -> float:
        return float(value) * UNITS[unit]

    steps = find(r"run: \d+ steps of \d+ tokens = (\d+) tokens")
    flops = float(find(r"compute: ([\d.e+]+) FLOPs")[1])
    memory = sum(size(*pair) for pair in re.findall(r"([\d.]+) ([KMGT]iB) of (?:weights|activations)", text))
    checkpoint = size(*find(r"disk: ([\d.]+) ([KMGT]iB) a checkpoint").groups())
    return Cost(1e6 * float(find(r"([\d.]+)M parameters")[1]), flops / int(steps[1]), memory, checkpoint)


class Way(NamedTuple):
    """To share the cores."""

    jobs: int
    threads: int  # of each
    tokens_per_s: float  # of all together
    was_busy: bool


def fastest(clock: Clock, flags: Flags, cores: int) -> list[Way]:
    """The ways to share the cores, the best first; [] where not timed."""
    found = []
    for jobs in (1, 2, 4, 8, 16, 32):
        threads = max(1, cores // jobs)
        if jobs <= cores and (rate := clock.time(flags, jobs, threads)):
            found.append(Way(jobs, threads, jobs * rate.tokens_per_s, rate.was_busy))
    return sorted(found, key=lambda way: -way.tokens_per_s)
