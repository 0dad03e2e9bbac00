"""Whole runs of the trainer and the eval binary: resume after kills and signals, bit equality, exposures, branching,
markers."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import time
import unittest

import numpy as np
from common import (
    EVAL,
    SANITIZED,
    TRAIN,
    DataTest,
    find,
    metrics_without_time,
    replaced,
    run,
    small_run,
    under_sanitizers,
)


class RunTest(DataTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        eval_at = "every:20" if SANITIZED else "every:10"
        cls.flags = [*small_run(cls.data), "--eval-at", eval_at, "--checkpoint-at", "every:4", "--keep", "0"]
        cls.whole = cls.data / "whole"
        result = run(TRAIN, *cls.flags, "--out", str(cls.whole))
        assert result.returncode == 0, result.stderr + result.stdout

    def assert_same_run(self, other: pathlib.Path) -> None:
        for name in ("metrics.jsonl", "eval.jsonl"):
            self.assertEqual(metrics_without_time(self.whole / name), metrics_without_time(other / name), name)
        self.assertEqual(
            (self.whole / "exposures/facts.npy").read_bytes(), (other / "exposures/facts.npy").read_bytes()
        )
        last = "checkpoints/step_00000040"
        for name in ("model.safetensors", "optimizer.safetensors", "loader_state.json", "exposures/facts.npy"):
            self.assertEqual((self.whole / last / name).read_bytes(), (other / last / name).read_bytes(), name)

    def test_files_of_a_finished_run(self) -> None:
        for name in (
            "config.json",
            "DONE",
            "metrics.jsonl",
            "eval.jsonl",
            "exposures/facts.npy",
            "checkpoints/step_00000040/config.json",
            "checkpoints/step_00000040/generation_config.json",
            "checkpoints/step_00000040/trainer_state.json",
        ):
            self.assertTrue((self.whole / name).exists(), name)
        self.assertEqual(len(list(self.whole.glob("events.out.tfevents.*"))), 1)
        lines = metrics_without_time(self.whole / "metrics.jsonl")
        self.assertEqual([line["step"] for line in lines], list(range(40)))
        self.assertLess(lines[-1]["train/loss"], lines[0]["train/loss"] - 0.3)
        self.assertAlmostEqual(lines[-1]["data/facts/ratio"], 0.4, delta=0.01)
        evals = metrics_without_time(self.whole / "eval.jsonl")
        self.assertEqual([line["step"] for line in evals], [10, 20, 30, 40])
        self.assertIn("val/web/loss", evals[0])
        self.assertIn("know/facts/accuracy", evals[0])
        self.assertEqual(list((self.whole / "checkpoints").glob("*.tmp")), [])

    @under_sanitizers
    def test_killed_at_random_steps_and_resumed(self) -> None:
        out = self.data / "killed"
        chance = random.Random(4)
        for _ in range(2 if SANITIZED else 4):  # each life ends by SIGKILL some steps after it began
            process = subprocess.Popen(
                [str(TRAIN), *self.flags, "--out", str(out), "--resume"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            target, size = chance.randrange(4, 12), 0
            start = (out / "metrics.jsonl").read_text().count("\n") if (out / "metrics.jsonl").exists() else 0
            while process.poll() is None and size < start // 4 * 4 + target:
                time.sleep(0.002)
                size = (out / "metrics.jsonl").read_text().count("\n") if (out / "metrics.jsonl").exists() else 0
            process.kill()
            process.wait()
        result = run(TRAIN, *self.flags, "--out", str(out), "--resume")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_same_run(out)
        again = run(TRAIN, *self.flags, "--out", str(out), "--resume")
        self.assertEqual(again.returncode, 0)
        self.assertIn("DONE", again.stdout)

    @under_sanitizers
    def test_signals_save_and_ask_to_be_requeued(self) -> None:
        out = self.data / "signalled"
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)[: 1 if SANITIZED else 3]:
            process = subprocess.Popen(
                [str(TRAIN), *self.flags, "--out", str(out), "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            before = (out / "metrics.jsonl").read_text().count("\n") if (out / "metrics.jsonl").exists() else 0
            while process.poll() is None:
                if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_text().count("\n") > before + 1:
                    process.send_signal(number)
                    break
                time.sleep(0.002)
            process.communicate()
            self.assertEqual(process.returncode, 75)
        self.assertEqual(run(TRAIN, *self.flags, "--out", str(out), "--resume").returncode, 0)
        self.assert_same_run(out)

    def test_same_bits_for_any_number_of_threads(self) -> None:
        for threads in ("2", "3"):  # run_tests.py gave the whole run one
            out = self.data / f"threads{threads}"
            result = run(TRAIN, *self.flags, "--out", str(out), env={"OMP_NUM_THREADS": threads})
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assert_same_run(out)

    def test_same_bits_of_a_qwen3_for_any_number_of_threads(self) -> None:
        checkpoints = []
        for threads in ("1", "3"):
            out = self.data / f"qwen3_threads{threads}"
            flags = replaced(small_run(self.data, steps=6), model="qwen3:L2:C64:H4:KV2:HS16:F96")
            result = run(TRAIN, *flags, "--out", str(out), env={"OMP_NUM_THREADS": threads})
            self.assertEqual(result.returncode, 0, result.stderr)
            (checkpoint,) = (out / "checkpoints").iterdir()
            checkpoints.append([(checkpoint / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer")])
        self.assertEqual(checkpoints[0], checkpoints[1])

    def test_micro_batch_changes_rounding_only(self) -> None:
        out = self.data / "micro"
        self.assertEqual(run(TRAIN, *self.flags, "--out", str(out), "--micro-batch", "2").returncode, 0)
        ours, theirs = metrics_without_time(self.whole / "metrics.jsonl"), metrics_without_time(out / "metrics.jsonl")
        for a, b in zip(ours, theirs):
            self.assertAlmostEqual(a["train/loss"], b["train/loss"], delta=1e-4)
            self.assertEqual(a["data/facts/tokens"], b["data/facts/tokens"])
        self.assertEqual((self.whole / "exposures/facts.npy").read_bytes(), (out / "exposures/facts.npy").read_bytes())

    def test_recompute_changes_nothing_but_memory(self) -> None:
        out = self.data / "recompute"
        self.assertEqual(run(TRAIN, *self.flags, "--out", str(out), "--recompute", "on").returncode, 0)
        self.assert_same_run(out)

    @under_sanitizers
    def test_eval_binary_equals_the_trainer_bit_for_bit(self) -> None:
        results = self.data / "results.json"
        checkpoint = self.whole / "checkpoints/step_00000040"
        arguments = (
            f"--checkpoint {checkpoint} --questions {self.data}/facts_questions --val web={self.data}/val.bin"
            f" --val-tokens 1280 --out {results} --per-question {self.data}/q.jsonl"
        ).split()
        result = run(EVAL, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        text = results.read_text()
        for name, value in metrics_without_time(self.whole / "eval.jsonl")[-1].items():
            if name.startswith(("val/", "know/")):
                self.assertIn(json.dumps(name), text)
                self.assertEqual(find(json.loads(text), name), value, name)
        self.assertEqual(len((self.data / "q.jsonl").read_text().splitlines()), 80 * 2 * 2)

    def test_exposures_are_exact(self) -> None:
        for budget in ("replace", "append"):
            out = self.data / f"exposures-{budget}"
            flags = [f for f in small_run(self.data) if f not in ("--ratio", "facts=0.4")]
            result = run(
                TRAIN, *flags, "--exposures", "facts=5", "--budget", budget, "--out", str(out), "--eval-at", "end"
            )
            self.assertEqual(result.returncode, 0, result.stderr)
            ledger = np.load(out / "exposures/facts.npy")
            self.assertEqual(ledger.shape, (80, 2))
            self.assertTrue((ledger["count"] == 5).all(), budget)

    @under_sanitizers
    def test_branch_goes_on_with_a_new_horizon(self) -> None:
        out = self.data / "branched"
        flags = [f for f in small_run(self.data, steps=48) if f not in ("--model", "pythia:L2:C32:H2")]
        result = run(
            TRAIN,
            *flags,
            "--branch",
            str(self.whole / "checkpoints/step_00000020"),
            "--out",
            str(out),
            "--eval-at",
            "end",
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = metrics_without_time(out / "metrics.jsonl")
        self.assertEqual([line["step"] for line in lines], list(range(20, 48)))
        # the schedule is flat there, so the first steps repeat the trunk's
        self.assertEqual(lines[0]["train/loss"], metrics_without_time(self.whole / "metrics.jsonl")[20]["train/loss"])

    @under_sanitizers
    def test_resume_restores_the_ledger_and_needs_no_parent(self) -> None:
        out, trunk = self.data / "orphan", self.data / "trunk"
        shutil.copytree(self.whole / "checkpoints/step_00000020", trunk)
        flags = [f for f in small_run(self.data, steps=30) if f not in ("--model", "pythia:L2:C32:H2")] + [
            "--branch",
            str(trunk),
            "--out",
            str(out),
        ]
        self.assertEqual(run(TRAIN, *flags).returncode, 0)
        ledger = (out / "exposures/facts.npy").read_bytes()
        (out / "DONE").unlink()  # as a kill between the last checkpoint and its marker leaves it
        shutil.rmtree(out / "exposures")
        shutil.rmtree(trunk)
        result = run(TRAIN, *flags, "--resume")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual((out / "exposures/facts.npy").read_bytes(), ledger)

    @under_sanitizers
    def test_init_starts_from_the_weights_alone(self) -> None:
        out = self.data / "initialised"
        flags = [f for f in small_run(self.data, steps=2) if f not in ("--model", "pythia:L2:C32:H2")]
        checkpoint = self.whole / "checkpoints/step_00000040"
        result = run(TRAIN, *flags, "--init", str(checkpoint), "--out", str(out), "--eval-at", "log")
        self.assertEqual(result.returncode, 0, result.stderr)
        trunk, ours = metrics_without_time(self.whole / "eval.jsonl")[-1], metrics_without_time(out / "eval.jsonl")[0]
        self.assertEqual(ours["step"], 0)
        self.assertEqual(ours["val/web/loss"], trunk["val/web/loss"])

    @under_sanitizers
    def test_the_plan_looks_at_the_weights_to_start_from(self) -> None:
        flags = [f for f in small_run(self.data, steps=2) if f not in ("--model", "pythia:L2:C32:H2")]
        model = self.data / "model"
        model.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(self.whole / "checkpoints/step_00000040" / name, model)
        plan = run(TRAIN, *flags, "--init", str(model), "--plan")
        self.assertEqual(plan.returncode, 0, plan.stderr)
        shape = "L=2 C=32 NH=2 KV=2 HS=16 F=128 V=256 T=64"
        self.assertRegex(plan.stdout, rf"model: {model} \(pythia\), 0\.\d+M parameters \(.*\), {shape}\n")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
        for look in (["--plan"], []):
            result = run(TRAIN, *flags, "--init", str(model), *look)
            self.assertEqual(result.returncode, 3, result.stderr)
            self.assertIn("has shape (128, 32), config.json asks for (64, 32)", result.stderr)

    def test_stop_rule(self) -> None:
        out = self.data / "stopped"
        result = run(TRAIN, *self.flags, "--out", str(out), "--stop-at", "val/web/loss<=5.4")
        self.assertEqual(result.returncode, 0, result.stderr)
        last = metrics_without_time(out / "eval.jsonl")[-1]
        self.assertLess(last["step"], 40)
        self.assertLessEqual(last["val/web/loss"], 5.4)
        self.assertTrue((out / f"checkpoints/step_{last['step']:08d}/COMPLETE").exists())
        self.assertIn("val/web/loss<=5.4", (out / "DONE").read_text())

    def test_log_follows_the_tensorboard_copy(self) -> None:
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            self.skipTest("tensorboard is not installed")
        board = EventAccumulator(str(self.whole))
        board.Reload()
        ours = [line["train/loss"] for line in metrics_without_time(self.whole / "metrics.jsonl")]
        np.testing.assert_allclose([e.value for e in board.Scalars("train/loss")], ours, rtol=1e-6)


if __name__ == "__main__":
    unittest.main()
