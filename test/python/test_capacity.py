"""knapsack capacity finds a planted capacity, calls a lower bound what is none, and gives the laws their unit.
A plateau is claimed where there is one, and not where bits still rise."""

import importlib.util
import io
import json
import pathlib
import unittest

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402

from knapsack.analysis.capacity.plateau import of_size  # noqa: E402

SIZES = (39e3, 91e3, 155e3, 231e3)
MOST = (20e3, 50e3, 100e3, 200e3)  # bits of the populations
POWER = 0.8


def capacity(M: float) -> float:
    return 3 * M**POWER


class PlateauTest(unittest.TestCase):
    """Planted: a capacity of 1000 bits, populations of 600, 1400, 2800 and 5600; the scatter between replicates of real
    runs is 2 to 4 % of the bits (three replicates of five sizes, dev/results/cpu-law)."""

    def read(self, random: np.random.Generator, rise: float, sd: float = 0.03, runs: int = 3, **more: float) -> dict:
        """`rise`: of the last population's bits over those of the one before, relative."""
        means = {most: min(0.97 * most, 1000) * (1 + rise * (most == 5600)) for most in (600, 1400, 2800, 5600)}
        return of_size(
            1e5, {most: list(mean * np.exp(random.normal(0, sd, runs))) for most, mean in means.items()}, **more
        )

    def share_of_claims(self, rise: float, **more: float) -> float:
        draws = (np.random.default_rng([31, number]) for number in range(400))
        return float(np.mean([self.read(random, rise, **more)["state"] == "plateau" for random in draws]))

    def test_a_plateau_is_claimed_where_there_is_one(self) -> None:
        self.assertGreaterEqual(self.share_of_claims(0.0), 0.85)
        self.assertGreaterEqual(self.share_of_claims(0.0, sd=0.04, runs=5), 0.85)

    def test_none_is_claimed_where_bits_change_by_more_than_the_margin(self) -> None:
        """At the margin itself the test errs in 5 of 100; the means alone would in half."""
        for rise in (0.11, -0.1):
            for sd in (0.03, 0.06):
                self.assertLessEqual(self.share_of_claims(rise, sd=sd), 0.05, (rise, sd))
        self.assertLessEqual(self.share_of_claims(0.06, margin=0.05), 0.05)

    def test_of_fewer_than_three_replicates_it_is_not_shown(self) -> None:
        for runs, words in ((1, "1 run"), (2, "2 runs")):
            one = self.read(np.random.default_rng(1), 0.0, sd=0.001, runs=runs)
            said = f"not replicated enough: {words} of a population, fewer than 3"
            self.assertEqual((one["state"], one["why"]), ("not shown", said))
            self.assertAlmostEqual(one["more_than"], 1000, delta=5)

    def test_what_changes_is_said(self) -> None:
        one = self.read(np.random.default_rng(1), 0.2, sd=0.01)
        self.assertEqual(one["state"], "not shown")
        self.assertRegex(
            one["why"], r"bits change by \+\d+.\d% \[\+.*\] to the largest population, not surely within 10%"
        )
        value, low, high = self.read(np.random.default_rng(1), 0.0, sd=0.01)["change"]
        self.assertTrue(-0.05 < low < value < high < 0.05)


