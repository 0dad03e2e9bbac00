"""knapsack laws finds planted exponents and covers them, keeps what is censored, tells laws apart by what was left out,
refuses what it cannot say; and the published numbers come out of published data."""

import importlib.util
import json
import math
import os
import unittest
from unittest import mock

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import pandas as pd  # noqa: E402
import support  # noqa: E402
from planted_studies import HORIZON, SIZES, Planted, horizon_study, ratio_study, size_study  # noqa: E402

from knapsack.analysis.laws import critical, dose, holdout, mixed, study, target  # noqa: E402
from knapsack.analysis.laws.evidence import of_thresholds  # noqa: E402
from knapsack.analysis.laws.holdout import Runs, Threshold, hold_out  # noqa: E402
from knapsack.analysis.laws.loss import fit_loss  # noqa: E402
from knapsack.analysis.laws.reach import reach_of  # noqa: E402
from knapsack.analysis.laws.rivals import fit_rival  # noqa: E402
from knapsack.analysis.psychometric import fit_curve  # noqa: E402

SMALL = {"people": 48, "groups": 12, "questions": 10}  # of a run: quick
F50_BY_SIZE = (  # measured in 8M tokens: run, parameters, non-embedding, F50, its 95 %, more than
    ("C16", 39e3, 6.6e3, None, None, None, 910),
    ("C32 1", 91e3, 25e3, 612, 362, 706, None),
    ("C32 2", 91e3, 25e3, 470, 412, 548, None),
    ("C48", 155e3, 57e3, 267, 235, 289, None),
    ("C64 1", 231e3, 100e3, 144, 128, 152, None),
    ("C64 2", 231e3, 100e3, 162, 150, 176, None),
    ("C96", 420e3, 224e3, 90, 84, 97, None),
    ("C128 1", 659e3, 397e3, 52, 48, 55, None),
    ("C128 2", 659e3, 397e3, 52, 50, 55, None),
)
TABLE_1 = {  # Gu et al. 2025, 70M: ratio, accuracy and its deviation over 3 seeds, in percent
    0.1: (0.4, 0.0), 0.15: (0.4, 0.0), 0.2: (0.4, 0.0), 0.25: (0.8, 0.0),
    0.3: (7.3, 2.8), 0.35: (27.5, 2.8), 0.4: (40.4, 3.1), 0.45: (58.1, 3.1),
}  # fmt: skip


