"""knapsack sweep: what a grid becomes, what is refused before anything runs, and what becomes of its runs."""

import glob
import importlib.util
import json
import os
import unittest

if not importlib.util.find_spec("pandas"):
    raise unittest.SkipTest("the Python package pandas is needed")

import support  # noqa: E402

# In the place of train_gpt: leaves a run and its seed as its exit code, 0 for the seed 1.
TRAIN = """#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --out) out=$2 ;; --seed) seed=$2 ;; esac; shift; done
mkdir -p "$out"
echo "{\\"options\\": {\\"seed\\": $seed}, \\"steps\\": 1}" >"$out/config.json"
echo "seed $seed"
[ "$seed" = 1 ] || exit "$seed"
echo finished >"$out/DONE"
"""
EVAL = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
echo '{"metrics": {"val/web/loss": 3.25}}' >"$out"
"""


class SweepTest(support.FolderTest):
    def commands(self, *arguments: object) -> list[str]:
        """The training commands of a dry run."""
        said = self.run_ok("sweep", "--out", self.path("out"), "--dry-run", *arguments)
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
            for flag in (
                f"--tokens {tokens}",
                f"--exposures a=3 --exposures b={exposures}",
                f"--seed {seed}",
                "--source a=x.bin --source b=y.bin",
                "--doc-mask on",
            ):
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
            "[1]": "expected an object with the keys vary, train, runs and about",
            '{"very": {}}': "found very",
            '{"runs": {"a": "x"}}': "runs: a: expected an object from flags to values",
            '{"runs": ["a"]}': "runs: expected an object from names to flags",
            '{"vary": {"seed": []}}': "vary: seed: expected a text or number, or a list of some",
            '{"vary": {"exposures": [["a=1", "b=2"]]}}': "vary: exposures: expected",
            '{"train": {"tokens": null}}': "train: tokens: expected",
            '{"train": {"lr\\u0000": 1}}': "train: .*a letter that no command line can have",
            '{"vary": {"init": ["a", "\\ud800"]}}': "vary: .*a letter that no command line can have",
            json.dumps({"vary": {f"f{i}": list(range(100)) for i in range(6)}}): "1,000,000,000,000 runs; at most",
        }
        for text, said in cases.items():
            with self.subTest(text):
                self.run_bad(
                    2, said, "sweep", "--grid", self.write("grid.json", text), "--out", self.path("out"), "--dry-run"
                )
        for said, path in (("grid.json: not JSON", self.write("grid.json", "{")), ("No such", self.path("none.json"))):
            self.run_bad(3, said, "sweep", "--grid", path, "--out", self.path("out"), "--dry-run")
        self.run_bad(
            2, "--vary seed: expected FLAG=VALUE", "sweep", "--vary", "seed", "--out", self.path("out"), "--dry-run"
        )
        self.assertFalse(os.path.exists(self.path("out")))

    def sweep(self, *arguments: object) -> support.Done:
        programs = []
        for name, text in (("train", TRAIN), ("eval", EVAL)):
            programs += [f"--{name}-program", self.write(name, text)]
            os.chmod(self.path(name), 0o755)
        return support.run_command("sweep", "--out", self.path("out"), *programs, *arguments)

    def test_runs_are_trained_and_asked_once(self) -> None:
        again = "--vary", "seed=1", "--columns", "run,state,val/web/loss", "--", "--val", "web=x.bin"
        done = self.sweep(*again)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?s)\[1/1\] seed-1: done in 0 s\n.*seed-1 +done +3.25\n$")
        done = self.sweep(*again)
        self.assertIn("done before", done.stdout, done.stderr)
        with open(self.path("out", "seed-1.log"), encoding="utf-8") as file:
            self.assertEqual(file.read().count("seed 1\n"), 1)
        done = self.sweep("--vary", "seed=1", "--", "--val", "web=y.bin")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, "seed-1 was made with other flags .*web=x.bin.*; choose another --out")

    def test_flags_of_a_config_file_are_toml(self) -> None:
        """What the file says counts, not how: the same flags are the same run, others another."""
        config = self.path("run.toml")
        call = "--vary", "seed=1", "--", "--config", config
        self.write("run.toml", 'lr = 2e-3\nsource = ["web=~/a#1.bin", "bio=b.bin"]  # two\ndoc-mask = true\n')
        done = self.sweep(*call)
        self.assertEqual(done.returncode, 0, done.stderr)
        same = "doc-mask = 'on'\nsource = [\n  'web=~/a#1.bin', # text\n\n  'bio=b.bin',\n]\nlr = 0.002\n"
        self.write("run.toml", "\ufeff" + same)
        self.assertIn("done before", self.sweep(*call).stdout)
        refused = {
            same.replace(
                "#1", "#2"
            ): r"made with other flags \(--source 'web=~/a#1.bin', not --source 'web=~/a#2.bin'\)",
            "\nlr =\n": r"run.toml: not TOML \(.*line 2",
            "lr\n": r"run.toml: not TOML \(.*line 1",
            "model = gpt2:L1:C32:H2\n": r"run.toml: not TOML \(.*line 1",
            "source = [\n'a=b'\n": r"run.toml: not TOML",
            "a = " + "[" * 100_000: "too many arrays inside each other",
            "[train]\nlr = 1\n": "run.toml: train: expected a text, a number, true, false, or an array of some",
            "lr = []\n": "run.toml: lr: expected a text",
            "a = [['b']]\n": "run.toml: a: expected a text",
            "a = 2001-01-01\n": "run.toml: a: expected a text",
        }
        for text, said in refused.items():
            with self.subTest(text[:40]):
                self.write("run.toml", text)
                done = self.sweep(*call)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertRegex(done.stderr, said)
        self.write("run.toml", b"lr = '\xff'\n")
        self.assertRegex(self.sweep(*call).stderr, "run.toml: not TOML")

    def test_what_a_config_file_asks_for_is_asked(self) -> None:
        call = "--vary", "seed=1", "--columns", "val/web/loss", "--", "--config", self.path("run.toml")
        self.write("run.toml", "val = ['web=x.bin']\nprecision = 'fp32'\n")
        done = self.sweep(*call)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("3.25", done.stdout)
        with open(self.path("out", "seed-1.log"), encoding="utf-8") as file:
            self.assertRegex(file.read(), r"eval --checkpoint \S+ --val web=x.bin --precision fp32 --out")
        self.assertIn("done before", self.sweep(*call).stdout)

    def test_what_is_refused_leaves_nothing_and_names_of_bytes_pass(self) -> None:
        self.write("a.bin", "x")
        for sums in ("3", '"x"', "[1]"):
            self.write("a.json", f'{{"checksums": {sums}}}')
            done = self.sweep("--vary", "seed=1", "--", "--source", f"web={self.path('a.bin')}")
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertRegex(done.stderr, "a.json:1: not as expected")
            self.assertFalse(os.path.exists(self.path("out")))
        done = self.sweep("--vary", "seed=1", "--", "--source", os.fsdecode(b"web=a\xff.bin"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(self.path("out", "seed-1.flags.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["flags"]["source"], [os.fsdecode(b"web=a\xff.bin")])

    def test_seeds_beyond_a_double_are_two_runs(self) -> None:
        done = self.sweep("--vary", f"seed={2**53},{2**53 + 1}", "--vary", f"tokens=4M,4000001,{'9' * 5000}")
        self.assertNotIn("are one run", done.stderr)
        self.assertIn("of 6 runs failed", done.stderr)
        done = self.sweep("--vary", "tokens=4M,4000000")
        self.assertIn("are one run: the same options and data", done.stderr)

    def test_a_run_that_fails_is_said_and_the_sweep_goes_on(self) -> None:
        done = self.sweep("--vary", "seed=5,1")
        self.assertEqual((done.returncode, done.stderr), (1, "1 of 2 runs failed\n"))
        self.assertRegex(
            done.stdout, r"(?s)\[1/2\] seed-5: FAILED, train ended with code 5; .*log ends\n.*    seed 5\n"
        )
        self.assertRegex(done.stdout, r"\[2/2\] seed-1: done in")

    def test_a_run_that_was_stopped_stops_the_sweep(self) -> None:
        done = self.sweep("--vary", "seed=75,1")
        self.assertEqual(done.returncode, 75)
        self.assertIn("seed-75: stopped; the same command goes on", done.stdout)
        self.assertFalse(os.path.exists(self.path("out", "seed-1")))


if __name__ == "__main__":
    unittest.main()
