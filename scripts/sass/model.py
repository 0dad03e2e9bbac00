"""A training step's time out of counts: predicted, not measured. Every constant is in this file, with its source. "The
review" is the reading of SASS in which the first step was estimated part by part, 1.0 s for pythia-70m on an H100
(dev/LOG.md); the shares below make its counts give its times.

A kernel takes the longest of what its counts ask for: instructions to issue, cycles of shared memory, products of the
tensor cores, bytes of HBM; over the share of such a bound that kernels of its kind reach. Products of cuBLASLt take
their flops by a stated rate, or their bytes. Kernels follow each other; nothing overlaps but the host, which queues.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import l2
from counts import Kernel, Mix


class MissingKernel(Exception):
    """The model counts on a kernel, or a part of one, that is not in the objects."""


class Machine(NamedTuple):
    name: str
    hbm: float  # bytes/s that a copy reaches
    memory: float  # free bytes of an empty GPU
    # What follows is the same for both: NVIDIA's H100 white paper, but for the clock.
    sms: int = 132
    clock: float = 1.755e9  # under load, Hz; of the review's ceilings (345 TFLOP/s where a tile takes 704 cycles)
    schedulers: int = 4  # of an SM, an instruction of a warp each a cycle
    peak: float = 989e12  # FLOP/s, dense bf16
    registers: int = 65536  # of an SM
    shared: int = 227 * 1024  # bytes of an SM
    threads: int = 2048  # of an SM
    l2: int = 40 << 20  # of the 50 MiB, bytes that keep what attention reads while its outputs pass through


MACHINES = [
    Machine("H100 SXM", 3.0e12, 73.9e9),  # 3.35 TB/s on the data sheet
    Machine("H200", 4.3e12, 132.5e9),  # 4.8 on the data sheet
]

# ---- shares of a bound that are reached -----------------------------------------------------------------------------
MMA_SHARE = 0.63  # mma.sync of Hopper's peak, which wgmma alone reaches (arXiv 2402.13499, 2501.12084)
# Of attention's lowest ceiling, by shared memory, issue or mma.sync, over all tiles in full. The review: 55 to 85 ms
# forward, 210 to 310 backward at ceilings of 345 and 326 to 344 TFLOP/s; 0.55 is the middle of both.
ATTENTION_SHARE = 0.55
MEMORY_SHARE = 0.95  # of `hbm`: on an H100 85 % of the data sheet, as the review took GELU, norms and sums
ISSUE_SHARE = 0.70  # of a warp instruction a scheduler and cycle; dependent instructions and barriers take the rest
# FLOP/s of cuBLASLt, bf16, by the smallest dimension of a layer's product. The review: 520 to 600 at 512; the others
# are guesses along the same line.
LAYER_RATES = {128: 350e12, 256: 460e12, 512: 560e12, 768: 600e12, 1024: 630e12, 2048: 680e12}
HEAD_RATE = 650e12  # the review: 620 to 680, at C = 512 and slices of 8192 rows
KERNEL_SECONDS = 2.0e-6  # the least that a kernel takes on the GPU, start and end; assumed
HOST_SECONDS = {"a stream": 4.0e-6, "a graph": 1.0e-6}  # of queueing a launch: the review; assumed

# ---- what the sources say -------------------------------------------------------------------------------------------
ROOT = Path(__file__).resolve().parent.parent.parent


@cache
def source_constant(file: str, name: str) -> int:
    """The value of a constant in a source file; of several, the GPU's, which comes last."""
    found = re.findall(rf"\b{name} = (\d+);", (ROOT / file).read_text(encoding="utf-8"))
    if not found:
        raise MissingKernel(f"{file}: scripts/sass/model.py counts on a constant {name} there")
    return int(found[-1])


def head_rows() -> int:
    return source_constant("kernels/backend.h", "MAX_HEAD_ROWS")


def group_tokens() -> int:
    """Tokens of the groups of rows that attention's work list goes by."""
    return source_constant("kernels/attention_schedule.cuh", "GROUP_TOKENS")


# Not in the list of a step's launches: evaluation, once a run, or small parts of those that are in it.
ASIDE = ("classifier_score", "rotary_table", "sort_", "embedding_carry", "norm_total", "add_in_order")


