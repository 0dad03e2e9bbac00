#!/usr/bin/env python3
"""Translates the PTX that nvcc wrote of a source into C++: a function for every kernel, run by the fibers of
kernels/simt.

A register is a variable, an instruction a line, by the rows of instructions.py. Shared addresses are offsets into the
block's shared memory, all others are the host's. What is not known ends the translation with the kernel's name and the
instruction's text: nothing is guessed.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from instructions import Operand, Row, table
from parser import BITS, Function, Instruction, Label, Module, Place, Refusal, Scope, Variable, parse, split_list

CPP = {"pred": "bool", "f32": "float", "f64": "double"}
for width in (8, 16, 32, 64):
    CPP |= {f"{kind}{width}": f"uint{width}_t" for kind in "bu"} | {f"s{width}": f"int{width}_t"}
FLOATS = ("f32", "f64")

SPECIAL = {
    f"%{name}.{axis}": f"{variable}.{axis}"
    for name, variable in (("tid", "threadIdx"), ("ctaid", "blockIdx"), ("ntid", "blockDim"), ("nctaid", "gridDim"))
    for axis in "xyz"
} | {
    "%laneid": "static_cast<uint32_t>(simt::lane())",
    "%warpid": "warp_index()",
    "%lanemask_eq": "(1u << simt::lane())",
    "%lanemask_lt": "((1u << simt::lane()) - 1)",
    "%lanemask_le": "(~0u >> (31 - simt::lane()))",
    "%lanemask_gt": "(~1u << simt::lane())",
    "%lanemask_ge": "(~0u << simt::lane())",
    "WARP_SZ": "32u",
}

ROWS: dict[str, list[Row]] = {}
for _row in table():
    ROWS.setdefault(re.match(r"\w+", _row.opcode.pattern)[0], []).append(_row)


def identifier(name: str) -> str:
    return re.sub(r"[%$]", "", name) if name[0] in "%$" else name.replace("$", "_")


def offsets(parameters: list[Variable], start: int = 0) -> tuple[dict[str, int], int]:
    """Where each lies, and where the last one ends."""
    places = {}
    for parameter in parameters:
        start = -(-start // parameter.align) * parameter.align
        places[parameter.name] = start
        start += parameter.bytes
    return places, start


@dataclass
class Match:
    """An instruction and the row that knows it."""

    row: Row
    instruction: Instruction
    words: dict[str, str]  # of the opcode, by the names in the row
    texts: dict[str, str]  # of the operands
    type: str

    def type_of(self, operand: Operand) -> str:
        named = operand.type or "T"
        if named in ("T", "U"):
            return self.type if named == "T" else re.sub("^[sb]", "u", self.type)
        if named in ("W", "WU"):
            return ("u" if named == "WU" else self.type[0]) + str(2 * BITS[self.type])
        return self.words.get(named) or named


def find_row(instruction: Instruction) -> Match:
    texts = instruction.operands
    for row in ROWS.get(instruction.opcode.partition(".")[0], []):
        words = row.opcode.fullmatch(instruction.opcode)
        required = sum(not operand.optional for operand in row.operands)
        if not words or not required <= len(texts) <= len(row.operands):
            continue
        pairs = list(zip(row.operands, texts))
        shapes = {"value": "%", "address": "[", "list": "{%", "text": ""}
        if all(
            not shapes[o.kind] or text[0] in shapes[o.kind] or (o.kind == "value" and text[0] not in "[{")
            for o, text in pairs
        ):
            types = [part for part in instruction.opcode.split(".") if part in BITS]
            found = {name: word for name, word in words.groupdict().items() if word}
            return Match(row, instruction, found, {o.name: text for o, text in pairs}, types[-1] if types else "")
    raise Refusal("an instruction that instructions.py does not know")


class Body:
    """Writes the C++ of a function."""

    def __init__(self, function: Function, module: Module, sites: dict[tuple[str, Place], int]) -> None:
        self.function, self.sites = function, sites
        self.registers: dict[str, str] = {}  # the type each was declared with
        self.locals = {variable.name for variable in function.parameters + function.results if not function.entry}
        self.parameters, self.parameter_bytes = offsets(function.parameters if function.entry else [])
        self.globals = {variable.name for variable in module.variables if variable.space in ("global", "const")}
        used = {text for s in function.body if isinstance(s, Instruction) for text in re.findall(r"[\w$]+", s.text)}
        declared = module.variables + [s for s in function.body if isinstance(s, Variable)]
        shared = [v for v in declared if v.space == "shared" and v.name in used]
        static = [v for v in shared if v.count != 0]
        if static and not function.entry:
            raise Refusal("static shared memory in a function")
        dynamic_align = max([v.align for v in shared if v.count == 0], default=1)
        self.shared, end = offsets(static)
        self.static_shared = -(-end // dynamic_align) * dynamic_align if static else 0
        self.shared |= {v.name: self.static_shared for v in shared if v.count == 0}

    # ---- operands

    def symbol(self, name: str) -> str | None:
        """The address of what is not a register."""
        if name in self.shared:
            return f"{self.shared[name]}u"
        if name in self.parameters:
            return f"address_of(parameters + {self.parameters[name]})"
        if name in self.globals or name in self.locals:
            return f"address_of({identifier(name)})"
        return None

    def read(self, text: str, kind: str) -> str:
        negated, text = text.startswith("!"), text.lstrip("!")
        cpp = CPP[kind]
        if text in self.registers:
            declared, name = self.registers[text], identifier(text)
            if (declared == "pred") != (kind == "pred"):
                raise Refusal(f"{text} is no {kind}")
            if kind == "pred":
                return f"!{name}" if negated else name
            if CPP[declared] == cpp:
                return name
            if declared in FLOATS or kind in FLOATS:
                return f"as<{cpp}>({name})"
            return f"static_cast<{cpp}>({name})"
        if text in SPECIAL:
            return SPECIAL[text] if cpp == "uint32_t" else f"static_cast<{cpp}>({SPECIAL[text]})"
        if match := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})", text):
            bits = f"0x{match[1]}u" if match[1] else f"0x{match[2]}ull"
            return f"as<{cpp}>({bits})" if kind in FLOATS else bits
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
            value = int(text.rstrip("U"), 0) if not re.fullmatch(r"-?0\d+", text) else int(text, 8)
            if kind == "pred":
                return "true" if value else "false"
            value &= (1 << BITS[kind]) - 1
            bits = f"{value}ull" if BITS[kind] == 64 else f"{value}u"
            if kind in FLOATS:
                return f"as<{cpp}>({bits})"
            return bits if cpp in ("uint32_t", "uint64_t") else f"static_cast<{cpp}>({bits})"
        if symbol := self.symbol(text):
            return f"static_cast<{cpp}>({symbol})"
        raise Refusal(f"operand {text}")

    def write(self, register: str, value: str, kind: str) -> str:
        """A value narrower than its register is extended as its type says."""
        if register == "_":
            return f"(void)({value});"
        if register not in self.registers:
            raise Refusal(f"operand {register}")
        declared, name, cpp = self.registers[register], identifier(register), CPP[kind]
        if declared in FLOATS or kind in FLOATS:
            if CPP[declared] == cpp:
                return f"{name} = {value};"
            return f"{name} = as<{CPP[declared]}>(static_cast<{cpp}>({value}));"
        return f"{name} = static_cast<{cpp}>({value});"

    def site(self, instruction: Instruction) -> str:
        key = (instruction.opcode, instruction.place)
        return f"SITES[{self.sites.setdefault(key, len(self.sites))}]"

    def address(self, text: str, m: Match, cpp: str, count: int = 1) -> str:
        """A pointer to `count` elements, checked."""
        match = re.fullmatch(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\w+))?\s*\]", text)
        if not match:
            raise Refusal(f"address {text}")
        base, offset = match[1], int(match[2] or "0", 0)
        space = (m.words.get("space") or m.words.get("plain") or "").partition(":")[0]
        if space == "param" and base in self.parameters:
            return f"at<const {cpp}>(parameters + {self.parameters[base] + offset})"
        if space == "param" and base in self.locals:
            return f"at<{cpp}>({identifier(base)} + {offset})"
        if space == "shared" or (m.instruction.opcode.startswith("cp.async") and text == m.texts["a"]):
            where = self.symbol(base) or self.read(base, "u32")
            return f"shared.at<{cpp}, {count}>({where} + {offset & 0xFFFFFFFF}u, {self.site(m.instruction)})"
        where = f"static_cast<uint64_t>({self.symbol(base)})" if self.symbol(base) else self.read(base, "u64")
        return f"memory<{cpp}, {count}>({where} + {offset & (1 << 64) - 1}ull, {self.site(m.instruction)})"

    # ---- what a row's C++ cannot say

    def load(self, m: Match) -> str:
        names = split_list(m.texts["d"].strip("{}"))
        at = self.address(m.texts["a"], m, CPP[m.type], len(names))
        if len(names) == 1:
            return self.write(names[0], f"*{at}", m.type)
        values = "".join(f" {self.write(name, f'from[{i}]', m.type)}" for i, name in enumerate(names))
        return f"{{ const auto* from = {at};{values} }}"

    def store(self, m: Match) -> str:
        names = split_list(m.texts["b"].strip("{}"))
        at = self.address(m.texts["a"], m, CPP[m.type], len(names))
        if len(names) == 1:
            return f"*{at} = {self.read(names[0], m.type)};"
        values = "".join(f" to[{i}] = {self.read(name, m.type)};" for i, name in enumerate(names))
        return f"{{ auto* to = {at};{values} }}"

    def unpack(self, m: Match) -> str:
        names = split_list(m.texts["d"].strip("{}"))
        part = BITS[m.type] // len(names)
        values = (self.write(name, f"whole >> {part * i}", f"b{part}") for i, name in enumerate(names) if name != "_")
        return f"{{ const {CPP[m.type]} whole = {self.read(m.texts['a'], m.type)}; {' '.join(values)} }}"

    def pack(self, m: Match) -> str:
        names = split_list(m.texts["a"].strip("{}"))
        part, cpp = BITS[m.type] // len(names), CPP[m.type]
        values = (f"static_cast<{cpp}>({self.read(n, f'b{part}')}) << {part * i}" for i, n in enumerate(names))
        return self.write(m.texts["d"], " | ".join(values), m.type)

    def set(self, m: Match, cpp: str) -> str:
        first, _, second = m.texts["d"].partition("|")
        a, b = (self.read(m.texts[name], m.type) for name in "ab")
        if "ftz" in m.words:
            a, b = f"flush({a})", f"flush({b})"
        value, opposite = Template(cpp).substitute(a=a, b=b), ""
        if not second and "logical" not in m.words:
            return self.write(first, value, "pred")
        if "logical" in m.words:
            sign = {"and": "&", "or": "|", "xor": "^"}[m.words["logical"]]
            opposite = f" {sign} static_cast<bool>({self.read(m.texts['c'], 'pred')})"
        results = self.write(first, f"yes{opposite}", "pred")
        if second:
            results += " " + self.write(second, f"!yes{opposite}", "pred")
        return f"{{ const bool yes = {value}; {results} }}"

    def convert_integer(self, m: Match) -> str:
        value = self.read(m.texts["a"], m.words["from"])
        if "sat" in m.words:
            value = f"clamp_to<{CPP[m.words['to']]}>({value})"
        return self.write(m.texts["d"], value, m.words["to"])

    def call(self, m: Match) -> str:
        texts = [m.texts[name] for name in "abc" if name in m.texts]
        results = split_list(texts.pop(0).strip("()")) if texts[0].startswith("(") else []
        arguments = split_list(texts[1].strip("()")) if len(texts) > 1 else []
        return f"{identifier(texts[0])}({', '.join(identifier(name.strip()) for name in results + arguments)});"

    def barrier(self, m: Match) -> str:
        if m.instruction.operands != ["0"]:
            raise Refusal("a barrier other than 0")
        return f"simt::barrier({self.site(m.instruction)});"

    def shuffle(self, m: Match) -> str:
        d, _, p = m.texts["d"].partition("|")
        value, b, c, mask = (self.read(m.texts[name], "u32") for name in ("a", "b", "c", "mask"))
        call = f"shuffle(Shuffle::{m.words['shuffle']}, {value}, {b}, {c}, {mask}, {self.site(m.instruction)})"
        found = f" {self.write(p, 'result.in_range', 'pred')}" if p else ""
        return f"{{ const auto result = {call}; {self.write(d, 'result.value', 'b32')}{found} }}"

    def matrices(self, m: Match) -> str:
        return f"{m.words['matrices'][1]}, {'true' if '.trans.' in m.instruction.opcode else 'false'}"

    def load_matrices(self, m: Match) -> str:
        names = split_list(m.texts["d"].strip("{}"))
        call = f"load_matrices<{self.matrices(m)}>({self.row(m)}, {self.site(m.instruction)})"
        values = "".join(f" {self.write(name, f'm.pair[{i}]', 'b32')}" for i, name in enumerate(names))
        return f"{{ const auto m = {call};{values} }}"

    def store_matrices(self, m: Match) -> str:
        pairs = ", ".join(self.read(name, "b32") for name in split_list(m.texts["b"].strip("{}")))
        return f"store_matrices<{self.matrices(m)}>({self.row(m)}, {{{{{pairs}}}}}, {self.site(m.instruction)});"

    def row(self, m: Match) -> str:
        """The address of a matrix' row, checked by the warp for the lanes whose address counts."""
        base, _, offset = m.texts["a"].strip("[] ").partition("+")
        where = self.symbol(base.strip()) or self.read(base.strip(), "u32")
        return f"shared, {where} + {int(offset or '0', 0) & 0xFFFFFFFF}u"

    def mma(self, m: Match) -> str:
        lists = {name: split_list(text.strip("{}")) for name, text in m.texts.items()}
        bits = {name: ", ".join(self.read(text, "b32") for text in lists[name]) for name in "ab"}
        sums = ", ".join(self.read(text, "f32") for text in lists["c"])
        shape, factor = re.search(r"m16n8k(\d+).*\.f32\.(\w+)\.", m.instruction.opcode).groups()
        call = f"multiply_add<{shape}, Factor::{factor}>({{{{{sums}}}, {{{bits['a']}}}, {{{bits['b']}}}}}, "
        values = "".join(f" {self.write(text, f'm.sum[{i}]', 'f32')}" for i, text in enumerate(lists["d"]))
        return f"{{ const auto m = {call}{self.site(m.instruction)});{values} }}"

    def copy_async(self, m: Match) -> str:
        size, hint = int(m.texts["n"]), ".cache_hint" in m.instruction.opcode
        given = [m.texts[name] for name in ("m", "policy") if name in m.texts][: -1 if hint else None]
        valid = self.read(given[0], "u32") if given else f"{size}u"
        if given and self.registers.get(given[0].lstrip("!")) == "pred":  # ignore-src
            valid = f"({self.read(given[0], 'pred')} ? 0u : {size}u)"
        to = self.address(m.texts["a"], m, "char", size)
        base = re.fullmatch(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\w+))?\s*\]", m.texts["b"])
        source = f"{self.read(base[1], 'u64')} + {int(base[2] or '0', 0) & (1 << 64) - 1}ull"
        return f"copy_async<{size}>({to}, {source}, {valid}, {self.site(m.instruction)});"

    # ---- statements

    def value(self, m: Match, operand: Operand) -> str:
        kind, text = m.type_of(operand), m.texts[operand.name]
        if operand.kind == "text":
            return identifier(text) if operand.name == "a" else text
        if operand.kind == "address":
            return self.address(text, m, CPP[m.type])
        value = self.read(text, kind)
        return f"flush({value})" if "ftz" in m.words and kind == "f32" else value

    def instruction(self, instruction: Instruction) -> str:
        m = find_row(instruction)
        handler, _, rest = m.row.cpp.partition(" ")
        if handler.startswith("@"):
            method = getattr(self, handler[1:])
            return method(m, rest) if rest else method(m)
        names: dict[str, str] = {name: CPP.get(word, word) for name, word in m.words.items()}
        names |= {"T": CPP.get(m.type, ""), "site": self.site(instruction) if "$site" in m.row.cpp else ""}
        names["WU"] = CPP.get(f"u{2 * BITS.get(m.type, 0)}", "")
        result = None
        for operand in m.row.operands:
            if operand.name == "d":
                result = operand
            elif operand.name in m.texts:
                names[operand.name] = self.value(m, operand)
        cpp = Template(m.row.cpp).substitute(names)
        if result is None:
            return cpp
        kind = m.type_of(result)
        if "sat" in m.words and kind in FLOATS:
            cpp = f"saturate({cpp})"
        if "ftz" in m.words and kind == "f32":
            cpp = f"flush({cpp})"
        if "relu" in m.words:
            cpp = f"relu_bf16<{CPP[kind]}>({cpp})"
        return self.write(m.texts["d"], cpp, kind)

    def declare(self, variable: Variable) -> str:
        name = identifier(variable.name)
        if variable.space == "reg":
            cpp = CPP[variable.type]
            if variable.count is None:
                self.registers[variable.name] = variable.type
                return f"{cpp} {name};"
            self.registers |= {f"{variable.name}{i}": variable.type for i in range(variable.count)}
            return f"{cpp} {', '.join(f'{name}{i}' for i in range(variable.count))};" if variable.count else ""
        if variable.space == "shared":
            return ""
        if variable.space not in ("param", "local"):
            raise Refusal(f"a variable in .{variable.space}: {variable.name}")
        self.locals.add(variable.name)
        return f"alignas(16) char {name}[{variable.bytes}];"

    def lines(self) -> list[str]:
        """With the lines of the CUDA source, for what names lines: sanitizers, debuggers."""
        lines, place = [], Place("", 0)
        for statement in self.function.body:
            if isinstance(statement, Instruction) and statement.place != place:
                place = statement.place
                lines.append(f'#line {place.line} "{place.file}"')
            if isinstance(statement, Label):
                lines.append(f"{identifier(statement.name)}:;")
            elif isinstance(statement, Scope):
                lines.append(f"  {statement.text}")
            elif isinstance(statement, Variable):
                lines.append(f"  {self.declare(statement)}")
            else:
                try:
                    code = self.instruction(statement)
                    if statement.guard:
                        code = f"if ({self.read(statement.guard, 'pred')}) {{ {code} }}"
                except Refusal as refusal:
                    place = statement.place
                    raise Refusal(f"{refusal}: {statement.text} ({place.file}:{place.line})") from None
                lines.append(f"  {code}")
        return lines


