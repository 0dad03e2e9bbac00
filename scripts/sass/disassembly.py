"""SASS as cuobjdump prints it: functions, basic blocks, loops, and the way that a thread takes through them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    address: int
    guard: str  # the predicate before it, such as "@!P0", or ""
    opcode: str  # with its modifiers: "LDG.E.128"
    operands: str

    @property
    def executed(self) -> bool:
        """@!PT is never true: the compiler pads with such instructions, which take an issue slot and do nothing."""
        return self.guard not in ("@!PT", "@!UPT")

    def is_a(self, *operations: str) -> bool:
        """Whether the opcode is one of these, whatever its modifiers are."""
        return self.opcode.split(".")[0] in operations


class Block(NamedTuple):
    instructions: list[Instruction]
    successors: list[int]  # addresses of blocks, in ascending order

    @property
    def address(self) -> int:
        return self.instructions[0].address


class Loop(NamedTuple):
    header: int
    body: frozenset[int]  # addresses of blocks, the header and the inner loops included


LINE = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P[0-9T]+)\s+)?([A-Z][A-Za-z0-9_.]*)\s*([^;]*?)\s*;")
TARGET = re.compile(r"\b0x([0-9a-f]+)$")
ENDS = ("EXIT", "RET", "KILL", "BPT")


def disassemble(cuobjdump: str, path: Path) -> str:
    """What cuobjdump says of an object or a cubin."""
    done = subprocess.run([cuobjdump, "-sass", str(path)], capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{cuobjdump} -sass {path}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def parse(text: str) -> dict[str, list[Instruction]]:
    """The instructions of every kernel, by its mangled name."""
    functions: dict[str, list[Instruction]] = {}
    current: list[Instruction] | None = None
    for line in text.splitlines():
        if found := re.match(r"\s*Function : (\S+)", line):
            current = functions.setdefault(found[1], [])
        elif current is not None and (found := LINE.match(line)):
            current.append(Instruction(int(found[1], 16), found[2] or "", found[3], found[4]))
    return functions


def target_of(instruction: Instruction) -> int:
    if found := TARGET.search(instruction.operands):
        return int(found[1], 16)
    raise ValueError(f"{instruction.opcode} {instruction.operands} at {instruction.address:#x}: where does it lead?")


class Flow:
    """The control flow of a kernel's text: its own and that of the functions it calls, which lie in the same text."""

    def __init__(self, instructions: list[Instruction]):
        self.blocks = make_blocks(instructions)
        calls = {target_of(i) for i in instructions if i.is_a("CALL")}
        self.entries = sorted({instructions[0].address} | (calls & self.blocks.keys()))
        self.loops = sorted(
            (loop for entry in self.entries for loop in self.find_loops(entry)), key=lambda loop: loop.header
        )

    def reachable(self, entry: int) -> list[int]:
        """The blocks of the function that begins at `entry`, in reverse postorder."""
        seen, order = {entry}, []
        stack: list[tuple[int, Iterator[int]]] = [(entry, iter(self.blocks[entry].successors))]
        while stack:
            address, successors = stack[-1]
            for next_one in successors:
                if next_one not in seen:
                    seen.add(next_one)
                    stack.append((next_one, iter(self.blocks[next_one].successors)))
                    break
            else:
                order.append(address)
                stack.pop()
        return order[::-1]

    def find_loops(self, entry: int) -> list[Loop]:
        """Natural loops: an edge back to a block that every way passes (Aho et al.). Those of one header are one."""
        order = self.reachable(entry)
        before: dict[int, list[int]] = {address: [] for address in order}
        for address in order:
            for successor in self.blocks[address].successors:
                before[successor].append(address)
        dominators = {address: set(order) for address in order} | {entry: {entry}}
        changed = True
        while changed:
            changed = False
            for address in order[1:]:
                new = set.intersection(*(dominators[b] for b in before[address])) | {address}
                if new != dominators[address]:
                    dominators[address], changed = new, True
        bodies: dict[int, set[int]] = {}
        for address in order:
            for header in self.blocks[address].successors:
                if header not in dominators[address]:
                    continue
                body = bodies.setdefault(header, {header})
                todo = [address]
                while todo:
                    if (inside := todo.pop()) not in body:
                        body.add(inside)
                        todo += before[inside]
        return [Loop(header, frozenset(body)) for header, body in bodies.items()]

    def instructions(self, addresses: Iterable[int]) -> list[Instruction]:
        return [i for address in sorted(addresses) for i in self.blocks[address].instructions]

    def inner(self, loop: Loop) -> bool:
        """Whether no other loop is inside."""
        return not any(other.body < loop.body for other in self.loops)

    def way(self, region: frozenset[int], entry: int) -> list[Instruction]:
        """The instructions of one pass through `region` from its entry, inner loops taken once: of all ways the one
        that does most work (see `work`), and of these the shortest. What a uniform branch skips on almost every pass,
        such as a mask or the end of a row, is then left out, because it only adds instructions."""
        best: dict[int, tuple[int, int]] = {}  # from the block on: work, minus the number of instructions
        follow: dict[int, int | None] = {}
        for address in reversed([a for a in self.reachable(entry) if a in region]):
            block = self.blocks[address]
            ways = [(best[s], s) for s in block.successors if s in best and s != entry]
            (gain, length), follow[address] = max(ways, default=((0, 0), None))
            best[address] = (
                gain + sum(map(work, block.instructions)),
                length - len(block.instructions),
            )
        chosen: list[Instruction] = []
        at: int | None = entry
        while at is not None:
            chosen += self.blocks[at].instructions
            at = follow[at]
        return chosen

    def way_through(self, loop: Loop) -> list[Instruction]:
        """One turn of the loop."""
        return self.way(loop.body, loop.header)

    def whole_way(self) -> list[Instruction]:
        """From the kernel's begin to its end, every loop taken once; the functions that it calls are left out."""
        entry = self.entries[0]
        return self.way(frozenset(self.reachable(entry)), entry)


def work(instruction: Instruction) -> int:
    """What tells the usual way from the exceptional one: products, and memory in pieces of 16 bytes."""
    if not instruction.executed:
        return 0
    if instruction.is_a("HMMA", "HGMMA", "LDSM"):
        return 1
    return int(instruction.is_a("LDG", "STG", "LDGSTS") and "128" in instruction.opcode.split("."))


def make_blocks(instructions: list[Instruction]) -> dict[int, Block]:
    addresses = [i.address for i in instructions]
    known = set(addresses)
    leaders = {addresses[0]}
    for i, after in zip(instructions, [*addresses[1:], -1]):
        if i.is_a("BRX", "JMX", "JMP", "BRXU"):
            raise ValueError(f"{i.opcode} at {i.address:#x}: an indirect branch, which is not followed")
        if i.is_a("BRA"):
            leaders |= {target_of(i), after}
        elif i.is_a(*ENDS):
            leaders.add(after)
        elif i.is_a("CALL"):
            leaders.add(target_of(i))
    leaders &= known
    blocks: dict[int, Block] = {}
    current: list[Instruction] = []
    for i, after in zip(instructions, [*addresses[1:], -1]):
        current.append(i)
        if after in leaders or after == -1:
            successors = set()
            if i.is_a("BRA"):
                successors.add(target_of(i))
                # a predicate may also be an operand: "BRA !P1, 0x40"; or a divergence: "BRA.DIV UR4, 0x40"
                if i.guard or "," in i.operands:
                    successors.add(after)
            elif not i.is_a(*ENDS) or i.guard:
                successors.add(after)
            blocks[current[0].address] = Block(current, sorted(successors & known))
            current = []
    return blocks
