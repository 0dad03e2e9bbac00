"""knapsack popularity reads logs as lm-evaluation-harness 0.4 writes them, finds planted thresholds and laws, covers
them, and refuses what is mixed up, malformed, or beyond what it was shown."""

import importlib.util
import json
import math
import os
import shlex
import shutil
import unittest
from pathlib import Path

import numpy as np

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402
from planted_logs import DATE, SIZES, World, joined_of, sample, write_log, write_world  # noqa: E402

from knapsack.analysis.popularity import law, sigmoid, sigmoid_report  # noqa: E402
from knapsack.analysis.popularity.curves import Rule, cumulative_rule, curves_of  # noqa: E402
from knapsack.analysis.popularity.items import Joined, Model, family_of  # noqa: E402

NAMES = sorted(SIZES, key=SIZES.__getitem__)


class PlantedTest(unittest.TestCase):
    def test_thresholds_laws_and_the_sigmoid_are_not_biased_and_are_covered(self) -> None:
        """Of thresholds 64 intervals over items; of gamma, a and b one a study, over models."""
        inside, held, better, studies = [], {"gamma": [], "drawn": [], "a": [], "b": []}, [], 8
        values, off = {"gamma": [], "a": [], "b": []}, []
        for number in range(studies):
            random = np.random.default_rng([21, number])
            own = {"alpha": random.normal(0, 0.15), "beta": random.normal(0, 0.15)}
            world = World(items=800, model_sd=0.0, family=own)
            joined = joined_of(world, random)
            curves = curves_of(joined, Rule(), None, 40)
            for name, one in zip(NAMES, curves):
                # .6 = .02 + .95 expit(z): z = .4484, and z = .9 ln(M / 1e9) + .8 ln(f / 1000) + .5 + family
                z = math.log(0.58 / 0.37) - 0.5 - own[family_of(name)] - 0.9 * math.log(SIZES[name] / 1e9)
                truth = 1000 * math.exp(z / 0.8)
                low, high = one.said["interval"]
                inside.append(low <= truth <= high)
                off.append(math.log(one.said["threshold"] / truth))
            said, _, _ = law.report(joined, curves)
            surface = sigmoid_report.report(joined, None, [], draws=40)
            gamma, a, b = said["exponents"]["gamma"], surface["parameters"]["a"], surface["parameters"]["b"]
            for name, one, truth in (
                ("gamma", gamma, 1.125),
                ("drawn", said["items_and_units"]["gamma"], 1.125),
                ("a", a, 0.9),
                ("b", b, 0.8),
            ):
                held[name].append(one[1] <= truth <= one[2])
                if name in values:
                    values[name].append(one[0])
            losses = surface["log_loss"]
            better.append(losses["law"] < losses["popularity alone"] < losses["one accuracy"])
            self.assertTrue(said["holdout"]["beats_baselines"])
        self.assertLess(abs(np.mean(off)), 0.06)
        self.assertGreaterEqual(sum(inside), 55, sum(inside))
        for name, truth in (("gamma", 1.125), ("a", 0.9), ("b", 0.8)):
            self.assertLess(abs(np.mean(values[name]) / truth - 1), 0.08, name)
        for name, hits in held.items():
            self.assertGreaterEqual(sum(hits), studies - 2, name)
        self.assertTrue(all(better))

    def test_a_new_model_lies_in_what_is_asked_of_it(self) -> None:
        """Models differ by .4 of the logit: the interval of a new one holds that, which the law's mean does not."""
        thresholds, accuracies, by_mean, studies = [], [], [], 8
        sizes = {f"one-{M}m": M * 1e6 for M in (160, 410, 700, 1000, 1400, 2800, 6900, 12000)}
        for number in range(studies):
            random = np.random.default_rng([25, number])
            world = World(items=400, model_sd=0.4, family={})
            joined = joined_of(world, random, sizes)
            said, _, _ = law.report(joined, curves_of(joined, Rule(), None, 20), [{"M": 2e9}])
            surface = sigmoid.Surface(sigmoid.table_of(joined), None, 20)
            level, b = world.level(random, 2e9)
            (asked,) = said["asked"]
            thresholds.append(asked["F50"][1] <= math.exp(world.threshold(level, b)) <= asked["F50"][2])
            low, high = surface.new_model(2e9, 1000)[1:]
            accuracies.append(low <= world.accuracy(level) <= high)
            low, high = surface.interval(lambda one: one.z(math.log(2e9), math.log(1000)))[1:]
            by_mean.append(low <= level <= high)
        self.assertEqual(said["asked_of"], "a new model of the family one")
        self.assertGreaterEqual(min(sum(thresholds), sum(accuracies)), studies - 2)
        self.assertLess(sum(by_mean), studies - 1)

    def test_families_are_left_out_whole(self) -> None:
        """Three families that are off together: over models the level would seem to be known better than it is."""
        world = World(items=400, family={"alpha": 0.8, "beta": -0.8, "gamma": 0.2}, model_sd=0.1)
        sizes = {f"{family}-{M}m": M * 1e6 for family in world.family for M in (300, 1000, 3000)}
        joined = joined_of(world, np.random.default_rng(26), sizes)
        table = sigmoid.table_of(joined)

        def level(surface: sigmoid.Surface) -> list[float]:
            return list(surface.interval(lambda one: one.z(math.log(1e9), math.log(1000))))

        families = sigmoid.Surface(table, None, 20)
        without = [families.law, *families.without]
        self.assertEqual(families.units.describe()["over"], "3 whole families")
        self.assertEqual((families.units.freedom, len(without)), (2, 4))
        beta = sigmoid.fit(table, table.families[table.family] != "beta", None)
        self.assertAlmostEqual(families.without[1].c, beta.c, delta=0.01)
        joined.models = [model._replace(family="one") for model in joined.models]
        models = sigmoid.Surface(sigmoid.table_of(joined), None, 20)
        self.assertIn("9 models of the family one, not of another", models.units.describe()["over"])
        low, high = level(families)[1:]
        self.assertTrue(low <= world.c <= high)
        narrow = level(models)
        self.assertLess(narrow[2] - narrow[1], 0.6 * (high - low))

    def test_a_family_that_cannot_be_left_out(self) -> None:
        """One of the others is left: no interval, and why."""
        world = World(items=300)
        sizes = {"alpha-1b": 1e9, "alpha-3b": 3e9, "alpha-7b": 7e9, "beta-2b": 2e9}
        said = sigmoid_report.report(joined_of(world, np.random.default_rng(27), sizes), None, [], draws=20)
        self.assertIn("a family cannot be left out: the others are of one size", said["intervals"]["refused"])
        self.assertEqual(said["parameters"]["a"][1:], [None, None])

    def test_families_of_one_model_each(self) -> None:
        """The family is the model; nothing is taken out of their thresholds."""
        sizes = {f"{family}-{M}m": M * 1e6 for family, M in zip("abcdef", (200, 500, 1000, 2000, 5000, 9000))}
        joined = joined_of(World(items=300, family={}), np.random.default_rng(28), sizes)
        said, _, _ = law.report(joined, curves_of(joined, Rule(), None, 20))
        self.assertEqual(
            (said["over"], said["items_and_units"]["over"]), ("6 models of 6 families", "6 whole families")
        )
        gamma = said["items_and_units"]["gamma"]
        self.assertTrue(gamma[1] <= 1.125 <= gamma[2], gamma)

    def test_a_model_beyond_the_items_is_censored(self) -> None:
        """The smallest reaches .6 where fewer than 20 items are: it counts as more than the 20th most popular."""
        joined = joined_of(World(c=-2.0, model_sd=0.0, items=1000), np.random.default_rng(22))
        curves = curves_of(joined, Rule(), None, 40)
        said, _, _ = law.report(joined, curves)
        self.assertEqual(curves[0].said["state"], "not reached")
        self.assertEqual(curves[0].said["more_than"], joined.popularity[-20])
        self.assertIn(NAMES[0], said["censored"])
        self.assertEqual(said["runs"], len(NAMES))
        gamma = said["exponents"]["gamma"]
        self.assertTrue(gamma[1] <= 1.125 <= gamma[2], gamma)

    def test_a_threshold_does_not_hang_on_one_answer(self) -> None:
        """Of 100 items the most popular alone is right: a step between the last two would have no width."""
        items = [str(i) for i in range(100)]
        right = np.array([[0.0] * 99 + [1.0]])
        joined = Joined([Model("a", "a", 1e9, None)], items, np.arange(10.0, 110.0), right, "acc", {})
        (one,) = curves_of(joined, Rule(), None, 20)
        self.assertEqual((one.said["state"], one.said["more_than"], one.said["threshold"]), ("not reached", 90, None))

    def test_a_size_is_inferred_and_not_beyond_the_reach(self) -> None:
        joined = joined_of(World(model_sd=0.05, family={}), np.random.default_rng(23))
        truth = joined.models[3].M
        joined.models[3] = joined.models[3]._replace(M=float("nan"))
        said, _, _ = law.report(joined, curves_of(joined, Rule(), None, 40))
        (found,) = said["inferred"]
        self.assertEqual(said["runs"], len(NAMES) - 1)
        self.assertLess(abs(math.log(found["M"] / truth)), 0.5)
        self.assertTrue((found["interval"][0] or 0) <= truth <= (found["interval"][1] or math.inf))

    def test_few_models_and_one_size_are_refused(self) -> None:
        joined = joined_of(World(items=300), np.random.default_rng(24))
        two = Joined(joined.models[:2], joined.items, joined.popularity, joined.correct[:2], "exact_match", {})
        said, found, _ = law.report(two, curves_of(two, Rule(), None, 20))
        self.assertIsNone(found)
        self.assertIn("2 models of 2 sizes", said["refused"])
        with self.assertRaisesRegex(Exception, "2 models of 2 sizes; at least 3 sizes"):
            sigmoid_report.report(two, None, [])
        same = [model._replace(M=1e9) for model in joined.models]
        same = Joined(same, joined.items, joined.popularity, joined.correct, "exact_match", {})
        with self.assertRaisesRegex(Exception, "8 models of 1 size; at least 3 sizes"):
            sigmoid_report.report(same, None, [])

    def test_the_rule(self) -> None:
        """By hand: popularity 9 right, 8 wrong, 7 wrong, 6 right, 5 wrong: so far 1, 1/2, 1/3, 1/2, 2/5."""
        f, right = np.array([5.0, 6, 7, 8, 9]), np.array([0.0, 1, 0, 0, 1])
        for failures, items, threshold in ((1, 1, 8), (2, 1, 7), (1, 3, 7), (3, 2, 6), (5, 1, None), (1, 5, 5)):
            found = cumulative_rule(f, right, Rule(0.6, failures, items))
            self.assertEqual(found["threshold"], threshold, (failures, items))
        self.assertEqual((found["reading"], found["accuracy"], found["items_at_least"]), ("ours", 0.4, 5))
        self.assertEqual(cumulative_rule(f, right, Rule(0.6, 5, 1))["less_than"], 5)
        together = cumulative_rule(np.array([5.0, 5, 5, 9]), np.array([0.0, 0, 1, 1]), Rule(0.6, 1, 1))
        self.assertEqual((together["threshold"], together["items_at_least"]), (5, 4))  # equal ones count together

    def test_families_by_name(self) -> None:
        for name, family in (
            ("meta-llama/Llama-2-7b-hf", "llama-2"),
            ("EleutherAI/pythia-410m-deduped", "pythia"),
            ("Qwen/Qwen2.5-0.5B", "qwen2.5"),
            ("google/gemma-2-27b", "gemma-2"),
            ("mistralai/Mixtral-8x7B-v0.1", "mixtral"),
            ("gpt2", "gpt2"),
            ("openai-community/gpt2-xl", "gpt2"),
            ("google/flan-t5-large", "flan-t5"),
            ("facebook/opt-1.3b", "opt"),
            ("stabilityai/stablelm-2-1_6b", "stablelm-2"),
            ("allenai/OLMo-2-0425-1B", "olmo-2"),
            ("7b", "7b"),
        ):
            self.assertEqual(family_of(name), family)


