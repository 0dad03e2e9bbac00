"""Reads a PTX module as nvcc writes it: functions with their parameters, limits and statements. PTX ISA, "Syntax"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

BITS = {"pred": 1}
for width in (8, 16, 32, 64):
    BITS |= {f"{kind}{width}": width for kind in "bus"}
BITS |= {"f32": 32, "f64": 64, "f16": 16, "bf16": 16, "f16x2": 32, "bf16x2": 32, "tf32": 32}


class Refusal(Exception):
    """What the translation does not know, with the text it is about."""


@dataclass(frozen=True)
class Place:
    """Where an instruction comes from, in the CUDA source."""

    file: str
    line: int


@dataclass
class Instruction:
    guard: str  # "", "%p1" or "!%p1"
    opcode: str
    operands: list[str]
    text: str
    place: Place


@dataclass
class Label:
    name: str


@dataclass
class Scope:
    """'{' or '}' in a function's body."""

    text: str


@dataclass
class Variable:
    """A declaration in a state space: .reg, .param, .local, .shared, .global, .const."""

    space: str
    type: str
    name: str
    align: int
    count: int | None = None  # elements of an array; of .reg %r<N>, N
    values: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return BITS[self.type] // 8 * (1 if self.count is None else self.count)


@dataclass
class Function:
    name: str
    entry: bool
    results: list[Variable]
    parameters: list[Variable]
    limits: dict[str, list[int]]  # of maxntid, reqntid, minnctapersm, maxnreg
    body: list[Instruction | Label | Scope | Variable] | None  # None: a declaration


@dataclass
class Module:
    functions: list[Function] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)


def split_list(text: str) -> list[str]:
    """The parts of a list, at its commas outside of brackets of any kind."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "{[(") - (c in "}])")
        if c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


VARIABLE = re.compile(
    r"(?:\.(?:extern|visible|weak)\s+)*\.(reg|param|local|shared|global|const)\s+(?:\.align\s+(\d+)\s+)?"
    r"(?:\.ptr\s+(?:\.\w+\s+)?(?:\.align\s+\d+\s+)?)?\.(\w+)\s+(?:\.ptr\s+(?:\.\w+\s+)?(?:\.align\s+\d+\s+)?)?"
    r"([%$\w]+)(?:<(\d+)>|\[(\d*)\])?(?:\s*=\s*(.*))?$",
    re.DOTALL,
)


def variables(text: str) -> list[Variable]:
    """The variables of one declaration; only registers come several at once."""
    head = re.match(r"\.reg\s+\.\w+", text)
    parts = split_list(text) if head else [text]
    declared = []
    for part in [parts[0], *(f"{head[0]} {name}" for name in parts[1:])]:
        match = VARIABLE.match(part)
        if not match or match[3] not in BITS:
            raise Refusal(f"declaration: {text}")
        space, align, kind, name, registers, elements, values = match.groups()
        count = int(registers) if registers else None if elements is None else int(elements or 0)
        initial = split_list(values.strip().strip("{}")) if values else []
        declared.append(Variable(space, kind, name, int(align or BITS[kind] // 8 or 1), count, initial))
    return declared


class Parser:
    HEAD = re.compile(r"(?:\.(?:visible|weak|extern)\s+)*\.(entry|func)\b")
    DIRECTIVE_LINES = re.compile(r"\.(?:version|target|address_size)\b[^\n]*")
    LIMIT = re.compile(r"\.(maxntid|reqntid|minnctapersm|maxnreg)\s+([\d, ]+)")
    FILE = re.compile(r'\.file\s+(\d+)\s+"([^"]*)"[^\n]*')
    LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)\s+(\d+)(?:[^\n]*inlined_at\s+(\d+)\s+(\d+)\s+(\d+))?[^\n]*")
    LABEL = re.compile(r"([$\w]+)\s*:(?!:)")
    GUARD = re.compile(r"@(!?)\s*(%\w+)\s+")

    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.DOTALL)
        self.files = {int(number): name for number, name in self.FILE.findall(text)}
        self.inlined: dict[tuple[int, ...], tuple[int, ...]] = {}  # where a place was inlined
        self.text, self.at = re.sub(r"\.section\s+\.\w+\s*\{.*?\}", "", text, flags=re.DOTALL), 0
        self.place = Place("", 0)
        self.module = Module()

    def match(self, pattern: re.Pattern) -> re.Match | None:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def skip_spaces(self) -> bool:
        """False at the end of the text."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at < len(self.text)

    def until(self, stop: str) -> str:
        end = self.text.find(stop, self.at)
        if end < 0:
            raise Refusal(f"no {stop!r} after: {self.text[self.at : self.at + 80]}")
        part, self.at = self.text[self.at : end], end + len(stop)
        return " ".join(part.split())

    def note_place(self, loc: re.Match) -> None:
        """The innermost line that is not in one of CUDA's own headers."""
        place = tuple(int(loc[i]) for i in (1, 2, 3))
        if loc[4]:
            self.inlined[place] = tuple(int(loc[i]) for i in (4, 5, 6))
        while "/include/" in self.files.get(place[0], "") and place in self.inlined:
            place = self.inlined[place]
        self.place = Place(Path(self.files.get(place[0], "")).name, place[1])

    def parse(self) -> Module:
        while self.skip_spaces():
            if self.match(self.DIRECTIVE_LINES) or self.match(self.FILE):
                continue
            if head := self.match(self.HEAD):
                self.module.functions.append(self.function(head[1] == "entry"))
            else:
                self.module.variables += variables(self.until(";"))
        return self.module

    def parameters(self) -> list[Variable]:
        self.skip_spaces()
        if self.text[self.at] != "(":
            return []
        self.at += 1
        return [variable for text in split_list(self.until(")")) for variable in variables(text)]

    def function(self, entry: bool) -> Function:
        results = [] if entry else self.parameters()
        self.skip_spaces()
        name = self.match(re.compile(r"[\w$]+"))[0]
        function = Function(name, entry, results, self.parameters(), {}, None)
        while self.skip_spaces():
            if limit := self.match(self.LIMIT):
                function.limits[limit[1]] = [int(number) for number in limit[2].split(",")]
            elif self.match(re.compile(r"\.noreturn\b")):
                continue
            elif self.match(re.compile(";")):
                return function
            elif self.match(re.compile(r"\{")):
                function.body = self.body()
                return function
            else:
                raise Refusal(f"{name}: {self.text[self.at : self.at + 80]}")
        raise Refusal(f"{name}: the text ends")

    def body(self) -> list[Instruction | Label | Scope | Variable]:
        body, depth = [], 1
        while self.skip_spaces():
            c = self.text[self.at]
            if c in "{}":
                self.at += 1
                depth += 1 if c == "{" else -1
                if depth == 0:
                    return body
                body.append(Scope(c))
            elif loc := self.match(self.LOC):
                self.note_place(loc)
            elif label := self.match(self.LABEL):
                body.append(Label(label[1]))
            elif c == ".":
                text = self.until(";")
                if not text.startswith(".pragma"):
                    body += variables(text)
            else:
                body.append(self.instruction())
        raise Refusal("a function's body without an end")

    def instruction(self) -> Instruction:
        guard = self.match(self.GUARD)
        text = self.until(";")
        opcode, _, operands = text.partition(" ")
        condition = guard[1] + guard[2] if guard else ""
        return Instruction(condition, opcode, split_list(operands), text, self.place)


def parse(text: str) -> Module:
    return Parser(text).parse()
