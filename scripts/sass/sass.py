#!/usr/bin/env python3
"""Counts the instructions of the CUDA kernels that nvcc has built.

scripts/sass/sass.py build/cuda-sm_90a            prints the counts of a tile or a pack, kernel by kernel
"""

from __future__ import annotations

import argparse
import shutil
import sys
import sysconfig
from pathlib import Path

import counts

NO_DISASSEMBLER = 77  # exit code: there is nothing to count with


def find_cuobjdump() -> str | None:
    """On PATH, in the CUDA toolkit, or of the Python package nvidia-cuda-cuobjdump."""
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    places = [shutil.which("cuobjdump"), "/usr/local/cuda/bin/cuobjdump", *packages.glob("cu*/bin/cuobjdump")]
    return next((str(place) for place in places if place and Path(place).exists()), None)


def print_counts(kernels: dict[str, counts.Kernel], only: str) -> None:
    columns = ["instructions", "hmma", "ldsm", "lds", "sts", "ldgsts", "mufu", "shared_cycles"]
    print(f"{'kernel':58} {'part':6} regs spill <4B  " + " ".join(f"{c:>8.8}" for c in columns))
    for name, kernel in kernels.items():
        if only not in name:
            continue
        head = f"{kernel.registers:4} {kernel.spill_bytes:5} {kernel.narrow_stores:3}  "
        for part, mix in kernel.parts.items() or [("", None)]:
            cells = " ".join(f"{getattr(mix, c):8g}" for c in columns) if mix else ""
            print(f"{name:58} {part:6} {head}{cells}".rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="folder of nvcc's objects")
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels whose name contains it")
    parser.add_argument("--cuobjdump", metavar="FILE", help="of the CUDA toolkit, or PyPI's nvidia-cuda-cuobjdump")
    args = parser.parse_args()
    cuobjdump = args.cuobjdump or find_cuobjdump()
    if not cuobjdump:
        print("skipped: no cuobjdump: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm", file=sys.stderr)
        return NO_DISASSEMBLER
    print_counts(counts.read_folder(cuobjdump, args.build), args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
