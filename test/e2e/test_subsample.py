"""--subsample: accuracy over the kept entities, the same in the trainer and in the eval binary."""

import json
import shutil
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

    def test_list(self) -> None:
        # the same choice by a list; the list may go, and the run goes on where another run was stopped
        kept = np.flatnonzero(np.load(self.out / "exposures/facts.npy")["count"].sum(axis=1))
        keep, out = self.data / "keep.txt", self.data / "listed"
        keep.write_text("".join(f"{entity}\n" for entity in kept[::-1]))
        flags = small_run(self.data, steps=40) + ["--eval-at", "end", "--checkpoint-at", "every:20,end", "--keep", "0"]
        listed = [*flags, "--out", str(out), "--subsample", f"facts=file:{keep}"]
        result = run(TRAIN, *listed)
        self.assertEqual(result.returncode, 0, result.stderr)
        plan = json.loads((out / "config.json").read_text())["plan"]["facts"]
        self.assertEqual((plan["documents"], plan["list"]["of"]), (20, 80))
        counts = np.load(out / "exposures/facts.npy")["count"]
        self.assertEqual(np.flatnonzero(counts.sum(axis=1)).tolist(), kept.tolist())
        self.assertEqual(np.load(out / "exposures/facts.kept.npy").tolist(), kept.tolist())
        last = metrics_without_time(out / "eval.jsonl")[-1]

        self.assertIn(f"the 20 of 80 in its list ({plan['list']['hash']})", run(TRAIN, *listed, "--plan").stdout)
        for path in (out / "DONE", *(out / "checkpoints/step_00000040").iterdir()):
            path.unlink() if path.is_file() else shutil.rmtree(path)
        (out / "checkpoints/step_00000040").rmdir()
        keep.write_text("1\n2\n")
        refused = run(TRAIN, *listed, "--resume")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("another options of source facts", refused.stderr)
        moved = self.data / "moved.npy"
        np.save(moved, kept.astype("<u4"))
        resumed = run(TRAIN, *[word.replace(f"file:{keep}", f"file:{moved}") for word in listed], "--resume")
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        self.assertEqual(metrics_without_time(out / "eval.jsonl")[-1], last)
        self.assertTrue((np.load(out / "exposures/facts.npy")["count"] == counts).all())

        moved.unlink()
        results = self.data / "listed.json"
        arguments = f"--checkpoint {out}/checkpoints/step_00000040 --questions {self.data}/facts_questions"
        arguments += f" --out {results}"
        self.assertEqual(run(EVAL, *arguments.split()).returncode, 0)
        for name in KEPT:
            self.assertEqual(json.loads(results.read_text())["metrics"][name], last[name], name)
        missing = run(TRAIN, *listed[:-1], f"facts=file:{moved}", "--plan")
        self.assertEqual(missing.returncode, 3)
        self.assertIn("there is no such file", missing.stderr)

    def test_no_metric_without_it(self) -> None:
        out = self.data / "whole"
        result = run(TRAIN, *small_run(self.data, steps=2), "--out", str(out), "--eval-at", "end")
        self.assertEqual(result.returncode, 0, result.stderr)
        line = metrics_without_time(out / "eval.jsonl")[-1]
        self.assertIn("know/facts/accuracy", line)
        self.assertEqual([name for name in line if "kept" in name], [])


if __name__ == "__main__":
    unittest.main()
