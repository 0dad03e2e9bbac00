"""knapsack study scale: every number against one calculated by hand."""

import json
import pathlib
import shlex
import unittest
from fractions import Fraction

import support

from knapsack.study.scale import TARGETS, Size, conflicts, make_plan, plans_of, vocabulary

TENTH = Fraction(1, 10)
# 10M parameters, 1B tokens, 1000 people of 100 tokens, r = .1 and .4: 1000 and 4000 exposures, 1e-6 and 4e-6 a token.
TARGET = Size(10**7, 10**9, 1000, (TENTH, 4 * TENTH), Fraction(100), 6400)


class ScaleTest(support.FolderTest):
    def plans(self, parameters: int, tokens: int, both: bool = False, doc: int = 100) -> dict:
        have = Size(parameters, tokens, 1, TARGET.ratios, Fraction(doc), 640)
        return {plan.name: plan for plan in plans_of(TARGET, have, both)}

    def test_the_target_itself(self) -> None:
        self.assertEqual([TARGET.repetition(r) for r in TARGET.ratios], [1000, 4000])
        self.assertEqual([TARGET.frequency(r) for r in TARGET.ratios], [Fraction(1, 10**6), Fraction(4, 10**6)])
        self.assertEqual((TARGET.tokens_per_parameter, TARGET.load), (100, Fraction("46.6") * 1000 / (2 * 10**7)))
        gu = TARGETS["gu2025-70m"]  # the paper's text: about 100 passes at r = .1
        self.assertEqual([gu.repetition(r) for r in gu.ratios], [100, 150, 200, 250, 300, 350, 400, 450])

    def test_a_hundredth(self) -> None:
        """100k parameters, 10M tokens: 10 people. Repetition: 1000 x 10 x 100 / 10M = .1. Frequency: r / 100."""
        plans = self.plans(10**5, 10**7)
        self.assertEqual(list(plans), ["repetition", "frequency", "length"])
        for name, ratios, tokens, factors in (
            ("repetition", (TENTH, 4 * TENTH), 10**7, (100, 1, 1, 1)),
            ("frequency", (TENTH / 100, 4 * TENTH / 100), 10**7, (1, TENTH**2, 1, 1)),
            ("length", (TENTH / 100, 4 * TENTH / 100), 10**9, (1, 1, 100, 1)),
        ):
            plan = plans[name]
            self.assertEqual((plan.size.people, plan.size.ratios, plan.size.tokens), (10, ratios, tokens), name)
            self.assertEqual(tuple(plan.factors.values()), factors, name)
            self.assertEqual(plan.keeps, tuple(key for key, factor in plan.factors.items() if factor == 1))
        self.assertEqual(plans["repetition"].faults, ("10 people are too few for an interval",))

    def test_longer_documents_and_given_tokens(self) -> None:
        """1M parameters, 50M tokens (half of what keeps tokens per parameter), 125 tokens a document: 100 people take
        1000 x 100 x 125 = 12.5M tokens for repetition, r = .25 and 1; at r = .1, 5M tokens are for 40 people."""
        plans = self.plans(10**6, 5 * 10**7, both=True, doc=125)
        self.assertEqual(list(plans), ["repetition", "frequency", "ratio"])
        repetition, frequency, ratio = plans.values()
        self.assertEqual((repetition.size.people, repetition.size.ratios), (100, (Fraction(1, 4), Fraction(1))))
        self.assertEqual(tuple(repetition.factors.values()), (20, 1, Fraction(1, 2), 1))
        self.assertIn("r would be 1, all tokens", repetition.faults[0])
        self.assertEqual(frequency.size.ratios, (Fraction(1, 80), Fraction(1, 20)))  # 1e-6 x 100 x 125
        self.assertEqual(tuple(frequency.factors.values()), (1, Fraction(1, 20), Fraction(1, 2), 1))
        self.assertEqual((ratio.size.people, ratio.size.ratios), (40, TARGET.ratios))
        self.assertEqual(tuple(ratio.factors.values()), (20, 1, Fraction(1, 2), Fraction(2, 5)))

    def test_what_cannot_be_kept_together_is_said(self) -> None:
        have = Size(10**5, 10**7, 1, TARGET.ratios, Fraction(100), 640, web_tokens=10**6)
        said = "\n".join(conflicts(TARGET, have, False))
        for part in (
            "factor 0.01 or 100",
            "2606.07597",
            "2605.12715",
            "up to 10 epochs",
            "2305.16264",
            "all 1B tokens",
        ):
            self.assertIn(part, said)
        self.assertEqual(conflicts(TARGET, TARGET, True), [])
        both = Size(10**5, 5 * 10**6, 1, TARGET.ratios, Fraction(100), 640)
        self.assertIn(
            "tokens per parameter: off by a factor 0.5, as both were given", "\n".join(conflicts(TARGET, both, True))
        )

    def test_rounding_to_people(self) -> None:
        """20.5 people of 1000 at 205k parameters: 21; r is theirs, so that repetition is exact and the load is off."""
        have = Size(205000, 20500000, 1, TARGET.ratios, Fraction(100), 640)
        plan = make_plan("repetition", TARGET, have)
        self.assertEqual((plan.size.people, plan.factors["repetition"]), (21, 1))
        self.assertEqual(plan.factors["load"], Fraction(210, 205))

    def test_vocabulary(self) -> None:
        self.assertEqual(vocabulary(TARGET, 10**7), 6400)
        self.assertEqual(vocabulary(TARGET, 10**7 // 4), 3200)
        self.assertEqual(vocabulary(TARGET, 1000), 512)

    def test_the_command(self) -> None:
        flags = ["--parameters", "10M", "--tokens", "1B", "--people", "1000", "--ratio", ".1,.4"]
        done = support.run_command("study scale", *flags, "--have-tokens", "100M", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        said = json.loads(done.stdout)
        plan = said["plans"][0]
        self.assertEqual((plan["name"], plan["parameters"], plan["people"]), ("repetition", 10**6, 100))
        self.assertEqual([row["exposures"] for row in plan["ratios"]], [1000, 4000])
        hours = support.run_command(
            "study scale", *flags, "--have-hours", ".5", "--have-rate", "50k", "--have-parameters", "1M"
        )
        self.assertRegex(hours.stdout, r"S, tokens +1B +90M")
        self.assertRegex(hours.stdout, r"\(b\) repetition +1 +kept +x 0.09 +kept")
        self.assertRegex(hours.stdout, r"\(c\) tokens per parameter +1 +x 0.9")
        text = pathlib.Path(support.PACKAGE, "README.md").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("knapsack study scale ")]
        words = shlex.split(line, comments=True)[3:]
        self.assertEqual(support.run_command("study scale", *words).returncode, 0)
        for wrong, part in (
            ([*flags], "say what there is"),
            (["--have-tokens", "1M"], "no --parameters"),
            ([*flags, "--have-hours", "1"], "go together"),
            ([*flags, "--have-tokens", "1M", "--have-hours", "1", "--have-rate", "1k"], "give --have-tokens, or"),
            (["--target", "gu2025-70m", "--have-tokens", "1M", "--ratio", "1.5"], "expected shares"),
        ):
            done = support.run_command("study scale", *wrong)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertIn(part, done.stderr)
        done = support.run_command("study scale", *flags, "--have-parameters", "1k")
        self.assertEqual(done.returncode, 3)
        self.assertIn("1 people are too few", done.stdout)


if __name__ == "__main__":
    unittest.main()