class CommandTest(support.FolderTest):
    def popularity(self, *arguments: object, code: int = 0) -> support.Done:
        done = support.run_command("popularity", *arguments, "--out", self.path("out", "x"), "--draws", "20")
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotRegex(done.stderr, "Traceback|a fault of the program")
        return done

    def said(self) -> dict:
        return json.loads(Path(self.path("out", "x.json")).read_text())

    def test_logs_of_several_models(self) -> None:
        write_world(Path(self.path("logs")), World(items=600))
        asked = ["--ask", "M=2e9", "--ask", "M=1e12", "--ask", "M=2e9,f=1000", "--ask", "M=2e9,f=1e15"]
        done = self.popularity(self.path("logs"), *asked, "--size", "alpha-1b=?")
        for part in ("gamma", "our reading", "left out M = 7e+09", "size of acme/alpha-1b: ", "nats an answer: law "):
            self.assertIn(part, done.stdout)
        said = self.said()
        self.assertEqual((said["task"], said["metric"], said["items"]), ("popqa", "exact_match", 600))
        self.assertEqual([row["M"] for row in said["models"]], [*sorted(set(SIZES.values()) - {1e9}), None])
        self.assertEqual({row["family"] for row in said["sigmoid"]["families"]}, {"alpha", "beta"})
        self.assertEqual([one["state"] for one in said["law"]["asked"]], ["inside", "refused"])
        self.assertEqual([one["state"] for one in said["sigmoid"]["asked"]], ["inside", "refused"])
        low, high = said["sigmoid"]["asked"][0]["accuracy"][1:]
        self.assertTrue(low <= 0.02 + 0.95 / (1 + math.exp(-0.5 - 0.9 * math.log(2))) <= high)
        lines = Path(self.path("out", "x.csv")).read_text().splitlines()
        self.assertEqual(len(lines), 1 + len(SIZES))
        first = Path(self.path("out", "x.png")).read_bytes()
        self.popularity(self.path("logs"), *asked, "--size", "alpha-1b=?")
        self.assertEqual(first, Path(self.path("out", "x.png")).read_bytes())

    def test_the_example_of_the_readme(self) -> None:
        text = Path(support.PACKAGE, "README.md").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("knapsack popularity ")]
        write_world(Path(self.path("logs")), World(items=300))
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        done = support.run_command(*shlex.split(line, comments=True)[1:], "--draws", "20")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(sorted(os.listdir("out")), ["popqa.csv", "popqa.json", "popqa.png"])

    def test_popularity_sizes_and_families_out_of_tables(self) -> None:
        """By a model's row number as well as its id; sizes the harness has not counted; a table with more items."""
        logs = Path(self.path("logs"))
        for number, name in enumerate(NAMES[:3]):
            lines = [sample(i, 0, i > 70 - 10 * number and i % 10 > 0) for i in range(120)]
            for line in lines:
                del line["doc"]["s_pop"]
            write_log(logs, name, lines, None)
        done = self.popularity(logs, code=3)
        self.assertRegex(
            done.stderr,
            r"160m is not known \(.*no model_num_parameters\): give its parameters, --size acme/alpha-160m=N",
        )
        log = next((logs / NAMES[0].replace("/", "__")).glob("samples_*.jsonl"))
        shutil.copy(log, self.path("popqa.jsonl"))
        self.assertIn("not named samples_TASK_DATE.jsonl", self.popularity(self.path("popqa.jsonl"), code=3).stderr)
        sizes = [word for name in NAMES[:3] for word in ("--size", f"{name.rpartition('/')[2]}={SIZES[name]:g}")]
        done = self.popularity(logs, *sizes, code=3)
        self.assertRegex(
            done.stderr, r"jsonl:1: expected a popularity .* field s_pop of doc, but doc has id, question;"
        )
        for ending, mark in (("tsv", "\t"), ("csv", ",")):
            rows = [mark.join(("id", "views"))] + [f"{4222362 + i}{mark}{3 * i}" for i in range(140)]
            items = self.write(f"items.{ending}", "\n".join(rows) + "\n")
            self.popularity(logs, *sizes, "--items", items, "--popularity", "views", code=3)  # no law, but thresholds
            self.assertEqual(self.said()["items"], 119)
            self.assertEqual(self.said()["items_left_out"], {"of popularity 0, which has no logarithm": 1})
        items = self.write("items.jsonl", "".join(json.dumps({"doc_id": i, "s_pop": 9 + i}) + "\n" for i in range(120)))
        models = self.write("m.csv", "model,parameters,family\n" + "".join(f"{n},{SIZES[n]},one\n" for n in NAMES[:3]))
        self.popularity(logs, "--models", models, "--items", items, "--key", "doc_id")
        self.assertEqual(self.said()["items"], 120)
        self.assertEqual([row["family"] for row in self.said()["models"]], ["one"] * 3)
        done = self.popularity(logs, *sizes, "--items", items, code=3)
        self.assertRegex(
            done.stderr, r"items.jsonl:1: no column id, but doc_id, s_pop; name the item's column by --key"
        )

    def test_lines_of_older_versions_and_truths_as_words(self) -> None:
        """Without filter and metrics, arguments as a list, numpy's truths as text."""
        logs = Path(self.path("logs"))
        for number, name in enumerate(NAMES[:3]):
            lines = [sample(i, 10 + 5 * i, i > 60 - 10 * number, "acc") for i in range(120)]
            for line in lines:
                del line["filter"], line["metrics"]
                line |= {"arguments": [["Q", " yes"]], "acc": str(bool(line["acc"]))}
            write_log(logs, name, lines, SIZES[name])
        self.popularity(logs, code=3)  # three models of two families are too few
        self.assertEqual((self.said()["metric"], self.said()["items"]), ("acc", 120))

    def log(self, lines: list, folder: str = "one", task: str = "popqa", name: str = "acme/alpha-1b") -> Path:
        return write_log(Path(self.path(folder)), name, lines, 1e9, task)

    def test_malformed_lines_are_named(self) -> None:
        good = [sample(i, 10 + i, i % 2) for i in range(60)]

        def change(**fields: object) -> list:
            return [*good[:6], {**good[6], **fields}, *good[7:]]

        without = [{key: value for key, value in line.items() if key != "exact_match"} for line in good]
        for lines, flags, part in (
            (change(exact_match=0.5), [], r":7: expected exact_match to be 1 .* found 0.5; try another --metric"),
            (change(exact_match=None), [], r":7: expected exact_match .*, found None"),
            (
                change(doc={"id": 1}),
                [],
                r":7: expected a popularity of 0 or more in the field s_pop of doc, but doc has id",
            ),
            (change(doc={"id": 1, "s_pop": -3}), [], r":7: expected a popularity .*, found -3; name another by --pop"),
            (change(doc={"id": 1, "s_pop": "many"}), [], r":7: expected a popularity .*, found 'many'"),
            (change(filter="strict"), [], r":7: several filters \(none, strict\): choose one by --filter"),
            ([*good, good[4]], [], r":61: item '4222366' comes twice, first in line 5"),
            (good, ["--key", "uid"], r":1: expected the item's name in uid, found None; doc has id, question, s_pop"),
            (good, ["--metric", "f1"], r":1: expected f1 to be 1 .*there is no such metric, but exact_match"),
            (good, ["--filter", "x"], r"no line of filter x; there is none"),
            (good[:30], [], r"30 items that all 1 models answered .*, at least 50 are needed"),
            (
                [{**line, "metrics": ["f1", "em"]} for line in without],
                [],
                r":1: metrics em, f1: choose one .* by --metric",
            ),
            (
                [{"question": 1}],
                [],
                r":1: expected a sample of lm-evaluation-harness 0.4, .* found an object with question",
            ),
            ([[1, 2]], [], r":1: expected a sample of lm-evaluation-harness 0.4, .* found \[1, 2\]"),
            ([], [], r": an empty log"),
        ):
            with self.subTest(part):
                path = self.log(
                    [] if not lines or not isinstance(lines[0], dict) or "doc_id" not in lines[0] else lines
                )
                if lines and not os.path.getsize(path):
                    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
                done = support.run_command("popularity", path, "--out", self.path("out", "x"), *flags)
                self.assertIn(done.returncode, (2, 3))
                self.assertRegex(done.stderr, rf"^knapsack popularity: .*{part}")
        path = self.log(good)
        path.write_text(path.read_text()[:-40])
        self.assertRegex(self.popularity(path, code=3).stderr, r":60: not JSON \(")
        self.assertEqual(os.path.exists(self.path("out")), False)

    def test_mixed_up_logs_are_refused(self) -> None:
        good = [sample(i, 10 + i, i % 2) for i in range(60)]
        self.log(good)
        other = self.log(good, task="nq")
        done = self.popularity(self.path("one"), code=2)
        self.assertIn("logs of several tasks (nq, popqa): choose one by --task", done.stderr)
        other.unlink()
        self.log(good, "again")
        done = self.popularity(self.path("one"), self.path("again"), code=3)
        self.assertRegex(done.stderr, "two logs of model acme/alpha-1b: .*one.* and .*again.*; give one of them")
        self.log([sample(i, 11 + i, i % 2) for i in range(60)], "else", name="acme/alpha-3b")
        done = self.popularity(self.path("one"), self.path("else"), code=3)
        self.assertRegex(done.stderr, "item '4222362' has popularity .* logs of different data")
        self.log([sample(i, 10 + i, 1, "acc") for i in range(60)], "metric", name="acme/alpha-3b")
        done = self.popularity(self.path("one"), self.path("metric"), code=3)
        self.assertRegex(done.stderr, "has metric (exact_match|acc), .*: choose one for all by --metric")
        self.log([sample(i, 10 + i, 1) for i in range(30, 90)], "part", name="acme/alpha-3b")
        done = self.popularity(self.path("one"), self.path("part"), code=3)
        self.assertRegex(done.stderr, r"30 items that all 2 models answered .*60 not answered by all models\)")
        done = self.popularity(self.path("one"), "--size", "gamma-7b=7e9", code=2)
        self.assertIn("--size gamma-7b: no log of that model; there is acme/alpha-1b", done.stderr)
        os.makedirs(self.path("none"))
        done = self.popularity(self.path("none"), code=3)
        self.assertIn("run lm_eval with --output_path and --log_samples", done.stderr)
        done = self.popularity(self.path("one"), "--size", "alpha-1b=large", code=2)
        self.assertIn("'alpha-1b=large': expected NAME=N, N parameters such as 410M, 1.4B or 7e9, or ", done.stderr)
        for flags in (["--size", "x"], ["--ask", "f=3"], ["--ask", "M=-1"], ["--target", "2"], ["--draws", "3"]):
            self.assertEqual(
                support.run_command("popularity", self.path("one"), "--out", "x", *flags).returncode, 2, flags
            )

    def test_what_says_nothing_of_a_law(self) -> None:
        """No size is known; all items of one popularity; all answers wrong."""
        for number, (popularity, right, flags, part) in enumerate(
            (
                (lambda i: 10 + i, lambda i: i > 40, ["--size", "?"], "0 models of 0 sizes; at least 3"),
                (lambda i: 10, lambda i: i % 2, [], "all items have popularity 10"),
                (lambda i: 10 + i, lambda i: 0, [], "all answers are wrong"),
            )
        ):
            folder = f"nothing{number}"
            for name in NAMES[:4]:
                lines = [sample(i, popularity(i), right(i)) for i in range(80)]
                write_log(Path(self.path(folder)), name, lines, SIZES[name])
            sizes = [word for name in NAMES[:4] for word in ("--size", f"{name}=?")] if flags else []
            done = self.popularity(self.path(folder), *sizes, code=3)
            self.assertIn(part, done.stderr)
            self.assertIn("refused", self.said()["sigmoid"])

    def test_one_model_has_its_threshold_and_no_law(self) -> None:
        path = self.log([sample(i, 10 + i, i > 60) for i in range(120)])
        done = self.popularity(path, code=3)
        self.assertIn("no law of the threshold: curves that rise: 1 model of 1 size", done.stderr)
        (row,) = self.said()["models"]
        self.assertTrue(60 <= row["threshold"] <= 80, row)
        self.assertTrue(path.name.endswith(f"_{DATE}.jsonl"))


if __name__ == "__main__":
    unittest.main()