class CapacityTest(support.FolderTest):
    def write_run(
        self, M: float, most: float, bits: float, seed: int, exposures: float = 100.0, lr: float = 1e-3
    ) -> None:
        folder = f"runs/{M:.0f}_{most:.0f}_{seed}_{exposures:.0f}"
        about = {"model": f"pythia:{M:.0f}", "seed": seed, "lr": lr, "source": [f"bio=n{most}/bio.bin"]}
        config = {"options": about, "parameters": int(M), "parameters_non_embedding": int(M / 3)}
        self.write(f"{folder}/config.json", json.dumps(config | {"tokens": int(100 * most), "steps": 10}))
        log = {"step": 9, "time": 1.0, "perf/tokens_per_s": 5.0}
        self.write(f"{folder}/metrics.jsonl", json.dumps(log) + "\n")
        self.write(f"{folder}/DONE", "finished\n")
        know = {"bio": {"all": {"chance": 0.01}, "bits": {"most": most}}}
        buffer = io.BytesIO()
        facts = int(most / 1e3)  # of larger populations more: `knapsack runs` counts them
        np.save(buffer, np.full(facts, int(exposures), [("count", "<u4")]))
        self.write(f"{folder}/exposures/bio.npy", buffer.getvalue())
        results = {"know": know, "metrics": {"know/bio/bits_hedged": bits}}
        self.write(f"{folder}/results.json", json.dumps(results))

    def write_study(self, sizes: tuple = SIZES, populations: tuple = MOST) -> None:
        random = np.random.default_rng(5)
        for M in sizes:
            for most in populations:
                for seed in (1, 2, 3):
                    bits = min(0.97 * most, capacity(M)) * np.exp(random.normal(0, 0.02))
                    self.write_run(M, most, bits, seed)

    def read(self, name: str) -> dict:
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)

    def test_the_planted_capacity(self) -> None:
        self.write_study()
        said = self.run_ok("capacity", self.path("runs"), "--set", "bio", "--out", self.path("c"))
        found = self.read("c.json")
        for one in found["sizes"]:
            self.assertEqual(one["state"], "plateau")
            value, low, high = one["capacity"]
            self.assertTrue(0.95 < value / capacity(one["size"]) < 1.05, one)
            self.assertLess(low, high)
            self.assertAlmostEqual(one["per_size"][0], value / one["size"])
        self.assertLess(abs(found["exponent"][0] - POWER), 0.03)
        self.assertRegex(said, r"91,000 parameters: 27,.* \(plateau: bits change by [+-]\d.\d% \[-.*\]; ")

    def test_where_the_population_is_too_small_it_is_a_bound(self) -> None:
        self.write_study(SIZES[-1:], MOST[:2])
        self.run_bad(
            3,
            "no size has a plateau that is shown",
            "capacity",
            self.path("runs"),
            "--set",
            "bio",
            "--out",
            self.path("c"),
        )
        (one,) = self.read("c.json")["sizes"]
        self.assertEqual((one["state"], "capacity" in one), ("not shown", False))
        self.assertEqual(one["why"], "98% is known of 50,000 bits, nearly all")
        self.assertAlmostEqual(one["more_than"] / MOST[1], 0.97, 1)

    def test_runs_that_train_otherwise_are_refused(self) -> None:
        self.write_study(SIZES[:1])
        self.write_run(39e3, MOST[0], 9e3, 4, lr=0.1)
        self.run_bad(2, "differ in lr", "capacity", self.path("runs"), "--set", "bio", "--out", self.path("c"))

    def test_a_run_without_bits_is_named(self) -> None:
        self.write_study(SIZES[:1])
        results = {"know": {"bio": {"all": {"chance": 0.01}, "bits": {"most": MOST[0]}}}, "metrics": {}}
        self.write(f"runs/39000_{MOST[0]:.0f}_2_100/results.json", json.dumps(results))
        done = support.run_script("capacity", self.path("runs"), "--set", "bio", "--out", self.path("c"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, "runs without a number in .*bits_hedged.* are left out: 39000_20000_2_100")
        self.assertEqual([one["runs"] for one in self.read("c.json")["sizes"][0]["populations"]], [2, 3, 3, 3])

    def test_runs_by_hand_have_no_results(self) -> None:
        self.write_study(SIZES[:1])
        call = ["capacity", self.path("runs"), "--set", "bio", "--out", self.path("c")]
        for path in pathlib.Path(self.path("runs")).glob("*/results.json"):
            path.unlink()
        self.run_bad(2, "eval_knowledge --checkpoint RUN.* --out RUN/results.json", *call)
        self.run_bad(2, "'know/bio/bits_hedged'; .*knapsack runs DIR --columns all", *call)

    def test_other_exposures_are_another_capacity(self) -> None:
        self.write_study(SIZES[:1])
        self.write_run(39e3, MOST[0], 9e3, 4, exposures=400)
        self.run_bad(
            2, "exposures/bio is 100 to 400", "capacity", self.path("runs"), "--set", "bio", "--out", self.path("c")
        )

    def test_a_law_in_bits(self) -> None:
        """gamma = alpha + 1 is planted in bits of capacity, and holds in that unit alone."""
        self.write_study()
        self.run_ok("capacity", self.path("runs"), "--set", "bio", "--out", self.path("c"))
        random = np.random.default_rng(6)
        rows = ["parameters,F50,F50_error,seed,val/web/loss"]
        for M in (*SIZES, 659e3):
            for seed in (1, 2, 3):
                F50 = 150 * (M / 231e3) ** (-1.45 * POWER) * np.exp(random.normal(0, 0.03))
                rows.append(f"{M:.0f},{F50},0.02,{seed},{2 + 50 * M ** (-0.45 * POWER) + random.normal(0, 1e-3)}")
        table = self.write("t.csv", "\n".join(rows) + "\n")
        flags = ("--horizon", "none", "--loss", "val/web/loss", "--unit", f"bits={self.path('c.json')}")
        said = self.run_ok("laws", table, "--out", self.path("law"), *flags)
        units = {row["unit"]: row for row in self.read("law.json")["units"]}
        bits, parameters = units["bits"], units["parameters"]
        self.assertTrue(bits["gamma"][1] < 1.45 < bits["gamma"][2], bits)
        self.assertLess(abs(bits["gamma"][0] - 1.45), 0.1)
        self.assertLess(abs(bits["gamma_predicted"][0] - 1.45), 0.1)
        self.assertEqual((bits["disagree"], parameters["disagree"]), (False, True))
        self.assertEqual((bits["runs"], len(bits["outside"])), (12, 3))
        self.assertIn("in bits (of 12 runs; capacity was not measured at the size of 3)", said)
        earlier = f"bits={self.write('earlier.json', json.dumps(self.read('c.json') | {'format_version': 1}))}"
        self.run_bad(3, "of an earlier version", "laws", table, "--out", self.path("law"), *flags[:-1], earlier)
        self.run_bad(3, "not what `knapsack capacity` writes", "laws", table, "--out", self.path("law"), *flags[:-1],
                     f"bits={self.write('no.json', '{}')}")  # fmt: skip


if __name__ == "__main__":
    unittest.main()
