"""dev/bench/cpu_vs_torch.py on planted step times: medians, which way is compared with which, what is refused. The
parts of its peer that old versions of PyTorch lack, where there is a PyTorch."""

import importlib.util
import json
import os
import subprocess
import sys
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import support

PROGRAM = os.path.join(support.REPOSITORY, "dev/bench/cpu_vs_torch.py")
SHAPE = "L2-C32-V1024-T128-B16"
TOKENS = 128 * 16
TORCH = """#!/usr/bin/env python3
import json, sys
if sys.argv[1] == "-c":
    print("0.0")
    sys.exit("AttributeError: module 'torch' has no attribute 'compile'" if "compile" in sys.argv[2] and OLD_ONE else 0)
options = json.loads(sys.argv[2])
seconds = {(False, False): 0.5, (True, False): 0.3, (False, True): 0.4, (True, True): 0.25}
seconds = seconds[options["compile"], options["autocast"]]
print(json.dumps(dict(ready=True)), flush=True)
for number, line in enumerate(sys.stdin):
    with open("FOLDER/order", "a") as order:
        order.write(f"torch {seconds}\\n")
    numbers = dict(step_seconds=[seconds * (1 + number % 2)] * int(line), peak_bytes=3 << 20, imported_bytes=1 << 20)
    print(json.dumps(numbers | dict(graphs=GRAPHS)), flush=True)
"""
OURS = """#!/usr/bin/env python3
import json, pathlib, sys
words = sys.argv[1:]
precision = words[words.index("--precision") + 1]
if "--plan" in words:
    sys.exit("error: --precision bf16: not in this build" if precision in REFUSED else 0)
with open("FOLDER/order", "a") as order:
    order.write(f"{precision}\\n")
out = pathlib.Path(words[words.index("--out") + 1])
out.mkdir()
lines = [json.dumps({"perf/step_ms": 200 if precision == "fp32" else 100})] * int(words[words.index("--steps") + 1])
(out / "metrics.jsonl").write_text("\\n".join(lines))
"""


