"""scripts/sweep.py: what a grid becomes, and what is refused before anything runs."""

import glob
import json
import os
import unittest

import support

SWEEP = "sweep"


class SweepTest(support.FolderTest):
    def commands(self, *arguments: object) -> list[str]:
        """The training commands of a dry run."""
        said = self.run_ok(SWEEP, "--out", self.path("out"), "--dry-run", *arguments)
        return [line for line in said.splitlines() if "train_gpt" in line]

    def test_flags_that_vary_are_combined_with_those_that_change_together(self) -> None:
        grid = {
            "about": "for readers",
            "train": {"tokens": "1M", "source": ["a=x.bin", "b=y.bin"], "exposures": "a=3", "doc-mask": "on"},
            "vary": {"seed": [1, 2]},
            "runs": {"rare": {"exposures": "b=1"}, "often": {"exposures": "b=9", "tokens": "2M"}},
        }
        lines = self.commands("--grid", self.write("grid.json", json.dumps(grid)))
        self.assertEqual(len(lines), 4)
        for line, (exposures, tokens, seed) in zip(lines, [(1, "1M", 1), (1, "1M", 2), (9, "2M", 1), (9, "2M", 2)]):
            for flag in (f"--tokens {tokens}", f"--exposures a=3 --exposures b={exposures}", f"--seed {seed}", "--source a=x.bin --source b=y.bin", "--doc-mask on"):
                self.assertIn(flag, line)

    def test_the_experiments_are_grids(self) -> None:
        for path in glob.glob(os.path.join(support.REPOSITORY, "dev", "experiments", "*.json")):
            with open(path, encoding="utf-8") as file:
                grid = json.load(file)
            runs = len(grid.get("runs", {"": 0}))
            for values in grid.get("vary", {}).values():
                runs *= len(values) if isinstance(values, list) else 1
            self.assertEqual(len(self.commands("--grid", path)), runs, path)

    def test_a_grid_of_another_shape_is_refused(self) -> None:
        cases = {
            "{": r"grid.json: ",
            "[1]": "expected an object with the keys vary, train, runs and about",
            '{"very": {}}': "found very",
            '{"runs": {"a": "x"}}': "runs: a: expected an object from flags to values",
            '{"runs": ["a"]}': "runs: expected an object from names to flags",
            '{"vary": {"seed": []}}': "vary: seed: expected a text or number, or a list of some",
            '{"vary": {"exposures": [["a=1", "b=2"]]}}': "vary: exposures: expected",
            '{"train": {"tokens": null}}': "train: tokens: expected",
        }
        for text, said in cases.items():
            with self.subTest(text):
                self.run_bad(2, said, SWEEP, "--grid", self.write("grid.json", text), "--out", self.path("out"), "--dry-run")
        self.run_bad(2, "--vary seed: expected FLAG=VALUE", SWEEP, "--vary", "seed", "--out", self.path("out"), "--dry-run")
        self.assertFalse(os.path.exists(self.path("out")))


if __name__ == "__main__":
    unittest.main()
