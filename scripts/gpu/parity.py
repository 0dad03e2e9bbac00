#!/usr/bin/env python3
"""Do the CUDA programs compute what the CPU programs compute? Whole runs on the same shards, loss by loss.

  parity.py --cuda build/cuda-sm_90a --out DIR --json parity.json --models pythia-14m --steps 200 -- FLAGS OF train_gpt

Three comparisons of every model in both precisions, each a row of the JSON, which is written anew after each:
  loss     of every step against the CPU's in float: mean relative difference, fp32 within --fp32, bf16 within --bf16
  bits     two runs of the same command: metrics without times, weights and moments, byte for byte
  logits   of the last checkpoint against `transformers` (dev/oracle/check_logits.py), where some Python has it
The losses of all models come before their bits. They go to losses.csv next to the JSON. The CPU's runs, one after the
other, go on next to the GPU's. A comparison that fails stops none of the others. Exit code 1 where one failed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jobs import write_json

ROOT = Path(__file__).resolve().parents[2]
LOGIT_ROWS, LOGIT_TOKENS = 4, 128
LOGIT_TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}  # relative L2 norm; bf16 is 8 bits in every layer's activations

Row = dict[str, Any]


def train(program: Path, out: Path, flags: list[str]) -> list[dict]:
    """The metrics without times of a run, which is begun from nothing unless it is done already."""
    if not (out / "DONE").exists():
        shutil.rmtree(out, ignore_errors=True)
        print(f"$ {program} {' '.join(flags)} --out {out}", flush=True)
        done = subprocess.run(
            [str(program), *flags, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program.name} ended with code {done.returncode}: {done.stderr[-1000:].strip()}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key != "time" and not key.startswith("perf/")} for line in lines
    ]


def loss_row(cuda: list[dict], cpu: list[dict], tolerance: float) -> Row:
    differences = [abs(a["train/loss"] - b["train/loss"]) / b["train/loss"] for a, b in zip(cuda, cpu)]
    worst = max(range(len(differences)), key=lambda step: differences[step])
    mean = sum(differences) / len(differences)
    learned = cpu[0]["train/loss"] - cpu[-1]["train/loss"]  # losses that never move would agree, too
    return {
        "steps": len(differences),
        "mean": mean,
        "worst": differences[worst],
        "worst_step": worst,
        "tolerance": tolerance,
        "last": cuda[-1]["train/loss"],
        "last_cpu": cpu[-1]["train/loss"],
        "fell_by": learned,
        "passed": len(cuda) == len(cpu) and mean <= tolerance and learned > 0,
    }


def last_checkpoint(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step_????????"))[-1]


def bits_row(first: Path, second: Path, same_metrics: bool) -> Row:
    differing = [] if same_metrics else ["metrics.jsonl"]
    for name in ("model.safetensors", "optimizer.safetensors"):
        if (last_checkpoint(first) / name).read_bytes() != (last_checkpoint(second) / name).read_bytes():
            differing.append(name)
    return {"differing": differing, "passed": not differing}


def logits_row(precision: str, args: argparse.Namespace, run: Path) -> Row:
    checkpoint = last_checkpoint(run)
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    ids, logits, result = (run / name for name in ("ids.npy", "logits.npy", "logits.json"))
    np.save(
        ids,
        np.random.default_rng(1).integers(1, vocabulary, (LOGIT_ROWS, min(LOGIT_TOKENS, args.seq_len))).astype("<u4"),
    )
    tokens = str(np.load(ids).shape[1])
    row: Row = {"tolerance": LOGIT_TOLERANCE[precision]}
    subprocess.run(
        [str(args.cuda / "write_logits"), str(checkpoint), str(ids), tokens, str(logits), precision], check=True
    )
    done = subprocess.run(
        [
            args.transformers,
            str(ROOT / "dev/oracle/check_logits.py"),
            str(checkpoint),
            str(ids),
            str(logits),
            "--relative",
            str(row["tolerance"]),
            "--device",
            args.device,
            "--json",
            str(result),
        ],
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stdout.splitlines() if line.strip()]
    print("\n".join(said), flush=True)
    if done.returncode == 77:
        return row | {"skipped": said[-1].removeprefix("skipped: "), "passed": True}
    if not result.exists():
        return row | {"error": (said or done.stderr.strip().splitlines() or ["said nothing"])[-1], "passed": False}
    return row | json.loads(result.read_text()) | {"passed": done.returncode == 0}


def add_losses(path: Path, model: str, precision: str, cuda: list[dict], cpu: list[dict]) -> None:
    """A line a step: the GPU's loss in this precision, the CPU's in fp32."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["model", "precision", "step", "cuda", "cpu"])
        for step, lines in enumerate(zip(cuda, cpu)):
            writer.writerow([model, precision, step, *(f"{line['train/loss']:.9g}" for line in lines)])


