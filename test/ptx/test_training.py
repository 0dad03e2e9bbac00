"""train_gpt as nvcc compiled it, run on the CPU from its PTX (make ptx): the loss of whole training runs of both
families follows the CPU backend's, which shares no kernel with it."""

import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "e2e"))

from common import TRAIN, DataTest, metrics_without_time, run  # noqa: E402

PTX = pathlib.Path(os.environ.get("KNAPSACK_PTX", ROOT / "build" / "ptx"))
STEPS = 8
ALLOWED = {"fp32": 1e-6, "bf16": 1e-3}


@unittest.skipUnless((PTX / "train_gpt").exists(), "no nvcc: its train_gpt was not built")
class TrainingTest(DataTest):
    def flags(self, T: int) -> list[str]:
        sources = [f"--source={name}={self.data / name}.bin" for name in ("web", "facts")]
        size = f"--seq-len={T} --batch-tokens={2 * T} --steps={STEPS} --warmup=2 --lr=3e-3"
        return [*sources, "--ratio=facts=0.4", "--doc-mask=on", *size.split()]

    def losses(self, program: pathlib.Path, name: str, *flags: str) -> list[float]:
        out = self.data / name
        environment = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.data / "cache")}
        result = run(program, *flags, "--out", str(out), env=environment)
        self.assertEqual(result.returncode, 0, result.stderr + result.stdout)
        return [line["train/loss"] for line in metrics_without_time(out / "metrics.jsonl")]

    def test_loss_is_the_cpu_backends(self) -> None:
        # the last: attention's long blocks, and more than one of them
        for model, T in (
            ("pythia:L2:C32:H2", 32),
            ("gpt2:L2:C32:H2", 32),
            ("gpt2:L1:C64:H1", 160),
            ("llama:L1:C32:H2:KV1:F48", 32),
        ):
            flags = [*self.flags(T), "--model", model]
            name = f"{model.partition(':')[0]}-{T}"
            cpu = self.losses(TRAIN, f"cpu-{name}", *flags)
            self.assertEqual(len(cpu), STEPS)
            for precision, allowed in ALLOWED.items():
                with self.subTest(model=model, precision=precision):
                    cuda = self.losses(PTX / "train_gpt", f"{precision}-{name}", *flags, "--precision", precision)
                    difference = max(abs(a - b) / b for a, b in zip(cuda, cpu, strict=True))
                    print(f"{model} {precision}: largest difference of the loss {difference:.1e}, last {cuda[-1]:.4f}")
                    self.assertLess(difference, allowed)
                    self.assertLess(cuda[-1], cuda[0])


if __name__ == "__main__":
    unittest.main()
