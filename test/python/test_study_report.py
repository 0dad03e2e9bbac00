"""knapsack study: parts of the report that need no runs."""

import json
import os
import pathlib
import random
import re
import types
import unittest
from unittest import mock

import numpy as np
from studies import StudyTest


class CellTest(StudyTest):
    """Parts of the report that need no runs."""

    def test_an_interval_is_of_the_run_whose_value_is_shown(self) -> None:
        from knapsack.study.tables import over_replicates

        self.assertEqual(over_replicates([(None, 0.1, 0.2), (0.5, 0.4, 0.6)]), "0.5 [0.4, 0.6] people")
        self.assertEqual(over_replicates([(0.5, None, None), (None, 0.1, 0.2)]), "0.5")
        self.assertEqual(over_replicates([(None, 0.1, 0.2)]), "-")
        self.assertRegex(over_replicates([(0.5, 0, 1), (0.7, 0, 1)]), r"^0.6 \[-0.67\d*, 1.87\d*\]$")

    def test_runs_that_are_alike_have_no_interval(self) -> None:
        from knapsack.analysis.intervals import replicates
        from knapsack.study.comparisons import p_of
        from knapsack.study.tables import over_replicates

        for values in ([0.0, 0.0, 0.0], [0.3 - 0.1, 0.4 - 0.2, 0.2]):
            found = replicates(values)
            self.assertEqual((found.estimate.low, found.estimate.high, found.sd_runs), (None, None, 0.0))
            self.assertRegex(over_replicates((value, None, None) for value in values), r"^0(.2)? \(all 3 alike\)$")
            self.assertIsNone(p_of(values))
        self.assertLess(replicates([0.2, 0.2, 0.2001]).estimate.low, 0.2)

    def test_commands_do_not_carry_the_machine_s_folders(self) -> None:
        from knapsack.study.blocks import PACKAGE
        from knapsack.study.record import command

        here = os.getcwd()
        study = types.SimpleNamespace(out=pathlib.Path("/srv/studies/toy"))
        words = ["text", f"{here}/text.txt@6M", "--out", "/srv/studies/toy/data/web", "--source", f"a={here}/a b.bin"]
        words += ["--facts", f"{PACKAGE}/facts/sample.tsv", "--val", "web=/srv/studies/toy/data/v.bin", "ratio=0.5"]
        self.assertEqual(
            command(words, study),
            "knapsack text text.txt@6M --out OUT/data/web --source 'a=a b.bin' --facts knapsack/facts/sample.tsv"
            " --val web=OUT/data/v.bin ratio=0.5",
        )
        self.assertEqual(command([f"{os.path.dirname(here)}/x"], study), "knapsack ../x")

    def test_no_law_says_why(self) -> None:
        from knapsack.study.report import refusal_of

        self.assertEqual(refusal_of({"law": {"refused": "two runs"}}, "no law: two runs"), "two runs")
        self.assertEqual(
            refusal_of({"settings": [{"laws": {"a": {"refused": "x"}, "b": {"refused": "y"}}}]}, ""), "x; y"
        )
        self.assertEqual(refusal_of({"settings": [{"laws": {"a": {"refused": "x"}, "b": {}}}]}, ""), "")
        self.assertEqual(refusal_of({"law": {"exponents": {}}}, "left out: a run"), "")
        self.assertEqual(refusal_of({}, "knapsack laws: no law: two runs\n"), "two runs")
        self.assertEqual(refusal_of({}, "no run of it is finished"), "no run of it is finished")