class Family(NamedTuple):
    """The axes of model/config.h on which a step's launches hang."""

    parallel: bool = False  # residual; else sequential
    norm: str = "layernorm"  # or rmsnorm, which has no bias
    gelu: int = 0  # tanh; 1: exact
    gated: bool = False  # SwiGLU in place of GELU
    rotary: float = 0  # of a head; 0: learned positions
    biases: str = "all"  # of the linear layers; or qkv, none
    qk_norm: bool = False
    tied: bool = True


GPT2 = Family()
NEOX = Family(parallel=True, gelu=1, rotary=0.25, tied=False)
LLAMA = Family(norm="rmsnorm", gated=True, rotary=1, biases="none")
QWEN3 = LLAMA._replace(qk_norm=True)


class Model(NamedTuple):
    name: str
    family: Family
    L: int
    C: int
    NH: int
    KV: int
    HS: int
    F: int
    V: int
    T: int
    tokens: int = 1 << 20  # of a step

    @property
    def A(self) -> int:
        """Width of what the heads give together."""
        return self.NH * self.HS

    @property
    def QKV(self) -> int:
        return (self.NH + 2 * self.KV) * self.HS

    @property
    def FC(self) -> int:
        """Of the feed-forward's first product."""
        return 2 * self.F if self.family.gated else self.F

    @property
    def R(self) -> int:
        """Rotated dimensions of a head."""
        return int(self.family.rotary * self.HS) // 2 * 2

    @property
    def Vp(self) -> int:
        return (self.V + 127) // 128 * 128

    @property
    def parameters(self) -> int:
        """All of them, with the padding of the vocabulary."""
        family, C = self.family, self.C
        norm = C if family.norm == "rmsnorm" else 2 * C
        layer = C * (self.QKV + self.A + self.FC + self.F) + 2 * norm + (2 * self.HS if family.qk_norm else 0)
        layer += {"all": self.QKV + self.FC + 2 * C, "qkv": self.QKV, "none": 0}[family.biases]
        embeddings = self.Vp * C * (1 if family.tied else 2) + (0 if family.rotary else self.T * C)
        return self.L * layer + embeddings + norm

    def activation_bytes(self, rows: int) -> int:
        """As model/activations.h lays them out, without the statistics of rows."""
        family = self.family
        kept = 3 * self.C + self.QKV * (2 if family.qk_norm else 1) + self.A + self.FC + self.F
        if not family.parallel:
            kept += self.C
        scratch = 6 * self.C + self.A + self.QKV + self.FC + (self.F if family.gated else 0)
        return 2 * (rows * self.T * (self.L * kept + scratch) + min(rows * self.T, head_rows()) * self.Vp)

    def micro_batch(self, machine: Machine) -> int:
        """Rows, as train/memory.cuh chooses them, no matrix with 2^31 elements."""
        rows = 1
        room = 0.9 * (machine.memory - 18 * self.parameters)
        while (
            2 * rows * self.T <= min(self.tokens, 1 << 20)
            and self.activation_bytes(2 * rows) <= room
            and 2 * rows * self.T * max(self.QKV, self.FC) < 1 << 31
        ):
            rows *= 2
        return rows