class PlantedTest(unittest.TestCase):
    def test_the_size_law_out_of_answers(self) -> None:
        planted = Planted(**SMALL)
        made = size_study(np.random.default_rng(1), planted, replicates=2)
        law = dose.fit_answers(made.runs, made.covariates(), np.array(made.cluster))
        gamma = law.exponents()["gamma"]
        self.assertLess(gamma.low, planted.gamma)
        self.assertGreater(gamma.high, planted.gamma)
        self.assertLess(gamma.high - gamma.low, 0.5)
        self.assertEqual((law.covariates, law.fit.runs, law.fit.freedom.tolist()), (["M"], 10, [8, 8]))
        self.assertLess(abs(law.shape.k / planted.k - 1), 0.3)
        self.assertLess(abs(law.shape.people - planted.people_sd), 0.2)

    def test_the_horizon_law_with_trunks(self) -> None:
        planted = Planted(**SMALL, run_sd=0.05, trunk_sd=0.15)
        made = horizon_study(np.random.default_rng(2), planted, trunks=2)
        law = dose.fit_answers(made.runs, made.covariates(), np.array(made.cluster))
        found = law.exponents()
        for name, truth in (("beta", planted.beta), ("gamma", planted.gamma)):
            self.assertTrue(found[name].low < truth < found[name].high, (name, found[name]))
        self.assertEqual(law.fit.freedom.tolist(), [4, 4, 11])  # of sizes by trunks, of horizons by runs
        self.assertLess(found["beta"].high - found["beta"].low, found["gamma"].high - found["gamma"].low)
        self.assertGreater(law.fit.sd_cluster, law.fit.sd_run)

    def test_thresholds_are_covered_and_censored_ones_kept(self) -> None:
        """A size that never reaches half says "more than": without it gamma is biased towards 0."""
        sizes, most = np.repeat([40e3, *SIZES], 3), np.log(910)
        covered = predicted = 0
        kept, dropped = [], []
        for number in range(60):
            random = np.random.default_rng([3, number])
            truth = np.log(150) - 1.2 * np.log(sizes / 231e3) + random.normal(0, 0.2, len(sizes))
            seen = truth + random.normal(0, 0.06, len(sizes))
            missed = seen > most
            bounds = np.where(missed, most, np.nan)
            evidence = of_thresholds(np.where(missed, np.nan, seen), np.full(18, 0.06), bounds, np.full(18, np.nan))
            law = dose.fit_thresholds(evidence, {"M": sizes}, np.arange(18))
            gamma, new = law.exponents()["gamma"], law.fit.predict(law.row({"M": 1e6}))
            covered += gamma.low <= 1.2 <= gamma.high
            predicted += new.low <= np.log(150) - 1.2 * np.log(1e6 / 231e3) + random.normal(0, 0.2) <= new.high
            kept.append(gamma.value)
            dropped.append(-np.polyfit(np.log(sizes[~missed]), seen[~missed], 1)[0])
        self.assertGreaterEqual(covered, 53)
        self.assertGreaterEqual(predicted, 53)
        self.assertLess(abs(np.mean(kept) - 1.2), 0.03)
        self.assertLess(np.mean(dropped), np.mean(kept) - 0.01)

    def test_what_replicates_share_is_covered(self) -> None:
        """An effect common to all sizes: as clusters a new run is covered and gamma narrow; as single runs neither."""
        M, replicate, nothing = np.repeat(SIZES, 3), np.tile(np.arange(3), 5), np.full(15, np.nan)
        covered, widths = np.zeros((2, 2)), np.zeros(2)
        for number in range(60):
            random = np.random.default_rng([15, number])
            y = 5 - 1.2 * np.log(M / 231e3) + random.normal(0, 0.3, 3)[replicate] + random.normal(0, 0.13, 15)
            new = 5 - 1.2 * np.log(1e6 / 231e3) + random.normal(0, np.hypot(0.3, 0.13))
            evidence = of_thresholds(y, np.zeros(15), nothing, nothing)
            for place, cluster in enumerate((replicate, np.arange(15))):
                law = dose.fit_thresholds(evidence, {"M": M}, cluster)
                gamma, said = law.exponents()["gamma"], law.fit.predict(law.row({"M": 1e6}))
                covered[place] += gamma.low <= 1.2 <= gamma.high, said.low <= new <= said.high
                widths[place] += gamma.high - gamma.low
        self.assertGreaterEqual(covered[0, 0], 54, covered)
        self.assertGreaterEqual(covered[0, 1], 51, covered)
        self.assertGreater(covered[0, 1], covered[1, 1])
        self.assertLess(widths[0], 0.7 * widths[1])

    def test_the_critical_ratio(self) -> None:
        hits = 0
        for number in range(12):
            x, share = ratio_study(np.random.default_rng([4, number]))
            found = critical.find(x, share, 400, 0.004, np.arange(len(x)))
            self.assertEqual((found.state, found.bracket[0] <= 0.25), ("reached", True))
            hits += found.at.low <= 0.22 <= found.at.high
            self.assertLess(abs(found.slope - 8), 2.5)
        self.assertGreaterEqual(hits, 9)

    def test_no_rise_is_claimed_where_there_is_none(self) -> None:
        for level, states in ((0.0, {"not reached"}), (0.4, {"not reached"}), (0.97, {"below the smallest dose"})):
            claims, seen = 0, set()
            for number in range(100):
                x, share = ratio_study(np.random.default_rng([5, number]), None, level=level)
                found = critical.find(x, share, 400, 0.004, np.arange(len(x)))
                claims += found.slope is not None
                seen.add(found.state)
            self.assertLessEqual(claims, 3, level)
            self.assertLessEqual(seen - {"no rise", "reached"}, states)

    def test_tokens_to_a_target_between_horizons(self) -> None:
        grid, hits = 1.2 ** np.arange(0, 31), 0
        r = np.repeat([0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8], 2)
        for number in range(40):
            T = np.exp(-0.25 + 1.5 / r + np.random.default_rng([6, number]).normal(0, 0.15, len(r)))
            ends = np.array([target.bracket(grid, (grid >= one).astype(float), 0.5) for one in T])
            law = target.fit_target("exponential", r, target.evidence_of(*ends.T), np.arange(len(r)))
            B = law.parameters()["B"]
            hits += B.low <= 1.5 <= B.high
        self.assertGreaterEqual(hits, 35)
        self.assertGreater(law.fit.censored, 0)
        noisy = np.array([0.1, 0.5, 0.3, 0.6, 0.7])  # met at 2, but not from there on
        self.assertEqual(target.bracket(np.arange(1.0, 6.0), noisy, 0.4), (3.0, 4.0))

    def test_the_left_out_runs_tell_laws_apart(self) -> None:
        made = size_study(np.random.default_rng(7), Planted(**SMALL, run_sd=0.05), replicates=2)
        alone = [Threshold(fit_curve(cells).ln_F50, 0.08) for cells in made.runs]
        said = hold_out("M", Runs(made.covariates(), np.array(made.cluster), alone, made.runs))
        errors = {row["law"]: row["error"] for row in said["laws"]}
        self.assertTrue(said["beats_baselines"], errors)
        self.assertIn(said["best"], ("threshold", "mixing"))  # which differ in the foot of the curve alone
        self.assertLess(errors["threshold"], 0.25)
        self.assertGreater(min(errors["constant F50"], errors["exposures"]), 0.3)

    def test_what_was_left_out_is_judged_run_by_run(self) -> None:
        """Each in the interval of a run measured with its error; a law that cannot be fitted says why."""
        M = np.repeat([1.0, 2.0, 4.0, 8.0, 16.0], 2)
        y = 5 - np.log(M) + np.tile([-0.1, 0.1], 5)
        alone = [Threshold(value, 0.05) for value in y]
        alone[-1] = Threshold(y[-1] + 1.5, 1.0)  # far off, as its error allows
        runs = Runs({"M": M}, np.arange(10), alone)
        row = hold_out("M", runs)["laws"][0]
        self.assertEqual((row["law"], row["covered"], row["of"]), ("threshold", 2, 2))
        alone[-1] = Threshold(y[-1] + 1.5, 0.05)
        self.assertEqual(hold_out("M", runs)["laws"][0]["covered"], 1)
        few = Runs({"M": M[[0, 2, 4]]}, np.arange(3), alone[:5:2])
        self.assertIn("too few for 2 parameters", hold_out("M", few)["law_refused"])

    def test_rivals_have_the_lapse_of_the_law(self) -> None:
        """Of one answer in eight a lapse: not the usual one in fifty."""
        made = size_study(np.random.default_rng(16), Planted(**SMALL, lapse=0.125, run_sd=0.05), replicates=1)
        alone = [Threshold(fit_curve(cells).ln_F50, 0.08) for cells in made.runs]
        with mock.patch.object(holdout, "fit_rival") as fitted:
            holdout.predictors("M", Runs(made.covariates(), np.array(made.cluster), alone, made.runs))
        (lapse,) = {call.args[4] for call in fitted.call_args_list}
        self.assertEqual(fitted.call_count, 4)
        self.assertLess(abs(lapse - 0.125), 0.035)

    def test_rivals_find_themselves(self) -> None:
        """Answers that one law made: it fits them better than the others do."""
        planted = Planted(people=240, people_sd=0.0)
        made = size_study(np.random.default_rng(8), planted, replicates=1)
        M, S = made.covariates().values()
        random = np.random.default_rng(9)
        truth = fit_rival("knapsack", made.runs, M, S, 0.02, 0.0)
        runs = [
            cells._replace(
                right=random.binomial(25, np.clip(0.98 * truth.at(cells.dose, m, HORIZON), 0, 1)).astype(float)
            )
            for cells, m in zip(made.runs, M)
        ]
        scores = {
            name: fit_rival(name, runs, M, S, 0.02, 0.0).loglik
            for name in ("mixing", "exposures", "capacity", "knapsack")
        }
        self.assertEqual(max(scores, key=scores.__getitem__), "knapsack", scores)


