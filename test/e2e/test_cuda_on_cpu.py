"""The CUDA programs as g++ builds them (build/simt): every kernel runs on the CPU, through test/simt, in whole training
runs.

Their loss follows the CPU backend's, which shares no kernel with them; and they are as exact about themselves as the
CPU programs are: same bits again, after a resume, with --recompute, in the evaluation binary.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from common import ROOT, TRAIN, DataTest, crc32c, find, metrics_without_time, replaced, run, small_run

SIMT = pathlib.Path(os.environ.get("KNAPSACK_SIMT", ROOT / "build" / "simt"))
STEPS, SHORT = 12, 8
# what is asked is little: a token costs a fiber for every thread of its blocks
EVALUATION = {"val_tokens": "384", "questions_per_set": "60"}
# No cache of chosen algorithms outside the test, and one thread: fibers do not share the work.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


@unittest.skipUnless((SIMT / "train_gpt").exists(), "no CUDA toolkit: the CUDA programs were not built on the CPU")
class CudaOnCpuTest(DataTest):
    def flags(self, model: str = "pythia:L2:C32:H2", steps: int = STEPS) -> list[str]:
        flags = replaced(small_run(self.data, steps), model=model, batch_tokens="128", **EVALUATION)
        return [*flags, "--checkpoint-at", "every:4", "--keep", "0", "--warmup", "2"]

    def train(self, program: pathlib.Path, name: str, *flags: str) -> pathlib.Path:
        out = self.data / name
        result = run(program, *flags, "--out", str(out), env=ENVIRONMENT)
        self.assertEqual(result.returncode, 0, result.stderr + result.stdout)
        return out

    def test_loss_follows_the_cpu_backend(self) -> None:
        for model, mask in (("pythia:L2:C64:H2", "off"), ("gpt2:L2:C32:H2", "on"), ("qwen3:L2:C64:H4:KV2:F96", "on")):
            name = model.split(":")[0]
            flags = [*self.flags(model), "--doc-mask", mask, "--eval-at", "end"]
            cpu = metrics_without_time(self.train(TRAIN, f"cpu-{name}", *flags) / "metrics.jsonl")
            for precision, allowed in (("fp32", 1e-5), ("bf16", 1e-2)):
                with self.subTest(model=model, mask=mask, precision=precision):
                    out = self.train(SIMT / "train_gpt", f"{precision}-{name}", *flags, "--precision", precision)
                    cuda = metrics_without_time(out / "metrics.jsonl")
                    self.assertEqual(len(cuda), STEPS)
                    mean = (
                        sum(abs(a["train/loss"] - b["train/loss"]) / b["train/loss"] for a, b in zip(cuda, cpu)) / STEPS
                    )
                    print(
                        f"{model} mask {mask} {precision}: mean difference of the loss {mean:.1e}, last loss "
                        f"{cuda[-1]['train/loss']:.4f}"
                    )
                    self.assertLess(mean, allowed)
                    self.assertLess(cuda[-1]["train/loss"], cuda[0]["train/loss"] - 0.2)
                    for a, b in zip(cuda, cpu):  # the sources' losses are of the same tokens
                        self.assertEqual(a["data/facts/tokens"], b["data/facts/tokens"])
                        if "train/loss/facts" in b:
                            self.assertAlmostEqual(
                                a["train/loss/facts"], b["train/loss/facts"], delta=2 * allowed * b["train/loss/facts"]
                            )

    def test_same_bits_again_after_a_resume_and_with_recompute(self) -> None:
        flags = [*self.flags(steps=SHORT), "--eval-at", "every:4"]
        whole = self.train(SIMT / "train_gpt", "whole", *flags)
        self.train(SIMT / "train_gpt", "again", *flags)
        self.train(SIMT / "train_gpt", "recompute", *flags, "--recompute", "on")
        out = self.data / "resumed"
        process = subprocess.Popen(
            [str(SIMT / "train_gpt"), *flags, "--out", str(out)],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_text().count("\n") > 1:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.01)
        process.communicate()
        self.assertEqual(process.returncode, 75)
        self.train(SIMT / "train_gpt", "resumed", *flags, "--resume")
        for other in ("again", "recompute", "resumed"):
            with self.subTest(run=other):
                for name in ("metrics.jsonl", "eval.jsonl"):
                    self.assertEqual(
                        metrics_without_time(whole / name), metrics_without_time(self.data / other / name), name
                    )
                for name in ("model.safetensors", "optimizer.safetensors"):
                    file = f"checkpoints/step_{SHORT:08d}/{name}"
                    self.assertEqual((whole / file).read_bytes(), (self.data / other / file).read_bytes(), name)

    def test_a_resumed_run_goes_on_with_the_choices_of_its_checkpoint(self) -> None:
        flags = self.flags(steps=SHORT)
        out = self.train(SIMT / "train_gpt", "choices", *flags)
        last, first = (out / f"checkpoints/step_{step:08d}" for step in (SHORT, 4))
        state = json.loads((first / "trainer_state.json").read_text())
        self.assertEqual(json.loads((last / "trainer_state.json").read_text())["matmul"], state["matmul"])
        ways = [choice for choice in state["matmul"] if choice.startswith("bias_gradient ")]
        self.assertGreater(len(ways), 0)
        if state["matmul"][0] == "gpu simt":  # where the first way is always taken: another one, as a GPU may choose
            self.assertTrue(all(way.endswith(" column_sum") for way in ways), ways)
            ways = [way.replace("column_sum", "epilogue") for way in ways]
            state["matmul"] = [choice.replace("column_sum", "epilogue") for choice in state["matmul"]]
            text = json.dumps(state).encode()
            (first / "trainer_state.json").write_bytes(text)
            marker = json.loads((first / "COMPLETE").read_text())
            marker["files"]["trainer_state.json"] = {"bytes": len(text), "crc32c": crc32c(text)}
            (first / "COMPLETE").write_text(json.dumps(marker))
        shutil.rmtree(last)
        (out / "DONE").unlink()
        self.train(SIMT / "train_gpt", "choices", *flags, "--resume")
        chosen = json.loads((last / "trainer_state.json").read_text())["matmul"]
        self.assertEqual([choice for choice in chosen if choice.startswith("bias_gradient ")], ways)
        products = sum(choice.startswith("dweight+dbias ") for choice in chosen)
        self.assertGreaterEqual(products, sum(way.endswith(" epilogue") for way in ways))  # they were used

    def test_the_cuda_graph_changes_no_bit(self) -> None:
        """Four micro-batches a step in two lanes, evaluations between steps; the other run gone on with."""
        steps, last = 3, "checkpoints/step_00000003"
        values = {"seq_len": "16", "batch_tokens": "64", "val_tokens": "48", "questions_per_set": "5", "keep": "0"}
        values |= {"lanes": "2", "micro_batch": "1", "eval_at": "every:2", "checkpoint_at": "every:1"}
        for model, precision, recompute, mask in (
            ("pythia:L1:C32:H2", "fp32", "off", "on"),
            ("gpt2:L2:C32:H2", "bf16", "on", "off"),
            ("qwen3:L2:C64:H4:KV2:F96", "bf16", "on", "on"),
        ):
            flags = replaced(
                self.flags(model, steps), precision=precision, recompute=recompute, doc_mask=mask, **values
            )
            kind = f"{model.split(':')[0]}-{precision}"
            graph = self.train(SIMT / "train_gpt", f"graph-{kind}", *flags)
            single = self.train(SIMT / "train_gpt", f"single-{kind}", *flags, "--cuda-graph", "off")
            resumed = self.data / f"resumed-{kind}"
            shutil.copytree(single, resumed)
            shutil.rmtree(resumed / last)
            (resumed / "DONE").unlink()
            self.train(SIMT / "train_gpt", resumed.name, *flags, "--resume")
            for other in (single, resumed):
                with self.subTest(run=other.name):
                    for name in ("model.safetensors", "optimizer.safetensors"):
                        self.assertEqual((graph / last / name).read_bytes(), (other / last / name).read_bytes(), name)
                    for name in ("metrics.jsonl", "eval.jsonl"):
                        self.assertEqual(metrics_without_time(graph / name), metrics_without_time(other / name), name)

    def test_evaluation_equals_the_trainers_bit_for_bit(self) -> None:
        for precision in ("bf16", "fp32"):
            flags = [*self.flags(steps=4), "--eval-at", "end", "--precision", precision]
            out = self.train(SIMT / "train_gpt", f"eval-{precision}", *flags)
            results = self.data / f"results-{precision}.json"
            arguments = (
                f"--checkpoint {out}/checkpoints/step_00000004 --questions {self.data}/facts_questions"
                f" --val web={self.data}/val.bin --precision {precision} --out {results}"
            ).split()
            result = run(SIMT / "eval_knowledge", *replaced(arguments, **EVALUATION), env=ENVIRONMENT)
            self.assertEqual(result.returncode, 0, result.stderr)
            numbers = json.loads(results.read_text())
            compared = 0
            for name, value in metrics_without_time(out / "eval.jsonl")[-1].items():
                if name.startswith(("val/", "know/")):
                    self.assertEqual(find(numbers, name), value, name)
                    compared += 1
            self.assertGreater(compared, 5)

    def test_what_the_kernels_cannot_do_is_refused(self) -> None:
        result = run(SIMT / "train_gpt", *self.flags("pythia:L1:C48:H2"), env=ENVIRONMENT)
        self.assertEqual(result.returncode, 2)
        self.assertIn("16, 32, 64, 80, 128", result.stderr)
