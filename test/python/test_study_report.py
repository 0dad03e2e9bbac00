"""knapsack study: parts of the report that need no runs."""

import json
import os
import pathlib
import random
import types
import unittest

from studies import StudyTest


class CellTest(StudyTest):
    """Parts of the report that need no runs."""

    def test_an_interval_is_of_the_run_whose_value_is_shown(self) -> None:
        from knapsack.study.tables import over_replicates

        self.assertEqual(over_replicates([(None, 0.1, 0.2), (0.5, 0.4, 0.6)]), "0.5 [0.4, 0.6] people")
        self.assertEqual(over_replicates([(0.5, None, None), (None, 0.1, 0.2)]), "0.5")
        self.assertEqual(over_replicates([(None, 0.1, 0.2)]), "-")
        self.assertRegex(over_replicates([(0.5, 0, 1), (0.7, 0, 1)]), r"^0.6 \[-0.67\d*, 1.87\d*\]$")

    def test_commands_do_not_carry_the_machine_s_folders(self) -> None:
        from knapsack.study.blocks import PACKAGE
        from knapsack.study.report import command

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