class CpuPeersTest(support.FolderTest):
    def program(self, name: str, text: str) -> str:
        path = self.write(name, text.replace("FOLDER", self.folder))
        os.chmod(path, 0o755)
        return path

    def measured(
        self, rounds: int = 3, refused: str = "()", graphs: str = "1", old: bool = False
    ) -> subprocess.CompletedProcess:
        torch = self.program("torch", TORCH.replace("GRAPHS", graphs).replace("OLD_ONE", str(old)))
        ours = self.program("ours", OURS.replace("REFUSED", refused))
        command = [sys.executable, PROGRAM, "--torch", torch, "--program", ours, "--rounds", str(rounds), "--no-bound"]
        files = ["--json", self.path("out.json"), "--markdown", self.path("out.md")]
        return subprocess.run([*command, "--shapes", SHAPE, *files], capture_output=True, text=True)

    def row(self) -> dict:
        with open(self.path("out.json")) as file:
            return json.load(file)["shapes"][SHAPE]

    def test_the_best_of_ours_against_the_best_of_four(self) -> None:
        done = self.measured()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        row = self.row()
        # the peers take twice as long in the second of three measurements after the warm-up's
        self.assertEqual(row["ways"]["compiled bf16"]["rounds"], [TOKENS / 0.5, TOKENS / 0.25, TOKENS / 0.5])
        self.assertEqual(row["ways"]["compiled bf16"]["tokens_per_s"], TOKENS / 0.5)
        self.assertEqual((row["best_of_ours"], row["best_of_torch"]), ("ours bf16", "compiled bf16"))
        self.assertEqual(row["best_fp32_of_torch"], "compiled fp32")
        self.assertEqual(row["ratio"], {"median": 5.0, "low": 2.5, "high": 5.0})
        self.assertAlmostEqual(row["ratio_fp32"]["median"], 3)
        self.assertEqual(row["bf16_over_fp32"]["median"], 2)
        self.assertEqual(row["ways"]["eager fp32"]["peak_mib"], 3)
        with open(self.path("out.md")) as file:
            self.assertIn("| L2 C32 V1024 T128 B16 | 10,240 | 20,480 | 2,048 | 3,413 | 2,560 | 4,096 | 5.00x | 3.00x |",
                          file.read())  # fmt: skip
        with open(self.path("order")) as file:
            order = file.read().split("\n")[6:-1]  # past what warms up
        first = ["fp32", "bf16", "torch 0.5", "torch 0.3", "torch 0.4", "torch 0.25"]
        self.assertEqual(order, [*first, *first[::-1], *first])

    def test_a_precision_that_is_refused_is_left_out_and_said(self) -> None:
        done = self.measured(rounds=1, refused="('bf16',)")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("ours bf16 is left out: error: --precision bf16: not in this build", done.stdout)
        self.assertEqual(self.row()["best_of_ours"], "ours fp32")
        self.assertNotIn("bf16_over_fp32", self.row())

    def test_an_old_torch_is_measured_without_compilation(self) -> None:
        done = self.measured(rounds=1, old=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(
            "compiled bf16 is left out: AttributeError: module 'torch' has no attribute 'compile'", done.stdout
        )
        row = self.row()
        self.assertEqual((row["best_of_torch"], row["best_fp32_of_torch"]), ("eager bf16", "eager fp32"))
        self.assertEqual((row["ratio"]["median"], row["ratio_fp32"]["median"]), (8, 5))  # a peer's second measurement

    def test_compilation_is_not_measured(self) -> None:
        done = self.measured(rounds=2, graphs="1 + number")
        self.assertEqual(done.returncode, 1)
        self.assertIn("compiled again while it was measured", self.row()["error"])


@unittest.skipUnless(importlib.util.find_spec("torch"), "the Python package 'torch' is not installed")
class TorchStepTest(unittest.TestCase):
    def setUp(self) -> None:
        import torch

        sys.path.insert(0, os.path.dirname(PROGRAM))
        self.addCleanup(sys.path.remove, os.path.dirname(PROGRAM))
        import torch_step

        self.torch, self.step = torch, torch_step
        torch.manual_seed(1)

    def results(self, function: Callable, *inputs: Any) -> list:
        """Value and gradients of the inputs."""
        inputs = [x.detach().clone().requires_grad_() for x in inputs]
        out = function(*inputs)
        (out * self.torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        return [out.detach(), *(x.grad for x in inputs)]

    def assert_same(self, got: list, expected: list) -> None:
        for a, b in zip(got, expected):
            self.torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

    def test_rms_norm_is_that_of_the_newer_versions(self) -> None:
        x, weight = 3 * self.torch.randn(2, 5, 24), self.torch.randn(24)
        x[0, 0] *= 1e-3  # where eps counts

        def by(norm: Any) -> list:
            norm.weight.data.copy_(weight)
            return [*self.results(norm, x), norm.weight.grad]

        got = by(self.step.RmsNorm(24, eps=1e-5))
        self.assert_same(got[:1], [weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()])
        if hasattr(self.torch.nn, "RMSNorm"):
            self.assert_same(got, by(self.torch.nn.RMSNorm(24, eps=1e-5)))

    def test_grouped_attention_reads_head_h_over_the_group_size(self) -> None:
        B, T, heads, kv_heads, D = 2, 7, 6, 2, 4
        q, k, v = (self.torch.randn(B, n, T, D) for n in (heads, kv_heads, kv_heads))

        def plain(q: Any, k: Any, v: Any) -> Any:
            out = []
            for h in range(heads):
                scores = q[:, h] @ k[:, h // 3].transpose(1, 2) / D**0.5
                mask = self.torch.ones(T, T, dtype=self.torch.bool).triu(1)
                out.append(scores.masked_fill(mask, float("-inf")).softmax(-1) @ v[:, h // 3])
            return self.torch.stack(out, 1)

        expected = self.results(plain, q, k, v)
        for grouped in {False, self.step.HAS_GROUPED_ATTENTION}:
            with self.subTest(grouped=grouped), mock.patch.object(self.step, "HAS_GROUPED_ATTENTION", grouped):
                self.assert_same(self.results(self.step.causal_attention, q, k, v), expected)


if __name__ == "__main__":
    unittest.main()