class ComparisonTest(StudyTest):
    """Tables of arms, on planted truths: seeds that the arms of a replicate share, arms that scatter differently."""

    ARMS, REPLICATES = 8, 3

    def study_of(self, measures: int = 1) -> types.SimpleNamespace:
        """A control and arms, of which rows are planted."""
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study

        names = [f"m{i}" for i in range(measures)]
        runs = {f"arm{i}": {"lr": i + 1} for i in range(self.ARMS + 1)}
        table = {"blocks": ["A"], "against": {"run": "arm0"}, "measures": names}
        value = {"replicates": self.REPLICATES, "blocks": {"A": {"runs": runs}}, "tables": {"t": table}}
        study = read_study(pathlib.Path(self.study(value)), pathlib.Path(self.path("out")), None)
        return types.SimpleNamespace(study=study, runs=choose(study, None), measures=names)

    def planted(self, of: types.SimpleNamespace, draw: np.random.Generator, effect: float = 0.0) -> dict:
        """`effect`: of the last arm, by all measures."""
        scatter = dict(zip(dict.fromkeys(one.setting["run"] for one in of.runs), np.geomspace(0.2, 5, self.ARMS + 1)))
        shared = draw.normal(size=self.REPLICATES + 1)
        rows = {}
        for one in of.runs:
            mean = shared[one.replicate] + (effect if one.setting["run"] == f"arm{self.ARMS}" else 0.0)
            rows[one.run.name] = {name: mean + scatter[one.setting["run"]] * draw.normal() for name in of.measures}
        return rows

    def claims(self, of: types.SimpleNamespace, rows: dict) -> list[str]:
        """The arms that the table claims, as a reader would: p below what the text under it says."""
        from knapsack.study.page import Table, Text
        from knapsack.study.tables import table_parts

        parts = table_parts(of.study, "t", rows)
        level = float(re.search(r"claimed where p is below ([\d.]+\d)", parts[-1].text)[1])
        self.assertIsInstance(parts[-1], Text)
        found = []
        for part in parts:
            for line in part.rows if isinstance(part, Table) else []:
                p = re.search(r", p (\S+)$", line[3])
                if p and float(p[1]) < level:
                    found.append(line[0])
        return found

    def test_where_no_arm_differs_few_studies_claim_one(self) -> None:
        """Holm's level is exact here: what is counted may be above 5 % by chance alone."""
        from scipy import stats

        from knapsack.study.comparisons import adjusted, p_of

        def assert_level(claimed: int, studies: int) -> None:
            low = stats.binomtest(claimed, studies).proportion_ci(0.99).low
            self.assertLessEqual(low, 0.05, f"{claimed} of {studies}")

        draw, studies = np.random.default_rng(1), 2000
        scatter = np.geomspace(0.2, 5, self.ARMS + 1)[:, None]
        claimed = plain = 0
        for _ in range(studies):
            arms = draw.normal(size=self.REPLICATES) + scatter * draw.normal(size=(len(scatter), self.REPLICATES))
            family = dict(enumerate(arms[1:] - arms[0]))
            claimed += min(adjusted(family).values()) < 0.05
            plain += min(map(p_of, family.values())) < 0.05
        assert_level(claimed, studies)
        self.assertLess(abs(claimed / studies - 0.05), 0.02)
        self.assertGreater(plain / studies, 0.25)  # what plain intervals claim
        for measures in (1, 3):
            of, draw = self.study_of(measures), np.random.default_rng(measures)
            assert_level(sum(bool(self.claims(of, self.planted(of, draw))) for _ in range(60)), 60)

    def test_what_differs_is_claimed(self) -> None:
        of, draw = self.study_of(), np.random.default_rng(3)
        found = [self.claims(of, self.planted(of, draw, 400.0)) for _ in range(20)]
        self.assertGreater(sum(f"A, arm{self.ARMS}" in one for one in found), 17)

    def test_what_the_table_says(self) -> None:
        from scipy import stats

        from knapsack.study.comparisons import adjusted, said_of
        from knapsack.study.tables import table_parts

        of = self.study_of(3)
        said = table_parts(of.study, "t", self.planted(of, np.random.default_rng(4)))[-1].text
        self.assertIn("8 comparisons by each of 3 measures, paired by replicate.", said)
        self.assertIn(
            "adjusted for 8 comparisons by Holm's rule. A difference is claimed where p is below 0.0167:", said
        )
        self.assertIn("takes 21.9 standard errors with 3 pairs, 5.84 with 6.", said)
        self.assertIn("nothing is claimed", said_of(8, 1, 1))
        family = {"a": [1.0, 1.1, 0.9], "b": [1.0, 1.2, 0.8], "c": [1.0], "d": [2.0, 2.0], "e": [5.0, -5.0, 1.0]}
        p = {key: stats.ttest_1samp(family[key], 0).pvalue for key in ("a", "b", "e")}
        expected = {"a": 5 * p["a"], "b": 4 * p["b"], "c": None, "d": None, "e": 1.0}
        for key, value in adjusted(family).items():
            with self.subTest(key):
                self.assertEqual(value, expected[key]) if value is None else self.assertAlmostEqual(
                    value, expected[key]
                )