# ---- files


def limits_by_name(ptxas: str) -> dict[str, int]:
    """Registers of a thread, from what `ptxas -v` says."""
    pattern = r"Compiling entry function '(\S+)'.*?Used (\d+) registers"
    return {name: int(count) for name, count in re.findall(pattern, ptxas, re.DOTALL)}


def head_size(name: str) -> int | None:
    """Of an attention kernel that is compiled for one: its first integer template argument."""
    match = re.match(r"_ZN\w*?\d+attention_\w*?Li(\d+)E", name)
    return int(match[1]) if match else None


def definition(variable: Variable) -> str:
    """Of a constant array."""
    suffix = {32: "u", 64: "ull"}.get(BITS[variable.type], "")
    values = ", ".join(value + suffix for value in variable.values)
    constant = "const " if variable.space == "const" or variable.values else ""
    array = f"[{variable.count}]" if variable.count is not None else ""
    return (
        f"alignas({variable.align}) {constant}{CPP[variable.type]} {identifier(variable.name)}{array} = {{{values}}};"
    )


def translate(module: Module, registers: dict[str, int], head_sizes: set[int] | None) -> tuple[str, dict[str, int]]:
    """The C++, and the number of entries, entries left out, and instructions."""
    sites: dict[tuple[str, Place], int] = {}
    functions, entries, counts = [], [], {"entries": 0, "left out": 0, "instructions": 0}
    declarations = [definition(v) for v in module.variables if v.space in ("global", "const")]
    for i, function in enumerate(module.functions):
        try:
            if not function.entry:
                arguments = ", ".join(f"char* {identifier(v.name)}" for v in function.results + function.parameters)
                head = f"void {identifier(function.name)}({arguments})"
                if head + ";" not in declarations:
                    declarations.append(head + ";")
                if function.body is None:
                    continue
            left_out = function.entry and head_sizes is not None and head_size(function.name) not in {None, *head_sizes}
            counts["entries"] += function.entry
            counts["left out"] += left_out
            if left_out:
                entries.append(f'const ptx::Entry entry_{i}{{"{function.name}"}};')
                continue
            body = Body(function, module, sites)
            lines = body.lines()
        except Refusal as refusal:
            raise Refusal(f"{function.name}: {refusal}") from None
        counts["instructions"] += sum(isinstance(s, Instruction) for s in function.body)
        if function.entry:
            head = f"void kernel_{i}(const char* parameters)"
            places = ", ".join(f"{{{body.parameters[v.name]}, {v.bytes}}}" for v in function.parameters)
            threads = function.limits.get("maxntid") or function.limits.get("reqntid") or [1024]
            most = threads[0] * (threads[1] if len(threads) > 1 else 1) * (threads[2] if len(threads) > 2 else 1)
            used = registers.get(function.name, 0)
            entries.append(
                f'const ptx::Entry entry_{i}{{"{function.name}", kernel_{i}, {{{places}}}, '
                f"{body.parameter_bytes}, {most}, {used}, {body.static_shared}}};"
            )
        functions += [head + " {", "  const Shared shared;", "  uint32_t carry = 0;", *lines, "}"]
    names = (f'    {{"{opcode}", "{place.file}", {place.line}}},' for opcode, place in sites)
    text = [
        '#include "test/ptx/warp.h"',
        "namespace {",
        "using namespace ptx;",
        "const simt::Site SITES[] = {",
        *names,
        '    {"", "", 0}};',
        *declarations,
        *functions,
        *entries,
        "}  // namespace",
    ]
    return "\n".join(text) + "\n", counts


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("ptx", type=Path)
    arguments.add_argument("--ptxas", type=Path, help="what `ptxas -v` said: the registers of every kernel")
    arguments.add_argument("--head-sizes", help="translate no attention kernel of another head size than these: 16,64")
    arguments.add_argument("--out", type=Path, required=True)
    args = arguments.parse_args()
    registers = limits_by_name(args.ptxas.read_text()) if args.ptxas else {}
    sizes = {int(size) for size in args.head_sizes.split(",")} if args.head_sizes else None
    try:
        text, counts = translate(parse(args.ptx.read_text()), registers, sizes)
    except Refusal as refusal:
        print(f"{args.ptx}: {refusal}", file=sys.stderr)
        return 1
    args.out.write_text(text)
    print(f"{args.ptx}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
