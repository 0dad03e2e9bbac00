#!/usr/bin/env python3
"""Runs every test suite of a build and adds them up; the last line is `N passed, M failed, K skipped`.

Suites: the Catch2 binary (BUILD/run_tests); the kernel tests, the CUDA kernels on the CPU (build/simt for build/release,
build/simt-asan for build/asan) and, where there is a GPU, natively; the unittests of test/python and those of test/e2e, which
find the programs under test through the environment variables KNAPSACK_BUILD and KNAPSACK_SIMT. Lines of tests that pass are
not shown.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SUITES = ["cpp", "kernels", "python", "e2e"]


class Counts(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def simt_folder(build: Path) -> Path:
    return build.parent / ("simt" if build.name == "release" else f"simt-{build.name}")


def run(command: list[str], build: Path, cuda: Path) -> tuple[int, list[str]]:
    """Runs a command, shows its lines as they come (but those of passing tests), returns exit code and lines."""
    environment = dict(os.environ, KNAPSACK_BUILD=str(build), KNAPSACK_SIMT=str(cuda))
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if not line.rstrip().endswith("... ok"):
            print(line, end="", flush=True)
    return process.wait(), lines


def catch2_counts(lines: list[str]) -> Counts | None:
    for line in reversed(lines):
        match = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", line.strip())
        if match:
            return Counts(*(int(group or 0) for group in match.groups()))
    return None


def unittest_counts(lines: list[str]) -> Counts | None:
    text = "\n".join(lines)
    ran = re.findall(r"^Ran (\d+) tests? in", text, re.MULTILINE)
    verdict = re.findall(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", text, re.MULTILINE)
    if not ran or not verdict:
        return None
    numbers = {key: int(value) for key, value in re.findall(r"([a-z ]+)=(\d+)", verdict[-1])}
    numbers = {key.strip(): value for key, value in numbers.items()}
    failed = sum(numbers.get(key, 0) for key in ("failures", "errors", "unexpected successes"))
    skipped = numbers.get("skipped", 0)
    return Counts(max(0, int(ran[-1]) - failed - skipped), failed, skipped)


def run_suite(name: str, command: list[str], build: Path, parse, cuda: Path | None = None) -> Counts:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    code, lines = run(command, build, cuda or simt_folder(build))
    counts = parse(lines)
    if counts is None or (code != 0 and counts.failed == 0):
        print(f"{name}: ended with code {code} without counting its tests")
        counts = Counts(counts.passed if counts else 0, 1, counts.skipped if counts else 0)
    print(f"   {name}: {counts} in {time.monotonic() - start:.0f} s", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="folder of run_tests and the programs")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=SUITES, help="not all suites")
    args = parser.parse_args()
    build = args.build.resolve()

    results = []
    if "cpp" in args.only:
        results.append(run_suite("unit tests", [str(build / "run_tests")], build, catch2_counts))
    if "kernels" in args.only:
        binary = simt_folder(build) / "run_kernel_tests"
        if binary.exists():
            results.append(run_suite("CUDA kernels on the CPU", [str(binary)], build, catch2_counts))
        else:
            print("skipped: CUDA kernels on the CPU: not built, the CUDA toolkit's headers are not here")
            results.append(Counts(skipped=1))
        native = sorted(ROOT.glob("build/cuda-sm_*/run_kernel_tests"), key=lambda path: path.stat().st_mtime)
        if native and build.name == "release" and shutil.which("nvidia-smi"):
            results.append(run_suite("CUDA kernels on the GPU", [str(native[-1]), "[kernels]"], build, catch2_counts))
            if (native[-1].parent / "train_gpt").exists():  # the whole-run tests of build/simt, on the GPU
                command = [sys.executable, "-m", "unittest", "discover", "-v", "-s", str(ROOT / "test/e2e"), "-p", "test_cuda_on_cpu.py"]
                results.append(run_suite("CUDA programs on the GPU", command, build, unittest_counts, native[-1].parent))
        else:
            print("skipped: CUDA kernels on the GPU: there is none")
            results.append(Counts(skipped=1))
    for name in ("python", "e2e"):
        folder = ROOT / "test" / name
        if name in args.only and any(folder.glob("test*.py")):
            command = [sys.executable, "-m", "unittest", "discover", "-v", "-s", str(folder)]
            results.append(run_suite(f"test/{name}", command, build, unittest_counts))
    total = Counts(*(sum(column) for column in zip(*results)))
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
