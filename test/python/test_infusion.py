"""knapsack infusion finds what was planted: the table's values, collapse brackets and what is none."""

import importlib.util
import json
import math
import os
import shutil
import unittest

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import pandas as pd  # noqa: E402
from infusion_runs import GRID, StudyTest, choices, knowledge  # noqa: E402
from planted_studies import retention_curve  # noqa: E402

from knapsack.analysis.infusion.collapse import Rule, read_collapse, trend  # noqa: E402
from knapsack.analysis.points import Point  # noqa: E402


class InfusionTest(StudyTest):
    def test_the_table_has_what_was_planted(self) -> None:
        sets = {"wd_once": knowledge(0.12), "wd_early": knowledge(0.36)}
        options = {"window": ["wd=0.2:0.8", "web=0:1"], "placement": ["wd=burst:0.5:0.1"]}
        self.make_run(
            "runs/a", 64, (0.75, 0.72, 0.79), (0.25, 0.22, 0.29), seed=3, more=sets, options=options, loss=4.125
        )
        self.make_run("runs/b", 64, (0.75, 0.72, 0.79), (0.25, 0.22, 0.29), seed=3, budget="append", account=False)
        rows, sidecar, said = self.analyse()
        self.assertEqual([row["policy"] for row in rows], ["append", "replace"])
        appended, row = rows
        wanted = {
            "run": self.path("runs", "a"),
            "state": "done",
            "placement": "burst:0.5:0.1",
            "window": "0.2:0.8",
            "sources": "web wd",
        }
        self.assertEqual({name: row[name] for name in wanted}, wanted)
        numbers = {
            "seed": 3,
            "data_seed": 1,
            "N": 10000,
            "N_nonembedding": 5000,
            "D": 400000,
            "D_base": 336000,
            "budget_tokens": 400000,
            "K": 50,
            "F": 64,
            "F_mean": 64,
            "F_least": 63,
            "F_most": 65,
            "share": 0.16,
            "val/web/loss": 4.125,
            "train/loss": 2.5,
            "accuracy": 0.375,
            "accuracy_low": 0.365,
            "accuracy_high": 0.385,
            "accuracy_seen": 0.75,
            "accuracy_seen_low": 0.72,
            "accuracy_seen_high": 0.79,
            "accuracy_heldout": 0.375,
            "accuracy_question": 0.1875,
            "accuracy_question_high": 0.1975,
            "accuracy_seen_chance": 0.02,
            "accuracy_seen_majority": 0.06,
            "once/accuracy_seen": 0.12,
            "once/accuracy_heldout_low": 0.05,
            "early/accuracy_seen_high": 0.37,
            "control/accuracy_seen": 0.25,
            "control/accuracy_seen_low": 0.22,
            # 0.03 and 0.04 below, 0.04 and 0.03 above: 0.05
            "accuracy_seen_minus_control": 0.5,
            "accuracy_seen_minus_control_low": 0.45,
            "accuracy_seen_minus_control_high": 0.55,
        }
        for name, value in numbers.items():
            self.assertAlmostEqual(float(row[name]), value, 12, name)
        numbers = {
            "D": 464000,
            "D_base": 400000,
            "budget_tokens": 400000,
            "F_mean": 64,
            "F_least": 63,
            "F_most": 65,
            "share": 64 / 464,
        }
        for name, value in numbers.items():  # from log and ledger
            self.assertAlmostEqual(float(appended[name]), value, 12, name)
        self.assertEqual(appended["once/accuracy_seen"], "")
        units = {column["name"]: column["unit"] for column in sidecar["columns"]}
        self.assertEqual((units["D"], units["accuracy_seen_low"], units["val/web/loss"]), ("tokens", "1", "nats/token"))
        self.assertEqual((sidecar["format_version"], sidecar["victim"], sidecar["hold"]), (4, "facts", "K"))
        self.assertEqual(len(sidecar["curves"]), 2)
        self.assertIn("too few points (1 exposure counts, at least 3 are needed)", said)

    def test_choices_bits_and_normalised_answers_are_measures(self) -> None:
        bits = {"bits": {"bits": 120.0, "most": 200.0, "interval": [100.0, 130.0]}}
        normalized = {"accuracy_normalized": 0.6, "accuracy_normalized_interval": [0.5, 0.7]}
        asked = knowledge(0.5, **choices(0.8, 0.03), **normalized) | bits
        for F in GRID:
            self.make_run(f"runs/F{F}", F, more={"wd": asked, "wd_control": knowledge(0.1, **choices(0.12, 0.04))})
        rows, sidecar, _ = self.analyse("--measure", "choice_norm_heldout")
        numbers = {
            "choice": 0.8,
            "choice_low": 0.77,
            "choice_seen_high": 0.83,
            "choice_chance": 0.1,
            "choice_majority": 0.15,
            "choice_norm_question": 0.7,
            "choice_minus_control": 0.68,
            "choice_minus_control_high": 0.73,
            "accuracy_normalized": 0.6,
            "accuracy_normalized_seen_low": 0.5,
        }
        for name, value in numbers.items():
            self.assertAlmostEqual(float(rows[0][name]), value, 12, name)
        curve = sidecar["curves"][0]
        self.assertEqual(curve["baselines"], {"chance": 0.1, "majority": 0.15})
        self.assertEqual(curve["collapse"]["floor"]["of"], "the controls")
        self.assertNotIn("bits", rows[0])  # results.json gives bits under `metrics`
        for F in GRID:
            path = f"runs/F{F}/results.json"
            with open(self.path(path), encoding="utf-8") as file:
                results = json.load(file)
            self.write(path, json.dumps(results | {"metrics": {"know/wd/bits": 120.0}}))
        rows, _, _ = self.analyse("--measure", "bits_share")
        numbers = {
            "bits": 120,
            "bits_low": 100,
            "bits_high": 130,
            "bits_share": 0.6,
            "bits_share_low": 0.5,
            "bits_share_high": 0.65,
        }
        for name, value in numbers.items():
            self.assertAlmostEqual(float(rows[0][name]), value, 12, name)

    def test_a_curve_that_saturates_is_censored(self) -> None:
        self.make_curve({F: 1 - math.exp(-F / 64) for F in GRID})
        reading = self.reading()
        self.assert_censored(reading, 512, "the peak is the grid's last point")
        self.assertIsNone(reading["sigma_seed"])
        self.assertIn("seeds are taken to differ by 0.045", " ".join(reading["notes"]))

    def test_a_planted_drop_is_bracketed_over_noisy_seeds(self) -> None:
        draw = np.random.default_rng(7)
        noise = {seed: draw.normal(0, 0.02, len(GRID)) for seed in (1, 2, 3)}
        for seed in noise:
            self.make_curve(
                {
                    F: 0.9 * (1 - math.exp(-F / 20)) * (1 if F < 150 else 0.4) + float(noise[seed][i])
                    for i, F in enumerate(GRID)
                },
                seed=seed,
            )
        _, sidecar, said = self.analyse("--figure", self.path("figures", "t.png"))
        curve = sidecar["curves"][0]
        self.assert_bracket(curve["collapse"], 128, 256)
        self.assertEqual(curve["collapse"]["points_down"], 2)
        R = {F: 0.9 * (1 - math.exp(-F / 20)) * (1 if F < 150 else 0.4) for F in GRID}
        angles = np.arcsin(np.sqrt([[R[F] + noise[seed][i] for i, F in enumerate(GRID)] for seed in noise]))
        self.assertAlmostEqual(curve["collapse"]["sigma_seed"], math.sqrt(angles.var(axis=0, ddof=1).mean()), 12)
        self.assertEqual(curve["collapse"]["plateau"]["F"], [64, 128])
        self.assertEqual(curve["collapse"]["sigma_degrees_of_freedom"], 14)
        self.assertIn("collapse point in [128, 256]", said)
        self.assertEqual([point["runs"] for point in curve["points"]], [3] * 7)
        three = [R[8] + float(noise[seed][0]) for seed in noise]
        half = 4.302653 * np.std(three, ddof=1) / math.sqrt(3)  # t of two degrees of freedom
        interval = [np.mean(three) - half, np.mean(three) + half]
        np.testing.assert_allclose(curve["points"][0]["interval_over_runs"], interval, rtol=1e-6)
        with open(self.path("figures", "t.png"), "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")

    def test_a_drop_that_comes_back_is_no_collapse(self) -> None:
        self.make_curve(dict(zip(GRID, (0.3, 0.6, 0.9, 0.4, 0.5, 0.88, 0.9))))
        self.assert_censored(self.reading(), 512, "R falls at F = 64, 128, but comes back")

    def test_the_last_time_it_goes_down_counts(self) -> None:
        self.make_curve(dict(zip(GRID, (0.3, 0.9, 0.4, 0.88, 0.5, 0.3, 0.2))))
        reading = self.reading()
        self.assert_seen(reading, 64, 128)
        self.assertEqual(reading["points_down"], 3)
        self.assertAlmostEqual(reading["fall"], 0.38)

    def test_a_fall_must_be_more_than_the_margin(self) -> None:
        self.make_curve(dict(zip(GRID, (0.3, 0.6, 0.8, 0.8, 0.76, 0.75, 0.75))))
        self.assert_censored(self.reading("--seed-sd", 0), 512)
        self.assert_seen(self.reading("--seed-sd", 0, "--margin", 0.039), 64, 128)
        self.assert_censored(self.reading("--seed-sd", 0, "--margin", 0.045), 512)

    def test_one_seed_a_point_is_judged_by_how_seeds_differ_elsewhere(self) -> None:
        """A fall of 7 points is less than two single runs may differ by."""
        self.make_curve(dict(zip(GRID, (0.3, 0.6, 0.8, 0.8, 0.73, 0.73, 0.73))))
        self.assert_censored(self.reading(), 512, "the fall at F = 128, 256, 512 is within the scatter between seeds")
        self.assert_seen(self.reading("--seed-sd", 0.005), 64, 128)

    def test_single_runs_found_no_collapse(self) -> None:
        """A fall of 40 points from F = 128 on. Where a point after it has several runs it ends the bracket; where none
        has, or where all before it is one run, what was seen is said and not claimed."""
        values = dict(zip(GRID, (0.3, 0.6, 0.8, 0.8, 0.4, 0.4, 0.4)))
        cases = {  # exposures with a second run: the reading
            "after": ((64, 256, 512), "bracket", 256),
            "some": ((8, 16, 32, 64, 128, 512), "bracket", 128),
            "before": ((8, 16, 32, 64), "not_replicated", 128),
            "none": ((), "not_replicated", 128),
        }
        for folder, (twice, status, high) in cases.items():
            self.make_curve(values, folder)
            self.make_curve({F: values[F] + 0.01 for F in twice}, folder, seed=2)
            _, sidecar, said = self.analyse("--figure", self.path("t.svg"), folder=folder)
            reading = sidecar["curves"][0]["collapse"]
            self.assertEqual((reading["status"], reading["F_lo"], reading["F_hi"]), (status, 64, high), folder)
            single = [F for F in GRID if F not in twice]
            self.assertEqual(reading["single_runs"], single)
            self.assertIn(f"not replicated (1 run at F = {', '.join(map(str, single))})", said)
            claimed = "collapse point in [64, " in said
            self.assertEqual((claimed, "no collapse is claimed" in said), (status == "bracket", status != "bracket"))
            self.assertEqual("single runs (128) do not found it" in said, folder == "after")
            with open(self.path("t.svg"), encoding="utf-8") as file:
                figure = file.read()
            self.assertIn("1 run: not replicated", figure)
            self.assertEqual("<pattern" in figure, status != "bracket")  # hatched

    def test_a_fall_must_be_more_than_the_seeds_differ(self) -> None:
        values = (0.3, 0.6, 0.8, 0.8, 0.6, 0.6, 0.6)
        for by, status in ((0.15, "censored"), (0.03, "bracket")):
            for seed, shift in ((1, -by), (2, by)):
                self.make_curve({F: v + shift for F, v in zip(GRID, values)}, f"by{by}", seed=seed)
            self.assertEqual(self.reading(folder=f"by{by}")["status"], status)

    def test_falls_are_paired_by_fact_where_the_answers_are_there(self) -> None:
        """Half of the people are known in no run, the others less from F = 128 on: two means side by side have wide
        intervals, the same people lose."""
        self.make_curve({F: (v, v - 0.2, v + 0.2) for F, v in zip(GRID, (0.3, 0.4, 0.5, 0.5, 0.375, 0.375, 0.375))})
        self.assert_censored(self.reading("--seed-sd", 0.01), 512, "within the scatter over facts")
        for F in GRID:
            right = {8: 2.4, 16: 3.2}.get(F, 4 if F < 128 else 3)  # of 4 answers
            lines = [
                {
                    "step": 8,
                    "set": "wd",
                    "source": "wd",
                    "question": 4 * e + i,
                    "entity": e,
                    "attribute": "a",
                    "kind": "seen",
                }
                | {"group": "g", "correct": e % 2 == 0 and i < right, "nll": 1.0}
                for e in range(40)
                for i in range(4)
            ]
            path = f"runs/F{F}_1/answers/step_00000008.jsonl"
            self.write(path, "".join(json.dumps(line) + "\n" for line in lines))
        self.assert_seen(self.reading("--seed-sd", 0.01), 64, 128)

    def test_the_victim_is_named(self) -> None:
        """From F = 128 on the facts shown early are lost, from 256 on the web's loss rises; the infused facts stay."""
        for seed in (1, 2):
            for F in GRID:
                early = {"wd_early": knowledge((0.7 if F < 128 else 0.3) + 0.01 * seed)}
                self.make_run(
                    f"runs/F{F}_{seed}", F, 0.9, seed=seed, more=early, loss=4 + 0.01 * seed + 0.2 * (F > 128)
                )
        self.assert_censored(self.reading(), 512)
        self.assert_bracket(self.reading("--victim", "early"), 64, 128)
        _, sidecar, said = self.analyse("--victim", "web", "--figure", self.path("t.png"))
        reading = sidecar["curves"][0]["collapse"]
        self.assert_bracket(reading, 128, 256)
        self.assertAlmostEqual(reading["plateau"]["value"], 4.015)
        self.assertIn("val/web/loss has its lowest, 4.01 at F = 8, rises by 0.2 between F = 128 and 256", said)
        self.assertIn("exposures displace web text", " ".join(reading["notes"]))
        for F in GRID:
            shutil.rmtree(self.path("runs", f"F{F}_2"))
        reading = self.reading("--victim", "web")
        self.assertEqual(reading["status"], "too_few_runs")
        self.assertIn("what seeds do to val/web/loss is not known", reading["notes"][0])
        self.make_run("other/a", 8)
        self.run_bad(
            2, "--victim early: no run has early/accuracy_seen", "infusion", self.path("other"), "--infused", "wd",
            "--out", self.path("t.csv"), "--victim", "early",
        )  # fmt: skip

    def test_no_collapse_where_there_is_none(self) -> None:
        """Curves that saturate, whose seeds differ by 3 points (one run a point) or by 5 (two, three): a margin alone
        sees 9 and 23 collapses in 100. A fall of 25 points is found."""
        for fall, replicates, seed_sd, least, most in (
            (0, 1, 0.03, 0, 8),
            (0, 2, 0.05, 0, 8),
            (0, 3, 0.05, 0, 8),
            (0.25, 3, 0.05, 85, 100),
        ):
            found = 0
            for number in range(100):
                curve = retention_curve(np.random.default_rng([8, number]), GRID, fall, replicates, seed_sd)
                found += read_collapse(curve, Rule("R", "loss"))["status"] in ("bracket", "not_replicated")
            self.assertTrue(least <= found <= most, (fall, replicates, found))

    def test_flat_is_shown_or_not_said(self) -> None:
        """A rise of 8.6 points over the grid is not called flat because four points cannot tell it from none."""
        flat = moves = 0
        for number in range(200):
            random = np.random.default_rng([9, number])
            values = 0.1 + 0.086 * np.arange(4) / 3 + random.normal(0, 0.03, 4)
            points = [Point(F, pd.DataFrame({"R": [value]})) for F, value in zip(GRID[::2], values)]
            reading = trend(points, "R", 0.05)["reading"]
            flat, moves = flat + (reading == "flat"), moves + (reading == "moves")
        self.assertLessEqual(flat, 10)
        self.assertLess(moves, 150)
        level = [Point(F, pd.DataFrame({"R": [0.1, 0.11, 0.1]})) for F in GRID]
        self.assertEqual(trend(level, "R", 0.05)["reading"], "flat")

    def test_a_fall_within_the_intervals_does_not_count(self) -> None:
        wide = {F: (v, v - 0.2, v + 0.2) for F, v in zip(GRID, (0.3, 0.6, 0.8, 0.8, 0.7, 0.6, 0.3))}
        self.make_curve(wide)
        reading = self.reading()
        self.assert_seen(reading, 256, 512)
        said = " ".join(reading["notes"])
        self.assertIn("the fall at F = 128, 256 is within the scatter over facts", said)
        self.assertIn("the grid's last point alone", said)
        self.make_curve(wide, results=False)
        for F in GRID:
            os.remove(self.path("runs", f"F{F}_1", "results.json"))
        reading = self.reading("--seed-sd", 0.01)
        self.assert_seen(reading, 64, 128)
        self.assertIn("not all runs have intervals", " ".join(reading["notes"]))

    def test_nothing_retained_is_not_censored(self) -> None:
        for F in GRID:
            self.make_run(f"runs/F{F}", F, 0.22, 0.2)
        reading = self.reading()
        self.assertEqual((reading["status"], reading["F_lo"], reading["F_hi"]), ("nothing_retained", None, None))
        self.assertIn("the controls (0.2)", " ".join(reading["notes"]))

    def test_too_few_points(self) -> None:
        self.make_curve({64: 0.9, 512: 0.1})
        self.assertEqual(self.reading()["status"], "too_few_points")
        self.make_curve({512: 0.1}, seed=2)  # a seed is no point of the grid
        self.assertEqual(self.reading()["status"], "too_few_points")
        self.make_curve({32: 0.1})
        self.assert_seen(self.reading(), 64, 512)

    def test_runs_that_did_not_finish_are_rows_and_no_points(self) -> None:
        self.make_curve(dict(zip(GRID, (0.3, 0.6, 0.9, 0.9, 0.5, 0.4, 0.3))))
        self.make_run("runs/F128_1", 128, 0.2, steps=200)
        self.make_run("runs/F96_failed", 96, 0.2, done="FAILED", loss="NaN")
        self.make_run("runs/F97_stopped", 97, 0.2, done=None)
        self.make_run("runs/F64_twice", 64, 0.2)
        rows, sidecar, said = self.analyse()
        self.assertEqual(len(rows), 10)
        self.assert_seen(sidecar["curves"][0]["collapse"], 64, 256)  # the bracket spans the gap
        for text in (
            "F128_1 is no point.*stopped before the end of its plan",
            "F96_failed is no point.*its state is 'failed'",
            "F97_stopped is no point.*its state is 'stopped'",
            "F64_twice is no point.*exposures and seeds of .*F64_1",
        ):
            self.assertRegex(said, text)
        failed = next(row for row in rows if row["state"] == "failed")
        self.assertEqual((failed["F"], failed["val/web/loss"]), ("96.0", ""))

    def test_a_broken_run_is_named_and_left_out(self) -> None:
        self.make_curve(dict(zip(GRID, (0.3, 0.6, 0.9, 0.9, 0.5, 0.4, 0.3))))
        cases = (
            ("config.json", '{"options": {}}', "config.json:1: no key 'plan'"),
            ("results.json", "{", "results.json:1: not JSON"),
            ("mixture.json", "{}}", "mixture.json:1: not JSON"),
            ("mixture.json", '{"a": 1}', "mixture.json:1: no key 'sources'"),
            ("results.json", '{"know": {"wd": {"all": {}, "by_kind": [{}]}}}', "results.json:1: no key 'kind'"),
        )
        for file, text, what in cases:
            with self.subTest(what):
                self.make_run("runs/bad", 96, 0.1)
                self.write(f"runs/bad/{file}", text)
                rows, sidecar, said = self.analyse(code=3)
                self.assertRegex(said, rf"warning: .*bad/{what}.*; run .*bad is left out")
                self.assertEqual((len(rows), sidecar["left_out"]), (7, [self.path("runs", "bad")]))
                self.assert_seen(sidecar["curves"][0]["collapse"], 64, 128)

    def test_what_is_not_there_is_said(self) -> None:
        self.make_run("runs/a", 64)
        arguments = ("infusion", self.path("runs"), "--out", self.path("t.csv"))
        os.makedirs(self.path("none"))
        self.run_bad(3, "no run", "infusion", self.path("none"), "--infused", "wd", "--out", self.path("t.csv"))
        self.run_bad(2, "no run has infused a source 'bio'; the runs have web, wd", *arguments, "--infused", "bio")
        self.run_bad(2, "no run has a source 'text'", *arguments, "--infused", "wd", "--base", "text")
        self.run_bad(
            2, "no run has a measure 'choice'.*accuracy_seen", *arguments, "--infused", "wd", "--measure", "choice"
        )
        self.run_bad(2, "read bits_share", *arguments, "--infused", "wd", "--measure", "bits")
        self.run_bad(2, "'-1' is not", *arguments, "--infused", "wd", "--margin=-1")
        self.run_bad(
            2, "the table is CSV", "infusion", self.path("runs"), "--infused", "wd", "--out", self.path("t.json")
        )
        self.assertFalse(os.path.exists(self.path("t.csv")))

    def test_base_loss_and_controls_beside_the_collapse(self) -> None:
        values = dict(zip(GRID, (0.3, 0.6, 0.9, 0.9, 0.5, 0.4, 0.3)))
        for folder, rise, drift in (("memory", 0.01, 0.0), ("general", 0.2, 0.02)):
            for i, (F, value) in enumerate(values.items()):
                for seed in (1, 2):
                    loss = 4.0 + 0.01 * i + (rise if F > 64 else 0)
                    self.make_run(f"{folder}/F{F}_{seed}", F, value, 0.1 + drift * i, seed=seed, loss=loss)
        _, sidecar, said = self.analyse(folder="memory")
        curve = sidecar["curves"][0]
        self.assertFalse(curve["collapse"]["base_loss"]["rose"])
        self.assertAlmostEqual(curve["collapse"]["base_loss"]["rise"], 0.02)
        self.assertAlmostEqual(curve["collapse"]["base_loss"]["rise_before"], 0.01)
        self.assertEqual(curve["controls"]["reading"], "flat")
        self.assertEqual(curve["controls"]["largest_difference"], 0)
        self.assertIn("did not rise: of the facts alone", said)
        _, sidecar, said = self.analyse(folder="general")
        curve = sidecar["curves"][0]
        self.assertTrue(curve["collapse"]["base_loss"]["rose"])
        self.assertEqual(curve["controls"]["reading"], "moves")
        self.assertAlmostEqual(curve["controls"]["slope_per_doubling"], 0.02)
        self.assertAlmostEqual(curve["controls"]["largest_difference"], 0.12)
        self.assertIn("rose too", said)
        self.assertIn("Controls NOT flat", said)


if __name__ == "__main__":
    unittest.main()