class PublishedTest(support.FolderTest):
    def laws(self, *arguments: object) -> dict:
        self.said = self.run_ok("laws", *arguments, "--out", self.path("out"))
        with open(self.path("out.json"), encoding="utf-8") as file:
            return json.load(file)

    def refused(self, *arguments: object) -> None:
        """No law, exit 3, and what there is all the same."""
        self.run_bad(3, "no law", "laws", *arguments, "--out", self.path("out"))
        with open(self.path("out.json"), encoding="utf-8") as file:
            self.out = json.load(file)

    def write_table(self, name: str, header: str, rows: list[tuple]) -> str:
        lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
        return self.write(name, "\n".join([header, *lines]) + "\n")

    def test_F50_by_size(self) -> None:
        path = self.write_table("sizes.csv", "run,M,inner,F50,F50_low,F50_high,more_than", list(F50_BY_SIZE))
        flags = ("--size", "M", "--horizon", "none", "--unit", "inner=inner", "--ask", "M=1e6", "--ask", "M=1e7")
        out = self.laws(path, *flags)
        gamma = out["law"]["exponents"]["gamma"]
        self.assertTrue(gamma[1] < 1.16 < gamma[2] and 1.0 < gamma[0] < 1.25, gamma)
        self.assertEqual((out["law"]["without_end"], out["law"]["censored_runs"]), (1, ["C16"]))
        inner = next(row["gamma"] for row in out["units"] if row["unit"] == "inner")
        self.assertTrue(inner[1] < 0.84 < inner[2], inner)
        held = out["holdout"][0]
        setting = held["settings"][0]
        self.assertEqual((held["left_out"], round(setting["measured"], 6)), (659e3, 52))
        self.assertTrue(45 < setting["predicted"]["threshold"][0] < 52, setting)
        errors = {row["law"]: row["error"] for row in held["laws"]}
        self.assertLess(errors["threshold"], 0.15)
        self.assertAlmostEqual(errors["nearest"], math.log(90 / 52))
        self.assertGreater(errors["constant F50"], 1.3)
        inside, beyond = out["asked"]
        self.assertEqual((inside["state"], beyond["state"], "F50" in beyond), ("extrapolated", "refused", False))
        self.assertIn("carries to 9488 to 2.709e+06", beyond["reason"])
        self.assertIn("censored: 1 of 9 runs (C16)", self.said)
        self.assertGreater(os.path.getsize(self.path("out.png")), 1000)

    def test_thresholds_with_errors_that_are_none(self) -> None:
        base = ("--size", "M", "--horizon", "none", "--out", self.path("o"))
        for header, values, said in (
            ("M,F50,F50_error", "1,5,-.1", "F50_error is '-0.1', not a number of at least 0"),
            ("M,F50,F50_error", "1,5,abc", "F50_error is 'abc', not a number"),
            ("M,F50,F50_error", "1,5,inf", "F50_error is 'inf', not a number"),
            ("M,F50,F50_low,F50_high", "1,5,7,4", "F50_low <= F50 <= F50_high"),
            ("M,F50,F50_low,F50_high", "1,5,6,9", "F50_low <= F50 <= F50_high"),
            ("M,F50,F50_low", "1,5,4", "F50_low without F50_high"),
            ("M,more_than,less_than", "1,9,4", "more_than <= less_than"),
        ):
            self.run_bad(3, said, "laws", self.write("bad.csv", f"{header}\n{values}\n"), *base)
        self.run_bad(2, "at least 20", "laws", self.path("bad.csv"), *base, "--draws", 1)

    def test_table_1_of_the_paper(self) -> None:
        rows = [(r, (a + i * sd) / 100) for r, (a, sd) in TABLE_1.items() for i in (-1, 0, 1)]
        path = self.write_table("t.csv", "r,acc", rows)
        flags = ("--size", "none", "--horizon", "none", "--dose", "r", "--response", "acc", "--guess", 0.0044)
        said = self.laws(path, *flags)["critical"][0]
        self.assertEqual((said["state"], said["bracket"], said["runs"]), ("reached", [0.4, 0.45], 24))
        self.assertTrue(6 < said["slope"] < 10, said["slope"])
        self.assertTrue(0.4 < said["critical"][1] < said["critical"][2] < 0.45, said["critical"])
        below = self.write_table("below.csv", "r,acc", rows[:12])
        self.refused(below, *flags)  # no law, exit 3, and the bracket that there is
        self.assertEqual(self.out["critical"][0]["bracket"], [0.25, None])

    def test_tokens_to_a_target_of_the_paper(self) -> None:
        """T(.3) = 120B and 112B of its two fits; at .25 they go apart, and the left-out ratio says which holds."""
        for name, T, ratios, at in (
            ("exponential", lambda r: math.exp(-0.25512 + 1.5137 / r), (0.3, 0.35, 0.4, 0.5, 0.6, 0.8), 120),
            ("power", lambda r: 1.103 * r**-3.839, (0.3, 0.4, 0.45, 0.5, 0.55), 112),
        ):
            r, known = np.array(ratios), np.array([T(r) for r in ratios])
            law = target.fit_target(name, r, target.evidence_of(known, known), np.arange(len(r)))
            self.assertEqual(round(law.tokens(0.3).value), at)
            (_, a), (_, b) = law.parameters().items()
            wanted = (-0.25512, 1.5137) if name == "exponential" else (math.log(1.103), 3.839)
            np.testing.assert_allclose([a.value, b.value], wanted, rtol=1e-3)
        horizons = 1.2 ** np.arange(0, 32)
        rows = [
            (r, S, 0.6 if S >= math.exp(-0.255 + 1.514 / r) else 0.1)
            for r in (0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
            for S in horizons
        ]
        path = self.write_table("t.csv", "r,S,acc", rows)
        out = self.laws(path, "--size", "none", "--horizon", "S", "--dose", "r", "--response", "acc", "--target", 0.4)
        (setting,) = out["settings"]
        self.assertEqual([row["horizons"] for row in setting["targets"]], [32] * 6)
        left_out = {name: law["held_out"]["error"] for name, law in setting["laws"].items()}
        self.assertEqual(left_out["exponential"], 0)
        self.assertGreater(left_out["power"], 0.1)

    def test_replicates_and_sizes_have_a_target_each(self) -> None:
        """T of seed 1 in (8, 16), of seed 2 in (2, 4): never one bracket of both."""
        reached = {(1, 16), (2, 4), (2, 8), (2, 16)}
        rows = [(0.3, S, seed, 0.6 if (seed, S) in reached else 0.1) for seed in (1, 2) for S in (2, 4, 8, 16)]
        flags = ("--horizon", "S", "--dose", "r", "--response", "acc", "--target", 0.4)
        seeds = self.write_table("seeds.csv", "r,S,seed,acc", rows)
        self.refused(seeds, "--size", "none", *flags)  # one ratio makes no law, but the brackets are there
        (setting,) = self.out["settings"]
        self.assertEqual([(row["low"], row["high"]) for row in setting["targets"]], [(8, 16), (2, 4)])
        unnamed = self.write_table("unnamed.csv", "r,S,one,acc", rows)
        base = ("--size", "none", *flags, "--free", "one", "--out", self.path("o"))
        self.run_bad(3, "several runs of S = 2 .*--cluster", "laws", unnamed, *base)
        self.refused(unnamed, *base[:-2], "--cluster", "one")
        self.assertEqual([row["low"] for row in self.out["settings"][0]["targets"]], [8, 2])
        rows = [(0.3, S, M, 0.6 if S * M >= 160 else 0.1) for M in (10, 40) for S in (2, 4, 8, 16)]
        sizes = self.write_table("sizes.csv", "r,S,parameters,acc", rows)
        self.refused(sizes, *flags)
        found = {one["at"]["M"]: (one["targets"][0]["low"], one["targets"][0]["high"]) for one in self.out["settings"]}
        self.assertEqual(found, {10: (8, 16), 40: (2, 4)})
        self.run_bad(2, "2 values of parameters", "laws", sizes, "--size", "none", *flags, "--out", self.path("o"))
        with self.assertRaisesRegex(Exception, "several runs of one horizon"):
            target.bracket(np.array([2.0, 2.0]), np.array([0.1, 0.9]), 0.4)

    def test_the_critical_size_at_each_ratio(self) -> None:
        """The critical size falls as r^-0.8: a bracket at each ratio, and one law over all."""
        random, rows = np.random.default_rng(13), []
        for r in (0.1, 0.2, 0.4):
            for M in (14, 31, 50, 70, 95, 160, 256, 410):
                for _ in range(3):
                    z = 6 * (np.log(M / 100) + 0.8 * np.log(r / 0.2) + random.normal(0, 0.06))
                    rows.append((r, M * 1e6, random.binomial(500, 0.004 + 0.97 / (1 + np.exp(-z))) / 500))
        path = self.write_table("sizes.csv", "r,M,acc", rows)
        flags = (
            "--size",
            "none",
            "--horizon",
            "none",
            "--covariate",
            "r=r",
            "--dose",
            "M",
            "--response",
            "acc",
            "--guess",
            0.004,
        )
        out = self.laws(path, *flags)
        for said, truth in zip(out["critical"], (174e6, 100e6, 57e6)):
            low, high = said["bracket"]
            self.assertTrue(low < truth * 1.2 and truth / 1.2 < high, said)
            self.assertLess(abs(math.log(said["critical"][0] / truth)), 0.12, said)
        exponent = out["law"]["exponents"]["exponent of r"]
        self.assertTrue(exponent[1] < -0.8 < exponent[2], exponent)
        self.assertLess(exponent[2] - exponent[1], 0.3)

    def test_replicates_of_all_doses_are_clusters(self) -> None:
        """Seeds that share an effect of .2 in ln over eight ratios: the critical ratio has their scatter."""
        x, share = ratio_study(np.random.default_rng(5), replicate_sd=0.2)
        rows = [(r, one, i % 3) for i, (r, one) in enumerate(zip(x, share))]
        path = self.write_table("ratios.csv", "r,acc,seed", rows)
        flags = ("--size", "none", "--horizon", "none", "--dose", "r", "--response", "acc", "--guess", 0.004)
        found = [self.laws(path, *flags, *cluster) for cluster in ((), ("--cluster", "run"))]
        self.assertEqual([one["law"]["cluster"] for one in found], ["replicate", "run"])
        (_, low, high), (_, narrow_low, narrow_high) = (one["critical"][0]["critical"] for one in found)
        self.assertTrue(low < 0.22 < high, (low, high))
        self.assertGreater(high / low, narrow_high / narrow_low)

    def test_web_loss(self) -> None:
        M = np.array([70, 95, 120, 160, 256, 410.0])
        law = fit_loss(M, 1.769 + 4.952 * M**-0.283)
        np.testing.assert_allclose((law.E, law.A, law.gamma.value), (1.769, 4.952, 1.283), rtol=1e-6)
        self.assertAlmostEqual(law.at(410), 2.671, 3)


class ReachTest(unittest.TestCase):
    def test_how_far_a_law_may_be_asked(self) -> None:
        reach = reach_of(np.array([1e5, 2e5, 4e5]))
        self.assertEqual([reach.judge("M", at)[0] for at in (1e5, 3e5, 4e5)], ["inside"] * 3)
        self.assertEqual([reach.judge("M", at)[0] for at in (5.1e4, 7.9e5)], ["extrapolated"] * 2)
        self.assertEqual([reach.judge("M", at)[0] for at in (4.9e4, 8.1e5)], ["refused"] * 2)
        self.assertEqual(reach_of(np.array([1e5, 4e5])).judge("M", 5e5)[0], "refused")

    def test_too_few_runs(self) -> None:
        few = of_thresholds(np.log([600, 100]), np.zeros(2), np.full(2, np.nan), np.full(2, np.nan))
        with self.assertRaisesRegex(Exception, "2 runs with a threshold, of 2, are too few for 2 parameters"):
            dose.fit_thresholds(few, {"M": np.array([1e5, 4e5])}, np.arange(2))
        with self.assertRaisesRegex(Exception, "do not tell"):
            mixed.fit(["c", "x"], np.ones((4, 2)), few, np.arange(4))


class CommandTest(support.FolderTest):
    """Run directories in, a law out."""

    def write_run(self, name: str, cells: object, parameters: int, seed: int, **options: object) -> None:
        folder = f"runs/{name}"
        about = {"model": f"pythia:{parameters}", "seed": seed, "lr": 0.003} | options
        config = {
            "options": about,
            "parameters": parameters,
            "parameters_non_embedding": parameters // 3,
            "tokens": 8000000,
        }
        self.write(f"{folder}/config.json", json.dumps(config | {"steps": 10}))
        log = {"step": 9, "time": 1.0, "perf/tokens_per_s": 5.0}
        self.write(f"{folder}/metrics.jsonl", json.dumps(log) + "\n")
        self.write(f"{folder}/eval.jsonl", json.dumps({"step": 10, "val/web/loss": 2 + 50 * parameters**-0.5}) + "\n")
        self.write(f"{folder}/DONE", "finished\n")
        known = {"bio": {"all": {"chance": 1 / 227}, "by_attribute": [{"attribute": "city", "chance": 1 / 227}]}}
        self.write(f"{folder}/results.json", json.dumps({"know": known}))
        lines = []
        for dose_, right, asked, person in zip(cells.dose, cells.right, cells.asked, cells.person):
            for i in range(int(asked)):
                line = {
                    "step": 10,
                    "set": "bio",
                    "source": "bio",
                    "question": len(lines),
                    "entity": int(person),
                    "attribute": "city",
                }
                line |= {"kind": "seen", "group": "g", "correct": bool(i < right), "nll": 1.0, "exposures": int(dose_)}
                lines.append(json.dumps(line | {"entity": int(person)}) + "\n")
        self.write(f"{folder}/answers/step_00000010.jsonl", "".join(lines))

    def write_study(self) -> None:
        made = size_study(np.random.default_rng(11), Planted(**SMALL), SIZES[:4], replicates=2)
        for number, (cells, M) in enumerate(zip(made.runs, made.M)):
            self.write_run(f"r{number}", cells, int(M), number)

    def test_run_directories(self) -> None:
        self.write_study()
        flags = ("--out", self.path("out"), "--draws", 20, "--loss", "val/web/loss")
        said = self.run_ok("laws", self.path("runs"), *flags)
        with open(self.path("out.json"), encoding="utf-8") as file:
            out = json.load(file)
        gamma = out["law"]["exponents"]["gamma"]
        self.assertTrue(gamma[1] < 1.16 < gamma[2], gamma)
        self.assertEqual([row["state"] for row in out["runs"]], ["reached"] * 8)
        self.assertEqual({row["people"] for row in out["runs"]}, {48})
        for row in out["runs"]:
            common = row["frequency_threshold"]
            if common["threshold"]:
                self.assertGreater(common["threshold"], row["F50"])
                self.assertEqual((common["state"], common["target"]), ("reached", 0.8))
        self.assertEqual([unit["unit"] for unit in out["units"]], ["parameters", "non-embedding"])
        self.assertAlmostEqual(out["units"][0]["gamma_predicted"][0], 1.5, 3)
        self.assertTrue(out["holdout"][0]["beats_baselines"])
        self.assertRegex(said, r"left out M = 4.2e\+05, \|ln ratio\| of F50: threshold 0\.\d+")
        self.assertGreater(os.path.getsize(self.path("out.png")), 1000)
        before = self.contents(".png"), self.contents(".svg")
        self.run_ok("laws", self.path("runs"), *flags)
        self.assertEqual((self.contents(".png"), self.contents(".svg")), before)

    def test_refusals(self) -> None:
        self.write_study()
        base = ("laws", self.path("runs"), "--out", self.path("out"), "--draws", 20)
        self.run_bad(2, "no run has a column 'sise'", *base, "--size", "sise")
        self.run_bad(2, "--dose and --response go together", *base, "--dose", "lr")
        self.run_bad(2, "expected NAME=VALUE", *base, "--ask", "M=0")
        self.run_bad(3, "no question with kind question", *base, "--kind", "question")
        self.run_bad(3, "no run", "laws", self.path("nothing"), "--out", self.path("out"))
        self.run_bad(3, "not a table of runs", "laws", self.write("x.json", "{"), "--out", self.path("out"))
        self.run_bad(
            3,
            "neither F50 nor",
            "laws",
            self.write("x.csv", "M,F50\n1,\n"),
            "--size",
            "M",
            "--horizon",
            "none",
            "--out",
            self.path("o"),
        )
        with open(self.path("runs/r0/config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.write("runs/r0/config.json", json.dumps(config | {"options": config["options"] | {"lr": 0.1}}))
        self.run_bad(2, r"the runs differ in lr, which no law here explains.*--free lr", *base)
        self.assertIn("gamma", self.run_ok(*base, "--free", "lr"))
        self.run_bad(2, "the runs differ in model, lr,", *base, "--size", "none")

    def test_branches_of_a_trunk_are_a_cluster(self) -> None:
        branches = [None, ["runs/a/checkpoints/step_00000100"], ["runs/a/checkpoints/step_00000200"], None]
        index = [f"runs/{name}" for name in "abcd"]
        table = pd.DataFrame({"run": list("abcd"), "branch": branches}, index, dtype=object)
        self.assertEqual(study.clusters(table, None).tolist(), [0, 0, 0, 1])
        self.assertEqual(study.clusters(table.assign(replicate=[1, 2, 1, 2]), "replicate").tolist(), [0, 1, 0, 1])

    def test_replicates_of_all_sizes_are_clusters(self) -> None:
        """Seeds 1 and 2 at each of four sizes: a new run has their scatter too; gamma has the runs' own."""
        made = size_study(np.random.default_rng(11), Planted(**SMALL, replicate_sd=0.4), SIZES[:4], replicates=3)
        for number, (cells, M) in enumerate(zip(made.runs, made.M)):
            self.write_run(f"r{number}", cells, int(M), number % 3, **{"data-seed": number % 3})
        found = []
        for cluster in ((), ("--cluster", "run")):
            flags = ("--out", self.path("out"), "--draws", 20, "--ask", "M=3e5", *cluster)
            said = self.run_ok("laws", self.path("runs"), *flags)
            with open(self.path("out.json"), encoding="utf-8") as file:
                found.append(json.load(file))
            self.assertEqual("left out M = 4.2e+05 (same replicates)" in said, not cluster)
            self.assertEqual("replicates" in said, not cluster)
        of_replicates, of_runs = (one["law"] for one in found)
        self.assertEqual((of_replicates["cluster"], of_replicates["clusters"]), ("replicate", 3))
        self.assertEqual((of_runs["cluster"], of_runs["clusters"]), ("run", 12))
        gamma, alone = (one["exponents"]["gamma"] for one in (of_replicates, of_runs))
        self.assertTrue(gamma[1] < 1.16 < gamma[2], gamma)
        self.assertLess(gamma[2] - gamma[1], alone[2] - alone[1])
        new, narrow = (one["asked"][0]["F50"] for one in found)
        self.assertGreater(new[2] / new[1], narrow[2] / narrow[1])

    def test_what_is_asked_must_be_there(self) -> None:
        path = self.write("t.csv", "M,F50,text,loss\n1,9,a,a\n2,5,2,b\n4,2,3,c\n8,1,4,d\n")
        base = ("laws", path, "--size", "M", "--horizon", "none", "--out", self.path("o"))
        free = ("--free", "text", "--free", "loss")
        self.run_bad(2, "--ask Q=...: no covariate of that name; there is M", *base, *free, "--ask", "Q=3")
        self.run_bad(3, "--unit bits=text: run t.csv:1 has no number above 0", *base, *free, "--unit", "bits=text")
        self.run_bad(3, "--loss loss: no run has a number there", *base, *free, "--loss", "loss")

    def test_one_size_gives_curves_and_no_exponent(self) -> None:
        made = size_study(np.random.default_rng(12), Planted(**SMALL), SIZES[2:3], replicates=3)
        for number, (cells, M) in enumerate(zip(made.runs, made.M)):
            self.write_run(f"r{number}", cells, int(M), number)
        self.run_ok("laws", self.path("runs"), "--out", self.path("out"), "--draws", 20)
        with open(self.path("out.json"), encoding="utf-8") as file:
            out = json.load(file)
        low, high = out["law"]["F50"][1:]
        self.assertTrue(low < 150 < high, out["law"]["F50"])
        self.assertEqual((out["law"]["exponents"], out["holdout"]), ({}, []))


if __name__ == "__main__":
    unittest.main()
