#!/usr/bin/env python3
"""Runs every test suite of a build and adds them up; the last line is `N passed, M failed, K skipped`.

Suites: the Catch2 binary (BUILD/run_tests); the kernel tests, the CUDA kernels on the CPU (build/simt for
build/release, build/simt-asan for build/asan) and, where there is a GPU, natively; the unittests of test/python and
those of test/e2e, which find the programs under test through the environment variables KNAPSACK_BUILD and
KNAPSACK_SIMT (a sanitizer's build runs those marked @under_sanitizers); the style of the sources; if asked for, the
objects that nvcc made on the CPU (KNAPSACK_PTX, else build/ptx; `make ptx` builds them). Parts of suites run side by
side, --jobs of them, and share the cores; what a part says is shown when it is over, without the lines of tests that
pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SUITES = ["cpp", "kernels", "python", "e2e", "style", "ptx"]


class Counts(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def simt_folder(build: Path) -> Path:
    return build.parent / ("simt" if build.name == "release" else f"simt-{build.name}")


def run(command: list[str], build: Path, cuda: Path) -> tuple[int, list[str], float]:
    """Runs a command, returns exit code, lines, and CPU seconds of it and of the processes that it waited for."""
    environment = dict(os.environ, KNAPSACK_BUILD=str(build), KNAPSACK_SIMT=str(cuda))
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process.stdout:
        lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it is waited for, which Popen would not know
    return process.returncode, lines, usage.ru_utime + usage.ru_stime


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


class Part(NamedTuple):
    """A process that counts its tests."""

    name: str
    command: list[str]
    counts: Callable[[list[str]], Counts | None]
    cuda: Path


printing = threading.Lock()


def run_part(part: Part, build: Path) -> Counts:
    start = time.monotonic()
    code, lines, cpu = run(part.command, build, part.cuda)
    counts = part.counts(lines)
    with printing:
        print(f"== {part.name}")
        print("".join(f"{line}\n" for line in lines if not line.endswith("... ok")), end="")
        if counts is None or (code != 0 and counts.failed == 0):
            print(f"{part.name}: ended with code {code} without counting its tests")
            counts = Counts(counts.passed if counts else 0, 1, counts.skipped if counts else 0)
        seconds = time.monotonic() - start
        print(f"   {part.name}: {counts} in {seconds:.0f} s ({cpu:.0f} CPU seconds)", flush=True)
    return counts


def python_parts(folder: Path, cuda: Path, marked: str = "") -> list[Part]:
    """The test files of a folder that contain `marked`; the largest, taken for the one that takes longest, first."""
    files = [file for file in folder.glob("test*.py") if marked in file.read_text(encoding="utf-8")]
    discover = [sys.executable, "-m", "unittest", "discover", "-v", "-s", str(folder), "-p"]
    return [
        Part(f"test/{folder.name}/{file.name}", [*discover, file.name], unittest_counts, cuda)
        for file in sorted(files, key=lambda file: file.stat().st_size, reverse=True)
    ]


def find_parts(suites: list[str], build: Path) -> tuple[list[Part], int]:
    """What there is to run, what takes longest first, and the number of suites that cannot run here."""
    simt, parts, skipped = simt_folder(build), [], 0
    e2e = ROOT / "test/e2e"
    sanitized = build.name.endswith(("asan", "tsan"))
    if "kernels" in suites:
        if (binary := simt / "run_kernel_tests").exists():
            parts.append(Part("CUDA kernels on the CPU", [str(binary)], catch2_counts, simt))
        else:
            print("skipped: CUDA kernels on the CPU: not built, the CUDA toolkit's headers are not here")
            skipped += 1
        native = sorted(ROOT.glob("build/cuda-sm_*/run_kernel_tests"), key=lambda path: path.stat().st_mtime)
        if native and build.name == "release" and shutil.which("nvidia-smi"):
            parts.append(Part("CUDA kernels on the GPU", [str(native[-1]), "[kernels]"], catch2_counts, simt))
            if (native[-1].parent / "train_gpt").exists():  # the whole-run tests of build/simt, on the GPU
                whole = next(part for part in python_parts(e2e, native[-1].parent) if "cuda_on_cpu" in part.name)
                parts.append(whole._replace(name="CUDA programs on the GPU"))
        else:
            print("skipped: CUDA kernels on the GPU: there is none")
            skipped += 1
    if "ptx" in suites:
        if (binary := Path(os.environ.get("KNAPSACK_PTX", ROOT / "build/ptx")) / "run_kernel_tests").exists():
            parts.append(Part("CUDA kernels from nvcc's PTX", [str(binary)], catch2_counts, simt))
            parts += python_parts(ROOT / "test/ptx", simt)
        else:
            print("skipped: CUDA kernels from nvcc's PTX: not built, there is no nvcc")
            skipped += 1
    if "e2e" in suites:
        parts += python_parts(e2e, simt, marked="@under_sanitizers" if sanitized else "")
    if "cpp" in suites:
        # how often or how exactly a claim holds takes long repetitions of what other tests do in short
        left_out = ["~[frequencies]~[.]"] if sanitized else []
        parts.append(Part("unit tests", [str(build / "run_tests"), *left_out], catch2_counts, simt))
    if "python" in suites:
        parts += python_parts(ROOT / "test/python", simt)
    if "style" in suites:
        parts.append(Part("style", [sys.executable, str(ROOT / "scripts/check_style.py")], catch2_counts, simt))
    return parts, skipped


def main() -> int:
    # nohup, and shells that start us in the background, have these ignored; the programs under test would inherit it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0))
    build_help = "folder of run_tests and the programs"
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", metavar="DIR", help=build_help)
    only_help = "these suites (default: all but ptx)"
    parser.add_argument("--only", nargs="+", choices=SUITES, default=SUITES[:-1], help=only_help)
    jobs_help = "parts at a time (default: all cores)"
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help=jobs_help)
    args = parser.parse_args()
    build, jobs = args.build.resolve(), max(1, args.jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    parts, skipped = find_parts(args.only, build)
    with ThreadPoolExecutor(jobs) as pool, tempfile.TemporaryDirectory() as shared:
        os.environ["KNAPSACK_TEST_SHARED"] = shared  # what the Python suites make once: test/python/support.py
        results = [Counts(skipped=skipped), *pool.map(lambda part: run_part(part, build), parts)]
    total = Counts(*(sum(column) for column in zip(*results)))
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
