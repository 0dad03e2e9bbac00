"""--exposures NAME=random:LO:HI from outside: plan, ledger, question lines, cells, resume."""

import json
import pathlib
import shutil
import unittest

import numpy as np
from common import EVAL, TRAIN, DataTest, metrics_without_time, run, small_run, under_sanitizers

GRID = [1, 2, 3, 4, 6, 8, 11, 16]
STEPS = 80


def read_lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class DosesTest(DataTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.flags = small_run(cls.data, steps=STEPS)
        at = cls.flags.index("--ratio")
        cls.flags[at : at + 2] = ["--exposures", "facts=random:1:16"]
        cls.flags += ["--eval-at", "every:20", "--per-question", "on", "--checkpoint-at", "every:20", "--keep", "0"]
        cls.trained = cls.data / "run"
        result = run(TRAIN, *cls.flags, "--out", str(cls.trained))
        assert result.returncode == 0, result.stderr + result.stdout
        cls.doses = np.load(cls.trained / "exposures/facts.doses.npy")

    @under_sanitizers
    def test_the_plan_says_the_doses(self) -> None:
        result = run(TRAIN, *self.flags, "--plan")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("(1.00 to 16.00 by dose)", result.stdout)
        listed = ", ".join(f"{dose} (10)" for dose in GRID)
        self.assertIn(f"doses of facts (entities): {listed}; {10 * sum(GRID)} exposures in all", result.stdout)
        planned = json.loads((self.trained / "config.json").read_text())["plan"]["facts"]["doses"]
        self.assertEqual(planned, [{"exposures": dose, "entities": 10} for dose in GRID])

    def test_the_ledger_equals_the_doses(self) -> None:
        self.assertEqual((self.doses.dtype, self.doses.shape), (np.dtype("<u4"), (80,)))
        self.assertEqual([int((self.doses == dose).sum()) for dose in GRID], [10] * len(GRID))
        ledger = np.load(self.trained / "exposures/facts.npy")
        np.testing.assert_array_equal(ledger["count"], np.stack([self.doses] * 2, 1))
        self.assertEqual(json.loads((self.trained / "exposures/facts.json").read_text())["doses"], GRID)
        mixture = json.loads((self.trained / "mixture.json").read_text())
        realised = {source["name"]: source["realised"] for source in mixture["sources"]}["facts"]["doses"]
        self.assertEqual(realised, [{"mean": float(dose), "least": dose, "most": dose} for dose in GRID])
        manifest = self.data / "manifest"
        result = run(TRAIN, *self.flags, "--manifest", str(manifest))
        self.assertEqual(result.returncode, 0, result.stderr)
        placed = np.load(manifest / "facts.npy")
        np.testing.assert_array_equal(np.bincount(placed["entity"], minlength=80), self.doses)
        np.testing.assert_array_equal(np.load(manifest / "facts.doses.npy"), self.doses)
        self.assertEqual(json.loads((manifest / "mixture.json").read_text()), mixture)

    def test_question_lines_and_cells_say_the_dose(self) -> None:
        files = sorted((self.trained / "answers").iterdir())
        self.assertEqual(len(files), STEPS // 20)
        for path in files:
            lines = read_lines(path)
            self.assertEqual([line["dose"] for line in lines], [self.doses[line["entity"]] for line in lines])
            self.assertTrue(all(line["exposures"] <= line["dose"] for line in lines))
        self.assertTrue(all(line["exposures"] == line["dose"] for line in lines))  # at the end
        checkpoint, results = self.trained / f"checkpoints/step_{STEPS:08d}", self.data / "results.json"
        answers = self.data / "answers.jsonl"
        arguments = f"--checkpoint {checkpoint} --questions {self.data}/facts_questions --out {results}"
        result = run(EVAL, *arguments.split(), "--per-question", str(answers))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(answers.read_bytes(), files[-1].read_bytes())
        self.assertIn("by dose", result.stdout)
        cells = json.loads(results.read_text())["know"]["facts"]["by_dose_and_kind"]
        self.assertEqual([(cell["dose"], cell["entities"]) for cell in cells], [(dose, 10) for dose in GRID])
        for cell in cells:
            correct = [line["correct"] for line in lines if line["dose"] == cell["dose"]]
            self.assertAlmostEqual(cell["accuracy"], np.mean(correct))
            self.assertEqual(len(cell["accuracy_interval"]), 2)

    @under_sanitizers
    def test_a_resumed_run_is_the_same(self) -> None:
        for step in (20, 60):
            out = self.data / f"resumed{step}"
            shutil.copytree(self.trained, out)
            (out / "DONE").unlink()
            for later in range(step + 20, STEPS + 1, 20):
                shutil.rmtree(out / f"checkpoints/step_{later:08d}")
            result = run(TRAIN, *self.flags, "--out", str(out), "--resume")
            self.assertEqual(result.returncode, 0, result.stderr)
            for name in ("exposures/facts.npy", "exposures/facts.doses.npy", "exposures/facts.json", "mixture.json"):
                self.assertEqual((out / name).read_bytes(), (self.trained / name).read_bytes(), name)
            for name in (
                "model.safetensors",
                "optimizer.safetensors",
                "loader_state.json",
                "exposures/facts.doses.npy",
            ):
                path = f"checkpoints/step_{STEPS:08d}/{name}"
                self.assertEqual((out / path).read_bytes(), (self.trained / path).read_bytes(), name)
            self.assertEqual(
                metrics_without_time(out / "metrics.jsonl"), metrics_without_time(self.trained / "metrics.jsonl")
            )
            last = f"answers/step_{STEPS:08d}.jsonl"
            self.assertEqual((out / last).read_bytes(), (self.trained / last).read_bytes())

    def test_other_seeds_deal_otherwise(self) -> None:
        dealt = {}
        for seed in ("1", "2"):
            for source in ("facts", "other"):
                flags = [flag.replace("facts=", f"{source}=") for flag in self.flags]
                folder = self.data / f"seed{seed}{source}"
                result = run(TRAIN, *flags, "--data-seed", seed, "--seed", "9", "--manifest", str(folder))
                self.assertEqual(result.returncode, 0, result.stderr)
                dealt[seed, source] = np.load(folder / f"{source}.doses.npy")
        np.testing.assert_array_equal(dealt["1", "facts"], self.doses)
        for other in (("2", "facts"), ("1", "other")):
            self.assertEqual(sorted(dealt[other]), sorted(self.doses))
            self.assertTrue((dealt[other] != self.doses).any())

    def test_lanes_and_micro_batches_change_nothing(self) -> None:
        for i, flags in enumerate((["--lanes", "4"], ["--micro-batch", "2"], ["--doc-mask", "on"])):
            out = self.data / f"variant{i}"
            result = run(TRAIN, *self.flags, *flags, "--out", str(out))
            self.assertEqual(result.returncode, 0, result.stderr)
            for name in ("exposures/facts.npy", "exposures/facts.doses.npy", "mixture.json"):
                self.assertEqual((out / name).read_bytes(), (self.trained / name).read_bytes(), name)

    @under_sanitizers
    def test_refusals(self) -> None:
        at = self.flags.index("--exposures")
        base = self.flags[:at] + self.flags[at + 2 :]
        for value, message in (
            ("facts=random:0:16", "expected at least 1"),
            ("facts=random:16:8", "expected LO <= HI"),
            ("facts=random:1:2B", "at most 1000000000"),
            ("facts=random:8", "random:LO:HI"),
            ("facts=random:a:8", "facts"),
            ("facts=8:16", "facts"),
            ("facts=random:1:4k", "facts needs"),
            ("web=random:1:16", "not a knowledge source"),
        ):
            result = run(TRAIN, *base, "--exposures", value, "--plan")
            self.assertEqual(result.returncode, 2, value + result.stderr)
            self.assertIn(message, result.stderr)
        result = run(TRAIN, *self.flags, "--ratio", "facts=0.2", "--plan")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--ratio and --exposures are both given for facts", result.stderr)


if __name__ == "__main__":
    unittest.main()
