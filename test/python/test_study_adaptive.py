"""knapsack study: a block that places its runs, on a trainer that only says what a model would have learned."""

import contextlib
import importlib.util
import io
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import unittest

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import numpy as np  # noqa: E402
import support  # noqa: E402
from planted_studies import placed_study, ratio_study  # noqa: E402

from knapsack.analysis.laws import critical  # noqa: E402
from knapsack.analysis.laws.placement import ABOVE, FLAT, NARROW, Rule, ended, next_level  # noqa: E402

# Learns above the critical ratio of the file CRITICAL; each seed a little more or less. Where there is a file
# KILL.SEED, kills the runner instead, once.
TRAIN = """#!/bin/sh
here=$(dirname "$0")
while [ $# -gt 0 ]; do case $1 in --out) out=$2 ;; --seed) seed=$2 ;; --ratio) ratio=${2#bio=} ;; esac; shift; done
if [ -e "$here/KILL.$seed" ]; then rm "$here/KILL.$seed"; kill -9 $PPID; exit 1; fi
[ -e "$here/FAIL.$seed" ] && exit 3
mkdir -p "$out"
echo '{"options": {}, "steps": 1}' >"$out/config.json"
awk -v r="$ratio" -v s="$seed" -v c="$(cat "$here/CRITICAL")" \\
    'BEGIN { printf "%.4f %s", 0.98 / (1 + exp(-8 * log(r / c) - 0.6 * sin(7 * s))), r }' >"$out/learned"
echo finished >"$out/DONE"
"""
EVAL = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
read -r share ratio <"$(dirname "$out")/learned" || true
echo "{\\"metrics\\": {\\"know/bio/accuracy_seen\\": $share, \\"share/bio\\": $ratio}}" >"$out"
"""
PLACE = {"axis": {"ratio": "bio"}, "low": 0.03, "high": 0.6, "measure": "know/bio/accuracy_seen", "width": 0.15}
BLOCK = {"train": {"val": "web=x.bin"}, "place": PLACE, "measures": ["know/bio/accuracy_seen"]}
LAW = {"blocks": ["R"], "arguments": "--dose share/bio --response know/bio/accuracy_seen --size none --horizon none"}


def with_place(**more: object) -> str:
    return json.dumps({"blocks": {"R": BLOCK | {"place": PLACE | more}}})


class PlacementTest(unittest.TestCase):
    """The rule, on planted truths."""

    RULE = Rule(tuple(np.geomspace(0.03, 0.6, 25)), 4, 24, 0.1, 0.004, 400)

    def half_width(self, x: np.ndarray, share: np.ndarray) -> float:
        at = critical.find(x, share, 400, 0.004, np.arange(len(x))).at
        return math.log(at.high / at.low) / 2

    def test_a_threshold_is_found_with_fewer_runs_than_a_grid_of_equal_precision(self) -> None:
        runs, errors, placed, grids = [], [], [], []
        grid = tuple(np.geomspace(0.03, 0.6, 8))
        for seed in range(6):
            random = np.random.default_rng([3, seed])
            truth = 0.22 * math.exp(random.uniform(-0.5, 0.5))
            x, share, why = placed_study(random, self.RULE, truth, 0.06)
            self.assertEqual(why, NARROW)
            runs.append(len(x))
            placed.append(self.half_width(x, share))
            errors.append(math.log(critical.find(x, share, 400, 0.004, np.arange(len(x))).at.value / truth))
            grids.append(self.half_width(*ratio_study(random, truth, grid, 2)))
        self.assertLess(max(placed), 0.1)
        self.assertLess(np.mean(np.abs(errors)), 0.06)
        self.assertLess(np.mean(runs), 13)  # of 16 in the grid
        self.assertLess(np.mean(placed), np.mean(grids))

    def test_where_nothing_learns_it_ends_early_and_no_threshold_is_said(self) -> None:
        x, share, why = placed_study(np.random.default_rng(1), self.RULE, None, 0.06)
        self.assertEqual(why, ABOVE)
        self.assertLess(len(x), 9)
        self.assertGreaterEqual((x == 0.6).sum(), 2)
        self.assertIsNone(critical.find(x, share, 400, 0.004, np.arange(len(x))).at)

    def test_what_is_known_equally_everywhere_is_no_rise(self) -> None:
        """Runs are spread meanwhile: levels that follow the outcomes made a rise of scatter."""
        x, share, why = placed_study(np.random.default_rng(2), self.RULE, None, 0.06, 0.4)
        self.assertEqual(why, FLAT)
        self.assertGreater(len(np.unique(x)), 8)
        self.assertIsNone(critical.find(x, share, 400, 0.004, np.arange(len(x))).slope)

    def test_first_runs_are_spread_and_those_at_work_count(self) -> None:
        self.assertEqual(next_level(self.RULE, [], []), self.RULE.levels[0])
        opening = [next_level(self.RULE, [], [], self.RULE.opening[:i]) for i in range(4)]
        self.assertEqual(opening, self.RULE.opening)
        self.assertEqual((opening[0], opening[-1]), (self.RULE.levels[0], self.RULE.levels[-1]))
        x, share = self.RULE.opening, [0.004, 0.004, 0.2, 0.97]
        alone = next_level(self.RULE, x, share)
        several = [alone]
        for _ in range(3):
            several.append(next_level(self.RULE, x, share, several))
        self.assertGreater(len(set(several)), 1)  # not all where the first of them goes
        self.assertEqual(ended(self.RULE, x, share), "")


class DeclaredTest(support.FolderTest):
    def test_what_is_refused(self) -> None:
        law = {"law": "c", "value": "critical/0/critical", "between": [0, 1]}
        cases = {
            with_place(axis={"ratio": "bio", "exposures": "wd"}): "R: place: axis: expected one axis, ",
            with_place(axis="ratio"): "place: axis: expected one axis",
            with_place(axis={"tokens": "8M"}): "runs are placed along ratio or exposures, not tokens",
            with_place(axis={"ratio": "bio=0.3"}): "axis: ratio: expected the name of a source",
            with_place(low=0.6): "place: low 0.6 is not below high 0.6",
            with_place(low=0): "low: expected a number above 0, at most 1",
            with_place(high=1.5): "high: expected a number above 0, at most 1, found 1.5",
            with_place(axis={"exposures": "bio"}, low=1, high=2): "between 1 and 2 are only 2 levels: 1, 2",
            with_place(levels=2): "levels: expected a whole number of 3 to 200, found 2",
            with_place(first=2): "first: expected a whole number of 3 to 24, found 2",
            with_place(runs=2): "runs: expected a whole number of 3 to 1,000, found 2",
            with_place(width=0): "width: expected a number above 0, at most 2, found 0",
            with_place(width=None): "width: expected a number",
            with_place(guess=1): "guess: expected a number above 0, at most 0.9",
            with_place(measure=3): "measure: expected a column of the table of runs, found 3",
            with_place(until=3): "place: no key until; there are axis",
            json.dumps({"blocks": {"R": BLOCK | {"place": []}}}): "R: place: expected an object",
            json.dumps({"blocks": {"R": BLOCK | {"vary": {"lr": [1, 2]}}}}): "differs in its level alone; no vary",
            json.dumps({"blocks": {"R": BLOCK | {"replicates": 2}}}): "differs in its level alone; no replicates",
            json.dumps({"blocks": {"R": BLOCK | {"train": {"seed": 1}}}}): "--seed is given, but a replicate sets it",
            json.dumps({"blocks": {"R": BLOCK}, "predictions": {"a": {
                "block": "R", "at": {"ratio": "bio=0.2"}, "measure": "x", "between": [0, 1]}}}):
                "predictions: a: at: block R places its runs, so that no setting of them is known before",
            json.dumps({"blocks": {"R": BLOCK}, "laws": {"c": LAW}, "predictions": {"a": law | {"at": {"ratio": 1}}}}):
                "predictions: a: at: block R places its runs",
        }  # fmt: skip
        for text, said in cases.items():
            with self.subTest(text):
                self.write("bad.json", text)
                self.run_bad(2, said, "study", "run", self.path("bad.json"), "--out", self.path("out"))
        self.assertFalse(os.path.exists(self.path("out")))

    def test_levels_and_names(self) -> None:
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study

        text = json.dumps({"blocks": {"R": BLOCK | {"place": PLACE | {"levels": 4, "runs": 9}}}, "replicates": 3})
        path = pathlib.Path(self.write("study.json", text))
        study = read_study(path, pathlib.Path(self.path("out")), None)
        self.assertEqual(study.blocks["R"].placed.place.levels, ("0.03", "0.0814", "0.221", "0.6"))
        self.assertEqual(study.runs, [])
        to_come = choose(study, None)
        self.assertEqual([one.run.name for one in to_come][:2], [f"R_ratio-bio-0.6_replicate-{n}" for n in (1, 2)])
        self.assertEqual([one.role for one in to_come], ["next"] * 9)
        self.assertEqual(to_come[4].run.flags["seed"], ["5"])
        os.makedirs(self.path("out"))
        lines = [json.dumps({"block": "R", "order": i, "level": one}) for i, one in enumerate(["0.03", "0.221"], 1)]
        self.write("out/placed.jsonl", "\n".join([*lines, '{"block": "R", "order": 3, "le']))
        study = read_study(path, pathlib.Path(self.path("out")), None)
        self.assertEqual(study.runs[1].run.name, "R_ratio-bio-0.221_replicate-2")
        self.assertEqual(study.runs[1].run.flags["ratio"], ["bio=0.221"])
        self.assertEqual([one.role for one in choose(study, "R")], [""] * 2 + ["next"] * 7)
        self.run_bad(
            2, "block R places its runs one after another", "study", "plan", path, "--out", self.path("out"),
            "--blocks", "R:2",
        )  # fmt: skip
        for wrong in ('{"block": "R", "order": 1, "level": "zero"}', lines[1]):
            self.write("out/placed.jsonl", wrong)
            said = "placed.jsonl: line 1: expected the next order and level of block R"
            self.run_bad(3, said, "study", "run", path, "--out", self.path("out"))

    def test_a_plan_counts_as_many_runs_as_there_may_be(self) -> None:
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study
        from knapsack.study.plan import say_placing

        os.makedirs(self.path("out"))
        path = pathlib.Path(self.write("study.json", json.dumps({"blocks": {"R": BLOCK | {"place": PLACE}}})))
        lines = ['{"block": "R", "order": 1, "level": "0.03"}', '{"block": "R", "ended": "below the levels"}']
        for begun, said in (
            (lines[:1], "placed 1, at most 23 more, counted above"),
            (lines, "placed 1, no more: the critical dose is below the levels"),
        ):
            self.write("out/placed.jsonl", "\n".join(begun) + "\n")
            study = read_study(path, pathlib.Path(self.path("out")), None)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                say_placing(study, choose(study, None))
            self.assertIn("R places its runs along ratio bio=0.03 to 0.6, at most 24, until half", out.getvalue())
            self.assertIn(said, out.getvalue())

    def test_exposures_are_whole(self) -> None:
        from knapsack.study.adaptive import place_of

        place = place_of(PLACE | {"axis": {"exposures": "wd"}, "low": 1, "high": 64, "levels": 13}, "place")
        self.assertEqual(place.levels, ("1", "2", "3", "4", "6", "8", "11", "16", "23", "32", "45", "64"))


class PlacedTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        for program, text in (("train_cpu", TRAIN), ("eval_cpu", EVAL)):
            os.chmod(self.write(program, text), 0o755)
        self.write("CRITICAL", "0.2")

    def study(self, **parts: object) -> None:
        value = {"blocks": {"R": BLOCK}, "laws": {"c": LAW}} | parts
        self.write("toy.json", json.dumps(value))

    def words(self, action: str, out: str, *more: str) -> list[str]:
        programs = ["--train-program", self.path("train_cpu"), "--eval-program", self.path("eval_cpu")]
        return [action, self.path("toy.json"), "--out", self.path(out), *programs, *more]

    def call(self, action: str, out: str = "out", *more: str) -> support.Done:
        return support.run_command("study", *self.words(action, out, *more))

    def report(self, out: str = "out") -> str:
        done = self.call("report", out)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return pathlib.Path(self.path(out, "report.md")).read_text()

    def placed(self, out: str = "out") -> dict:
        lines = [json.loads(line) for line in pathlib.Path(self.path(out, "placed.jsonl")).read_text().splitlines()]
        levels = [one["level"] for one in lines if "level" in one]
        return {"levels": levels, "ended": next((one["ended"] for one in lines if "ended" in one), "")}

    def registered(self, out: str = "out") -> dict:
        return json.loads(pathlib.Path(self.path(out, "predictions.json")).read_text())

    def test_a_study_finds_its_threshold_and_says_how(self) -> None:
        prediction = {"law": "c", "value": "critical/0/critical", "between": [0.17, 0.23]}
        self.study(predictions={"critical": prediction})
        done = self.call("run")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("block R: no more runs: the interval of the critical dose is as narrow as asked", done.stdout)
        found = self.placed()
        self.assertEqual(found["levels"][:4], ["0.03", "0.0814", "0.221", "0.6"])
        self.assertLess(len(found["levels"]), 14)
        self.assertEqual(found["ended"], NARROW)
        declared = self.registered()
        self.assertEqual(declared["declared"]["blocks"]["R"]["place"], PLACE)
        page = self.report()
        self.assertIn("| critical | 0.17 to 0.23 | 0.", page)
        self.assertIn("| held |", page)
        count = len(found["levels"])
        self.assertIn(f"{count} of at most 24 runs were placed along ratio bio=0.03 to 0.6", page)
        self.assertIn("It ended: the interval of the critical dose is as narrow as asked.", page)
        self.assertIn("| 1 | 0.03 | 0 |\n| 2 | 0.0814 | 0.0013 |", page)
        self.assertIn("Written before the first run began, unchanged since", page)
        again = self.call("run")
        self.assertEqual(again.stdout.count("done before"), count)
        self.assertEqual(self.placed(), found)
        wider = PLACE | {"width": 0.3}
        self.study(blocks={"R": BLOCK | {"place": wider}}, predictions={"critical": prediction})
        self.assertIn("CHANGED: block R was changed after the first run began", self.report())

    def test_a_law_is_judged_when_its_block_is_at_its_end(self) -> None:
        self.study(
            blocks={"R": BLOCK | {"place": PLACE | {"runs": 9}}},
            predictions={"critical": {"law": "c", "value": "critical/0/critical", "between": [0, 1]}},
        )
        self.write("KILL.6", "")
        self.process()
        self.assertIn("| critical | 0 to 1 | ", page := self.report())
        self.assertIn("| not measured |", page)
        self.assertIn("It has not ended.", page)

    def process(self, out: str = "out", *more: str) -> int:
        command = [sys.executable, "-m", "knapsack", "study", *self.words("run", out, *more)]
        environment = dict(os.environ, PYTHONPATH=support.REPOSITORY)
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment).returncode

    def test_a_study_killed_goes_on_with_the_same_levels(self) -> None:
        self.study()
        self.assertEqual(self.call("run", "whole").returncode, 0)
        for number in (2, 5, 7):
            self.write(f"KILL.{number}", "")
        codes = []
        while len(codes) < 9 and codes[-1:] != [0]:
            codes.append(self.process("killed"))
        self.assertEqual(codes, [-signal.SIGKILL] * 3 + [0])
        self.assertEqual(self.placed("killed"), self.placed("whole"))
        pages = [self.report(out).split("\n## Times\n")[0] for out in ("whole", "killed")]
        self.assertEqual(*pages)

    def test_several_at_a_time(self) -> None:
        self.study()
        done = self.call("run", "out", "--jobs", "3")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("no more runs", done.stdout)
        levels = self.placed()["levels"]
        self.assertEqual(levels[:4], ["0.03", "0.0814", "0.221", "0.6"])
        self.assertLess(len(levels), 17)
        self.assertIn(f"{len(levels)} of {len(levels)} runs are finished", self.report())

    def test_a_run_that_fails_keeps_its_level(self) -> None:
        self.study(blocks={"R": BLOCK | {"place": PLACE | {"runs": 5}}})
        self.write("FAIL.3", "")
        done = self.call("run")
        self.assertEqual((done.returncode, done.stderr), (1, "1 of 5 runs failed\n"))
        self.assertIn("[3/5] R_ratio-bio-0.221_replicate-3: FAILED, train_cpu ended with code 3", done.stdout)
        levels = self.placed()["levels"]
        os.remove(self.path("FAIL.3"))
        self.assertEqual(self.call("run").returncode, 0)
        self.assertEqual(self.placed()["levels"], levels)
        self.assertIn("It ended: there are as many as declared.", self.report())

    def test_a_measure_that_no_run_has(self) -> None:
        self.study(blocks={"R": BLOCK | {"place": PLACE | {"measure": "know/bio/accurate"}}})
        done = self.call("run")
        self.assertEqual(done.returncode, 2)
        self.assertIn("replicate-1 has no share of 0 to 1 in know/bio/accurate, by which its block places", done.stderr)

    def test_other_blocks_come_before_and_after(self) -> None:
        other = {"train": {"val": "web=x.bin", "ratio": "bio=0.4"}, "vary": {"lr": [0.1, 0.2]}}
        self.study(blocks={"A": other, "R": BLOCK, "B": other | {"vary": {"lr": [0.3]}}}, order="A,R")
        done = self.call("run")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        names = [line.split()[1].partition("_")[0] for line in done.stdout.splitlines() if line.endswith(" s")]
        self.assertEqual("".join(names), "AA" + "R" * len(self.placed()["levels"]) + "B")


if __name__ == "__main__":
    unittest.main()
