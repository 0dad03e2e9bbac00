"""Many processes, the same bits: what 1, 2 and 4 processes leave is the same, byte for byte, whoever is killed and
however many go on; and all end together, with the reason and the code that CONTRACTS promises."""

import contextlib
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time
import unittest
from collections.abc import Iterator

from common import ROOT, TRAIN, DataTest, make_data, metrics_without_time, replaced, small_run

SIMT = pathlib.Path(os.environ.get("KNAPSACK_SIMT", ROOT / "build" / "simt"))
MPIRUN = shutil.which("mpirun")
LAST = "checkpoints/step_{:08d}"
# more processes than cores, as root where tests run so; a lost process is noticed after seconds
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_base_warn_component_unused": "0",
    "KNAPSACK_PEER_TIMEOUT": "4",
}


def mpirun(n: int) -> list[str]:
    return [str(MPIRUN), "--oversubscribe", "--bind-to", "none", "-np", str(n)]


def pids(launcher: int) -> dict[int, int]:
    """Of a launcher's processes: rank -> process."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            rank = re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)\0", (folder / "environ").read_bytes())
            if parent == launcher and rank:
                found[int(rank[1])] = int(folder.name)
    return found


@unittest.skipUnless(MPIRUN, "several processes: no mpirun")
class ProcessesTest(DataTest):
    def setUp(self) -> None:
        self.steps = 6
        self.flags = [
            *replaced(small_run(self.data, self.steps), seq_len="32", batch_tokens="384", val_tokens="640"),
            *(
                "--lanes",
                "4",
                "--micro-batch",
                "1",
                "--eval-at",
                "every:2",
                "--checkpoint-at",
                "every:2",
                "--keep",
                "0",
            ),
            *("--warmup", "2", "--questions-per-set", "100"),
        ]

    def start(self, n: int, flags: list[str], program: pathlib.Path = TRAIN, **kwargs) -> subprocess.Popen:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT, **kwargs}
        return subprocess.Popen([*mpirun(n), str(program), *flags], text=True, **streams)

    def train(self, n: int, out: pathlib.Path, flags: list[str], program: pathlib.Path = TRAIN) -> None:
        process = self.start(n, [*flags, "--out", str(out)], program)
        said = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, said)

    @contextlib.contextmanager
    def running(self, n: int, out: pathlib.Path, flags: list[str], until: str) -> Iterator[subprocess.Popen]:
        """A run whose metrics hold `until`."""
        process = self.start(n, [*flags, "--out", str(out)])
        try:
            end = time.monotonic() + 60
            while not ((out / "metrics.jsonl").exists() and until in (out / "metrics.jsonl").read_text()):
                self.assertIsNone(process.poll(), process.communicate() if process.poll() is not None else "")
                self.assertLess(time.monotonic(), end)
                time.sleep(0.002)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def assert_same(self, one: pathlib.Path, other: pathlib.Path) -> None:
        for name in ("metrics.jsonl", "eval.jsonl"):
            self.assertEqual(metrics_without_time(one / name), metrics_without_time(other / name), name)
        last = LAST.format(self.steps)
        for name in ("model.safetensors", "optimizer.safetensors", "loader_state.json", "exposures/facts.npy"):
            self.assertEqual((one / last / name).read_bytes(), (other / last / name).read_bytes(), name)
        self.assertEqual((one / "exposures/facts.npy").read_bytes(), (other / "exposures/facts.npy").read_bytes())
        self.assertEqual(list(other.rglob("*.tmp")), [])

    def assert_resumes(self, whole: pathlib.Path, out: pathlib.Path, n: int, flags: list[str]) -> None:
        self.train(n, out, [*flags, "--resume"])
        self.assert_same(whole, out)


class SameBitsTest(ProcessesTest):
    def test_the_number_of_processes_changes_no_bit(self) -> None:
        """Every value of each meets every value of every other. ALL_SHAPES=1: all together."""
        names = ("gpt2:L2:C32:H2", "pythia:L2:C32:H2")
        shapes = [
            (names[0], "on", "128", "0", "fp32"),
            (names[0], "off", "384", "1", "bf16"),
            (names[1], "on", "384", "1", "bf16"),
            (names[1], "off", "128", "1", "fp32"),
            (names[1], "off", "384", "0", "fp32"),
            (names[0], "on", "128", "0", "bf16"),
        ]
        if "ALL_SHAPES" in os.environ:
            shapes = list(itertools.product(names, ("on", "off"), ("128", "384"), ("0", "1"), ("fp32", "bf16")))
        for i, (model, mask, batch, zero, precision) in enumerate(shapes):
            flags = replaced(self.flags, model=model, doc_mask=mask, batch_tokens=batch, zero=zero, precision=precision)
            one = self.data / f"same-{i}-1"
            self.train(1, one, flags)
            for n in (2, 4):
                with self.subTest(model=model, mask=mask, batch=batch, zero=zero, precision=precision, n=n):
                    out = self.data / f"same-{i}-{n}"
                    self.train(n, out, flags)
                    self.assert_same(one, out)

    def test_four_are_killed_and_one_or_two_go_on(self) -> None:
        self.steps = 60
        flags = replaced(self.flags, steps="60", eval_at="every:20", checkpoint_at="every:6")
        whole, out = self.data / "whole", self.data / "killed"
        self.train(1, whole, flags)
        with self.running(4, out, flags, '"step": 7,') as process:
            for pid in pids(process.pid).values():
                with contextlib.suppress(ProcessLookupError):  # the launcher may have been faster
                    os.kill(pid, signal.SIGKILL)
            process.wait(timeout=30)
        self.assertFalse((out / "DONE").exists())
        for n in (1, 2):
            again = self.data / f"again-{n}"
            shutil.copytree(out, again)
            self.assert_resumes(whole, again, n, flags)

    def test_the_choice_of_micro_batch_does_not_see_the_processes(self) -> None:
        flags = [*self.flags]
        del flags[flags.index("--micro-batch") : flags.index("--micro-batch") + 2]
        one, four = self.data / "chosen-1", self.data / "chosen-4"
        self.train(1, one, flags)
        self.train(4, four, flags)
        self.assert_same(one, four)

    def test_lanes_are_the_runs_and_processes_are_not(self) -> None:
        whole, out = self.data / "lanes", self.data / "default-lanes"
        self.train(1, whole, self.flags)
        own = [*self.flags[: self.flags.index("--lanes")], *self.flags[self.flags.index("--lanes") + 2 :]]
        self.train(4, out, own)  # as many lanes as processes
        self.assert_same(whole, out)
        process = self.start(1, [*replaced(self.flags, lanes="2"), "--out", str(out), "--resume"])
        _, said = process.communicate()
        self.assertEqual(process.returncode, 2)
        shutil.rmtree(out / LAST.format(self.steps))
        (out / "DONE").unlink()
        self.assert_resumes(whole, out, 2, own)  # goes on with four lanes

    @unittest.skipUnless((SIMT / "train_gpt").exists(), "no CUDA toolkit: the CUDA programs were not built on the CPU")
    def test_the_cuda_kernels_and_nccls_calls(self) -> None:
        flags = replaced(self.flags, steps="2", batch_tokens="64", lanes="2", val_tokens="128", questions_per_set="20")
        self.steps = 2
        for model, precision, zero in (("gpt2:L1:C32:H2", "bf16", "1"), ("pythia:L2:C32:H2", "fp32", "0")):
            shape = replaced(flags, model=model, precision=precision, zero=zero)
            one, two = self.data / f"simt-{precision}-1", self.data / f"simt-{precision}-2"
            self.train(1, one, shape, SIMT / "train_gpt")
            self.train(2, two, shape, SIMT / "train_gpt")
            self.assert_same(one, two)


class EndsTogetherTest(ProcessesTest):
    def assert_ends(self, process: subprocess.Popen, codes: tuple[int, ...], seconds: float = 30) -> str:
        """What was said until the end."""
        out, errors = process.communicate(timeout=seconds)
        self.assertIn(process.returncode, codes, out + errors)
        return out + errors

    def test_a_process_is_killed_anywhere(self) -> None:
        """In a step, an exchange, an evaluation, a save: at random moments. KILLS=100: by hand."""
        whole, chance = self.data / "kill-whole", random.Random(5)
        began = time.monotonic()
        self.train(4, whole, self.flags)
        duration = time.monotonic() - began
        out, named = self.data / "kill", 0
        for _ in range(int(os.environ.get("KILLS", "5"))):
            if (out / "DONE").exists():
                self.assert_same(whole, out)
                shutil.rmtree(out)
            process = self.start(4, [*self.flags, "--out", str(out), "--resume"])
            time.sleep(chance.uniform(duration / 3, duration))
            victim = chance.randrange(4)
            pid = pids(process.pid).get(victim)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            said, errors = process.communicate(timeout=30)
            failed = (out / "FAILED").read_text() if (out / "FAILED").exists() else ""
            if process.returncode != 0 and f"process {victim} (" in said + errors + failed:
                named += 1
        self.assertGreater(named, 0)
        self.assert_resumes(whole, out, 4, self.flags)

    def test_a_process_is_killed_in_each_stage(self) -> None:
        flags = replaced(self.flags, model="pythia:L6:C128:H4", val=f"web={self.data}/web.bin", val_tokens="16k")
        flags = replaced(flags, eval_at="at:3,end", checkpoint_at="at:2,end", questions_per_set="all")
        whole = self.data / "stage-whole"
        self.train(4, whole, flags)

        def lines(folder: pathlib.Path, name: str) -> int:
            return len((folder / name).read_text().splitlines()) if (folder / name).exists() else 0

        def attempt(stage: str, out: pathlib.Path) -> bool:
            """Whether the kill fell into the stage."""
            until = {"saving": '"step": 0,', "evaluation": '"step": 2,'}.get(stage, '"step": 3,')
            with self.running(4, out, flags, until) as process:
                ranks = pids(process.pid)
                if stage == "saving":
                    while process.poll() is None and not list(out.glob("checkpoints/*.tmp")):
                        pass
                elif stage == "exchange":  # the others come to it and wait
                    os.kill(ranks[1], signal.SIGSTOP)
                    time.sleep(1)
                victim = 0 if stage == "saving" else 2
                with contextlib.suppress(KeyError, ProcessLookupError):
                    os.kill(ranks[victim], signal.SIGKILL)
                process.communicate(timeout=30)
            self.assertFalse((out / "DONE").exists())
            if victim != 0:  # who writes FAILED; what the others say, mpirun may not have passed on
                self.assertIn(f"process {victim} (", (out / "FAILED").read_text())
            if stage == "saving":
                return bool(list(out.glob("checkpoints/*.tmp")))
            if stage == "evaluation":
                return lines(out, "metrics.jsonl") == 3 and lines(out, "eval.jsonl") == 0
            return lines(out, "metrics.jsonl") >= 4

        for stage in ("step", "exchange", "evaluation", "saving"):
            with self.subTest(stage):
                for number in range(8):
                    out = self.data / f"stage-{stage}-{number}"
                    if attempt(stage, out):
                        break
                else:
                    self.fail("no kill fell into the stage")
                self.assert_resumes(whole, out, 2, flags)

    def test_a_process_is_lost_or_silent(self) -> None:
        whole = self.data / "lost-whole"
        self.train(1, whole, self.flags)
        for number, words in ((signal.SIGKILL, "process 2 ("), (signal.SIGSTOP, "process 2 (")):
            out = self.data / f"lost-{number}"
            with self.running(4, out, self.flags, '"step": 2,') as process:
                os.kill(pids(process.pid)[2], number)
                self.assert_ends(process, (4, 137))
                self.assertIn(words, (out / "FAILED").read_text())
            self.assert_resumes(whole, out, 2, self.flags)

    def test_a_signal_to_one_is_a_signal_to_all(self) -> None:
        whole, out = self.data / "signal-whole", self.data / "signal"
        self.train(1, whole, self.flags)
        with self.running(4, out, self.flags, '"step": 1,') as process:
            os.kill(pids(process.pid)[3], signal.SIGTERM)
            self.assertIn("go on with --resume", self.assert_ends(process, (75,)))
        self.assert_resumes(whole, out, 4, self.flags)

    def test_a_full_disk_of_the_one_that_writes(self) -> None:
        whole, out = self.data / "full-whole", self.data / "full"
        self.train(1, whole, self.flags)
        # files may not grow past what a checkpoint's weights take
        limit = ["bash", "-c", 'ulimit -f 20; trap "" XFSZ; exec "$@"', "-", str(TRAIN)]
        flags = [*self.flags, "--out", str(out)]
        command = [*mpirun(1), *limit, *flags, ":", "-np", "3", str(TRAIN), *flags]
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        said = self.assert_ends(process, (1,))
        self.assertIn("File too large", said)
        self.assertEqual(said.count("error: "), 1, said)
        self.assertTrue((out / "FAILED").exists())
        self.assert_resumes(whole, out, 2, self.flags)

    def test_one_message_of_all(self) -> None:
        process = self.start(4, [*self.flags, "--lr", "-1"])
        said = self.assert_ends(process, (2,))
        self.assertEqual(said.count("--lr"), 1, said)
        process = self.start(4, replaced(self.flags, lanes="2"))
        self.assertIn("fewer than the 4 processes", self.assert_ends(process, (2,)))
        process = self.start(3, self.flags)
        self.assertIn("3 processes: expected a power of two", self.assert_ends(process, (2,)))

    def test_processes_that_are_not_one_run(self) -> None:
        def two(first: list[str], second: list[str]) -> subprocess.Popen:
            command = [*mpirun(1), *first, ":", "-np", "1", *second]
            return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)

        out = self.data / "not-one"
        flags = [*self.flags, "--out", str(out)]
        said = self.assert_ends(two([str(TRAIN), *flags], [str(TRAIN), *replaced(flags, seed="2")]), (2,))
        self.assertIn("process 1 (", said)
        self.assertIn("--seed: 2 here, 1 there", said)

        other = self.data / "other"
        other.mkdir()
        make_data(other)
        shard = bytearray((other / "web.bin").read_bytes())
        shard[500] ^= 1
        (other / "web.bin").write_bytes(shard)
        relative = [flag.replace(f"{self.data}/", "") if "--out" not in flag else flag for flag in self.flags]
        relative += ["--out", str(out)]
        said = self.assert_ends(
            two(["-wdir", str(self.data), str(TRAIN), *relative], ["-wdir", str(other), str(TRAIN), *relative]), (3,)
        )
        self.assertIn("web", said)

        for folder, seed in ((self.data, "1"), (other, "2")):
            init = replaced(self.flags, seed=seed, steps="1", warmup="0")
            self.train(1, folder / "from", init)
            (folder / "from" / LAST.format(1)).rename(folder / "weights")
        begun = relative[:]
        begun[begun.index("--model") : begun.index("--model") + 2] = ["--init", "weights"]
        shutil.copy(self.data / "web.bin", other / "web.bin")
        said = self.assert_ends(
            two(["-wdir", str(self.data), str(TRAIN), *begun], ["-wdir", str(other), str(TRAIN), *begun]), (3,)
        )
        self.assertIn("the weights that the run goes on from are not process 0's", said)

        commit = re.search(rb'commit": "([0-9a-f]{12}[a-z-]*)', (self.trained() / "config.json").read_bytes())[1]
        program = self.data / "other-build"
        program.write_bytes(TRAIN.read_bytes().replace(commit, b"f" * len(commit)))
        program.chmod(0o755)
        said = self.assert_ends(two([str(TRAIN), *flags], [str(program), *flags]), (2,))
        self.assertIn("another build", said)
        self.assertFalse(out.exists())

    def trained(self) -> pathlib.Path:
        out = self.data / "trained"
        self.train(1, out, self.flags)
        return out


if __name__ == "__main__":
    unittest.main()
