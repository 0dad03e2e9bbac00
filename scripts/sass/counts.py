"""What the instructions of every kernel are, counted: a tile of attention, a pack of 8 elements elsewhere."""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import ptxas
from disassembly import Flow, Instruction, Loop, disassemble, parse


@dataclass
class Mix:
    """Instructions of one warp, by what they keep busy."""

    instructions: int = 0
    hmma: int = 0  # products of 16 x 8 x 16
    ldsm: int = 0
    lds: int = 0
    sts: int = 0
    ldgsts: int = 0  # of 16 bytes
    mufu: int = 0
    shared_cycles: int = 0  # of the SM's shared memory
    load_bytes: int = 0  # of a thread, from global memory
    store_bytes: int = 0

    def scaled(self, factor: float) -> Mix:
        return Mix(**{name: _plain(value * factor) for name, value in asdict(self).items()})

    def plus(self, other: Mix) -> Mix:
        mine, others = asdict(self), asdict(other)
        return Mix(**{name: _plain(mine[name] + others[name]) for name in mine})


@dataclass
class Kernel:
    name: str
    registers: int
    stack_bytes: int
    spill_bytes: int
    threads: int  # of a block, as __launch_bounds__ says; 0: not said
    narrow_stores: int  # stores of less than 4 bytes to global memory, in all of the text
    stores: dict[str, int] = field(default_factory=dict)  # to global memory, by width in bytes, in all of the text
    loads: dict[str, int] = field(default_factory=dict)  # from global memory, the same; cp.async among them
    unit: str = ""  # what `parts` are counted for: "tile" or "pack"
    parts: dict[str, Mix] = field(default_factory=dict)


WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}


