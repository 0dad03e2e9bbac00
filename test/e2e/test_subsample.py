"""--subsample: accuracy over the kept entities, the same in the trainer and in the eval binary."""

import json
import unittest

import numpy as np
from common import EVAL, TRAIN, DataTest, metrics_without_time, run, small_run

KEPT = ("know/facts/accuracy_kept", "know/facts/accuracy_seen_kept")
STEPS = 160


class SubsampleTest(DataTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.out = cls.data / "quarter"
        flags = [flag.replace("facts=0.4", "facts=0.9") for flag in small_run(cls.data, steps=STEPS)]
        flags += ["--subsample", "facts=0.25", "--data-seed", "7", "--eval-at", "end"]
        result = run(TRAIN, *flags, "--out", str(cls.out))
        assert result.returncode == 0, result.stderr + result.stdout
        cls.last = metrics_without_time(cls.out / "eval.jsonl")[-1]

    def evaluate(self, *flags: str) -> tuple[dict, str]:
        results = self.data / "results.json"
        checkpoint = self.out / f"checkpoints/step_{STEPS:08d}"
        arguments = f"--checkpoint {checkpoint} --questions {self.data}/facts_questions --out {results}".split()
        result = run(EVAL, *arguments, *flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(results.read_text()), result.stdout

    def test_trainer_and_binary_agree(self) -> None:
        results, table = self.evaluate()
        for name in ("know/facts/accuracy", *KEPT):
            self.assertEqual(results["metrics"][name], self.last[name], name)
        kept = results["know"]["facts"]["kept"]
        self.assertEqual((kept["entities"], kept["of"]), (round(0.25 * 80), 80))
        self.assertEqual((kept["all"]["entities"], kept["all"]["questions"]), (20, 20 * 2 * 2))
        self.assertEqual(results["results"]["facts"]["accuracy_kept,none"], self.last[KEPT[0]])
        self.assertIn("kept entities: 20 of 80", table)

    def test_kept_are_those_that_were_trained_on(self) -> None:
        # by the ledger, which books what the loader showed
        path = self.data / "q.jsonl"
        self.evaluate("--per-question", str(path))
        kept = np.load(self.out / "exposures/facts.npy")["count"].sum(axis=1) > 0
        self.assertEqual(kept.sum(), 20)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        correct = [line["correct"] for line in lines if kept[line["entity"]]]
        self.assertEqual(np.mean(correct), self.last[KEPT[0]])
        self.assertGreater(self.last[KEPT[0]], self.last["know/facts/accuracy"] + 0.1)

    def test_training_data_need_not_be_there(self) -> None:
        before = self.evaluate()[0]["metrics"]
        shard = self.data / "facts.bin"
        shard.rename(self.data / "away")
        try:
            self.assertEqual(self.evaluate()[0]["metrics"], before)
        finally:
            (self.data / "away").rename(shard)

    def test_no_metric_without_it(self) -> None:
        out = self.data / "whole"
        result = run(TRAIN, *small_run(self.data, steps=2), "--out", str(out), "--eval-at", "end")
        self.assertEqual(result.returncode, 0, result.stderr)
        line = metrics_without_time(out / "eval.jsonl")[-1]
        self.assertIn("know/facts/accuracy", line)
        self.assertEqual([name for name in line if "kept" in name], [])


if __name__ == "__main__":
    unittest.main()
