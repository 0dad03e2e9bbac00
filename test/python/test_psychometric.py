"""The curve of one run finds a planted threshold whatever the misses and the grid of evaluations, covers it, and says
when it is not reached."""

import importlib.util
import unittest

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy")):
    raise unittest.SkipTest("the Python packages pandas and scipy are needed")

import support  # noqa: E402, F401
from planted_studies import Planted  # noqa: E402
from scipy.special import expit  # noqa: E402

from knapsack.analysis import psychometric  # noqa: E402
from knapsack.analysis.intervals import replicates, share_interval  # noqa: E402
from knapsack.analysis.psychometric import BELOW, FLAT, NOT_REACHED, REACHED, Cells, collect, fit_curve  # noqa: E402
from knapsack.analysis.thresholds import first_group_below, threshold  # noqa: E402


def flickering(random: np.random.Generator, grid: np.ndarray, misses: float, people: int = 60) -> Cells:
    """Facts learned around 60 exposures, asked at each of these counts, each answer missed now and then."""
    needed = 60 * np.exp(random.normal(0, 0.4, people))
    known = grid[:, None] >= needed
    right = known & (random.random(known.shape) >= misses)
    dose = np.broadcast_to(grid[:, None], known.shape)
    person = np.broadcast_to(np.arange(people), known.shape)
    return collect(dose.ravel(), right.ravel(), person.ravel(), 0.005)


class CurveTest(unittest.TestCase):
    def test_exposures_needed_do_not_depend_on_misses_nor_on_the_grid(self) -> None:
        """The first step from which on a fact stays known is at 64 to 340 exposures in these."""
        random = np.random.default_rng(1)
        for grid in (np.geomspace(4, 400, 12), np.arange(20, 401, 20.0), np.arange(5, 401, 5.0)):
            for misses in (0.02, 0.05):
                found = np.mean([fit_curve(flickering(random, grid, misses)).ln_F50 for _ in range(8)])
                self.assertLess(abs(found - np.log(60)), 0.1, (len(grid), misses))

    def test_planted_curves_come_back_and_are_covered(self) -> None:
        planted, hits, found = Planted(), 0, []
        for study in range(24):
            cells = planted.run(np.random.default_rng([2, study]), np.log(150))
            curve = fit_curve(cells)
            low, high = psychometric.interval_of(curve, psychometric.bootstrap(cells, curve, 60))
            hits += low <= 150 <= high
            found.append(curve)
        self.assertGreaterEqual(hits, 20)
        self.assertEqual({curve.state for curve in found}, {REACHED})
        self.assertLess(abs(np.mean([curve.ln_F50 for curve in found]) - np.log(150)), 0.05)
        self.assertGreater(np.mean([curve.overdispersion for curve in found]), 1.3)
        alone = Planted(people_sd=0.0).run(np.random.default_rng(3), np.log(150))
        self.assertLess(abs(fit_curve(alone).overdispersion - 1), 0.25)

    def test_what_is_not_between_the_doses_is_said(self) -> None:
        planted = Planted()
        for F50, state in ((20000, NOT_REACHED), (2500, NOT_REACHED), (0.5, BELOW), (100, REACHED)):
            curve = fit_curve(planted.run(np.random.default_rng(4), np.log(F50)))
            self.assertEqual((curve.state, curve.F50 is not None), (state, state == REACHED), F50)
        cells = planted.run(np.random.default_rng(5), np.log(100))
        flat = cells._replace(right=np.random.default_rng(5).binomial(25, 0.5, 160).astype(float))
        self.assertEqual(fit_curve(flat).state, FLAT)
        said = psychometric.report(planted.run(np.random.default_rng(4), np.log(20000)), draws=20)
        self.assertEqual((said["F50"], said["more_than"]), (None, 910))

    def test_a_guess_that_is_not_known_is_fitted(self) -> None:
        planted = Planted(guess=0.2, people_sd=0.1)
        cells = planted.run(np.random.default_rng(6), np.log(150))
        curve = fit_curve(cells._replace(guess=np.full(160, np.nan)))
        self.assertLess(abs(curve.guess - 0.2), 0.03)
        self.assertLess(abs(curve.ln_F50 - np.log(150)), 0.15)


class ThresholdTest(unittest.TestCase):
    def groups(self, random: np.random.Generator, F50: float) -> Cells:
        """100 people a group, frequencies k^-1.5 in 16 groups."""
        group = np.repeat(np.arange(16), 100)
        dose = 1000 * (1.0 + group) ** -1.5
        right = random.random(len(dose)) < 0.005 + 0.975 * expit(4 * np.log(dose / F50))
        return collect(dose, right, np.arange(len(dose)), 0.005)

    def said(self, cells: Cells, draws: int) -> dict:
        curve = fit_curve(cells)
        return threshold(cells, 0.8, curve, psychometric.bootstrap(cells, curve, draws))

    def test_the_curve_is_not_biased_where_the_rule_is(self) -> None:
        random, curve, rule, hits = np.random.default_rng(7), [], [], 0
        truth = 100 * (0.795 / 0.18) ** (1 / 4)  # where the accuracy is .8
        for _ in range(20):
            cells = self.groups(random, 100)
            said = self.said(cells, 60)
            curve.append(np.log(said["threshold"] / truth))
            rule.append(np.log(said["first_group_below"] / truth))
            hits += said["interval"][0] <= truth <= said["interval"][1]
        self.assertLess(abs(np.mean(curve)), 0.05)
        self.assertLess(np.mean(rule), -0.1)
        self.assertGreaterEqual(hits, 16)

    def test_a_target_that_is_not_reached(self) -> None:
        cells = self.groups(np.random.default_rng(8), 5000)
        said = self.said(cells, 20)
        self.assertEqual((said["threshold"], said["state"], round(said["more_than"])), (None, NOT_REACHED, 1000))
        self.assertEqual(first_group_below(cells, 0.8), 1000)


class IntervalTest(unittest.TestCase):
    def test_shares_near_0_and_1(self) -> None:
        none, one, whole = (share_interval([k] + [0] * 9, [25] * 10) for k in (0, 1, 25))
        self.assertEqual((none.low, share_interval([25] * 10, [25] * 10).high), (0.0, 1.0))
        self.assertLess(abs(none.high - one.high), 0.06)
        self.assertLess(one.high, whole.high)
        for share, likeness, people in ((0.02, 0.3, 10), (0.02, 0.1, 40), (0.3, 0.3, 20), (0.98, 0.3, 20)):
            random, hits = np.random.default_rng(9), 0
            a, b = share * (1 / likeness - 1), (1 - share) * (1 / likeness - 1)
            for _ in range(60):
                found = share_interval(random.binomial(25, random.beta(a, b, people)), np.full(people, 25))
                hits += found.low <= share <= found.high
            self.assertGreaterEqual(hits, 52, (share, likeness, people))

    def test_replicates_are_the_unit(self) -> None:
        found = replicates([26.7, 34.0], [1.8, 1.8])
        self.assertAlmostEqual(found.estimate.value, 30.35)
        self.assertLess(found.estimate.low, 0)  # two runs say little: t of one degree of freedom is 12.7
        self.assertAlmostEqual(found.sd_runs**2 + found.sd_people**2, np.var([26.7, 34.0], ddof=1))
        self.assertIsNone(replicates([3.0]).estimate.low)
        random = np.random.default_rng(10)
        said = [replicates(random.normal(5, 2, 3)).estimate for _ in range(400)]
        self.assertLess(abs(np.mean([one.low <= 5 <= one.high for one in said]) - 0.95), 0.03)


if __name__ == "__main__":
    unittest.main()
