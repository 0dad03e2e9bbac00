"""Every wrong input gets its exit code (README, exit codes), one message that names it, and leaves nothing
half-written."""

import fcntl
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import unittest

import numpy as np
from common import BUILD, EVAL, ROOT, TRAIN, DataTest, replaced, run, small_run, under_sanitizers, write_sidecar


class RefusalTest(DataTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.flags = small_run(cls.data, steps=3)
        cls.good = cls.data / "good"
        assert run(TRAIN, *cls.flags, "--out", str(cls.good)).returncode == 0

    def refuse(self, code: int, words: str, *flags: str, program: pathlib.Path = TRAIN, **kwargs) -> None:
        with self.subTest(flags=flags):
            result = run(program, *flags, **kwargs)
            self.assertEqual(result.returncode, code, result.stderr + result.stdout)
            self.assertIn(words, result.stderr)

    @under_sanitizers
    def test_usage(self) -> None:
        f = self.flags
        self.refuse(2, "--lrr", *f, "--lrr", "1")
        self.refuse(2, "did you mean --lr", *f, "--lrr", "1")
        self.refuse(2, "--lr", *f, "--lr", "fast")
        self.refuse(2, "--tokens", *replaced(f, steps="2"), "--tokens", "1k")
        self.refuse(2, "count", *replaced(f, steps="12x"))
        self.refuse(2, "not a model; did you mean pythia-70m?", *replaced(f, model="EleutherAI/pythia-70m"))
        self.refuse(2, "'H2x' is not H and a whole number", *replaced(f, model="llama:L2:C32:H2x"))
        self.refuse(2, "multiple of NH", *replaced(f, model="gpt2:L2:C33:H2"))
        self.refuse(2, "wsd|cosine", *f, "--schedule", "warm")
        self.refuse(2, "bio", *f, "--ratio", "bio=0.1")
        self.refuse(2, "bf16|fp32", *f, "--precision", "fp16")
        self.refuse(2, "--cuda-graph on: not in this build", *f, "--cuda-graph", "on")
        self.refuse(2, "--zero", *f, "--zero", "2")
        self.refuse(2, "a power of two", *f, "--lanes", "3")
        self.refuse(2, "nearest", *replaced(f, batch_tokens="500"))
        self.refuse(2, "--seq-len", *replaced(f, model="gpt2-124m", seq_len="4096", batch_tokens="4096"))
        self.refuse(2, "--resume", *f, "--resume")
        self.refuse(2, "given twice", *f, "--lr", "1e-3", "--lr", "2e-3")
        self.refuse(2, "every:N", *f, "--eval-at", "every:0")
        self.refuse(2, "METRIC>=X", *f, "--stop-at", "accuracy")
        self.refuse(2, "val/web/loss", *f, "--stop-at", "val/wbe/loss<=1")
        self.refuse(2, "more tokens", *replaced(f, steps="9000000000B"))
        self.refuse(2, "--micro-batch", *f, "--micro-batch", "1B")
        rows = 2**25 // int(f[f.index("--seq-len") + 1])  # of 4 x 32 elements a token: twice 2^31
        too_large = [*replaced(f, batch_tokens=str(2**25)), "--micro-batch"]
        self.refuse(2, "fch would be a matrix of 33554432 x 128 = 4294967296 elements", *too_large, str(rows))
        self.refuse(2, f"the largest that works is --micro-batch {rows // 4}", *too_large, str(rows // 2))
        self.refuse(2, "--exposures", *f, "--budget", "append")
        self.refuse(2, "--max-epochs", *f, "--max-epochs", "web=0")
        self.refuse(2, "WORLD_SIZE=4 without RANK", *f, env={"WORLD_SIZE": "4"})
        self.refuse(2, "start it with mpirun -np 4", *f, env={"WORLD_SIZE": "4", "RANK": "0"})
        self.refuse(2, "rows of at most", *replaced(f, seq_len="3000000000"))
        taken = str(self.data / "web.bin")
        self.refuse(2, "web.bin: there is a file of that name; give a directory", *f, "--manifest", taken)
        self.refuse(2, "/dev/null: there is a file of that name; give a directory", *f, "--manifest", "/dev/null")
        config = self.data / "typo.toml"
        config.write_text("learing-rate = 0.1\n")
        self.refuse(2, "line 1: learing-rate: no such option", *f, "--config", str(config))

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_a_screen_that_is_full_is_said(self) -> None:
        for program, *flags in ((TRAIN, "--help"), (TRAIN, *self.flags, "--plan"), (EVAL, "--help")):
            with self.subTest(flags), open("/dev/full", "w") as full:
                command = [str(program), *flags]
                done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("error: standard output: not all of it could be written", done.stderr)

    @unittest.skipIf(BUILD.name == "asan", "out of memory: AddressSanitizer reserves more address space than the limit")
    def test_out_of_memory_has_its_code(self) -> None:
        def little_memory() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))

        self.refuse(
            1,
            "out of memory",
            *replaced(self.flags, batch_tokens="256000000"),
            "--micro-batch",
            "16",
            preexec_fn=little_memory,
            env={"OMP_NUM_THREADS": "1"},
        )

    def test_a_plan_for_a_larger_machine(self) -> None:
        done = run(TRAIN, *replaced(self.flags, model="pythia:L200:C16384:H128"), "--plan")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("out of memory: the model takes ", done.stderr)
        self.assertIn("memory a process of n", done.stdout, "the plan is there all the same")

    @under_sanitizers
    def test_impossible_mixtures(self) -> None:
        base = [x for x in self.flags if x not in ("--ratio", "facts=0.4")]
        for ratios in (
            ["facts=0"],
            ["facts=1"],
            ["facts=1.5"],
            ["facts=-0.1"],
            ["facts=0.7", "web=0.7"],
            ["facts=0.2", "web=0.2"],
        ):
            self.refuse(2, "ratio", *base, *[x for r in ratios for x in ("--ratio", r)])
        self.refuse(2, "would get nothing", *base, "--ratio", "facts=1e-9")
        self.refuse(2, "facts", *self.flags, "--exposures", "facts=3")
        self.refuse(2, "facts needs", *base, "--exposures", "facts=100000")
        self.refuse(2, "web", *base, "--exposures", "web=3")
        self.refuse(2, "window", *self.flags, "--window", "facts=0.9:1")
        self.refuse(2, "max-epochs", *self.flags, "--max-epochs", "facts=0.01")

    @under_sanitizers
    def test_bad_data(self) -> None:
        self.refuse(3, "nothing.bin", *self.flags, "--source", f"more={self.data}/nothing.bin")
        for name, spoil in (
            ("truncated", lambda b: b[:-7]),
            ("empty", lambda b: b""),
            ("magic", lambda b: b"XXIDIDX" + b[7:]),
            ("version", lambda b: b[:9] + b"\7" + b[10:]),
            ("lengths", lambda b: b[:34] + b"\xff\xff\xff\x7f" + b[38:]),
        ):
            folder = self.data / name
            folder.mkdir()
            for file in self.data.glob("web.*"):
                shutil.copy(file, folder)
            (folder / "web.idx").write_bytes(spoil((self.data / "web.idx").read_bytes()))
            self.refuse(3, "web", *self.flags, "--source", f"more={folder}/web.bin")

    @under_sanitizers
    def test_token_beyond_the_vocabulary_is_named(self) -> None:
        folder = self.data / "beyond"
        folder.mkdir()
        for file in self.data.glob("web.*"):
            shutil.copy(file, folder)
        ids = np.fromfile(folder / "web.bin", dtype="<u2")
        ids[1::50] = 999
        ids.tofile(folder / "web.bin")
        self.refuse(3, "999", *[x.replace(f"{self.data}/web.bin", f"{folder}/web.bin") for x in self.flags])

    @under_sanitizers
    def test_tokenizers_that_differ(self) -> None:
        folder = self.data / "other"
        folder.mkdir()
        for file in self.data.glob("web.*"):
            shutil.copy(file, folder)
        side = (folder / "web.json").read_text().replace("0" * 64, "1" * 64)
        (folder / "web.json").write_text(side)
        self.refuse(3, "tokenizer", *self.flags, "--source", f"more={folder}/web.bin")

    @under_sanitizers
    def test_output_directories(self) -> None:
        out = self.data / "run"
        shutil.copytree(self.good, out)
        self.refuse(2, "not empty", *self.flags, "--out", str(out))
        (out / "DONE").unlink()
        self.refuse(2, "--lr", *replaced(self.flags, lr="1e-2"), "--out", str(out), "--resume")
        self.refuse(1, "", *self.flags, "--out", "/proc/knapsack")

    def test_two_processes_and_one_run(self) -> None:
        out = self.data / "shared"
        out.mkdir()
        folder = os.open(out, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)  # as a running trainer holds it
        self.refuse(2, "another process", *self.flags, "--out", str(out))
        self.assertEqual(list(out.iterdir()), [])
        os.close(folder)
        self.assertEqual(run(TRAIN, *self.flags, "--out", str(out)).returncode, 0)

    @under_sanitizers
    def test_full_disk_costs_nothing(self) -> None:
        out = self.data / "full"
        flags = [*replaced(self.flags, steps="6"), "--out", str(out), "--checkpoint-at", "every:3"]
        self.assertEqual(run(TRAIN, *flags).returncode, 0)
        (out / "DONE").unlink()
        shutil.rmtree(out / "checkpoints/step_00000006")
        before = {p: p.read_bytes() for p in (out / "checkpoints").rglob("*") if p.is_file()}

        def small_files() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        self.refuse(1, "model.safetensors", *flags, "--resume", preexec_fn=small_files)
        self.assertTrue((out / "FAILED").exists())
        for path, content in before.items():
            self.assertEqual(path.read_bytes(), content)
        self.assertEqual(run(TRAIN, *flags, "--resume").returncode, 0)
        self.assertFalse((out / "FAILED").exists())

    def test_divergence(self) -> None:
        out = self.data / "diverged"
        self.refuse(5, "diverged", *replaced(self.flags, steps="30", lr="1e30"), "--warmup", "0", "--out", str(out))
        self.assertIn("diverged", (out / "FAILED").read_text())

    def test_signal_without_out_saves_nothing(self) -> None:
        process = subprocess.Popen(
            [str(TRAIN), *replaced(self.flags, steps="100000")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in process.stderr:
            if line.startswith("step "):  # the progress line: training has begun
                break
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("nothing saved", errors)

    @under_sanitizers
    def test_bad_checkpoints(self) -> None:
        good = self.good / "checkpoints/step_00000003"
        for name, spoil in (
            ("cut", lambda b: b[:-100]),
            ("empty", lambda b: b""),
            ("flipped", lambda b: b[:-64] + bytes([b[-64] ^ 1]) + b[-63:]),
            ("header", lambda b: b[:20] + b"#" + b[21:]),
        ):
            bad = self.data / f"bad-{name}"
            shutil.copytree(good, bad)
            (bad / "model.safetensors").write_bytes(spoil((good / "model.safetensors").read_bytes()))
            self.refuse(
                3,
                "model.safetensors",
                "--checkpoint",
                str(bad),
                "--questions",
                f"{self.data}/facts_questions",
                program=EVAL,
            )
        self.refuse(
            3,
            "missing",
            "--checkpoint",
            str(self.data / "missing"),
            "--questions",
            f"{self.data}/facts_questions",
            program=EVAL,
        )
        self.refuse(
            2,
            "bf16|fp32",
            "--checkpoint",
            str(good),
            "--precision",
            "fp16",
            "--questions",
            f"{self.data}/facts_questions",
            program=EVAL,
        )

    @under_sanitizers
    def test_newer_format_is_refused(self) -> None:
        folder = self.data / "newer"
        folder.mkdir()
        for file in self.data.glob("web.*"):
            shutil.copy(file, folder)
        write_sidecar(folder / "web", "text", 300, 1)
        text = (folder / "web.json").read_text().replace('"format_version": 1', '"format_version": 2')
        (folder / "web.json").write_text(text)
        self.refuse(3, "format_version", *[x.replace(f"{self.data}/web.bin", f"{folder}/web.bin") for x in self.flags])

    def test_looking_costs_nothing(self) -> None:
        out = self.data / "plan"
        result = run(TRAIN, *self.flags, "--out", str(out), "--plan")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("facts", result.stdout)
        self.assertFalse(out.exists())
        self.assertEqual(run(TRAIN, "--help").returncode, 0)
        order = run(TRAIN, *self.flags, "--print-order", "1")
        self.assertEqual(order.returncode, 0, order.stderr)
        self.assertIn("facts", order.stdout)

    def test_the_published_options_are_flags_of_the_trainer(self) -> None:
        """Those of model/README.md, on a model of a size for this machine."""
        text = (ROOT / "model" / "README.md").read_text()
        lines = [line.split() for line in re.findall(r"^--model .*", text, re.MULTILINE)]
        self.assertGreater(len(lines), 6)
        presets = run(TRAIN, *replaced(self.flags, model="none")).stderr
        for _, preset, *_ in lines:
            self.assertIn(f" {preset},", presets)
        for flags in sorted({tuple(flags) for _, _, *flags in lines}):
            if "--steps" not in flags:
                flags = (*flags, "--steps", "3000")
            small = ["--model", "pythia:L1:C32:H2", "--seq-len", "2048", "--source", f"web={self.data}/web.bin"]
            result = run(TRAIN, *small, *flags, "--plan")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"steps of {flags[flags.index('--batch-tokens') + 1]} tokens", result.stdout)


if __name__ == "__main__":
    unittest.main()