def _plain(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def width(i: Instruction) -> int:
    """Bytes of a thread's access."""
    return next((WIDTHS[m] for m in i.opcode.split(".")[1:] if m in WIDTHS), 4)


def stores_pack(i: Instruction) -> bool:
    return i.is_a("STG") and width(i) == 16


def shared_cycles(i: Instruction) -> int:
    """How long an access keeps the shared memory of an SM busy, at 128 bytes a cycle and without bank conflicts. A
    matrix of ldmatrix is 8 rows of 16 bytes. What several lanes read at once counts for each of them."""
    if not i.executed:
        return 0
    if i.is_a("LDSM"):
        return int(i.opcode.rsplit(".", 1)[1]) if i.opcode[-1] in "124" else 1
    if i.is_a("LDS", "STS", "LDGSTS"):
        return max(1, 32 * width(i) // 128)
    return 0


def by_width(instructions: list[Instruction], *operations: str) -> dict[str, int]:
    """How many accesses there are of each width in bytes, as text, which is what JSON makes of it."""
    found = Counter(width(i) for i in instructions if i.executed and i.is_a(*operations))
    return {str(bytes_): found[bytes_] for bytes_ in sorted(found)}


def mix_of(instructions: list[Instruction]) -> Mix:
    """All are issued, those whose guard is false too; what moves or computes is counted where it can be executed."""
    done = [i for i in instructions if i.executed]

    def number(*operations: str) -> int:
        return sum(i.is_a(*operations) for i in done)

    return Mix(
        instructions=len(instructions),
        hmma=number("HMMA"),
        ldsm=number("LDSM"),
        lds=number("LDS"),
        sts=number("STS"),
        ldgsts=sum(i.is_a("LDGSTS") and width(i) == 16 for i in done),
        mufu=number("MUFU"),
        shared_cycles=sum(map(shared_cycles, done)),
        load_bytes=sum(width(i) for i in done if i.is_a("LDG", "LD", "LDGSTS")),
        store_bytes=sum(width(i) for i in done if i.is_a("STG", "ST")),
    )


# ---- turns of a loop that the compiler left rolled ------------------------------------------------------------------


def _number(text: str) -> int | None:
    if text in ("RZ", "URZ"):
        return 0
    return int(text, 0) if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", text) else None


def _operands(i: Instruction) -> list[str]:
    return [operand.strip().removesuffix(".reuse") for operand in i.operands.split(",")]


def turns(flow: Flow, loop: Loop, instructions: list[Instruction]) -> int | None:
    """How often a loop with a counter is run, where start, step and end are in the text; None: not known."""
    body = flow.instructions(loop.body)
    compare = next(
        (i for i in reversed(body) if i.is_a("ISETP", "UISETP") and _number(_operands(i)[3]) is not None), None
    )
    if compare is None or compare.opcode.split(".")[1] not in ("NE", "LT"):
        return None
    counter, end = _operands(compare)[2], _number(_operands(compare)[3])
    step = None
    for i in body:
        o = _operands(i)
        if i.is_a("IADD3", "UIADD3", "VIADD") and o[:2] == [counter, counter] and _number(o[2]) is not None:
            step = _number(o[2])
    start = None
    for i in instructions:
        if i.address >= body[0].address:
            break
        o = _operands(i)
        if not o or o[0] != counter:
            continue
        if i.is_a("MOV", "UMOV"):
            start = _number(o[1])
        elif i.opcode.startswith("IMAD.MOV") or i.is_a("HFMA2") and o[1:3] == ["-RZ", "RZ"]:
            start = _number(o[-1])
        elif i.is_a("CS2R"):
            start = 0
        else:
            start = None
    if not step or start is None or end is None or (end - start) % step or (end - start) // step < 1:
        return None
    return (end - start) // step


def turn_of(flow: Flow, loop: Loop, instructions: list[Instruction]) -> Mix | None:
    """One turn of a loop, the loops inside as often as they are run; None where that is not known."""
    total = mix_of(flow.way_through(loop))
    for inner in flow.loops:
        if inner.body < loop.body:
            times = turns(flow, inner, instructions)
            if times is None:
                return None
            total = total.plus(mix_of(flow.way_through(inner)).scaled(times - 1))
    return total


# ---- which part of a kernel is a tile or a pack ---------------------------------------------------------------------


def passes_of(name: str, flow: Flow) -> dict[str, Mix]:
    """A pack of each pass over a row. Of several loops of a pass the one with the fewest instructions a pack is that of
    the row's bulk, the others are for what is left at its end."""
    passes: dict[str, Mix] = {}
    for loop in filter(flow.inner, flow.loops):
        way = flow.way_through(loop)
        loads, stores = (sum(i.is_a(what) and width(i) == 16 for i in way) for what in ("LDG", "STG"))
        packs = stores or loads  # gelu_backward reads two for one
        if not packs or name.startswith("classifier_") and not any(i.is_a("MUFU") for i in way):
            continue
        one = mix_of(way).scaled(1 / packs)
        which = "pass 2" if any(i.is_a("STG") for i in way) else "pass 1"
        if which not in passes or one.instructions < passes[which].instructions:
            passes[which] = one
    return dict(sorted(passes.items()))


def parts_of(name: str, flow: Flow, instructions: list[Instruction]) -> tuple[str, dict[str, Mix]]:
    """The parts of a kernel that its time goes to, and what they are counted for. Only of the bf16 kernels, which
    train; those of float are tests' and experiments'."""
    if "<bf16" not in name:
        return "", {}
    if name.startswith("attention_") and any(i.is_a("HMMA") for i in instructions):
        # the loop over tiles: the smallest that both copies and multiplies
        tiles = [
            loop
            for loop in flow.loops
            if all(any(i.is_a(what) for i in flow.instructions(loop.body)) for what in ("HMMA", "LDGSTS"))
        ]
        found = turn_of(flow, min(tiles, key=lambda loop: len(loop.body)), instructions) if tiles else None
        return "tile", {"tile": found} if found else {}
    if name.startswith(("classifier_", "column_partial", "gelu_backward")):
        return "pack", passes_of(name, flow)
    if name.startswith(("layernorm_", "rmsnorm_", "qk_norm_")):
        packs = int(re.findall(r"\d+", name)[-1])
        rows = [loop for loop in flow.loops if any(stores_pack(i) for i in flow.instructions(loop.body))]
        way = flow.way_through(min(rows, key=lambda loop: len(loop.body))) if rows else flow.whole_way()
        return "pack", {"row": mix_of(way).scaled(1 / packs)}
    if name.startswith(("gelu_", "swiglu_", "rotary_kernel", "adamw_")):
        way = flow.whole_way()
        packs = 1
        if name.startswith("rotary"):
            packs = max(1, sum(map(stores_pack, way)))
        return "pack", {"pack": mix_of(way).scaled(1 / packs)}
    return "", {}


# ---- a build folder -------------------------------------------------------------------------------------------------


class ObjectNotes(NamedTuple):
    threads: dict[str, int]  # of a block by kernel, as __launch_bounds__ says
    compiler: str  # "ptxas 13.0.88"; "" where the object does not say


def read_notes(cuobjdump: str, path: Path) -> ObjectNotes:
    done = subprocess.run([cuobjdump, "-elf", str(path)], capture_output=True, text=True, errors="replace")
    threads, compiler, kernel, wanted = {}, "", "", False
    for line in done.stdout.splitlines():
        if line.startswith(".nv.info."):
            kernel = line.removeprefix(".nv.info.").strip()
        elif "EIATTR_MAX_THREADS" in line:
            wanted = True
        elif wanted and "Value:" in line:
            threads[kernel], wanted = math.prod(int(size, 16) for size in re.findall(r"0x([0-9a-f]+)", line)), False
        elif found := re.search(r"Tool Version:.* V([0-9.]+)", line):
            compiler = f"ptxas {found[1]}"
    return ObjectNotes(threads, compiler)


def read_object(cuobjdump: str, path: Path) -> tuple[list[Kernel], str]:
    functions = parse(disassemble(cuobjdump, path))
    if not functions:
        return [], ""
    notes = read_notes(cuobjdump, path)
    reports = {k.symbol: k for k in ptxas.read(path.with_name(path.name + ".ptxas"))[0]}
    kernels = []
    for symbol, instructions in functions.items():
        report = reports[symbol]
        unit, parts = parts_of(report.name, Flow(instructions), instructions)
        stores = by_width(instructions, "STG", "ST")
        kernels.append(
            Kernel(
                name=report.name,
                registers=report.registers,
                stack_bytes=report.stack_bytes,
                spill_bytes=report.spill_bytes,
                threads=notes.threads.get(symbol, 0),
                narrow_stores=sum(number for bytes_, number in stores.items() if int(bytes_) < 4),
                stores=stores,
                loads=by_width(instructions, "LDG", "LD", "LDGSTS"),
                unit=unit,
                parts=parts,
            )
        )
    return kernels, notes.compiler


def read_folder(cuobjdump: str, build: Path) -> tuple[dict[str, Kernel], str]:
    """The kernels of all objects of a build folder (build/cuda-sm_90a), by name; what compiled them."""
    paths = sorted((build / "kernels").glob("*.o"))
    if not paths:
        raise FileNotFoundError(f"{build}/kernels: no objects; `make kernel_objects` makes them")
    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(lambda path: read_object(cuobjdump, path), paths))
    found = [kernel for kernels, _ in objects for kernel in kernels]
    compilers = sorted({compiler for _, compiler in objects if compiler})
    return {kernel.name: kernel for kernel in sorted(found, key=lambda kernel: kernel.name)}, ", ".join(compilers)
