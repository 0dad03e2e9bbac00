"""knapsack laws --infused: brackets of collapse over sizes, facts and budgets become a law, or the reason for none. The
planted exponents are covered, the planted rival is best at the size left out, nothing is found where there is nothing.
"""

import importlib.util
import json
import math
import unittest
from dataclasses import replace

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402
from infusion_runs import GRID, StudyTest  # noqa: E402
from planted_studies import brackets  # noqa: E402

from knapsack.analysis.laws.infusion import check_null, fit_law, hold_out  # noqa: E402
from knapsack.common.errors import DataError  # noqa: E402


class PlantedTest(unittest.TestCase):
    def test_the_size_exponent_is_covered_for_both_signs(self) -> None:
        """Brackets of a grid of factor 2, some sizes beyond it: a line through the middles of the others is biased."""
        inside, errors, middles = 0, [], []
        for number in range(16):
            a = 0.5 if number % 2 else -0.5
            rows = brackets(np.random.default_rng([20, number]), a=a, largest=128, replicates=2)
            found = fit_law(rows).exponents()["a"]
            inside += (found.low or -9) <= a <= (found.high or 9)
            errors.append((found.value - a) * np.sign(a))
            known = [row for row in rows if not row.censored]
            x, y = np.log([row.M for row in known]), [math.log(row.low * row.high) / 2 for row in known]
            middles.append((np.polyfit(x, y, 1)[0] - a) * np.sign(a))
        self.assertGreaterEqual(inside, 14)
        self.assertLess(abs(np.mean(errors)), 0.06)
        self.assertLess(np.mean(middles), np.mean(errors) - 0.02)

    def test_the_rival_that_was_planted_predicts_the_largest_size(self) -> None:
        """K F = const: F* falls as 1 / K; free exposures know nothing of K. Each is best where it is planted."""
        for kappa, name in ((-1.0, "K F*"), (0.0, "F*")):
            rows = brackets(np.random.default_rng([22, int(-kappa)]), facts=(200, 800, 3200), kappa=kappa, scatter=0.1)
            held = hold_out(rows)
            self.assertEqual((held["best"], held["told_apart"]), (name, True), held)
            self.assertEqual({one["parameters"] for one in held["laws"] if one["law"] != "constant"}, {3})
            K = fit_law(rows).exponents()["K"]
            self.assertTrue(K.low <= kappa <= K.high, K)
            self.assertFalse(K.low <= -1 - kappa <= K.high, K)
            own = next(one for one in held["laws"] if one["law"] == name)
            self.assertLess(own["error"], 0.2)
            self.assertLess(own["error"], held["nearest"]["error"])

    def test_budgets_are_a_covariate(self) -> None:
        rows = brackets(np.random.default_rng(22), budgets=(1e8, 1e9), delta=0.6)
        found = fit_law(rows).exponents()
        self.assertEqual(list(found), ["a", "D"])
        self.assertTrue(found["D"].low <= 0.6 <= found["D"].high, found)
        self.assertEqual([one["law"] for one in hold_out(rows)["laws"]], ["F*", "K F* / D", "compute", "constant"])

    def test_along_curves_of_equal_K_F_the_number_of_facts_is_a_rival(self) -> None:
        rows = brackets(np.random.default_rng(23), facts=(1e4, 1e5), kappa=1.0, hold="KF", scatter=0.1)
        held = hold_out(rows)
        self.assertEqual((held["best"], [one["law"] for one in held["laws"]]), ("K*", ["F*", "K*", "constant"]))

    def test_no_law_where_nothing_collapses_beyond_chance(self) -> None:
        """Of 6 curves one claims a collapse by chance now and then; two are more than chance."""
        none = brackets(np.random.default_rng(24), largest=1)
        with self.assertRaisesRegex(
            DataError, "none collapses: the null law.*; run M = 1e\\+05 up to F = 4.*more facts"
        ):
            fit_law(none)
        false = brackets(np.random.default_rng(25), a=0.0, replicates=1)[:1] + none[:5]
        self.assertAlmostEqual(check_null(false)["p"], 1 - 0.95**6)
        two = [replace(row, single=True) for row in [*false[:1], *false[:1], *none[:2]]]
        self.assertAlmostEqual(check_null(two)["p"], 1 - 0.7**4 - 4 * 0.3 * 0.7**3)
        mixed = [two[0], false[0], *none[:2]]  # one of single runs
        self.assertAlmostEqual(check_null(mixed)["p"], 1 - 0.7 * 0.95**3 - 0.3 * 0.95**3 - 0.7 * 3 * 0.05 * 0.95**2)
        self.assertAlmostEqual(check_null(none)["p"], 1.0)
        with self.assertRaisesRegex(DataError, "1 of 6 curves collapse, no more than the rule claims by chance"):
            fit_law(false)

    def test_too_few_sizes_are_refused_with_what_to_run(self) -> None:
        rows = brackets(np.random.default_rng(26), a=2.0, largest=64, replicates=2, scatter=0.05)
        self.assertEqual(len({row.M for row in rows if not row.censored}), 2)
        with self.assertRaisesRegex(DataError, "brackets at 2 sizes, at least 3 are needed; run M = .* up to F = 256"):
            fit_law(rows)


