"""`--precision bf16` of the CPU programs: near fp32's loss, exact about itself, a start for the other precision, and
the twin of the CUDA programs' where these were built on the CPU."""

import json
import os
import pathlib
import shutil
import unittest

import numpy as np
from common import EVAL, ROOT, TRAIN, DataTest, find, metrics_without_time, replaced, run, small_run

SIMT = pathlib.Path(os.environ.get("KNAPSACK_SIMT", ROOT / "build" / "simt"))
STEPS = 20
LAST = f"checkpoints/step_{STEPS:08d}"


def tensors(file: pathlib.Path) -> dict[str, tuple[str, np.ndarray]]:
    """Name -> type and values as floats, of a safetensors file."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + x for x in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data[begin:end], "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(data[begin:end], "<f4")
        found[name] = entry["dtype"], values
    return found


class Bf16Test(DataTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        fp32 = [*small_run(cls.data, STEPS), "--eval-at", "every:10", "--checkpoint-at", "every:10", "--keep", "0"]
        cls.flags = {"fp32": fp32, "bf16": [*fp32, "--precision", "bf16"]}
        cls.whole = {}
        for precision, flags in cls.flags.items():
            cls.whole[precision] = cls.data / precision
            result = run(TRAIN, *flags, "--out", str(cls.whole[precision]))
            assert result.returncode == 0, result.stderr + result.stdout

    def losses(self, out: pathlib.Path) -> list[float]:
        return [line["train/loss"] for line in metrics_without_time(out / "metrics.jsonl")]

    def assert_same_run(self, other: pathlib.Path) -> None:
        whole = self.whole["bf16"]
        for name in ("metrics.jsonl", "eval.jsonl"):
            self.assertEqual(metrics_without_time(whole / name), metrics_without_time(other / name), name)
        for name in ("model.safetensors", "optimizer.safetensors"):
            self.assertEqual((whole / LAST / name).read_bytes(), (other / LAST / name).read_bytes(), name)

    def test_loss_follows_fp32(self) -> None:
        ours, exact = self.losses(self.whole["bf16"]), self.losses(self.whole["fp32"])
        difference = sum(abs(a - b) / b for a, b in zip(ours, exact)) / STEPS
        print(f"bf16: mean difference of the loss from fp32's {difference:.1e}")
        self.assertGreater(difference, 0)
        self.assertLess(difference, 1e-4)

    def test_same_bits_for_any_number_of_threads_and_after_a_resume(self) -> None:
        for threads in (1, 3):
            out = self.data / f"threads-{threads}"
            result = run(TRAIN, *self.flags["bf16"], "--out", str(out), env={"OMP_NUM_THREADS": str(threads)})
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assert_same_run(out)
        out = self.begun("bf16")
        result = run(TRAIN, *self.flags["bf16"], "--out", str(out), "--resume")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_same_run(out)

    def begun(self, precision: str) -> pathlib.Path:
        """The run as a kill between its two checkpoints leaves it."""
        out = self.data / f"begun-{precision}"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.whole[precision], out)
        shutil.rmtree(out / LAST)
        (out / "DONE").unlink()
        return out

    def test_another_precision_is_another_run(self) -> None:
        result = run(TRAIN, *self.flags["fp32"], "--out", str(self.begun("bf16")), "--resume")
        self.assertEqual(result.returncode, 2)
        self.assertIn('--precision: "fp32" here, "bf16" there', result.stderr)

    def test_a_checkpoint_has_rounded_weights_and_their_masters(self) -> None:
        weights = tensors(self.whole["bf16"] / LAST / "model.safetensors")
        self.assertEqual({kind for kind, _ in weights.values()}, {"BF16"})
        config = json.loads((self.whole["bf16"] / LAST / "config.json").read_text())
        self.assertEqual(config["torch_dtype"], "bfloat16")
        kinds, values = zip(*weights.values())
        rounded = np.sort(np.concatenate(values))
        state = tensors(self.whole["bf16"] / LAST / "optimizer.safetensors")
        masters = np.sort(np.concatenate([x for name, (_, x) in state.items() if name.startswith("master.")]))
        self.assertEqual(rounded.size, masters.size)
        # both sorted: a rounding goes to a neighbour, 2^-7 of a number away or less
        self.assertLess(np.abs(rounded - masters).max(), 2**-7 * np.abs(masters).max())
        self.assertGreater(np.abs(rounded - masters).max(), 0)
        other = tensors(self.whole["fp32"] / LAST / "optimizer.safetensors")
        self.assertFalse([name for name in other if name.startswith("master.")])

    def test_a_branch_may_have_the_other_precision(self) -> None:
        """Its first loss is that of the trunk's next step: of the float weights, or of these rounded."""
        for trunk, branch in (("bf16", "fp32"), ("fp32", "bf16")):
            out = self.data / f"{trunk}-to-{branch}"
            flags = replaced(self.flags[branch], steps="24", eval_at="end", precision=branch)
            del flags[flags.index("--model") : flags.index("--model") + 2]
            checkpoint = self.whole[trunk] / "checkpoints/step_00000010"
            result = run(TRAIN, *flags, "--branch", str(checkpoint), "--out", str(out))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertAlmostEqual(self.losses(out)[0], self.losses(self.whole[trunk])[10], delta=5e-3)
            kinds = {kind for kind, _ in tensors(out / "checkpoints/step_00000024/model.safetensors").values()}
            self.assertEqual(kinds, {"BF16" if branch == "bf16" else "F32"})

    def test_evaluation_equals_the_trainers_bit_for_bit(self) -> None:
        results = self.data / "results.json"
        arguments = (
            f"--checkpoint {self.whole['bf16'] / LAST} --questions {self.data}/facts_questions"
            f" --val web={self.data}/val.bin --val-tokens 1280 --precision bf16 --out {results}"
        ).split()
        result = run(EVAL, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        numbers = json.loads(results.read_text())
        compared = 0
        for name, value in metrics_without_time(self.whole["bf16"] / "eval.jsonl")[-1].items():
            if name.startswith(("val/", "know/")):
                self.assertEqual(find(numbers, name), value, name)
                compared += 1
        self.assertGreater(compared, 5)

    def test_the_plan_counts_weights_and_masters(self) -> None:
        said = {}
        for precision, flags in self.flags.items():
            result = run(TRAIN, *flags, "--plan")
            self.assertEqual(result.returncode, 0, result.stderr)
            said[precision] = result.stdout
        self.assertNotEqual(said["bf16"], said["fp32"])

    @unittest.skipUnless((SIMT / "train_gpt").exists(), "no CUDA toolkit: the CUDA programs were not built on the CPU")
    def test_the_cuda_kernels_round_where_these_do(self) -> None:
        """Gradients of the first step, as moments. Where both round at the same places they differ by the few numbers
        that other orders of summation leave on another side of a tie. What follows amplifies each of these: a change
        of 1e-5 in every number takes one in 400 across a tie. Two that round elsewhere would be 1.4 times as far from
        each other as from fp32."""
        flags = replaced(self.flags["bf16"], batch_tokens="128", steps="2", warmup="1", eval_at="end", val_tokens="128")
        flags = replaced(flags, questions_per_set="20", checkpoint_at="at:1")
        for model, part in (("gpt2:L2:C32:H2", 1 / 50), ("pythia:L2:C32:H2", 1 / 10)):
            moments = {}
            for name, program, precision in (
                ("cuda", SIMT / "train_gpt", "bf16"),
                ("cpu", TRAIN, "bf16"),
                ("exact", TRAIN, "fp32"),
            ):
                out = self.data / f"twin-{model[:4]}-{name}"
                shape = replaced(flags, model=model, precision=precision)
                result = run(program, *shape, "--out", str(out), env={"OMP_NUM_THREADS": "1"})
                self.assertEqual(result.returncode, 0, result.stderr)
                state = tensors(out / "checkpoints/step_00000001/optimizer.safetensors")
                moments[name] = np.concatenate([m for key, (_, m) in sorted(state.items()) if key.startswith("m.")])
            near, far = (
                np.linalg.norm(moments["cuda"] - moments[name]) / np.linalg.norm(moments[name])
                for name in ("cpu", "exact")
            )
            print(f"{model}: CUDA's gradient in bf16 is {near:.1e} from the CPU's in bf16, {far:.1e} from fp32's")
            self.assertLess(near, part * far)


if __name__ == "__main__":
    unittest.main()