class SharingTest(StudyTest):
    def test_the_way_that_ends_first_is_proposed(self) -> None:
        from knapsack.study.plan import soonest
        from knapsack.study.rates import Way

        small = [Way(2, 1, 2000.0, False), Way(1, 2, 1000.0, False)]
        large = [Way(1, 2, 300.0, False), Way(2, 1, 200.0, False)]
        timed = [(10.0, small), (100.0, large)]
        self.assertEqual(soonest([(1e6, 10.0)], timed), [(2, 50.0), (1, 100.0)])
        self.assertEqual(soonest([(1e6, 12.0), (6e6, 90.0)], timed), [(1, 300.0), (2, 350.0)])

    def test_an_interrupt_ends_what_is_timed(self) -> None:
        from knapsack.study.rates import Clock, Cost

        program = pathlib.Path(self.path("train"))
        program.write_text(f"#!/bin/sh\necho $$ >> {self.path('started')}\nexec sleep 60\n")
        program.chmod(0o755)
        clock = Clock(pathlib.Path(self.path("out")), program, 100, timing=True)

        def interrupted(_: float) -> None:
            if os.path.exists(self.path("started")):
                raise KeyboardInterrupt

        with mock.patch.object(Clock, "cost", return_value=Cost(1, 1, 1, 1)):
            with mock.patch("time.sleep", interrupted), self.assertRaises(KeyboardInterrupt):
                clock.time({"model": ["gpt2:L1:C16:H1"]}, jobs=2, threads=1)
        clock.close()
        self.assertFalse(os.path.exists(clock.folder.name))
        for number in pathlib.Path(self.path("started")).read_text().split():
            with self.assertRaises(ProcessLookupError):
                os.kill(int(number), 0)


class SignTest(StudyTest):
    """What a slope shows of keeping what is known."""

    def run_of(self, name: str, shares: list[float], people: int = 60) -> pathlib.Path:
        """A run of 1M tokens a step, whose evaluations of steps 3, 4, ... are of people that are right as often as
        this; two answers a person."""
        draw = random.Random(5)
        folder = pathlib.Path(self.path(name))
        (folder / "answers").mkdir(parents=True)
        options = {"schedule": "wsd", "warmup": 0, "cooldown": 0.1}
        (folder / "config.json").write_text(json.dumps({"options": options, "steps": 10, "tokens": 10_000_000}))
        for step, share in enumerate(shares, 3):
            lines = []
            for entity in range(people):
                for number, attribute in enumerate(("birth_city", "major")):
                    fact = {
                        "step": step,
                        "set": "bio",
                        "question": 2 * entity + number,
                        "source": "bio",
                        "group": "all",
                    }
                    fact |= {"entity": entity, "attribute": attribute, "kind": "seen", "nll": 1.0, "exposures": 1}
                    lines.append(json.dumps(fact | {"correct": draw.random() < share}))
            (folder / "answers" / f"step_{step:08d}.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    def sign(self, name: str, shares: list[float], margin: float, people: int = 60) -> str:
        from knapsack.runs.answers import Chosen
        from knapsack.study.hysteresis import Slope, sign_of, trend_of

        trend = trend_of(self.run_of(name, shares, people), Chosen("seen", None, "bio"))
        return Slope(name, "bio=0.2", 1, trend, sign_of(trend)).sign_within(margin)

    def test_zero_is_shown_and_not_what_is_left(self) -> None:
        self.assertEqual(self.sign("kept", [0.5] * 5, 0.06), "0")
        self.assertEqual(self.sign("kept too wide", [0.5] * 5, 0.001), "?")
        self.assertEqual(self.sign("few people", [0.5] * 5, 0.06, people=3), "?")
        self.assertEqual(self.sign("one evaluation", [0.5], 0.06), "?")
        self.assertEqual(self.sign("nothing is known", [0.0] * 5, 0.06), "?")
        self.assertEqual(self.sign("little is known", [0.04] * 5, 0.06), "?")
        self.assertEqual(self.sign("the margin takes all of it", [0.2] * 5, 0.08), "?")
        self.assertEqual(self.sign("learns", [0.3, 0.4, 0.5, 0.6, 0.7], 0.06), "+")
        self.assertEqual(self.sign("forgets", [0.7, 0.6, 0.5, 0.4, 0.3], 0.06), "-")


if __name__ == "__main__":
    unittest.main()
