"""knapsack runs names unknown columns; plot mixing finds the source; plot experiment draws any two columns."""

import csv
import importlib.util
import json
import unittest

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402


class RunsTest(support.FolderTest):
    def make_run(
        self,
        name: str,
        ratio: float,
        accuracy: float | str,
        sources: tuple = ("bio",),
        seed: int = 1,
        done: str | None = "finished",
        **more: object,
    ) -> None:
        self.write(
            f"runs/{name}/config.json", json.dumps({"options": {"model": "pythia:L2", "seed": seed}, "steps": 10})
        )
        shares = {f"data/{source}/ratio": ratio for source in sources} | {
            "data/web/ratio": 1 - ratio,
            "data/web/epochs": 0.5,
        }
        self.write(
            f"runs/{name}/metrics.jsonl", json.dumps({"step": 9, "time": 1.0, "perf/tokens_per_s": 5.0} | shares) + "\n"
        )
        know = {f"know/{source}/{key}": accuracy for source in sources for key in ("accuracy", "accuracy_seen")}
        self.write(f"runs/{name}/eval.jsonl", json.dumps({"step": 10} | know | more) + "\n")
        if done:
            self.write(f"runs/{name}/DONE", f"{done}\n")

    def test_unknown_columns_are_named_with_near_ones(self) -> None:
        self.make_run("a", 0.2, 0.5)
        for flag in ("--columns", "--sort"):
            self.run_bad(
                2,
                "no run has a column 'know/bio/acuracy'; near it: know/bio/accuracy",
                "runs",
                self.path("runs"),
                flag,
                "know/bio/acuracy",
            )
        self.run_bad(2, "'nope'.*--columns all", "runs", self.path("runs"), "--columns", "run,nope")
        self.assertIn("0.5", self.run_ok("runs", self.path("runs"), "--columns", "run,know/bio/accuracy"))
        self.assertIn("pythia:L2", self.run_ok("runs", self.path("runs"), "--columns", "all"))

    def test_a_column_that_some_run_lacks_is_known(self) -> None:
        self.make_run("a", 0.2, 0.5)
        self.make_run("b", 0.2, 0.5, **{"val/web/loss": 3.25})
        table = self.run_ok("runs", self.path("runs"), "--columns", "run,val/web/loss")
        self.assertRegex(table, r"a +-\nb +3.25")

    def test_a_malformed_run_is_named_and_left_out(self) -> None:
        self.make_run("a", 0.2, 0.5)
        self.make_run("b", 0.4, 0.75)
        cases = (
            ("config.json", '{"steps": 10,\n', "config.json:2: not JSON"),
            ("config.json", "[]", "config.json:1: not a JSON object"),
            ("config.json", b"\xff", "config.json:1: not JSON"),
            ("config.json", '{"options": []}', "config.json:1: not as expected"),
            ("metrics.jsonl", '{"perf/tokens_per_s": 5.0, "time": 1.0}\n[]\n', "metrics.jsonl:2: not a JSON object"),
            ("metrics.jsonl", '{"step": 1}\n', "metrics.jsonl:1: no key 'perf/tokens_per_s'"),
            ("eval.jsonl", '{"step": 1}\n{"step": \n{"step": 3}\n', "eval.jsonl:2: not JSON"),
            ("eval.jsonl", "[]\n", "eval.jsonl:1: not a JSON object"),
            ("results.json", "[]", "results.json:1: not a JSON object"),
            ("results.json", '{"know": {"bio": {}}}', "results.json:1: no key 'all'"),
        )
        for file, text, said in cases:
            with self.subTest(said=said, text=text):
                self.make_run("bad", 0.3, 0.6)
                whole = self.contents(f"bad/{file}").get(f"runs/bad/{file}", b"{}")
                self.write(f"runs/bad/{file}", text)
                arguments = [self.path("runs"), "--columns", "run,know/bio/accuracy"]
                done = support.run_script("runs", *arguments)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertRegex(done.stderr, rf"^warning: .*bad/{said}.*; run bad is left out\n$")
                self.assertRegex(done.stdout, r"a +0.5\nb +0.75\n$")
                self.assertNotIn("bad", done.stdout)
                self.write(f"runs/bad/{file}", whole)
        self.assertIn("bad", self.run_ok("runs", self.path("runs")))
        self.write("runs/bad/metrics.jsonl", '{"perf/tokens_per_s": 5.0, "time": 1.0}\n{"step"')  # being written
        self.run_ok("runs", self.path("runs"))
        self.write("runs/bad/config.json", "{")
        self.run_bad(3, "^warning: .*bad is left out\n$", "runs", self.path("runs", "bad"))

    def test_the_only_source_with_questions_is_drawn(self) -> None:
        for ratio in (0.1, 0.4):
            self.make_run(f"r{ratio}", ratio, ratio)
        self.run_ok("plot mixing", self.path("runs"), "--out", self.path("mix.png"))
        with open(self.path("mix.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(
            [(float(row["share/bio"]), float(row["know/bio/accuracy"])) for row in rows], [(0.1, 0.1), (0.4, 0.4)]
        )

    def test_two_sources_or_none_are_asked_about(self) -> None:
        self.make_run("a", 0.2, 0.5, ("bio", "real"))
        self.run_bad(
            2,
            "bio, real; choose one with --source",
            "plot mixing",
            self.path("runs"),
            "--out",
            self.path("m.png"),
        )
        self.run_ok("plot mixing", self.path("runs"), "--source", "real", "--out", self.path("m.png"))
        self.make_run("a", 0.2, 0.5, ())
        self.run_bad(
            2,
            "no source of these runs has a question set",
            "plot mixing",
            self.path("runs"),
            "--out",
            self.path("m.png"),
        )

    def test_experiment_figure_and_numbers(self) -> None:
        for seed, accuracy in ((1, 0.2), (2, 0.4)):
            self.make_run(f"s{seed}", 0.1 + 1e-6 * seed, accuracy, seed=seed)
        self.make_run("t", 0.4, 0.9)
        self.make_run("none", 0.4, 0.9, ())
        said = self.run_ok(
            "plot experiment",
            "share/bio",
            "know/bio/accuracy",
            "--runs",
            self.path("runs"),
            "--log",
            "x",
            "--lines",
            "model",
            "--out",
            self.path("x.png"),
        )
        self.assertIn("run none has no share/bio", said)
        with open(self.path("x.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["runs"] for row in rows], ["2", "1"])
        self.assertAlmostEqual(float(rows[0]["mean"]), 0.3)
        self.assertAlmostEqual(float(rows[0]["sd"]), 0.02**0.5)
        self.assertEqual(rows[0]["model"], "pythia:L2")
        self.run_ok(
            "plot experiment",
            "run",
            "know/bio/accuracy",
            "--runs",
            self.path("runs"),
            "--out",
            self.path("w.png"),
        )

    def test_the_same_figure_is_the_same_bytes(self) -> None:
        self.make_run("a", 0.2, 0.5)
        for ending in ("png", "svg", "pdf"):
            for number in (1, 2):
                out = self.path(f"{number}.{ending}")
                self.run_ok("plot experiment", "run", "know/bio/accuracy", "--runs", self.path("runs"), "--out", out)
            first, second = (self.contents(f"{number}.{ending}").popitem()[1] for number in (1, 2))
            self.assertEqual(first, second)
        self.run_bad(2, "ends in .png or .pdf or .svg", "plot mixing", self.path("runs"), "--out", self.path("x.csv"))

    def test_runs_that_are_no_replicates_are_no_point(self) -> None:
        """Seeds and data paths may differ, nothing else of training."""
        draw = ["plot experiment", "share/bio", "know/bio/accuracy", "--runs", self.path("runs")]
        draw += ["--out", self.path("x.png")]
        for seed in (1, 2, 3):
            self.make_run(f"a{seed}", 0.2, 0.5, seed=seed)
            self.add_options(f"a{seed}", tokens=4000000, source=["web=data/web.bin", f"bio=people/{seed}/bio.bin"])
        self.run_ok(*draw)
        with open(self.path("x.csv"), encoding="utf-8") as file:
            self.assertEqual([row["runs"] for row in csv.DictReader(file)], ["3"])
        self.make_run("longer", 0.2, 0.9)
        self.add_options("longer", tokens=8000000, lr=0.1, source=["web=data/web.bin", "bio=people/1/bio.bin"])
        said = r"runs a1, a2, a3, longer have the same share/bio \(0.2\) but differ in tokens, lr: .*--lines"
        self.run_bad(2, said, *draw)
        self.run_bad(2, "differ in tokens, lr", "plot mixing", self.path("runs"), "--out", self.path("m.png"))
        self.run_ok(*draw, "--lines", "tokens")
        with open(self.path("x.csv"), encoding="utf-8") as file:
            self.assertEqual([row["runs"] for row in csv.DictReader(file)], ["3", "1"])

    def add_options(self, name: str, **options: object) -> None:
        path = self.path(f"runs/{name}/config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        self.write(f"runs/{name}/config.json", json.dumps(config | {"options": config["options"] | options}))

    def test_experiment_refusals(self) -> None:
        self.make_run("a", 0.2, 0.5)
        draw = "plot experiment"
        self.run_bad(
            2,
            "column 'share/bia'; near it: share/bio",
            draw,
            "share/bia",
            "know/bio/accuracy",
            "--runs",
            self.path("runs"),
            "--out",
            self.path("x.png"),
        )
        self.run_bad(
            2,
            "model is 'pythia:L2', not a number",
            draw,
            "share/bio",
            "model",
            "--runs",
            self.path("runs"),
            "--out",
            self.path("x.png"),
        )
        self.run_bad(
            3,
            "no run",
            draw,
            "share/bio",
            "know/bio/accuracy",
            "--runs",
            self.path("nothing"),
            "--out",
            self.path("x.png"),
        )


if __name__ == "__main__":
    unittest.main()
