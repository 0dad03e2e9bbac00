"""What is kept after a window: planted laws of forgetting are recovered, with intervals over people and over runs."""

import importlib.util
import unittest
from unittest import mock

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402, F401 (finds the package)
from planted_studies import retention_runs  # noqa: E402

from knapsack.analysis.forgetting import laws, over_runs, retention  # noqa: E402
from knapsack.common.errors import DataError  # noqa: E402
from knapsack.runs import answers  # noqa: E402


class LawsTest(unittest.TestCase):
    t = np.geomspace(5, 2000, 12)

    exact = {
        "exponential": (0.3 + 0.7 * np.exp(-t / 150), {"c": 0.3, "tau": 150}),
        "power": ((1 + t / 40) ** -0.6, {"t0": 40, "b": 0.6}),
        "log_linear": (1.1 - 0.12 * np.log(t), {"k": 1.1, "a": 0.12}),
    }

    def test_exact_laws_are_recovered(self) -> None:
        for name, (values, planted) in self.exact.items():
            fits = laws.fit_laws(self.t, values)
            self.assertEqual(min(fits, key=lambda key: fits[key]["late_error"]), name)
            self.assertGreater(fits[name]["r2"], 1 - 1e-10)
            planted = planted | ({"threshold": float(np.exp(1.1 / 0.12))} if name == "log_linear" else {})
            for parameter, truth in planted.items():
                found = fits[name]["parameters"][parameter]
                self.assertLess(abs(found / truth - 1), 1e-6, (name, parameter, found))

    def test_intervals_cover_where_facts_differ_for_good(self) -> None:
        """A fact's own level stays at all steps, so that the residuals of the mean are one error, not twelve: an
        interval out of them covers 28 %."""
        for name, (values, planted) in self.exact.items():
            inside = dict.fromkeys(planted, 0)
            for study in range(20):
                random = np.random.default_rng([3, study])
                facts = values + (1 - values) * random.normal(0, 0.3, (60, 1)) + random.normal(0, 0.05, (60, 12))
                drawn = np.stack([facts[random.integers(0, 60, 60)].mean(axis=0) for _ in range(80)])
                fit = laws.fit_law(name, self.t, facts.mean(axis=0), drawn)
                for parameter, truth in planted.items():
                    low, high = fit["intervals"][parameter]
                    inside[parameter] += low <= truth <= high
            for parameter, count in inside.items():
                self.assertGreaterEqual(count, 15, (name, parameter))

    def test_too_few_points_and_no_forgetting(self) -> None:
        few = laws.fit_laws(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.9, 0.8]))
        self.assertTrue(all("2 points after the start, at least 3" in fit["refused"] for fit in few.values()))
        three = laws.fit_laws(np.array([1.0, 2.0, 4.0]), np.array([0.9, 0.8, 0.75]))
        self.assertTrue(all(fit["points"] == 3 for fit in three.values()))
        flat = laws.fit_laws(self.t, np.ones_like(self.t))
        self.assertIn("note", flat["exponential"])
        self.assertIsNone(flat["log_linear"]["r2"])
        self.assertIsNone(flat["log_linear"]["parameters"]["threshold"])

    def test_outliers(self) -> None:
        inside = retention.inliers(np.array([1.0, 2, 3, 2, np.nan, 100]))
        np.testing.assert_array_equal(inside, [True, True, True, True, False, False])


class OverRunsTest(unittest.TestCase):
    def laws_of(self, runs: list[over_runs.OfRun]) -> dict:
        window = retention.Window(100, 0, 0)
        with mock.patch.object(over_runs, "NAMES", ("log_linear",)), mock.patch.object(over_runs, "DRAWS", 30):
            return over_runs.retainability(runs, window)["fits"]["log_linear"]

    def test_intervals_over_runs_cover(self) -> None:
        """Facts that differ for good, runs that wander: a of k - a ln t is covered by intervals over runs, with people
        of their own and with the same; the intervals of two runs are wide."""
        for shared in (False, True):
            inside, errors, widths = 0, [], {2: [], 3: []}
            for number in range(30):
                random = np.random.default_rng([31, number])
                for count, found in widths.items():
                    fit = self.laws_of(retention_runs(random, count, shared))
                    low, high = fit["intervals"]["a"]
                    found.append(high - low)
                inside += low <= 0.12 <= high
                errors.append(fit["parameters"]["a"] - 0.12)
            self.assertGreaterEqual(inside, 26, shared)
            self.assertLess(abs(np.mean(errors)), 0.004)
            self.assertGreater(np.median(widths[2]), 2 * np.median(widths[3]))

    def test_people_that_runs_share_do_not_average_out(self) -> None:
        """Runs that do nothing of their own: with the same people the level k is no better known than by one run."""
        errors = {}
        for shared in (False, True):
            runs = retention_runs(np.random.default_rng(32), 4, shared, wander=0.0, own_sd=0.0)
            errors[shared] = self.laws_of(runs)["standard_errors"]["k"]
        self.assertLess(abs(errors[True] / (0.3 / np.sqrt(40)) - 1), 0.4, errors)
        self.assertLess(errors[False], 0.75 * errors[True])


