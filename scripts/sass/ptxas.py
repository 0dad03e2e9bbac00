#!/usr/bin/env python3
"""What ptxas said of every kernel: registers, spills, warnings. Fails on a warning and on a spill.

scripts/sass/ptxas.py build/cuda-sm_90a [...]     (folders that the Makefile's nvcc rules wrote *.ptxas into)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Kernel(NamedTuple):
    symbol: str
    name: str
    registers: int  # 0: a function that is not inlined
    stack_bytes: int  # local memory of a thread
    spill_bytes: int  # stored and loaded


def readable(symbol: str) -> str:
    """A kernel's name and template arguments, no namespaces, no parameters: "gelu_forward_kernel<bf16, Gelu 1>"."""
    name = symbol.replace("__nv_bfloat16", "bf16").replace("gpu::", "").removeprefix("void ")
    name = re.sub(r"\((\w+)\)(\d+)", r"\1 \2", name)  # a value of an enumeration
    return re.sub(r"\(.*$", "", name).replace("> >", ">>")


def demangle(names: list[str]) -> list[str]:
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [readable(line) for line in text.splitlines()]


def read(path: Path) -> tuple[list[Kernel], list[str]]:
    """Kernels and warnings of one compilation."""
    registers: dict[str, int] = {}
    spills: dict[str, int] = {}
    stacks: dict[str, int] = {}
    warnings = []
    function = kernel = ""
    for line in path.read_text().splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = found[1]
        elif found := re.search(r"Function properties for (\w+)", line):  # kernels, and functions that are not inlined
            function = found[1]
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spills[function] = spills.get(function, 0) + int(found[1]) + int(found[2])
            if found := re.search(r"(\d+) bytes stack frame", line):
                stacks[function] = int(found[1])
        elif found := re.search(r"Used (\d+) registers", line):
            registers[kernel] = int(found[1])
        elif "warning" in line.lower():
            warnings.append(f"{path}: {line.strip()}")
    if not set(registers) <= set(spills):
        raise ValueError(f"{path}: kernels without a line on spills; was it compiled with -Xptxas -v?")
    names = sorted(spills)
    return [
        Kernel(name, readable, registers.get(name, 0), stacks.get(name, 0), spills[name])
        for name, readable in zip(names, demangle(names))
    ], warnings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    failed = 0
    for folder in parser.parse_args().folders:
        files = sorted(folder.rglob("*.ptxas"))
        if not files:
            print(f"error: {folder}: no *.ptxas below it; build with `make train_gpt ARCH=..` first", file=sys.stderr)
            return 3
        kernels, warnings = [], []
        for path in files:
            more, said = read(path)
            kernels += more
            warnings += said
        print(
            f"{folder}: {sum(k.registers > 0 for k in kernels)} kernels, most registers "
            f"{max((k.registers for k in kernels), default=0)}"
        )
        for k in sorted(kernels, key=lambda k: -k.registers):
            if k.spill_bytes:
                failed += 1
                print(f"  SPILLS {k.spill_bytes} bytes, {k.registers} registers: {k.name}")
        for warning in warnings:
            print(f"  {warning}")
        failed += len(warnings)
    print("no spills, no warnings" if failed == 0 else f"{failed} kernels spill or warnings", flush=True)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
