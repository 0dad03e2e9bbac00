"""What the runs of a curve share: options, data by what they hold, and facts paired within one population."""

import importlib.util
import json
import math
import pathlib
import unittest

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

from infusion_runs import FACTS, GRID, StudyTest, real_json, real_run  # noqa: E402

from knapsack.analysis.datasets import population_of  # noqa: E402
from knapsack.analysis.infusion.held import NOT_HELD, VARIED_BY_SOURCE, default_warmup  # noqa: E402
from knapsack.analysis.infusion.paired import difference  # noqa: E402


class HeldTest(StudyTest):
    def test_facts_are_paired_within_one_population_only(self) -> None:
        """Two replicates with facts of their own, the easy ones at other numbers: each fact loses one answer of four,
        except those that know nothing. By number across the replicates the facts would differ by half of them."""
        easy = {1: [4] * 20 + [0] * 20, 2: [0] * 20 + [4] * 20}
        for seed, known in easy.items():
            for F in GRID:
                options = {"source": ["web=data/web.bin", f"wd=data/rep{seed}/wd.bin"], "data-seed": seed}
                self.make_run(f"runs/F{F}_{seed}", F, 0.5, seed=seed, options=options)
                self.write_answers(f"runs/F{F}_{seed}", [max(0, count - (F > 64)) for count in known])
        runs = {(F, seed): pathlib.Path(self.path("runs", f"F{F}_{seed}")) for F in GRID for seed in easy}
        within = difference([runs[64, 1], runs[64, 2]], [runs[128, 1], runs[128, 2]], "wd", "accuracy_seen")
        self.assertAlmostEqual(within.value, 0.125)
        half = 1.99045 * math.sqrt(0.125**2 * 80 / 79 / 80)  # t of 79 degrees; each is .125 from the mean
        self.assertAlmostEqual(within.high - within.value, half, 5)
        across = difference([runs[64, 1]], [runs[128, 2]], "wd", "accuracy_seen")  # nothing to pair
        self.assertAlmostEqual(across.value, 0.125)
        self.assertGreater(across.high - across.value, 0.19)
        mixed = difference([runs[64, 1]], [runs[128, 1], runs[128, 2]], "wd", "accuracy_seen")
        self.assertAlmostEqual(mixed.high - mixed.value, 2.02269 * math.sqrt(0.125**2 / 39), 5)
        _, sidecar, _ = self.analyse()
        self.assertEqual(len(sidecar["curves"]), 1)  # replicates, though each has a path of its own
        self.assertEqual([point["runs"] for point in sidecar["curves"][0]["points"]], [2] * 7)
        note = {"data": {"source wd": {"files": [{"path": "elsewhere", ".values.npy": "0", ".names.txt": "1"}]}}}
        for moved in (runs[512, 2], runs[64, 1]):  # made of the same facts, whatever their path is
            self.write(f"{moved}.flags.json", json.dumps(note))
        one, same, other = (population_of(runs[key], "wd") for key in ((512, 2), (64, 1), (64, 2)))
        self.assertEqual((one == same, same == other), (True, False))

    def test_data_that_somebody_compares_are_held(self) -> None:
        """Two sources with the same seeds are two curves, not replicates."""
        for name in ("one", "five"):
            for F in GRID:
                options = {"source": ["web=data/web.bin", f"wd=data/{name}/wd.bin"]}
                self.make_run(f"runs/{name}_{F}", F, 0.5, options=options)
        _, sidecar, _ = self.analyse()
        labels = [curve["label"].partition("tokens, ")[2] for curve in sidecar["curves"]]
        self.assertEqual(labels, ["wd source data/five/wd.bin", "wd source data/one/wd.bin"])

    def plant(self, run: str, facts: str, slots: tuple = ("born", "works"), tokens: int = 5000, text: str = "") -> None:
        """What the run's files say of the data of `wd`: whose facts, which attributes, how long; `text`: of which
        files, by the sweep's note."""
        shard = {"name": "wd", "entities": 50 // len(slots), "names": f"sha256:{facts}", "values": f"sha256:{facts}"}
        self.write(f"{run}/exposures/wd.json", json.dumps({"slots": slots, "shards": [shard]}))
        with open(self.path(run, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config["plan"]["wd"] |= {"documents": 100, "source_tokens": tokens}
        self.write(f"{run}/config.json", json.dumps(config))
        if text:
            files = {"wd": [{"path": "p", ".bin": text, ".names.txt": facts}], "web": [{"path": "p", ".bin": "web"}]}
            data = {f"source {name}": {"given": [], "files": one} for name, one in files.items()}
            self.write(f"{run}.flags.json", json.dumps({"format_version": 1, "data": data}))

    def plant_replicates(self, other: dict, path: str = "data/rep{}/wd.bin") -> None:
        """Runs of two seeds, each with data of its own; the second's are of another make where `other` says so."""
        for seed in (1, 2):
            for F in GRID[:3]:
                run, options = f"runs/F{F}_{seed}", {"source": ["web=data/web.bin", "wd=" + path.format(seed)]}
                self.make_run(run, F, 0.5, seed=seed, options=options | {"data-seed": seed})
                self.plant(run, **{"facts": f"people{seed}", "tokens": 5000 + 100 * seed} | (other if seed > 1 else {}))

    def runs_of_curves(self) -> tuple[list[list[int]], str]:
        """The runs of each point of each curve, and what was printed."""
        _, sidecar, said = self.analyse()
        return [[point["runs"] for point in curve["points"]] for curve in sidecar["curves"]], said

    def test_replicates_have_populations_of_one_make(self) -> None:
        """Other people, and texts that are longer by chance, are a replicate; another make of data is not, whatever
        its seeds are."""
        self.plant_replicates({})
        self.assertEqual(self.runs_of_curves()[0], [[2, 2, 2]])
        makes = (
            ({"slots": ("born", "died")}, "attributes born, works against born, died"),
            ({"slots": ("born",)}, "attributes born, works against born"),
            ({"tokens": 5800}, "51 against 58 tokens a document"),
        )
        for other, what in makes:
            self.plant_replicates(other)
            curves, said = self.runs_of_curves()
            self.assertEqual(curves, [[1, 1, 1], [1, 1, 1]], other)
            named = "wd source is data/rep1/wd.bin in some runs, data/rep2/wd.bin in others: "
            self.assertIn(f"{named}{what}; they are curves of their own, not replicates", said)
            self.assertIn("tokens, wd source data/rep2/wd.bin", said)

    def test_plots_and_laws_join_no_data_of_another_make(self) -> None:
        arguments = ("plot experiment", "exposures/wd", "know/wd/accuracy_seen", "--out", self.path("p.svg"), "--runs")
        self.plant_replicates({})
        self.run_ok(*arguments, self.path("runs"))
        self.plant_replicates({"tokens": 5800})
        said = r"trained on data/rep1/wd.bin and data/rep2/wd.bin as wd \(51 against 58 tokens a document\)"
        self.run_bad(2, f"{said}: they are no replicates", *arguments, self.path("runs"))
        flags = ("--dose", "exposures/wd", "--response", "know/wd/accuracy_seen", "--size", "none", "--horizon", "none")
        said += ": give fewer runs, or .*--free source"
        self.run_bad(2, said, "laws", self.path("runs"), *flags, "--out", self.path("l"))

    def test_data_of_several_seeds_each_are_compared(self) -> None:
        """Two mixtures with seeds of their own, two each: four replicates of nothing."""
        for number, mixture in enumerate(("plain", "mixed")):
            for seed in (2 * number + 1, 2 * number + 2):
                for F in GRID[:3]:
                    options = {"source": ["web=data/web.bin", f"wd=data/{mixture}/wd.bin"], "data-seed": seed}
                    self.make_run(f"runs/F{F}_{seed}", F, 0.5, seed=seed, options=options)
        curves, said = self.runs_of_curves()
        self.assertEqual(curves, [[2, 2, 2], [2, 2, 2]])
        self.assertRegex(said, "wd source is data/plain/wd.bin in some .* data/mixed/wd.bin .*in runs of several seeds")

    def test_data_are_known_by_what_they_hold(self) -> None:
        """Data that moved are the same; data made anew under one path, by the same seeds, are other data."""
        for folder, F, text in (("a", 8, "t"), ("a", 16, "t"), ("b", 32, "t")):
            options = {"source": [f"web={folder}/web.bin", f"wd={folder}/wd.bin"]}
            self.make_run(f"runs/F{F}", F, 0.5, options=options)
            self.plant(f"runs/F{F}", "people", text=text)
        self.assertEqual(self.runs_of_curves()[0], [[1, 1, 1]])
        self.plant("runs/F32", "people", text="reworded")
        curves, said = self.runs_of_curves()
        self.assertEqual(curves, [[1, 1], [1]])
        self.assertIn("in runs of equal seeds; they are curves of their own", said)
        for F in (8, 16, 32):  # without notes: facts and length, under the path
            self.make_run(f"runs/F{F}", F, 0.5)
            self.plant(f"runs/F{F}", "people" if F < 32 else "others")
            (pathlib.Path(self.path("runs")) / f"F{F}.flags.json").unlink()
        curves, said = self.runs_of_curves()
        self.assertEqual(curves, [[1, 1], [1]])
        self.assertRegex(said, r"data/wd.bin \(content [0-9a-f]{8}\) in some runs, data/wd.bin \(content")

    def test_the_text_is_held_by_what_it_holds(self) -> None:
        """Of one path, made anew between the seeds."""
        for seed in (1, 2):
            for F in GRID[:3]:
                self.make_run(f"runs/F{F}_{seed}", F, 0.5, seed=seed)
                files = {
                    name: [{"path": "p", ".bin": f"{name}{seed}" if name == "web" else name}] for name in ("web", "wd")
                }
                data = {f"source {name}": {"given": [], "files": one} for name, one in files.items()}
                self.write(f"runs/F{F}_{seed}.flags.json", json.dumps({"format_version": 1, "data": data}))
        curves, said = self.runs_of_curves()
        self.assertEqual(curves, [[1, 1, 1], [1, 1, 1]])
        self.assertRegex(said, r"web source data/web.bin \(content [0-9a-f]{8}\)")

    def test_curves_of_equal_K_F(self) -> None:
        """K and F vary together; runs of another K F are another curve, and none joins what differs in what is held."""
        for K, F, value in ((400, 4, 0.6), (200, 8, 0.8), (100, 16, 0.8), (50, 32, 0.4), (25, 64, 0.3)):
            for seed in (1, 2):
                options = {"source": ["web=data/web.bin", f"wd=data/{K}_{seed}/wd.bin"], "data-seed": seed}
                self.make_run(f"runs/K{K}_{seed}", F, value + 0.01 * seed, seed=seed, K=K, options=options)
                self.make_run(f"runs/twice{K}_{seed}", 2 * F, value, seed=seed, K=K, options=options)
        _, sidecar, said = self.analyse("--hold", "KF", "--figure", self.path("t.png"))
        curves = {curve["KF"]: curve for curve in sidecar["curves"]}
        self.assertEqual((sorted(curves), {curve["hold"] for curve in curves.values()}), ([1600, 3200], {"KF"}))
        points = [(point["F"], point["K"], point["runs"]) for point in curves[1600]["points"]]
        self.assertEqual(points, [(4, 400, 2), (8, 200, 2), (16, 100, 2), (32, 50, 2), (64, 25, 2)])
        self.assert_bracket(curves[1600]["collapse"], 16, 32)
        self.assertIn("N 10,000, K F 1,600, replace", said)
        _, sidecar, _ = self.analyse()
        self.assertEqual(
            {curve["K"]: len(curve["points"]) for curve in sidecar["curves"]}, dict.fromkeys((25, 50, 100, 200, 400), 2)
        )

    def test_plots_join_no_runs_of_different_K_but_along_equal_F_or_K_F(self) -> None:
        for K, F in ((200, 8), (100, 16), (50, 32)):
            for seed in (1, 2):
                options = {"source": ["web=data/web.bin", f"wd=data/{K}_{seed}/wd.bin"], "data-seed": seed}
                self.make_run(f"equal/K{K}_{seed}", F, 0.5, seed=seed, K=K, options=options)
        arguments = ("plot experiment", "exposures/wd", "know/wd/accuracy_seen", "--out", self.path("p.svg"), "--runs")
        self.run_ok(*arguments, self.path("equal"))
        with open(self.path("p.svg"), encoding="utf-8") as file:
            self.assertIn("K F of wd held at 1600", file.read())
        self.make_run("other/point", 16, 0.5, seed=3, K=200)
        said = "the same exposures/wd .16. but differ in facts/wd"
        self.run_bad(2, said, *arguments, self.path("equal"), self.path("other"))
        self.make_run("more/a", 64, 0.5, K=200)
        self.run_bad(2, "differ in facts/wd and in exposures/wd", *arguments, self.path("equal"), self.path("more"))
        self.run_ok(*arguments, self.path("other"), self.path("more"))  # K 200 in both

    def test_curves_hold_all_else_constant(self) -> None:
        """Policies, budgets and learning rates are curves of their own; a run without the source belongs to all of its
        kind."""
        for F in GRID:
            self.make_run(f"runs/r{F}", F, 0.5)
            self.make_run(f"runs/a{F}", F, 0.6, budget="append")
            self.make_run(f"runs/l{F}", F, 0.7, options={"lr": 0.001})
            self.make_run(f"runs/t{F}", F, 0.8, tokens=800000)
        self.make_run("runs/zero", 0, 0.02, loss=3.75)
        self.make_run("runs/zero_of_other_size", 0, 0.02, loss=3.5, N=20000)
        rows, sidecar, _ = self.analyse("--figure", self.path("t.png"))
        zero = next(row for row in rows if row["run"].endswith("zero"))
        self.assertEqual(
            [zero[name] for name in ("K", "F", "F_mean", "share", "val/web/loss")], ["0", "0.0", "0.0", "0.0", "3.75"]
        )
        found = {
            curve["label"]: (curve["points"][0]["mean"], curve["without_infusion"]["base_loss"])
            for curve in sidecar["curves"]
        }
        self.assertEqual(
            found,
            {
                "N 10,000, K 50, append, 400,000 tokens": (0.6, 3.75),
                "N 10,000, K 50, replace, 400,000 tokens, lr 0.003": (0.5, 3.75),
                "N 10,000, K 50, replace, 400,000 tokens, lr 0.001": (0.7, None),
                "N 10,000, K 50, replace, 800,000 tokens": (0.8, None),
            },
        )

    def test_all_options_are_held_but_the_axes(self) -> None:
        """Of a real run: what is given and no axis; and a warm-up that nobody gave is the trainer's default."""
        config = real_json("config.json")
        options = {name: value for name, value in config["options"].items() if value not in (None, "", [])}
        self.assertEqual(options.pop("warmup"), default_warmup(config["steps"]))
        rows, sidecar, _ = self.analyse(folder=str(real_run()))
        held = sidecar["curves"][0]["held"]
        self.assertEqual({key.split()[-1] for key in held}, set(options) - NOT_HELD - VARIED_BY_SOURCE)
        self.assertEqual(held["wd source"], dict(one.split("=") for one in options["source"])["wd"])
        self.assertEqual([rows[0][name] for name in ("F", "K", "F_least", "F_most")], ["2.0", str(FACTS), "2", "2"])

    def test_an_option_that_is_new_is_held(self) -> None:
        for value in (1, 2):
            for F in GRID:
                self.make_run(f"runs/{value}/F{F}", F, options={"brand-new": value})
        _, sidecar, _ = self.analyse()
        labels = [curve["label"].partition("tokens, ")[2] for curve in sidecar["curves"]]
        self.assertEqual(labels, ["brand-new 1", "brand-new 2"])

    def test_a_warm_up_is_held_where_it_was_given(self) -> None:
        """With append the default follows from F: 40 steps are also the default of one of the runs."""
        for F in GRID:
            for name, options in (("default", {}), ("40", {"warmup": 40}), ("20", {"warmup": 20})):
                self.make_run(f"{name}/F{F}", F, budget="append", options=options)
        for folders, warmups in ((["default"], [None]), (["40"], ["40"]), (["20", "40"], ["20", "40"])):
            _, sidecar, _ = self.analyse(folder=folders)
            self.assertEqual([curve["held"].get("warmup") for curve in sidecar["curves"]], warmups)
            self.assertEqual({len(curve["points"]) for curve in sidecar["curves"]}, {len(GRID)})


if __name__ == "__main__":
    unittest.main()