class CommandTest(StudyTest):
    def test_a_planted_law_is_recovered_from_the_brackets(self) -> None:
        """F_c = A N^a over five sizes, for both signs of a: the brackets hold it, `knapsack laws --infused` covers the
        exponent and a new size, and refuses what lies far beyond."""
        sizes, grid = (10**4, 3 * 10**4, 10**5, 3 * 10**5, 10**6), [2**i for i in range(2, 12)]
        for a, A in ((0.5, 0.9), (-0.4, 2**10 * 40)):
            F_c = {N: A * N**a for N in sizes}
            for N in sizes:
                for F in grid:
                    value = 0.9 * F / (F + 4) * (1 if F <= F_c[N] else 0.3)
                    self.make_run(f"law{a}/N{N}_F{F}", F, value, N=N, tokens=4000000, results=False)
            _, sidecar, _ = self.analyse(folder=f"law{a}")
            brackets = {curve["N"]: curve["collapse"] for curve in sidecar["curves"]}
            self.assertEqual(sorted(brackets), sorted(sizes))
            for N, reading in brackets.items():
                self.assertEqual(reading["status"], "not_replicated", (a, N))
                self.assertLessEqual(reading["F_lo"], F_c[N])
                self.assertGreater(reading["F_hi"], F_c[N])
                self.assertEqual(reading["F_hi"], 2 * reading["F_lo"])
            out = self.path(f"law{a}_law")
            done = support.run_script(
                "laws", self.path(f"law{a}"), "--infused", "wd", "--out", out, "--ask", "M=2e6", "--ask", "M=1e9"
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(out + ".json", encoding="utf-8") as file:
                said = json.load(file)
            value, low, high = said["law"]["exponents"]["a"]
            self.assertTrue(low <= a <= high, (a, value, low, high))
            self.assertLess(abs(value - a), 0.1)
            self.assertEqual((low > 0, high < 0), (a > 0, a < 0))  # the sign is sure
            null = said["null"]
            self.assertEqual([null[key] for key in ("curves", "collapsed", "rejected")], [5, 5, True])
            self.assertEqual((null["single"], round(null["p"], 9)), (5, round(0.3**5, 9)))
            self.assertIn("5 of 5 curves are not replicated (one run a point)", done.stderr)
            inside, beyond = said["asked"]
            self.assertEqual((inside["state"], beyond["state"]), ("extrapolated", "refused"))
            self.assertTrue(inside["F"][1] <= A * 2e6**a <= inside["F"][2], inside)
            self.assertEqual(said["holdout"]["left_out"], 10**6)
            self.assertEqual([one["law"] for one in said["holdout"]["laws"]], ["F*", "constant"])
            self.assertEqual((said["holdout"]["best"], said["victim"], said["hold"]), ("F*", "facts", "K"))
            self.assertIn("a (of M)", done.stdout)
            self.assertIn("curves that collapse: 5 of 5, 5 of these not replicated", done.stdout)

    def test_no_law_is_an_exit_code_with_what_to_run(self) -> None:
        for N in (1000, 3000, 10000, 30000):
            for F in GRID:
                self.make_run(f"runs/N{N}_{F}", F, 1 - math.exp(-F / 16), N=N, results=False)
        out, arguments = self.path("law"), ("laws", self.path("runs"), "--infused", "wd")
        done = support.run_script(*arguments, "--out", out)
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, "no law: none collapses: .*not given up; run M = 1000 up to F = 2048")
        with open(out + ".json", encoding="utf-8") as file:
            said = json.load(file)
        self.assertEqual({row["status"] for row in said["brackets"]}, {"censored"})
        self.assertIn("refused", said["law"])
        self.run_bad(2, "with --infused M is parameters or", *arguments, "--out", out, "--size", "lr")
        self.run_bad(
            2, "--infused needs run directories", "laws", self.write("t.csv", "a\n1\n"), *arguments[2:], "--out", out
        )
        self.run_bad(2, "no covariate of that name", *arguments, "--out", out, "--ask", "S=3")
        self.run_bad(2, "--loss says nothing with --infused", *arguments, "--out", out, "--loss", "val/web/loss")
        self.run_bad(2, "--victim is of --infused", "laws", self.path("runs"), "--victim", "web", "--out", out)


if __name__ == "__main__":
    unittest.main()
