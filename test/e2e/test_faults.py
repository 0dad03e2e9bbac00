"""Every system call and allocation that a short run depends on is made to fail once, in the manner of SQLite's tests.

The run has two sources, evaluations, answers and checkpoints. After each failure it ends with a documented exit code
and a sentence, or goes on; the next start with --resume then ends with the bytes of an undisturbed run. The library
that fails the n-th call is test/faults/fail_call.cpp. As a test a seeded sample is taken; all of them, by hand:

    python3 test/e2e/test_faults.py --every 1 alloc=20
"""

from __future__ import annotations

import argparse
import collections
import errno
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from common import BUILD, ROOT, TRAIN, make_data, metrics_without_time, small_run

ERRNO = {
    "write": errno.ENOSPC,
    "fsync": errno.EIO,
    "rename": errno.ENOSPC,
    "mmap": errno.ENOMEM,
    "alloc": errno.ENOMEM,
    "open": errno.EIO,
    "read": errno.EIO,
    "close": errno.EIO,
    "stat": errno.EIO,
    "truncate": errno.EIO,
    "mkdir": errno.ENOSPC,
    "remove": errno.EIO,
    "list": errno.EIO,
    "thread": errno.EAGAIN,
}
STEPS = 8
SCENARIOS = ("fresh", "resumed")  # what the failing life is: the first, or one that goes on from a checkpoint
SAMPLE = {"write": 2, "alloc": 2}  # calls of a kind and scenario in the test; 1 of the others


class Injector:
    """Runs of one set of flags in a folder of its own, with and without a failing call."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.library = folder / "fail_call.so"
        source = ROOT / "test/faults/fail_call.cpp"
        subprocess.run(
            ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(self.library), str(source), "-ldl"], check=True
        )
        make_data(folder)
        self.flags = [
            *small_run(folder, steps=STEPS),
            *("--micro-batch", "4", "--checkpoint-at", "every:3", "--eval-at", "every:3,end", "--per-question", "on"),
        ]
        self.whole = folder / "whole"
        done = self.life(self.whole)
        assert done.returncode == 0, done.stderr
        # a life that ended after the checkpoint of step 3: what a resumed run starts from
        self.begun = folder / "begun"
        shutil.copytree(self.whole, self.begun)
        (self.begun / "DONE").unlink()
        for checkpoint in (self.begun / "checkpoints").iterdir():
            if checkpoint.name != "step_00000003":
                shutil.rmtree(checkpoint)

    def life(self, out: pathlib.Path, **variables: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "2000", **variables}
        command = [str(TRAIN), *self.flags, "--keep", "0", "--out", str(out), "--resume"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    def prepare(self, scenario: str) -> pathlib.Path:
        out = self.folder / "run"
        shutil.rmtree(out, ignore_errors=True)
        if scenario == "resumed":
            shutil.copytree(self.begun, out)
        return out

    def counts(self, scenario: str) -> dict[str, int]:
        """How often each call is made in an undisturbed life."""
        file = self.folder / "counts.txt"
        done = self.life(self.prepare(scenario), LD_PRELOAD=str(self.library), COUNT_CALLS=str(file))
        assert done.returncode == 0, done.stderr
        return {name: int(number) for name, number in (line.split() for line in file.read_text().splitlines())}

    def fail(self, scenario: str, call: str, number: int) -> tuple[int, str]:
        """Exit code of the disturbed life, and what is wrong with it or with the next one ("": nothing)."""
        out = self.prepare(scenario)
        done = self.life(
            out,
            LD_PRELOAD=str(self.library),
            FAIL_CALL=call,
            FAIL_NUMBER=str(number),
            FAIL_ERRNO=str(ERRNO[call]),
        )
        code, said = done.returncode, done.stderr.strip().splitlines()
        if code not in (0, 1, 3):
            return code, f"exit code {code}, {said[-1:]}"
        if code != 0 and not any(line.startswith(("error: ", "libgomp: ")) for line in said):
            return code, f"exit code {code} without a sentence: {said[-1:]}"
        again = self.life(out)
        if again.returncode != 0:
            return code, f"the next start ends with {again.returncode}: {again.stderr.strip().splitlines()[-1:]}"
        return code, self.difference(out)

    def difference(self, out: pathlib.Path) -> str:
        """The first file that is not the undisturbed run's, or is left over."""
        for name in ("metrics.jsonl", "eval.jsonl"):
            if metrics_without_time(self.whole / name) != metrics_without_time(out / name):
                return f"{name} differs"
        files = {p.relative_to(self.whole) for p in self.whole.rglob("*") if p.is_file() and "events" not in p.name}
        found = {p.relative_to(out) for p in out.rglob("*") if p.is_file() and "events" not in p.name}
        if files != found:
            return f"missing {sorted(map(str, files - found))}, left over {sorted(map(str, found - files))}"
        for name in sorted(files):
            exact = name.suffix in (".safetensors", ".npy") or name.name == "loader_state.json"
            if exact or "answers" in name.parts:
                if (self.whole / name).read_bytes() != (out / name).read_bytes():
                    return f"{name} differs"
        return ""


@unittest.skipIf(sys.platform != "linux" or BUILD.name != "release", "preloads a library: the plain build, on Linux")
class FaultTest(unittest.TestCase):
    def test_a_failing_call_costs_nothing_but_the_life_it_fails_in(self) -> None:
        chance = random.Random(7)
        with tempfile.TemporaryDirectory() as folder:
            injector = Injector(pathlib.Path(folder))
            for scenario in SCENARIOS:
                for call, calls in injector.counts(scenario).items():
                    numbers = set(chance.sample(range(1, calls + 1), min(SAMPLE.get(call, 1), calls)))
                    if call == "fsync":
                        numbers.add(calls)  # of the folder, when DONE is there already
                    for number in sorted(numbers):
                        with self.subTest(scenario=scenario, call=call, number=number):
                            self.assertEqual(injector.fail(scenario, call, number)[1], "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every_help = "every N-th call of a kind; N alone: of the kinds not named, which else are left out"
    parser.add_argument("--every", nargs="+", metavar="[CALL=]N", required=True, help=every_help)
    every: dict[str, int] = {}
    for item in parser.parse_args().every:
        call, _, number = item.rpartition("=")
        named = {call: int(number)} if call else {kind: int(number) for kind in ERRNO}
        every = {**every, **named} if call else {**named, **every}
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        injector = Injector(pathlib.Path(folder))
        for scenario in SCENARIOS:
            counts = injector.counts(scenario)
            for call, step in every.items():
                outcomes: collections.Counter[int] = collections.Counter()
                for number in range(1, counts[call] + 1, step):
                    code, wrong = injector.fail(scenario, call, number)
                    outcomes[code] += 1
                    if wrong:
                        bad += 1
                        print(f"  {scenario} {call} {number}: {wrong}", flush=True)
                codes = ", ".join(f"{n} exit {code}" for code, n in sorted(outcomes.items()))
                print(f"{scenario}: {call}: {counts[call]} calls, {sum(outcomes.values())} failed: {codes}", flush=True)
    print(f"{bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main() if len(sys.argv) > 1 else unittest.main())