def name_of(row: Row) -> tuple[str, str, str]:
    return row["what"], row["model"], row["precision"]


def sentence(row: Row) -> str:
    what = " ".join(name_of(row))
    if "skipped" in row:
        return f"{what}: skipped: {row['skipped']}"
    verdict = "ok" if row["passed"] else "FAILED"
    if "error" in row:
        return f"{what}: {row['error']}: {verdict}"
    if row["what"] == "loss":
        return (
            f"{what}: mean relative difference {row['mean']:.2e} (worst {row['worst']:.2e} at step "
            f"{row['worst_step']}), allowed {row['tolerance']:.0e}: {verdict}"
        )
    if row["what"] == "bits":
        return f"{what}: {'the same' if row['passed'] else 'other ' + ', '.join(row['differing'])}: {verdict}"
    return (
        f"{what}: relative L2 norm of the difference {row['relative']:.2e}, allowed {row['tolerance']:.0e}: {verdict}"
    )


class Comparisons:
    """Of one model: a method for each, which returns its row but for the names."""

    def __init__(self, args: argparse.Namespace, model: str, pool: ThreadPoolExecutor) -> None:
        self.args, self.model = args, model
        self.out = args.out / model.replace(":", "-")
        self.flags = ["--model", model, "--steps", str(args.steps), "--seq-len", str(args.seq_len)]
        self.flags += ["--micro-batch", str(args.rows), "--batch-tokens", str(args.rows * args.seq_len), *args.flags]
        self.cpu = pool.submit(train, args.cpu / "train_gpt_cpu", self.out / "cpu", self.flags)

    def train(self, precision: str, again: str = "") -> list[dict]:
        flags = [*self.flags, "--precision", precision]
        return train(self.args.cuda / "train_gpt", self.out / (precision + again), flags)

    def loss(self, precision: str) -> Row:
        cuda, cpu = self.train(precision), self.cpu.result()
        add_losses(self.args.json.with_name("losses.csv"), self.model, precision, cuda, cpu)
        return loss_row(cuda, cpu, self.args.fp32 if precision == "fp32" else self.args.bf16)

    def bits(self, precision: str) -> Row:
        same_metrics = self.train(precision, "-again") == self.train(precision)
        return bits_row(self.out / precision, self.out / f"{precision}-again", same_metrics)

    def logits(self, precision: str) -> Row:
        return logits_row(precision, self.args, self.out / precision)

    def row(self, what: str, precision: str) -> Row:
        row: Row = {"what": what, "model": self.model, "precision": precision}
        try:
            return row | getattr(self, what)(precision)
        except (RuntimeError, OSError, LookupError, ValueError, subprocess.CalledProcessError) as error:
            said = f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else str(error)
            return row | {"error": said, "passed": False}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cpu", type=Path, default=ROOT / "build/release", metavar="DIR", help="folder of train_gpt_cpu"
    )
    parser.add_argument(
        "--cuda", type=Path, required=True, metavar="DIR", help="folder of the CUDA train_gpt and write_logits"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="runs")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--models", nargs="+", default=["pythia-14m"], metavar="MODEL")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--rows", type=int, default=4, help="a step, in one micro-batch")
    parser.add_argument(
        "--fp32",
        type=float,
        default=1e-6,
        help="largest mean relative difference of the loss; another --micro-batch on the CPU, "
        "pythia-14m and 200 steps makes 4e-9",
    )
    parser.add_argument("--bf16", type=float, default=2.0**-8, help="the same; default: one rounding")
    parser.add_argument(
        "--transformers",
        default=sys.executable,
        metavar="PYTHON",
        help="a Python that has transformers (default: the one that runs this)",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda", help="where transformers computes")
    parser.add_argument("--go-on", action="store_true", help="keeps what an earlier call compared, and its runs")
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="of train_gpt, such as --source")
    args = parser.parse_args()
    rows: list[Row] = []
    before = json.loads(args.json.read_text())["rows"] if args.go_on and args.json.exists() else []
    found = {name_of(row): row for row in before if not {"error", "skipped"} & row.keys()}
    if not args.go_on:
        shutil.rmtree(args.out, ignore_errors=True)
        args.json.with_name("losses.csv").unlink(missing_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = [
        (what, model, precision)
        for what in ("loss", "bits", "logits")
        for model in args.models
        for precision in ("fp32", "bf16")
    ]
    with ThreadPoolExecutor(1) as pool:
        comparisons = {model: Comparisons(args, model, pool) for model in args.models}
        for name in wanted:
            what, model, precision = name
            rows.append(found.get(name) or comparisons[model].row(what, precision))
            print(sentence(rows[-1]), flush=True)
            missing = [" ".join(left) for left in wanted[len(rows) :]]
            write_json(args.json, {"tokens_a_step": args.rows * args.seq_len, "rows": rows, "missing": missing})
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
