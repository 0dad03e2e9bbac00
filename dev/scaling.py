#!/usr/bin/env python3
"""Predicts a training step on 8 and on 64 GPUs: bytes, time, memory. Prints the tables of dev/scaling.md.

  dev/scaling.py                  all tables, in Markdown
  dev/scaling.py --check FILE     exit code 1 unless FILE has them all as they are printed now

It follows train/lanes.cuh block by block; nothing in it is measured. All that is assumed is in `Machine`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import NamedTuple

T, BATCH = 2048, 1 << 20  # tokens a row and a step
GIB, MILLI = 2**30, 1e-3


@dataclasses.dataclass(frozen=True)
class Machine:
    """H100 SXM, 8 in a node, each with a network adapter of 400 Gbit/s. Bytes and seconds; bandwidths are of one GPU in
    one direction, as reached, not as on the label."""

    peak: float = 989e12  # FLOP/s, dense bf16
    share: float = 0.40  # of it, over forward and backward
    memory: float = 78 * GIB
    memory_bandwidth: float = 3.0e12
    node: int = 8
    nvlink: float = 370e9
    adapter: float = 48e9
    launch: float = 14e-6  # of a collective
    hop: float = 1.9e-6  # a message's latency in a node
    far_hop: float = 4.0e-6  # between nodes
    multiprocessors: float = 24 / 132  # that a transfer takes from what computes meanwhile


@dataclasses.dataclass(frozen=True)
class Design:
    """What is built; the other values are what could be."""

    two_levels: bool = False  # a node adds up its lanes before anything leaves it
    weights_awaited_by_layer: bool = False  # by the next forward pass, instead of all before it


class Model(NamedTuple):
    name: str
    L: int
    C: int
    NH: int
    V: int

    def blocks(self) -> list[int]:
        """Parameters: embeddings, layers, head."""
        layer = 12 * self.C**2 + 13 * self.C
        return [self.V * self.C, *[layer] * self.L, self.V * self.C + 2 * self.C]

    def parameters(self) -> int:
        return sum(self.blocks())

    def layer_flops(self) -> float:
        """A token's, forward and backward; causal attention counts half."""
        return 72 * self.C**2 + 6 * self.C * T

    def head_flops(self) -> float:
        return 6 * self.V * self.C

    def flops(self) -> float:
        return self.L * self.layer_flops() + self.head_flops()


MODELS = [
    Model("160m", 12, 768, 12, 50304),
    Model("410m", 24, 1024, 16, 50304),
    Model("1b", 16, 2048, 8, 50304),
    Model("1.4b", 24, 2048, 16, 50304),
    Model("2.8b", 32, 2560, 32, 50304),
    Model("6.9b", 32, 4096, 32, 50432),
]


# ---- memory, as train/memory.cuh counts it --------------------------------------------------------------------------


