"""knapsack curves finds what was planted: steps, exposures, laws of forgetting; and refuses joins that would be
wrong."""

import contextlib
import csv
import importlib.util
import json
import os
import pathlib
import unittest
from collections.abc import Callable
from unittest import mock

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402

from knapsack.analysis import psychometric, style  # noqa: E402
from knapsack.analysis.forgetting import figure, retention  # noqa: E402
from knapsack.analysis.forgetting import needed as needed_exposures  # noqa: E402
from knapsack.runs import answers  # noqa: E402


def line(
    step: int,
    question: int,
    entity: int,
    correct: bool,
    nll: float | None = 1.0,
    exposures: int | None = None,
    **more: object,
) -> dict:
    given = {} if exposures is None else {"exposures": exposures}
    return (
        {
            "step": step,
            "set": "bio",
            "source": "bio",
            "question": question,
            "entity": entity,
            "relation": "city",
            "attribute": "city",
            "template": "t",
            "kind": "seen",
            "group": "all",
            "correct": correct,
            "nll": nll,
            "rank": 1,
            "tokens": 2,
        }
        | given
        | more
    )


def close(drawn: style.plt.Figure, path: os.PathLike) -> None:
    """In place of style.save."""
    style.plt.close(drawn)
    with open(path, "wb") as file:
        file.write(b"a figure")


class CurvesTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        for module in (needed_exposures, retention):
            few = mock.patch.object(module, "DRAWS", 20 if module is retention else 5)
            few.start()
            self.addCleanup(few.stop)

    def write_lines(self, name: str, lines: list[dict]) -> str:
        return self.write(name, "".join(json.dumps(item) + "\n" for item in lines))

    def write_run(self, known: list[list[bool]], steps: list[int], exposures: Callable[[int, int], int]) -> str:
        """known: a row a step, an entry a fact; two questions a fact."""
        for row, step in zip(known, steps):
            lines = [
                line(step, 2 * fact + i, fact, right, 1.0, exposures(fact, step))
                for fact, right in enumerate(row)
                for i in (0, 1)
            ]
            self.write_lines(f"run/answers/step_{step:08d}.jsonl", lines)
        return self.path("run")

    def curves(self, *arguments: object, drawn: bool = False) -> tuple[dict, list[dict]]:
        """PREFIX.json and .csv; figures are made, but only written where `drawn`, since that takes most of the time."""
        with contextlib.nullcontext() if drawn else mock.patch.object(figure, "save", close):
            self.said = self.run_ok("curves", *arguments, "--out", self.path("out"))
        with (
            open(self.path("out.json"), encoding="utf-8") as file,
            open(self.path("out.csv"), encoding="utf-8") as table,
        ):
            return json.load(file), list(csv.DictReader(table))

    def test_planted_histories(self) -> None:
        histories = ["0000", "0011", "1111", "0110", "1011", "0101"]
        steps = [10, 20, 30, 40]
        run = self.write_run(
            [[h[i] == "1" for h in histories] for i in range(4)], steps, lambda fact, step: step * (fact + 1) // 10
        )
        out, rows = self.curves(run)
        names = (
            "first_learned_step",
            "first_learned_exposures",
            "last_forgotten_step",
            "times_forgotten",
            "known_at_end",
            "exposures_at_end",
            "never_learned",
        )
        expected = [
            ("", "", "", "0", "0", "4", "1"),
            ("30", "6", "", "0", "1", "8", "0"),
            ("10", "3", "", "0", "1", "12", "0"),
            ("20", "8", "40", "1", "0", "16", "0"),
            ("10", "5", "20", "1", "1", "20", "0"),
            ("20", "12", "30", "1", "1", "24", "0"),
        ]
        self.assertEqual([tuple(row[name] for name in names) for row in rows], expected)
        self.assertEqual(out["steps"], steps)
        np.testing.assert_allclose(out["all"]["share_known"], [2 / 6, 3 / 6, 4 / 6, 4 / 6])
        needed = out["exposures_needed"]["all"]
        self.assertEqual((needed["facts"], needed["people"], needed["answers"], needed["doses"]), (6, 6, 48, [1, 24]))

    def test_exposures_needed_do_not_depend_on_misses_nor_on_how_often_one_asks(self) -> None:
        """40 people, each known from its own count on (median 60), answers missed in 5 of 100. The step from which a
        fact stays known would be at 128 to 340 exposures."""
        random = np.random.default_rng(1)
        needed = 60 * np.exp(random.normal(0, 0.3, 40))
        with mock.patch.object(needed_exposures, "DRAWS", 40):
            for number, grid in enumerate((np.geomspace(5, 400, 10).astype(int), range(10, 401, 10))):
                lines = [
                    line(int(count), 2 * f + i, f, bool(count >= needed[f] and random.random() > 0.05), 1.0, int(count))
                    for count in grid
                    for f in range(40)
                    for i in (0, 1)
                ]
                out, _ = self.curves(self.write_lines(f"{number}.jsonl", lines))
                said = out["exposures_needed"]["all"]
                self.assertLess(abs(np.log(said["F50"] / 60)), 0.2, said)
                self.assertTrue(said["interval"][0] < np.median(needed) < said["interval"][1], said)
                self.assertRegex(self.said, r"exposures needed \d+(\.\d)? \[\d")

    def test_half_not_reached_and_groups(self) -> None:
        lines = [
            line(s, f, f, f < 6 and s > 2, 1.0, 5 * s, group="often" if f < 6 else "rare")
            for s in (1, 2, 3, 4)
            for f in range(20)
        ]
        out, _ = self.curves(self.write_lines("a.jsonl", lines), drawn=True)
        needed = out["exposures_needed"]
        whole, often, rare = needed["all"], *(needed["by_group"][name] for name in ("often", "rare"))
        self.assertEqual((whole["state"], whole["F50"], whole["more_than"]), ("not reached", None, 20))
        self.assertIn("exposures needed > 20 (not reached)", self.said)
        self.assertTrue(10 <= often["F50"] <= 15, often)
        self.assertEqual((often["facts"], rare["state"]), (6, "not reached"))
        self.assertEqual(out["by_group"]["rare"]["share_known"], [0, 0, 0, 0])
        self.assertEqual(out["by_attribute"]["city"]["mean_exposures"], [5, 10, 15, 20])
        self.assertGreater(os.path.getsize(self.path("out.png")), 1000)

    def test_share_and_kind(self) -> None:
        lines = [line(1, q, 0, q < 2, 2.0 * q) for q in range(4)] + [line(1, 9, 0, True, 0.0, kind="heldout")]
        path = self.write_lines("a.jsonl", lines)
        self.assertEqual(self.curves(path)[1][0]["known_at_end"], "1")
        self.assertIn("the answers lack the exposures", self.said)
        self.assertEqual(self.curves(path, "--share", 0.6)[1][0]["known_at_end"], "0")
        out, _ = self.curves(path, "--share", 0.6, "--kind", "all")
        self.assertEqual((out["all"]["questions"], out["all"]["mean_nll"], out["exposures_needed"]), (5, [2.4], None))
        self.run_bad(3, "kind question.*heldout, seen", "curves", path, "--out", self.path("o"), "--kind", "question")

    def test_refusals_name_file_and_line(self) -> None:
        good = [line(1, q, q, True, 1.0, 3) for q in range(3)]
        text = "".join(json.dumps(item) + "\n" for item in good)
        cases = (
            (text[:-20], "bad.jsonl:3: not JSON .*cut off"),
            (text + "{\n", "bad.jsonl:4: not JSON"),
            (text + "[]\n", "bad.jsonl:4: not a JSON object"),
            (text + '{"step": 1, "set": "bio"}\n', "bad.jsonl:4: no key 'question'"),
            (text + json.dumps(line(1, 4, 4, True) | {"step": "1"}) + "\n", "bad.jsonl:4: expected whole numbers"),
            (
                text + json.dumps(good[1]) + "\n",
                "bad.jsonl:4: question 1 of bio occurs twice at step 1, first in .*bad.jsonl:2",
            ),
            (
                text + json.dumps(line(2, 1, 5, True)) + "\n",
                "bad.jsonl:4: question 1 of bio asks for .*two question sets",
            ),
            (
                text + json.dumps(line(2, 1, 1, True)) + "\n",
                "step 2 has 1 of 3, it lacks question 0 of bio; 1 were asked",
            ),
            (
                text + "".join(json.dumps(line(2, q, q, True, 1.0, 3 - q)) + "\n" for q in range(3)),
                "bad.jsonl:5: 2 exposures of .*3 at step 1 before",
            ),
            (text + json.dumps(line(1, 7, 2, True, 1.0, 9)) + "\n", "bad.jsonl:3: 3 exposures of .* 9 in another line"),
            (
                "".join(json.dumps(line(1, q, 1, True, 1.0, 3, dose=8 + q)) + "\n" for q in range(2)),
                "bad.jsonl:1: dose 8 of .* 9 in another line",
            ),
            (json.dumps(line(1, 1, 1, True, 1.0, 3, dose="8")) + "\n", "whole numbers at step.*and dose"),
            ("", "empty"),
            (b"\xff\xfe\n", "not UTF-8"),
        )
        for data, pattern in cases:
            with self.subTest(pattern=pattern):
                self.run_bad(3, pattern, "curves", self.write("bad.jsonl", data), "--out", self.path("out"))
        self.run_bad(3, "no such file", "curves", self.path("nothing"), "--out", self.path("out"))
        without = [{k: v for k, v in item.items() if k != "step"} for item in good]
        self.run_bad(3, "no key 'step'", "curves", self.write_lines("a.jsonl", without), "--out", self.path("out"))
        self.assertEqual(self.curves(self.write_lines("step_00000007.jsonl", without))[0]["steps"], [7])

    def test_doses_are_read_by_fact(self) -> None:
        lines = [line(step, q, q // 2, True, 1.0, step, dose=8 << q // 2) for step in (1, 2) for q in range(4)]
        lines += [line(step, 4, 2, True, 1.0, step) for step in (1, 2)]  # of a source without doses
        read = answers.read_answers([pathlib.Path(self.write_lines("a.jsonl", lines))], answers.Chosen())
        self.assertEqual(read.doses.tolist(), [8, 16, -1])
        self.assertEqual(read.exposures.tolist(), [[1, 1, 1], [2, 2, 2]])

    def test_doses_are_a_column_and_parts(self) -> None:
        """Of a run with --exposures NAME=random:LO:HI; without, the table is as it was."""
        lines = [line(s, q, q, q < 2 or s > 1, 1.0, s, dose=8 << q // 2) for s in (1, 2) for q in range(4)]
        out, rows = self.curves(self.write_lines("a.jsonl", lines))
        self.assertEqual([row["dose"] for row in rows], ["8", "8", "16", "16"])
        shares = {dose: said["share_known"] for dose, said in out["by_dose"].items()}
        self.assertEqual(shares, {"8": [1, 1], "16": [0, 1]})
        many = [line(1, q, q, True, 1.0, 1, dose=q + 8) for q in range(20)]  # 8 to 27
        out, _ = self.curves(self.write_lines("a.jsonl", many))
        self.assertEqual({dose: said["facts"] for dose, said in out["by_dose"].items()}, {"8-15": 8, "16-31": 12})
        out, rows = self.curves(self.write_lines("a.jsonl", [line(1, 0, 0, True, 1.0, 1)]))
        self.assertEqual(("dose" in rows[0], "by_dose" in out), (False, False))

    def test_replicates_are_read_together(self) -> None:
        """Three runs of other seeds: means and intervals over them; a fact's history stays its run's."""
        half = {1: 4, 2: 5, 3: 6}  # facts of ten that are kept at the end
        for seed, kept in half.items():
            for step, known in ((10, 0), (20, 10), (30, 8), (40, 7), (60, kept)):
                lines = [line(step, f, f, f < known, 9.0 - known / 2, 5) for f in range(10)]
                self.write_lines(f"runs/{seed}/answers/step_{step:08d}.jsonl", lines)
            options = {"seed": seed, "source": [f"bio=data/{seed}/bio.bin"], "lr": 0.001}
            self.write(f"runs/{seed}/config.json", json.dumps({"steps": 60, "options": options}))
            self.write(f"runs/{seed}/DONE", "finished")
        runs = [self.path("runs", str(seed)) for seed in half]
        out, rows = self.curves(*runs, "--closed", 20, "--opened", 10, "--lam-horizon", 0, drawn=True)
        self.assertEqual((len(rows), [row["run"] for row in rows[::10]]), (30, ["1", "2", "3"]))
        self.assertEqual(list(out["runs"]), ["1", "2", "3"])
        np.testing.assert_allclose(out["all"]["share_known"], [0, 1, 0.8, 0.7, 0.5])
        spread = 4.302653 * 0.1 / np.sqrt(3)  # t of two degrees of freedom
        np.testing.assert_allclose(out["all"]["share_known_over_runs"][-1], [0.5 - spread, 0.5 + spread], rtol=1e-6)
        kept = out["retention"]
        self.assertEqual((kept["of"], kept["intervals_over"], kept["populations"]), ("3 runs", "runs", 3))
        np.testing.assert_allclose(kept["share_known"], [1, 0.8, 0.7, 0.5])
        self.assertEqual(kept["share_known_of_runs"][0], [1, 0.8, 0.7, 0.4])
        a = kept["fits"]["log_linear"]
        # a run's slope is weights of its three points; they differ in the last, whose weight is w: 0.1 w apart
        x = np.log([10, 20, 40])
        w = (x[2] - x.mean()) / ((x - x.mean()) ** 2).sum()
        self.assertAlmostEqual(a["standard_errors"]["a"], 0.1 * w / np.sqrt(3))
        self.assertEqual(a["degrees_of_freedom"], 2)
        self.assertGreater(os.path.getsize(self.path("out.png")), 1000)
        self.assertGreater(os.path.getsize(self.path("out.retention.png")), 1000)
        out, _ = self.curves(*runs[:2], "--closed", 20)
        self.assertIn("two runs: Student's t has one degree of freedom", self.said)
        low, high = out["retention"]["fits"]["log_linear"]["intervals"]["a"]
        self.assertAlmostEqual(
            (high - low) / 2, 12.7062 * 0.1 * w / 2, 5
        )  # runs differ by .1: sd .1 / sqrt 2, over sqrt 2
        self.write("runs/2/config.json", json.dumps({"steps": 60, "options": {"seed": 2, "lr": 0.002}}))
        self.run_bad(
            2, "runs 1, 2, 3 differ in .*lr.*: they are no replicates", "curves", *runs, "--out", self.path("o")
        )
        mixed = (runs[0], runs[2], self.path("runs", "2", "answers", "step_00000060.jsonl"))
        self.run_bad(2, "not runs and files together", "curves", *mixed, "--out", self.path("o"))

    def test_replicates_of_one_population_share_its_people(self) -> None:
        """Also where the source is called otherwise than its shard, of which answers are."""
        for seed, where in ((1, "all"), (2, "all"), (3, "all"), (4, "four"), (5, "five")):
            for step, known in ((10, 10), (20, 8), (40, 7), (60, 3 + seed)):
                lines = [line(step, f, f, f < known, 1.0, 5) for f in range(10)]
                self.write_lines(f"runs/{seed}/answers/step_{step:08d}.jsonl", lines)
            options = {"seed": seed, "source": [f"people=data/{where}/bio.bin"]}
            self.write(f"runs/{seed}/config.json", json.dumps({"steps": 60, "options": options}))
            self.write(f"runs/{seed}/exposures/people.json", json.dumps({"shards": [{"name": "bio", "entities": 10}]}))
            self.write(f"runs/{seed}/DONE", "finished")
        of = [self.path("runs", str(seed)) for seed in range(1, 6)]
        errors = {}
        for name, runs in (("same", of[:3]), ("other", of[2:])):
            out, _ = self.curves(*runs, "--closed", 10)
            errors[name] = (
                out["retention"]["populations"],
                out["retention"]["fits"]["log_linear"]["standard_errors"]["a"],
            )
        self.assertEqual([populations for populations, _ in errors.values()], [1, 3])
        self.assertGreater(errors["same"][1], errors["other"][1])
        low, high = out["all"]["share_known_over_runs"][-1]
        self.assertTrue(0 <= low < high <= 1)
        self.write("runs/2/metrics.jsonl", "{\n{}\n")
        self.run_bad(3, "replicates are read all or not at all", "curves", *of[:3], "--out", self.path("o"))

    def test_common_and_missing_steps(self) -> None:
        self.write_lines("run/answers/step_00000001.jsonl", [line(1, q, q, True, None) for q in range(3)])
        self.write_lines("run/answers/step_00000003.jsonl", [line(3, q, q, True, 1.0) for q in range(1, 4)])
        self.write("run/eval.jsonl", "".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)))
        out, rows = self.curves(self.path("run"), "--common")
        self.assertRegex(self.said, r"1 steps that have no file of answers \(2\)")
        self.assertEqual((len(rows), out["all"]["mean_nll"], out["nll_not_finite"]), (2, [None, 1.0], 2))

    def test_sources_and_sets(self) -> None:
        """A set without a source is one of its own; a window is one source's."""
        lines = [
            line(s, f, f, True, 1.0, source=name, set=name or "own")
            for s in (1, 2, 3)
            for f in (0, 1)
            for name in ("bio", "")
        ]
        path = self.write_lines("a.jsonl", lines)
        _, rows = self.curves(path)
        self.assertEqual(sorted({row["source"] for row in rows}), ["bio", "own"])
        self.assertRegex(self.refused(path, "--closed", 1), "answers are of bio, own; choose with --source")
        out, rows = self.curves(path, "--closed", 1, "--source", "bio")
        self.assertEqual((len(rows), out["retention"]["facts"]), (2, 2))
        self.assertIn("refused", out["retention"]["fits"]["power"])

    def test_planted_laws_out_of_files(self) -> None:
        """Shares are of 500 facts, so parameters come back to their rounding; log-probabilities, with an outlier among
        them, come back exactly."""
        steps = [0, 100] + [100 + t for t in (5, 10, 20, 40, 80, 160, 320, 640)]
        planted = {
            "exponential": (lambda t: 0.2 + 0.8 * np.exp(-t / 60), {"c": 0.2, "tau": 60}),
            "power": (lambda t: (1 + t / 30) ** -0.7, {"t0": 30, "b": 0.7}),
        }
        for name, (law, parameters) in planted.items():
            lines = []
            for step in steps:
                share = law(step - 100) if step >= 100 else 0
                kept = 1 - 0.15 * np.log(max(step - 100, 1)) if step >= 100 else 0
                for fact in range(500):
                    gain = 0.01 if fact == 7 and step == 100 else 3 + fact % 5
                    lines.append(line(step, fact, fact, fact < round(500 * share), 9 - gain * kept, step))
            out, _ = self.curves(self.write_lines("a.jsonl", lines), "--opened", 0, "--closed", 100, "--lam-horizon", 0)
            fit, chang = out["retention"]["fits"][name], out["retention"]["log_probability"]
            for parameter, truth in parameters.items():
                self.assertLess(abs(fit["parameters"][parameter] / truth - 1), 0.02, (name, parameter))
                self.assertLess(abs(fit["parameters"][parameter] - truth), 4 * fit["standard_errors"][parameter])
            fits = out["retention"]["fits"]
            self.assertEqual(min(fits, key=lambda key: fits[key]["late_error"]), name)
            self.assertEqual((chang["t_pre"], chang["t_lam"], chang["facts_used"][1]), (0, 100, 500))
            self.assertAlmostEqual(chang["fits"]["log_linear"]["parameters"]["a"], 0.15, places=3)

    def test_window_by_fractions(self) -> None:
        run = self.write_run(
            [[t < 30 or f > t // 10 for f in range(10)] for t in range(0, 100, 10)],
            list(range(0, 100, 10)),
            lambda f, s: 1,
        )
        self.run_bad(
            2, "--window needs one run directory", "curves", run, "--window", "0:0.3", "--out", self.path("out")
        )
        self.write("run/config.json", json.dumps({"steps": 100}))
        out, _ = self.curves(run, "--window", "0:0.2", drawn=True)
        self.assertEqual((out["retention"]["closed"], out["retention"]["facts"]), (20, 10))
        self.assertEqual((out["retention"]["of"], out["retention"]["intervals_over"]), ("this run", "people"))
        np.testing.assert_allclose(out["retention"]["share_known"][:3], [1, 0.6, 0.5])
        self.assertGreater(os.path.getsize(self.path("out.retention.png")), 1000)
        for bad in ("0.2", "0.5:0.2", "a:b"):
            self.run_bad(2, "expected fractions a:b", "curves", run, "--window", bad, "--out", self.path("out"))
        self.write("run/config.json", "[]")
        self.run_bad(
            3, "config.json:1: not a JSON object", "curves", run, "--window", "0:0.3", "--out", self.path("out")
        )
        self.write("run/config.json", "{}")
        self.run_bad(
            2, "--window needs one run directory", "curves", run, "--window", "0:0.3", "--out", self.path("out")
        )
        self.assertRegex(self.refused(run, "--closed", 90), "no evaluation after step 90")
        self.assertRegex(self.refused(run, "--closed", 20, "--opened", 20), "not before it closes")

    def refused(self, *arguments: object) -> str:
        """Retention's refusal; it is a warning too, and the curves are written."""
        for ending in (".csv", ".json", ".png", ".retention.png"):
            if os.path.exists(self.path("out" + ending)):
                os.remove(self.path("out" + ending))
        out, rows = self.curves(*arguments)
        self.assertEqual((list(out["retention"]), len(rows)), (["refused"], out["all"]["facts"]))
        self.assertIn("warning: no retention: " + out["retention"]["refused"], self.said)
        self.assertTrue(os.path.exists(self.path("out.png")))
        self.assertFalse(os.path.exists(self.path("out.retention.png")))
        return out["retention"]["refused"]

    def test_no_fact_known_at_closing_leaves_the_curves(self) -> None:
        run = self.write_run([[False] * 3, [False] * 3, [True] * 3], [1, 2, 3], lambda f, s: s)
        self.assertRegex(self.refused(run, "--closed", 2), "no fact was known at step 2, when the window closed")
        self.assertRegex(self.refused(run, "--closed", 0), "no evaluation at or before step 0")

    def test_a_set_without_exposures_leaves_those_of_others(self) -> None:
        lines = [line(s, f, f, s > 1, 1.0, 5 * s) for s in (1, 2, 3) for f in (0, 1)]
        lines += [line(s, f, f, False, 1.0, set="bio_names", attribute="name") for s in (1, 2, 3) for f in (0, 1)]
        out, rows = self.curves(self.write_lines("a.jsonl", lines))
        self.assertRegex(self.said, r"exposures .*of 2 of 4 facts at every step, they are of bio_names; those needed")
        needed = out["exposures_needed"]
        self.assertEqual([needed["all"][key] for key in ("facts", "without_exposures")], [2, 2])
        self.assertTrue(5 <= needed["all"]["F50"] <= 10)
        self.assertEqual(needed["by_attribute"], {"city": needed["all"] | {"without_exposures": 0}, "name": None})
        self.assertEqual(out["all"]["mean_exposures"], [5, 10, 15])
        self.assertIsNone(out["by_attribute"]["name"]["mean_exposures"])
        self.assertEqual([row["first_learned_exposures"] for row in rows], ["10", "10", "", ""])


class GoldenTest(unittest.TestCase):
    def test_a_curve_of_doses_whose_numbers_are_known(self) -> None:
        """30 people, 10 at each of three doses, of whom 1, 5 and 9 are right: F^2 / (F^2 + 60^2) at 20, 60 and 180, so
        that the likelihood is largest where the curve meets the shares, F50 = 60 and k = 2 without lapses. The golden
        file has what follows by hand; what a bootstrap draws is not in it."""
        dose = np.repeat([20, 60, 180], 10)
        correct = np.concatenate([np.arange(10) < right for right in (1, 5, 9)])
        said = psychometric.report(psychometric.collect(dose, correct, np.arange(30), 0.0), 0)
        with open(os.path.join(support.REPOSITORY, "test/golden/dose_curve.json"), encoding="utf-8") as file:
            golden = json.load(file)
        golden.pop("about")
        for name, value in golden.items():
            if isinstance(value, float):
                self.assertAlmostEqual(said[name], value, 3, name)
            else:
                self.assertEqual(said[name], value, name)

    def test_a_small_run_says_the_same(self) -> None:
        """The same answers as those of a run's evaluations: what `curves` writes under exposures_needed."""
        steps, right = np.array([1, 2, 3]), {20: 1, 60: 5, 180: 9}
        facts = [("bio", i, "city") for i in range(10)]
        correct = np.stack([np.arange(10) < right[F] for F in right])
        exposures = np.repeat([[F] for F in right], 10, axis=1)
        table = answers.Answers(
            steps, facts, ["all"] * 10, np.arange(10), correct, correct * 1.0, exposures, ["bio"] * 10
        )
        with mock.patch.object(needed_exposures, "DRAWS", 5):
            said = needed_exposures.needed(table, {}, None)["all"]
        self.assertAlmostEqual(said["F50"], 60, 0)
        self.assertEqual([said[name] for name in ("facts", "people", "answers", "doses")], [10, 10, 30, [20, 180]])


if __name__ == "__main__":
    unittest.main()
