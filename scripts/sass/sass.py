#!/usr/bin/env python3
"""Counts the instructions of the CUDA kernels that nvcc has built.

  scripts/sass/sass.py build/cuda-sm_90a                            prints the counts of a tile or a pack
  scripts/sass/sass.py build/cuda-sm_90a --table DIR                compares them with DIR/counts.json
  scripts/sass/sass.py build/cuda-sm_90a --table DIR --update       writes DIR/counts.json, DIR/README.md, README.md

The comparison ends with a line `N passed, M failed, K skipped`; exit code 1 where a count is worse than in the table.
It is skipped where there is no cuobjdump, or where the objects are another compiler's, whose instructions are others.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import counts
import table

import model

PASSED, FAILED, SKIPPED = (
    "1 passed, 0 failed, 0 skipped",
    "0 passed, 1 failed, 0 skipped",
    "0 passed, 0 failed, 1 skipped",
)


def find_cuobjdump() -> str | None:
    """On PATH, in the CUDA toolkit, or of the Python package nvidia-cuda-cuobjdump."""
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    places = [shutil.which("cuobjdump"), "/usr/local/cuda/bin/cuobjdump", *packages.glob("cu*/bin/cuobjdump")]
    return next((str(place) for place in places if place and Path(place).exists()), None)


def version_of(cuobjdump: str) -> str:
    said = subprocess.run([cuobjdump, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"V([0-9.]+)", said)
    return f"cuobjdump {found[1] if found else 'of an unknown version'}"


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


def check(old: dict, new: dict) -> str:
    """Says what differs from the table, and returns the last line."""
    if old["compiler"] != new["compiler"] or old["arch"] != new["arch"]:
        print(f"skipped: the table is of {old['compiler']} for {old['arch']}, the objects are of {new['compiler']}")
        return SKIPPED
    changes = table.compare(table.kernels_of(old), table.kernels_of(new))
    worse = [change for change in changes if change.worse]
    for change in changes:
        if not change.worse:
            print(f"differs: {change}")
    for change in worse:
        print(f"WORSE: {change}")
    if worse:
        print(f"{len(worse)} counts are worse than in the table; where that is meant: make sass UPDATE=1")
        return FAILED
    if changes or old["predicted"] != new["predicted"]:
        print("nothing is worse, but the table is stale: make sass UPDATE=1")
    else:
        print(f"{len(new['kernels'])} kernels, all counts as in the table")
    return PASSED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="folder of nvcc's objects, build/cuda-sm_90a")
    parser.add_argument("--only", default="", metavar="TEXT", help="print kernels whose name contains it")
    parser.add_argument("--table", type=Path, metavar="DIR", help="folder of counts.json and README.md")
    parser.add_argument("--update", action="store_true", help="write the table")
    parser.add_argument("--cuobjdump", metavar="FILE", help="of the CUDA toolkit, or PyPI's nvidia-cuda-cuobjdump")
    args = parser.parse_args()
    cuobjdump = args.cuobjdump or find_cuobjdump()
    if not cuobjdump:
        print("skipped: no cuobjdump; it is in the CUDA toolkit, or: pip install nvidia-cuda-cuobjdump and -nvdisasm")
        print(SKIPPED)
        return 0
    try:
        kernels, compiler = counts.read_folder(cuobjdump, args.build)
    except FileNotFoundError as missing:
        print(f"error: {missing}", FAILED, sep="\n")
        return 1
    if args.table is None:
        print_counts(kernels, args.only)
        return 0
    arch = args.build.name.removeprefix("cuda-")
    try:
        for name in model.unlisted(kernels):
            print(f"{name}: not among the launches that scripts/sass/model.py takes a step for")
        new = json.loads(table.dump(table.document(kernels, compiler, version_of(cuobjdump), arch)))
    except model.MissingKernel as missing:
        print(f"error: {missing}", FAILED, sep="\n")
        return 1
    file = args.table / table.JSON_FILE
    if args.update:
        args.table.mkdir(parents=True, exist_ok=True)
        file.write_text(table.dump(new), encoding="utf-8")
        (args.table / table.PAGE).write_text(table.page(new), encoding="utf-8")
        readme = model.ROOT / "README.md"
        readme.write_text(table.with_readme_table(readme.read_text(encoding="utf-8"), new), encoding="utf-8")
        print(f"wrote {file}, {args.table / table.PAGE} and README.md's table: {len(kernels)} kernels")
        return 0
    try:
        verdict = check(json.loads(file.read_text(encoding="utf-8")), new)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"error: {file}: no table of counts ({error!r}); make sass UPDATE=1 writes one", FAILED, sep="\n")
        return 1
    print(verdict)
    return verdict == FAILED


if __name__ == "__main__":
    sys.exit(main())