def own_part(block: int, lanes: int, processes: int) -> int:
    """Elements that process 0 owns: block_parts of model/tensors.h."""
    slice_size = math.ceil(math.ceil(block / lanes) / 8) * 8
    return min(block, slice_size * (lanes // processes))


def state_bytes(model: Model, lanes: int, processes: int) -> int:
    """bf16: weights, float gradients, masters and moments, exchanged slices, one gradient for measuring products."""
    blocks = model.blocks()
    gradients = int(math.log2(lanes // processes)) + 1
    owned = sum(own_part(block, lanes, processes) for block in blocks)
    exchanged = max(own_part(block, lanes, processes) for block in blocks) * processes if processes > 1 else 0
    largest = max(model.V, 4 * model.C) * model.C
    return 2 * sum(blocks) + 4 * gradients * sum(blocks) + 4 * exchanged + 12 * owned + 4 * largest


def activation_bytes(model: Model, rows: int) -> int:
    """Of a micro-batch of a model with parallel residual; without the scratch of the backward pass."""
    tokens, C = rows * T, model.C
    layer = 2 * 15 * C + 4 * (model.NH + 2)
    return tokens * (model.L * layer + 2 * 14 * C) + 2 * min(tokens, 8192) * model.V


def micro_batch(model: Model, machine: Machine, lanes: int, processes: int, batch: int) -> int:
    """Rows: the largest power of two that fits, at least 1."""
    room = 0.9 * (machine.memory - state_bytes(model, lanes, processes))
    rows = batch // T // lanes
    while rows > 1 and activation_bytes(model, rows) > room:
        rows //= 2
    return rows


# ---- a step ---------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """Seconds."""

    rows: int  # of a micro-batch
    micro_batches: int
    compute: float  # forward and backward passes
    exchange: float  # gradients on the wire, and added up
    exposed: float  # of it, after the backward pass
    slowed: float  # compute, by transfers next to it
    update: float  # AdamW and the gather of weights
    waiting: float  # of it, for the gather
    other: float  # zeroing, lanes added up

    def total(self) -> float:
        return self.compute + self.exposed + self.slowed + self.update + self.other


def exchange_seconds(block: int, n: int, machine: Machine, design: Design) -> float:
    m, size = machine, 4.0 * block
    node = min(n, m.node)
    near, far = node - 1, n - node
    added = (size + 2 * size / n) / m.memory_bandwidth
    if not design.two_levels or far == 0:
        wire = max(size * near / n / m.nvlink, size * far / n / m.adapter)
        return m.launch + near * m.hop + far * m.far_hop + wire + added
    nodes = n // node
    inside = m.launch + near * m.hop + size * near / node / m.nvlink
    between = m.launch + (nodes - 1) * m.far_hop + size / node * (nodes - 1) / nodes / m.adapter
    return inside + between + added + (size / node) / m.memory_bandwidth


def gather_seconds(block: int, n: int, machine: Machine) -> float:
    """A ring through all nodes, which uses all adapters of each."""
    m = machine
    nodes = -(-n // m.node)
    hops = (n - nodes) * m.hop + nodes * m.far_hop if nodes > 1 else n * m.hop
    bandwidth = min(m.nvlink, m.node * m.adapter) if nodes > 1 else m.nvlink
    return m.launch + hops + 2 * block * (n - 1) / n / bandwidth


def predict(
    model: Model, n: int, machine: Machine, design: Design, lanes: int = 0, batch: int = BATCH, rows: int = 0
) -> Step:
    lanes = lanes or n
    blocks, P = model.blocks(), model.parameters()
    rows = rows or micro_batch(model, machine, lanes, n, batch)
    tokens = rows * T
    micro_batches = batch // n // tokens
    rate = machine.peak * machine.share
    compute = batch / n * model.flops() / rate

    own_lanes = lanes // n
    pairs = own_lanes - 1
    zeroed = own_lanes if n > 1 else own_lanes - 1  # one process: AdamW leaves the first one zero
    other = (12 * pairs + 4 * zeroed) * P / machine.memory_bandwidth
    if n == 1:
        return Step(rows, micro_batches, compute, 0, 0, 0, (4 + 34) * P / machine.memory_bandwidth, 0, other)

    # the last micro-batch's backward pass: two thirds of the FLOPs, the head first, the embeddings last
    backward = [2 / 3 * tokens * flops / rate for flops in [model.head_flops(), *[model.layer_flops()] * model.L, 0]]
    clock = free = exchange = 0.0
    for block, seconds in zip(reversed(blocks), backward):
        clock += seconds
        transfer = exchange_seconds(block, n, machine, design)
        exchange += transfer
        free = max(free, clock) + transfer
    exposed = free - clock

    adamw, free, gathers = 0.0, 0.0, 0.0
    for block in blocks:
        adamw += 34 * block / n / machine.memory_bandwidth
        transfer = gather_seconds(block, n, machine)
        gathers += transfer
        free = max(free, adamw) + transfer
    update = free
    if design.weights_awaited_by_layer:  # all but the first block's are hidden where the forward pass is longer
        forward = tokens * model.flops() / rate / 3
        update = max(adamw + gather_seconds(blocks[0], n, machine), free - forward)
    update += gather_seconds(0, n, machine)  # the small one of norms and losses
    slowed = (exchange - exposed) * machine.multiprocessors
    return Step(rows, micro_batches, compute, exchange, exposed, slowed, update, update - adamw, other)


def efficiency(model: Model, n: int, machine: Machine, design: Design, **kwargs: int) -> float:
    """Against one GPU with memory enough, one lane and the same batch."""
    batch = kwargs.get("batch", BATCH)
    one = predict(model, 1, machine, design, batch=batch, rows=1).total()
    return one / n / predict(model, n, machine, design, **kwargs).total()


# ---- tables ---------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figures(value: float) -> str:
    """Three of them, no exponent."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


def ms(seconds: float) -> str:
    return figures(seconds / MILLI)


def bytes_table() -> str:
    rows = []
    for model in MODELS:
        P, layer = model.parameters(), model.blocks()[1]
        rows.append(
            [
                model.name,
                f"{P / 1e6:,.1f}",
                *[f"{4 * P * (n - 1) / n / 1e9:.2f}" for n in (8, 64)],
                *[f"{2 * P * (n - 1) / n / 1e9:.2f}" for n in (8, 64)],
                *[f"{4 * layer / n / 1e6:.2f}" for n in (8, 64)],
            ]
        )
    head = ["model", "parameters, M"]
    for what in ("gradients, GB", "weights, GB", "a layer's message, MB"):
        head += [f"{what}, n = 8", "64"]
    return table(head, rows)


def step_table(n: int) -> str:
    rows = []
    for model in MODELS:
        s = predict(model, n, Machine(), Design())
        hidden = 1 - s.exposed / s.exchange
        rows.append(
            [
                model.name,
                f"{s.micro_batches} x {s.rows}",
                *[ms(x) for x in (s.compute, s.exchange)],
                f"{hidden:.0%}",
                *[ms(x) for x in (s.exposed, s.slowed, s.update, s.waiting, s.other, s.total())],
                f"{BATCH / s.total() / 1e6:.2f}",
                f"{efficiency(model, n, Machine(), Design()):.0%}",
            ]
        )
    head = ["model", "micro-batches x rows", "compute", "exchange", "hidden", "not hidden", "slowed", "update"]
    return table([*head, "of it waiting", "zeroing", "step, ms", "M tokens/s", "efficiency"], rows)


def what_if_table(n: int) -> str:
    machine, design = Machine(), Design()
    recipes: list[tuple[str, Machine, Design, int]] = [
        ("as above", machine, design, BATCH),
        ("faster kernels: 55 % of the peak", dataclasses.replace(machine, share=0.55), design, BATCH),
        ("4M tokens a step", machine, design, 4 * BATCH),
        ("0.5M tokens a step", machine, design, BATCH // 2),
    ]
    if n > machine.node:
        recipes.append(("adapters of 200 Gbit/s", dataclasses.replace(machine, adapter=24e9), design, BATCH))
    else:
        recipes.append(("half of NVLink", dataclasses.replace(machine, nvlink=185e9), design, BATCH))
    awaited = Design(weights_awaited_by_layer=True)
    recipes.append(("not built: (a) weights awaited layer by layer", machine, awaited, BATCH))
    if n > machine.node:
        both = dataclasses.replace(awaited, two_levels=True)
        recipes.append(("not built: (b) the exchange in two levels", machine, Design(two_levels=True), BATCH))
        recipes.append(("not built: (a), (b)", machine, both, BATCH))
    rows = [[name, *[f"{efficiency(m, n, mach, d, batch=b):.0%}" for m in MODELS]] for name, mach, d, b in recipes]
    return table([f"n = {n}", *[m.name for m in MODELS]], rows)


def memory_table() -> str:
    shapes = [(1, 1), (8, 8), (64, 64), (64, 1), (64, 8)]
    rows = [[m.name, *[f"{state_bytes(m, W, n) / GIB:.1f}" for W, n in shapes]] for m in MODELS]
    return table(["GiB a process", *[f"W = {W}, n = {n}" for W, n in shapes]], rows)


def lanes_table() -> str:
    rows = []
    for n in (1, 8):
        for what in ("more gradients, GiB", "time, % of the step"):
            row = [f"W = 64, n = {n}: {what}"]
            for model in MODELS:
                few, many = (predict(model, n, Machine(), Design(), lanes=W, rows=1) for W in (n, 64))
                gradients = 4 * math.log2(64 // n) * model.parameters() / GIB
                share = (many.other - few.other) / few.total()
                row.append(f"{gradients:.1f}" if "GiB" in what else f"{100 * share:.1f}")
            rows.append(row)
    return table(["", *[m.name for m in MODELS]], rows)


def all_tables() -> list[str]:
    return [
        bytes_table(),
        step_table(8),
        step_table(64),
        what_if_table(8),
        what_if_table(64),
        memory_table(),
        lanes_table(),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="FILE", help="compares instead of printing")
    args = parser.parse_args()
    tables = all_tables()
    if not args.check:
        print("\n\n".join(tables))
        return 0
    text = args.check.read_text()
    missing = [t for t in tables if t + "\n" not in text]
    for t in missing:
        print(f"{args.check} does not have this table, which dev/scaling.py prints:\n{t}\n", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