class RetainabilityTest(unittest.TestCase):
    """Facts whose log-probability is flat, peaks when the window closes, then falls linearly in ln t with a = 0.1."""

    steps = np.array([0, 100, 200, 300, 310, 330, 370, 500, 900, 1500])

    def planted(self, facts: int = 50) -> tuple["answers.Answers", np.ndarray]:
        since = np.maximum(self.steps - 300, 0)
        kept = np.where(since > 0, 1 - 0.1 * np.log(np.maximum(since, 1)), np.array([0, 0, 0.5, 1] + 6 * [0]))
        gain = np.linspace(2, 4, facts)
        logp = -8 + kept[:, None] * gain
        known = np.ones(logp.shape, bool)
        empty = np.zeros((len(self.steps), facts))
        return (
            answers.Answers(
                self.steps,
                [("bio", i, "city") for i in range(facts)],
                ["all"] * facts,
                np.arange(facts),
                known,
                -logp,
                empty,
            ),
            logp,
        )

    def test_effectivity_and_decay(self) -> None:
        table, logp = self.planted()
        for lam in ("mean", "fact"):
            out = retention.analyse(table, table.correct, logp, retention.Window(300, 100, 50, lam))["log_probability"]
            self.assertEqual((out["t_pre"], out["t_lam"], out["facts_without_gain"]), (100, 300, 0))
            self.assertAlmostEqual(out["effectivity"], 3.0)
            self.assertEqual(out["t"], [0, 10, 30, 70, 200, 600, 1200])
            fit = out["fits"]["log_linear"]
            self.assertAlmostEqual(fit["parameters"]["a"], 0.1)
            self.assertAlmostEqual(fit["parameters"]["threshold"] / np.exp(10), 1)

    def test_outlier_is_removed_and_loser_counted(self) -> None:
        table, logp = self.planted()
        logp = logp.copy()
        logp[3, 0] = -7.99  # hardly learned: its ratios are huge
        logp[3, 1] = -8.5
        out = retention.retainability(table, logp, retention.Window(300, 100, ratio="facts"))
        self.assertEqual((out["facts_without_gain"], out["facts_used"][1]), (1, 48))
        self.assertAlmostEqual(out["fits"]["log_linear"]["parameters"]["a"], 0.1)

    def test_who_is_followed_is_not_chosen_by_chance(self) -> None:
        """Log-probabilities that are noisy at each evaluation, of facts that keep a tenth: the mean of the ratios of
        those that seem to have gained is twice too high, the ratio of sums is not."""
        random = np.random.default_rng(5)
        kept = np.where(self.steps > 300, 0.1, np.where(self.steps == 300, 1.0, 0.0))
        table, _ = self.planted(1000)
        logp = -8 + kept[:, None] * np.linspace(0, 1, 1000) + random.normal(0, 0.5, (len(self.steps), 1000))
        with mock.patch.object(retention, "DRAWS", 2):
            windows = (retention.Window(300, 100, 0, ratio=ratio) for ratio in ("sums", "facts"))
            said = [np.mean(retention.retainability(table, logp, one)["retainability"][1:]) for one in windows]
        self.assertLess(abs(said[0] - 0.1), 0.06)
        self.assertGreater(said[1], 0.17)

    def test_intervals_are_over_people(self) -> None:
        table, logp = self.planted()
        noisy = logp + np.random.default_rng(6).normal(0, 0.8, 50) * (self.steps > 300)[:, None]
        fit = retention.retainability(table, noisy, retention.Window(300, 100))["fits"]["log_linear"]
        low, high = fit["intervals"]["k"]
        self.assertTrue(low < 1 < high, fit)
        self.assertLess(high - low, 0.4)

    def test_what_is_missing_is_said(self) -> None:
        table, logp = self.planted()
        later = answers.Answers(
            self.steps + 5, table.facts, table.group, table.fact_of, table.correct, table.nll, table.exposures
        )
        for asked, window, said in (
            (table, retention.Window(300), "--opened"),
            (later, retention.Window(305, 0), "no evaluation at or before step 0"),
        ):
            out = retention.analyse(asked, table.correct, logp, window)
            self.assertIn(said, out["log_probability"]["refused"])
            self.assertEqual(out["share_known"][0], 1)
        with self.assertRaisesRegex(DataError, "no fact was known"):
            retention.analyse(table, ~table.correct, logp, retention.Window(300, 100))

    def test_horizon_after_closing(self) -> None:
        table, logp = self.planted()
        logp = logp.copy()
        logp[4] = logp[3] + 1
        self.assertEqual(retention.retainability(table, logp, retention.Window(300, 100, 9))["t_lam"], 300)
        self.assertEqual(retention.retainability(table, logp, retention.Window(300, 100, 10))["t_lam"], 310)


if __name__ == "__main__":
    unittest.main()