def plain(name: str, family: Family, L: int, C: int, NH: int, V: int, T: int, tokens: int = 1 << 20) -> Model:
    """Every head has its own keys and values, HS = C / NH, F = 4 C."""
    return Model(name, family, L, C, NH, NH, C // NH, 4 * C, V, T, tokens)


MODELS = [
    plain("pythia-14m", NEOX, 6, 128, 4, 50304, 2048),
    plain("pythia-70m", NEOX, 6, 512, 8, 50304, 2048),
    plain("pythia-160m", NEOX, 12, 768, 12, 50304, 2048),
    plain("pythia-410m", NEOX, 24, 1024, 16, 50304, 2048),
    plain("gpt2-124m", GPT2, 12, 768, 12, 50257, 1024),
    # of fewer keys and values than queries, in rows as long as Pythia's
    Model("smollm2-135m", LLAMA, 30, 576, 9, 3, 64, 1536, 49152, 2048),
    Model("llama-3.2-1b", LLAMA, 16, 2048, 32, 8, 64, 8192, 128256, 2048),
    Model("qwen3-0.6b", QWEN3, 28, 1024, 16, 8, 128, 3072, 151936, 2048),
    # the curve of scripts/gpu/parts.sh
    plain("L6 C128 V4096 T256, 16,384 tokens", NEOX, 6, 128, 4, 4096, 256, 1 << 14),
]


def named(name: str) -> Model:
    return next(m for m in MODELS if m.name == name)


# ---- attention ------------------------------------------------------------------------------------------------------
# Products of a tile: S and O; S, dV, dP, dK; S, dP, dQ. Own tiles in shared memory next to two stages of two.
PRODUCTS = {"attention_forward": (2, 1), "attention_backward_keys": (4, 2), "attention_backward_queries": (3, 2)}


def attention_kernels(kernels: dict[str, Kernel], HS: int) -> list[list[Kernel]]:
    """The three that a step launches, each in all its tile sizes; up to HS = 128 one instance makes dK and dV."""
    found = []
    for name in PRODUCTS:
        wanted = re.compile(rf"{name}_kernel<bf16, {HS}(, \d+)*(, KeyGradients 0)?>")
        sizes = [kernel for kernel in kernels.values() if wanted.fullmatch(kernel.name)]
        if not sizes:
            raise MissingKernel(f"{name}_kernel<bf16, {HS}>: scripts/sass/model.py counts on it, and no object has it")
        found.append(sizes)
    return found


class Tile(NamedTuple):
    """A block's tile, as the counts of a warp imply it."""

    own: int  # rows of the block
    other: int  # rows of the other side: keys, or queries where keys are owned
    warps: int
    flops: float
    shared_bytes: int  # of a block


def owns_keys(kernel: Kernel) -> bool:
    return kernel.name.startswith("attention_backward_keys")


def head_size(kernel: Kernel) -> int:
    return int(kernel.name.split("bf16, ")[1].split(",")[0].rstrip(">"))


def tile_of(kernel: Kernel) -> Tile:
    products, own_tiles = next(shape for name, shape in PRODUCTS.items() if kernel.name.startswith(name))
    if "tile" not in kernel.parts:
        raise MissingKernel(f"{kernel.name}: no loop over tiles was found, or loops in it whose turns are not known")
    HS, mix, warps = head_size(kernel), kernel.parts["tile"], kernel.threads // 32
    # Two tiles of bf16 are copied, 16 bytes at a time. A power of two of threads shares a row; where its pieces are not
    # as many, some are idle.
    pieces = HS * 2 // 16
    sharers = 1 << (pieces - 1).bit_length()
    other = mix.ldgsts * kernel.threads * 8 * pieces // (2 * HS * sharers)
    flops = mix.hmma * warps * 2 * 16 * 8 * 16
    own = round(flops / (2 * products * other * HS))
    statistics = 2 * other * 8 if owns_keys(kernel) else 0
    return Tile(own, other, warps, flops, 2 * HS * (own_tiles * own + 4 * other) + statistics)


def tiles_of_levels(tile: Tile, T: int) -> list[int]:
    """How many tiles a block walks over, by its place in the row, for queries; for keys it is the mirror image."""
    return [-(-min(T, first + tile.own) // tile.other) for first in range(0, T, tile.own)]


def blocks_per_sm(kernel: Kernel, shared_bytes: int, machine: Machine) -> int:
    """Registers are given to a warp in units of 256; a block takes 1 KiB of shared memory more than it asks for."""
    warps = max(1, kernel.threads // 32)
    registers = -(-kernel.registers * 32 // 256) * 256 * warps
    return min(
        machine.registers // registers,
        machine.threads // max(32, kernel.threads),
        32,
        (machine.shared + 1024) // (shared_bytes + 1024),
    )


def ceilings(kernel: Kernel, machine: Machine) -> dict[str, float]:
    """FLOP/s that each resource allows."""
    tile, mix = tile_of(kernel), kernel.parts["tile"]
    tiles_a_second = machine.sms * machine.clock
    return {
        "shared": tile.flops / (mix.shared_cycles * tile.warps) * tiles_a_second,
        "issue": tile.flops / (mix.instructions * tile.warps / machine.schedulers) * tiles_a_second,
        "mma": MMA_SHARE * machine.peak,
    }


@cache
def known_share(group: int, rows: int, tiles: tuple[int, ...], *sizes: int) -> float:
    return l2.share_from_hbm(group, rows, list(tiles), *sizes)


def attention_share(kernel: Kernel, model: Model, rows: int, machine: Machine, tokens: int | None) -> float:
    """Of tile reads that come from HBM, where the work list goes by groups of so many tokens."""
    tile = tile_of(kernel)
    resident = machine.sms * blocks_per_sm(kernel, tile.shared_bytes, machine)
    group = max(1, tokens // model.T) if tokens else rows
    # a head's tiles of keys and values are read by as many blocks, or a block reads as many heads' tiles of queries
    sharers, walked = (1, model.NH // model.KV) if owns_keys(kernel) else (model.NH // model.KV, 1)
    tiles = tuple(tiles_of_levels(tile, model.T))
    return known_share(group, rows, tiles, 4 * tile.other * model.HS, resident, machine.l2, sharers, walked)


# ---- a step ---------------------------------------------------------------------------------------------------------


# Of a step, in the order of the table's columns.
PARTS = ["schedule, embedding, sums", "norms", "layers' products", "bias gradients", "norms of q and k", "rotary"]
PARTS += ["attention's statistics", "attention forward", "attention backward", "activation", "head's products"]
PARTS += ["classifier", "AdamW"]


class Cost(NamedTuple):
    """What launches of one kernel ask for, all of them together."""

    part: str  # of PARTS
    kernel: str  # its name without template arguments, or "cuBLASLt", "memset"
    launches: int
    bytes: float = 0
    instructions: float = 0  # of warps
    flops: float = 0
    rate: float = 0  # FLOP/s: of a product as it is reached; of attention as its ceiling allows


def layer_rate(*dimensions: int) -> float:
    """By the smallest dimension, between two known ones in proportion to its logarithm."""
    size = min(max(min(dimensions), 128), 2048)
    below = max(known for known in LAYER_RATES if known <= size)
    above = min(known for known in LAYER_RATES if known >= size)
    if below == above:
        return LAYER_RATES[below]
    share = math.log(size / below) / math.log(above / below)
    return LAYER_RATES[below] + share * (LAYER_RATES[above] - LAYER_RATES[below])


def product(part: str, launches: int, N: int, K: int, M: int, rate: float, gradient: bool = False) -> Cost:
    """(N, K) x (K, M) -> (N, M), or the weight gradient (M, K) of float, which is read and written."""
    bytes_ = 2 * (N * K + N * M) + (8 if gradient else 2) * K * M
    return Cost(part, "cuBLASLt", launches, launches * bytes_, flops=launches * 2.0 * N * K * M, rate=rate)


def micro_batch_costs(model: Model, rows: int, kernels: dict[str, Kernel], machine: Machine) -> Iterator[Cost]:
    """Forward, head and backward of model/gpt.cuh, launch by launch."""
    family, L, C, F, NH, KV, HS = model.family, model.L, model.C, model.F, model.NH, model.KV, model.HS
    A, QKV, FC, R, Vp = model.A, model.QKV, model.FC, model.R, model.Vp
    N = rows * model.T

    def elementwise(part: str, name: str, launches: int, bytes_: float, packs: float, parts: list[str]) -> Cost:
        kernel = find(kernels, name, model)
        a_pack = sum(kernel.parts[p].instructions for p in parts)
        return Cost(part, kernel.name.split("<")[0], launches, launches * bytes_, launches * packs / 32 * a_pack)

    yield Cost("schedule, embedding, sums", "attention_schedule", 3)
    yield Cost("schedule, embedding, sums", "embedding_forward_kernel", 1, 4.0 * N * C)
    norms = [3, 5, *[6] * (L - 1)] if family.parallel else [2, *[4] * (2 * L)]  # arrays read and written
    row_packs = N * team_packs(C)
    for arrays in norms:
        yield elementwise("norms", f"{family.norm}_forward_kernel", 1, 2.0 * N * C * arrays, row_packs, ["row"])
    for K, M in ((C, QKV), (A, C), (C, FC), (F, C)):
        rate = layer_rate(N, K, M)
        yield product("layers' products", L, N, K, M, rate)
        yield product("layers' products", L, N, M, K, rate)
        yield product("layers' products", L, N, K, M, rate, gradient=True)
    # a pass each over the outputs' gradients, of a parallel block's projections one; GELU's has the sums of its own
    every = (QKV, C) if family.parallel else (QKV, C, C)
    for M in {"all": every, "qkv": (QKV,), "none": ()}[family.biases]:
        yield elementwise("bias gradients", "column_partial_kernel", L, 2.0 * N * M, N * M / 8, ["pass 1"])
        yield Cost("bias gradients", "column_finish_kernel", L)
    if family.qk_norm:  # v's heads are copied on the way forward
        normed = N * (NH + KV) * HS
        yield elementwise("norms of q and k", "qk_norm_forward_kernel", L, 4.0 * N * QKV, N * QKV / 8, ["row"])
        back = elementwise("norms of q and k", "qk_norm_backward_kernel", L, 6.0 * normed, normed / 8, ["row"])
        yield back._replace(launches=2 * back.launches)  # with the sums of the weights' gradients
    if R:
        turned = N * (NH + KV) * R
        yield elementwise("rotary", "rotary_kernel", 2 * L, 4.0 * turned, turned / 8, ["pack"])
    yield Cost("attention's statistics", "attention_statistics_kernel", L, L * N * NH * (4.0 * HS + 12))
    for sizes in attention_kernels(kernels, HS):  # a run measures which is the fastest
        costs = [attention_cost(kernel, model, rows, machine, L) for kernel in sizes]
        yield min(costs, key=lambda cost: seconds(cost, machine))
    packs = N * F / 8
    if family.gated:
        yield elementwise("activation", "swiglu_forward_kernel", L, 6.0 * N * F, packs, ["pack"])
        yield elementwise("activation", "swiglu_backward_kernel", L, 10.0 * N * F, packs, ["pack"])
    else:
        gelu = f"<bf16, Gelu {family.gelu}>"
        yield elementwise("activation", f"gelu_forward_kernel{gelu}", L, 4.0 * N * F, packs, ["pack"])
        yield elementwise("activation", f"gelu_backward_kernel{gelu}", L, 6.0 * N * F, packs, ["pass 2"])
        yield Cost("bias gradients", "column_finish_kernel", L)
    slices = -(-N // head_rows())
    n = min(N, head_rows())
    for gradient in (False, False, True):  # logits; the gradients of lnf and of the head
        yield product("head's products", slices, n, C, Vp, head_rate(n, C, Vp), gradient=gradient)
    both = ["pass 1", "pass 2"]
    yield elementwise("classifier", "classifier_forward_kernel", slices, 4.0 * n * Vp, n * Vp / 8, both)
    yield Cost("schedule, embedding, sums", "memset", 1, 2.0 * N * C)
    norm = elementwise("norms", f"{family.norm}_backward_kernel", 2 * L + 1, 8.0 * N * C, row_packs, ["row"])
    yield norm._replace(launches=2 * norm.launches)  # with the sums of the parameters' gradients
    sorted_ids = [Vp] if family.rotary else [Vp, model.T]  # of tokens, and of learned positions
    launches = sum(3 * sort_passes(ids) + 2 for ids in sorted_ids)  # and two sums
    yield Cost("schedule, embedding, sums", "embedding_backward_kernel", launches, 4.0 * N * C)
    yield Cost("schedule, embedding, sums", "loss_sums_kernel", 1, 6.0 * N)


def sort_passes(ids: int) -> int:
    """Of kernels/token_sort.cuh: a digit of 8 bits each, in three launches."""
    return max(1, -(-(ids - 1).bit_length() // 8))


def head_rate(*dimensions: int) -> float:
    return min(HEAD_RATE, layer_rate(*dimensions) * HEAD_RATE / LAYER_RATES[512])


def update_costs(model: Model, kernels: dict[str, Kernel]) -> Iterator[Cost]:
    """The norm and AdamW, once a step, block by block."""
    blocks, P = model.L + 2, model.parameters
    a_pack = find(kernels, "adamw_update_kernel", model).parts["pack"].instructions
    yield Cost("AdamW", "norm_partial_kernel", 2 * blocks, 4.0 * P)
    yield Cost("AdamW", "adamw_update_kernel", blocks, 34.0 * P, P / 8 / 32 * a_pack)
    yield Cost("AdamW", "add_tree_kernel", 3)


def attention_cost(kernel: Kernel, model: Model, rows: int, machine: Machine, launches: int) -> Cost:
    tile = tile_of(kernel)
    NH, KV = model.NH, model.KV
    tiles = rows * NH * sum(tiles_of_levels(tile, model.T))
    from_hbm = attention_share(kernel, model, rows, machine, group_tokens()) * tiles * 2 * tile.other * model.HS * 2
    # what is owned is read and written once: q and out; k, v, dk, dv; q, dout and dq
    own = {"attention_forward": 2 * NH, "attention_backward_keys": 4 * KV, "attention_backward_queries": 3 * NH}
    heads = next(count for name, count in own.items() if kernel.name.startswith(name))
    bytes_ = from_hbm + 2.0 * heads * rows * model.T * model.HS
    part = "attention forward" if kernel.name.startswith("attention_forward") else "attention backward"
    rate = ATTENTION_SHARE * min(ceilings(kernel, machine).values())
    return Cost(part, kernel.name.split("<")[0], launches, launches * bytes_, 0, launches * tiles * tile.flops, rate)


def norm_team(C: int) -> tuple[int, int]:
    """Threads of a row's team and packs of a thread, as kernels/norm_rows.cuh chooses them."""
    packs = C // 8
    if packs <= 16:
        return 16, 1
    if packs <= 128:
        return 32, -(-packs // 32)
    return (128, 2) if packs <= 256 else (128, 4) if packs <= 512 else (512, 2)


def team_packs(C: int) -> int:
    """Packs of a row that a team's instructions are for: those that the row does not fill, too."""
    threads, packs = norm_team(C)
    return threads * packs


def find(kernels: dict[str, Kernel], name: str, model: Model) -> Kernel:
    """The instance of a kernel that a step of the model uses, by its name or the begin of it."""
    if name.startswith(("layernorm", "rmsnorm")):
        threads, packs = norm_team(model.C)
        name = f"{name}<bf16, Team<{threads}, {packs}>>"
    elif name.startswith("qk_norm"):  # as kernels/qk_norm.cuh
        threads = 4 if model.HS <= 64 else 8 if model.HS <= 128 else 16
        name = f"{name}<bf16, Team<{threads}, 2>>"
    elif name == "rotary_kernel":
        half = model.R // 2
        name = f"rotary_kernel<bf16, {8 if half % 8 == 0 else 4 if half % 4 == 0 else 2 if half % 2 == 0 else 1}>"
    elif "<" not in name:
        name = f"{name}<bf16>"
    if name not in kernels:
        raise MissingKernel(f"{name}: scripts/sass/model.py counts on this kernel, and no object has it")
    return kernels[name]


def seconds(cost: Cost, machine: Machine) -> float:
    issue = cost.instructions / (machine.sms * machine.schedulers * machine.clock * ISSUE_SHARE)
    memory = cost.bytes / (machine.hbm * MEMORY_SHARE)
    arithmetic = cost.flops / cost.rate if cost.rate else 0
    return max(issue, memory, arithmetic, cost.launches * KERNEL_SECONDS)


def unlisted(kernels: dict[str, Kernel]) -> list[str]:
    """Kernels of training in bf16 that no model's step launches here: the list of launches is not that of the code."""
    listed = set(ASIDE)
    for m in MODELS:
        costs = [*micro_batch_costs(m, m.micro_batch(MACHINES[0]), kernels, MACHINES[0]), *update_costs(m, kernels)]
        listed |= {cost.kernel for cost in costs}
    names = {kernel.name.split("<")[0] for kernel in kernels.values() if "<float" not in kernel.name}
    return sorted(name for name in names if not name.startswith(tuple(listed)))


class Step(NamedTuple):
    model: Model
    machine: Machine
    rows: int  # of a micro-batch
    launches: int
    parts: dict[str, float]  # seconds on the GPU

    @property
    def gpu(self) -> float:
        return sum(self.parts.values())

    def host(self, way: str) -> float:
        return self.launches * HOST_SECONDS[way]


def predict(model: Model, machine: Machine, kernels: dict[str, Kernel]) -> Step:
    rows = model.micro_batch(machine)
    times = model.tokens // (rows * model.T)
    costs = [(times, cost) for cost in micro_batch_costs(model, rows, kernels, machine)]
    costs += [(1, cost) for cost in update_costs(model, kernels)]
    parts: dict[str, float] = {}
    for count, cost in costs:
        parts[cost.part] = parts.get(cost.part, 0) + count * seconds(cost, machine)
    return Step(model, machine, rows, sum(count * cost.launches for count, cost in costs), parts)


def classifier_instructions(kernels: dict[str, Kernel]) -> float:
    """Of a pack of 8 logits, both passes."""
    parts: dict[str, Mix] = kernels["classifier_forward_kernel<bf16>"].parts
    return sum(mix.instructions for mix in parts.values())
