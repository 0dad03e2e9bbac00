"""Runs are known by what they are, figures are of the runs and steps that they claim, and no output takes the place of
an input: faults that were found from outside, and others of their kinds."""

import csv
import importlib.util
import json
import os
import resource
import unittest

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402

# In the place of train_gpt: leaves a run whose config.json has the flags that these tests vary, and counts its calls.
TRAIN = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
pairs = [(words[i][2:], words[i + 1]) for i in range(len(words) - 1) if words[i].startswith("--")]
out = dict(pairs)["out"]
os.makedirs(out, exist_ok=True)
options = {flag: [v for f, v in pairs if f == flag] for flag in ("source", "ratio", "stop-at")}
options |= {"lr": float(dict(pairs).get("lr", 0.001))}
json.dump({"options": options, "steps": 1}, open(out + "/config.json", "w"))
open(out + "/DONE", "w").write("finished\\n")
print("trained")
"""


class SweepFaultsTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        os.chmod(self.write("train", TRAIN), 0o755)
        for name in ("web_1", "web-1", "other"):
            for ending in ("bin", "idx"):
                self.write(f"data/{name}.{ending}", f"{name} {ending}" * 100)

    def sweep(self, *arguments: object, code: int = 0) -> str:
        programs = ["--train-program", self.path("train"), "--eval-program", self.path("train")]
        done = support.run_command("sweep", "--out", self.path("out"), *programs, *arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotRegex(done.stderr, "Traceback|a fault of the program")
        return done.stdout + done.stderr

    def data(self, name: str) -> str:
        return f"web={self.path('data', name)}.bin"

    def made(self) -> list[str]:
        return sorted(name for name in os.listdir(self.path("out")) if os.path.isdir(self.path("out", name)))

    def test_values_that_make_one_name_are_two_runs(self) -> None:
        vary = f"source={self.data('web_1')},{self.data('web-1')}"
        self.assertEqual(self.sweep("--vary", vary).count(": done in"), 2)
        trained = set()
        for name in self.made():
            with open(self.path("out", name, "config.json"), encoding="utf-8") as file:
                trained |= set(json.load(file)["options"]["source"])
        self.assertEqual(trained, {self.data("web_1"), self.data("web-1")})
        self.assertEqual(self.sweep("--vary", vary).count("done before"), 2)
        for values in ("stop-at=val/web/loss<=6,val/web/loss>=6", "source=web=中文.bin,web=日本語.bin"):
            said = self.sweep("--vary", values, "--dry-run").split()
            outs = {word for before, word in zip(said, said[1:]) if before == "--out" and "results" not in word}
            self.assertEqual(len(outs), 2, values)
        self.sweep("--vary", "source=web=" + "d/" * 140 + "web.bin")
        self.assertLess(max(map(len, os.listdir(self.path("out")))), 200)

    def test_a_run_is_known_by_the_content_of_its_data(self) -> None:
        self.sweep("--vary", "seed=1", "--", "--source", self.data("other"))
        self.assertIn("done before", self.sweep("--vary", "seed=1", "--", "--source", self.data("other")))
        os.rename(self.path("data"), self.path("moved"))
        moved = f"web={self.path('moved', 'other')}.bin"
        self.assertIn("done before", self.sweep("--vary", "seed=1", "--", "--source", moved, "--micro-batch", 3))
        self.write("moved/other.idx", "another")
        said = self.sweep("--vary", "seed=1", "--", "--source", moved, code=3)
        self.assertRegex(said, "seed-1 was made with other data: .*moved/other.idx is not what .*data/other.idx was")
        said = self.sweep("--vary", "seed=1", "--", "--source", moved, "--lr", "0.1", code=2)
        self.assertIn("made with other flags (no --lr, not --lr 0.1)", said)

    def test_a_large_shard_is_known_by_blocks(self) -> None:
        large = bytearray(4 << 20)
        self.write("data/other.bin", large)
        self.sweep("--vary", "seed=1", "--", "--source", self.data("other"))
        large[-100:] = b"x" * 100
        self.write("data/other.bin", large)
        said = self.sweep("--vary", "seed=1", "--", "--source", self.data("other"), code=3)
        self.assertIn("other.bin has changed since", said)

    def test_one_run_by_two_names_is_refused(self) -> None:
        os.symlink(self.path("data", "other.bin"), self.path("data", "link.bin"))
        os.symlink(self.path("data", "other.idx"), self.path("data", "link.idx"))
        said = self.sweep("--vary", f"source={self.data('other')},{self.data('link')}", code=2)
        self.assertIn("are one run: the same options and data", said)
        self.assertIn("are one run", self.sweep("--vary", "lr=0.1,0.10", code=2))

    def test_runs_of_earlier_versions_are_read(self) -> None:
        """Notes were the flags alone, and a name had no hash; of runs with one name the note could be another's."""
        vary = f"source={self.data('web_1')},{self.data('web-1')}"
        plain = "source-" + "".join(c if c.isalnum() or c in ".+-" else "-" for c in self.data("web_1"))
        while "--" in plain:
            plain = plain.replace("--", "-")
        self.write(f"out/{plain}/config.json", json.dumps({"options": {"source": [self.data("web_1")]}, "steps": 1}))
        self.write(f"out/{plain}/DONE", "finished\n")
        self.write(f"out/{plain}.flags.json", json.dumps({"source": [self.data("web-1")]}))
        said = self.sweep("--vary", vary)
        self.assertIn(f"{plain}: done before", said)
        self.assertIn("no checksums", said)
        self.assertEqual(len(self.made()), 2)
        self.write("out/seed-1/config.json", json.dumps({"options": {"lr": 0.5}, "steps": 1}))  # made by hand
        self.assertIn("(--lr 0.5, not --lr 0.1)", self.sweep("--vary", "seed=1", "--", "--lr", "0.1", code=2))

    def test_a_flag_that_is_varied_twice(self) -> None:
        arguments = "--vary", "ratio=a=0.1,a=0.2", "--vary", "ratio=b=0.3", "--vary", "ratio=b=0.4", "--dry-run"
        lines = [line for line in self.sweep(*arguments).splitlines() if "results.json" not in line]
        self.assertEqual(len(lines), 4)
        self.assertIn("--ratio a=0.1 --ratio b=0.4", lines[1])
        self.assertEqual(self.sweep("--vary", "seed=1,2", "--vary", "seed=3", "--dry-run").count("results.json"), 3)
        self.assertIn("run twice: seed-2", self.sweep("--vary", "seed=1,2", "--vary", "seed=2", code=2))
        self.assertIn("given twice", self.sweep("--vary", "ratio=a=1,b=1", "--vary", "ratio=a=1", code=2))
        lines = self.sweep("--vary", "ratio=a=0.1", "--dry-run", "--", "--ratio", "a=0.9", "--ratio", "b=0.1")
        self.assertIn("--ratio b=0.1 --ratio a=0.1 ", lines)

    def test_weights_that_are_no_shares(self) -> None:
        sources = "--", "--source", "a=x", "--source", "b=y"
        self.assertIn("run ratio-a-3: the ratios sum to 3", self.sweep("--vary", "ratio=a=3", *sources, code=2))
        said = self.sweep("--vary", "ratio=a=0.3", *sources, "--ratio", "b=0.5", code=2)
        self.assertIn("the ratios sum to 0.8, not to 1", said)
        self.sweep("--vary", "ratio=a=0.3", "--dry-run", *sources)
        self.sweep("--vary", "ratio=a=0.3", "--dry-run", *sources, "--ratio", "b=0.7")

    def test_what_cannot_be_written_or_read_is_refused_at_the_start(self) -> None:
        self.write("out", "a file")
        self.assertIn("is not a folder", self.sweep("--vary", "seed=1", code=2))
        os.unlink(self.path("out"))
        os.mkfifo(self.path("data", "fifo.bin"))
        self.assertIn("a FIFO or a device", self.sweep("--vary", f"source={self.data('fifo')}", code=3))
        self.assertFalse(os.path.exists(self.path("out")))
        os.mkdir(self.path("out"))
        os.mkfifo(self.path("out", "seed-1.log"))
        self.assertIn("seed-1.log is not a file", self.sweep("--vary", "seed=1", code=2))
        self.assertIn("a FIFO", self.sweep("--grid", self.path("data", "fifo.bin"), code=3))
        self.assertIn("run.json", self.sweep("--grid", self.write("run.json", "[" * 100000), code=3))


class FigureFaultsTest(support.FolderTest):
    def make_run(self, name: str, share: float, score: float | str, done: str | None = "finished", **more) -> None:
        self.write(f"{name}/config.json", json.dumps({"options": {"seed": 1, "model": "m"}, "steps": 10}))
        log = {"step": 9, "time": 1.0, "perf/tokens_per_s": 5.0, "data/bio/ratio": share, "data/web/ratio": 1}
        self.write(f"{name}/metrics.jsonl", json.dumps(log) + "\n")
        know = {"know/bio/accuracy": score, "know/bio/accuracy_seen": score, "know/bio/loss": score}
        self.write(f"{name}/eval.jsonl", json.dumps({"step": 10} | know | more) + "\n")
        if done:
            self.write(f"{name}/DONE", done + "\n")

    def experiment(self, *more: object) -> list[list[str]]:
        """X and mean of the points, and what was said."""
        arguments = "share/bio", "know/bio/accuracy", "--runs", self.path("runs"), *more, "--out", self.path("x.png")
        self.said = self.run_ok("plot experiment", *arguments)
        with open(self.path("x.csv"), encoding="utf-8") as file:
            return [[row["share/bio"], row["mean"], row["runs"]] for row in csv.DictReader(file)]

    def test_figures_leave_out_what_has_not_finished(self) -> None:
        self.make_run("runs/a", 0.2, 0.5)
        self.make_run("runs/b", 0.4, 0.9, done=None)
        self.make_run("runs/c", 0.6, 0.7, done="stopped: know/bio/accuracy >= 0.7")
        self.assertEqual(self.experiment(), [["0.2", "0.5", "1"], ["0.6", "0.7", "1"]])
        self.assertIn("run b has not finished (its state is 'stopped'), left out", self.said)
        self.assertIn("run c ended before its plan (stopped: know/bio/accuracy >= 0.7)", self.said)
        said = self.run_ok("plot mixing", self.path("runs"), "--out", self.path("m.png"))
        self.assertIn("run b has not finished", said)
        with open(self.path("m.csv"), encoding="utf-8") as file:
            self.assertEqual([row["run"] for row in csv.DictReader(file)], ["a", "c"])
        self.run_bad(
            3, "none of 1 runs has finished", "plot mixing", self.path("runs", "b"), "--out", self.path("n.png")
        )
        self.assertFalse(os.path.exists(self.path("n.png")))

    def test_what_is_not_a_number_ranks_last_and_is_no_point(self) -> None:
        for name, score in (("a", "NaN"), ("b", 0.5), ("c", "-Infinity"), ("d", 0.1)):
            self.make_run(f"runs/{name}", 0.2, score)
        table = "runs", self.path("runs"), "--columns", "run,know/bio/accuracy", "--format", "csv"
        said = self.run_ok(*table, "--sort", "know/bio/accuracy")
        self.assertRegex(said, r"(?s)^[^\n]*\nd,0.1\nb,0.5\nc,-Infinity\na,NaN\n")
        self.assertIn("know/bio/accuracy is not a finite number in c (-Infinity), a (NaN)", said)
        self.assertEqual(self.experiment(), [["0.2", "0.3", "2"]])
        self.assertIn("is not a finite number in a (NaN)", self.said)
        self.run_ok("plot mixing", self.path("runs"), "--out", self.path("m.png"))

    def test_a_run_counts_once_and_names_tell_runs_apart(self) -> None:
        self.make_run("runs/x/a", 0.2, 0.4)
        self.make_run("runs/y/a", 0.2, 0.6)
        os.symlink(self.path("runs", "x"), self.path("link"))
        self.assertEqual(self.experiment()[0][2], "2")
        said = self.run_ok("runs", self.path("runs"), self.path("link"), self.path("runs", "x", "a"))
        self.assertEqual(said.count("done"), 2)
        self.assertRegex(said, r"x/a +done.*\ny/a +done")

    def test_results_of_an_earlier_checkpoint_are_not_those_of_the_run(self) -> None:
        self.make_run("runs/a", 0.2, 0.5)
        results = {"metrics": {"know/bio/accuracy": 0.9}, "config": {"options": {"checkpoint": "c/step_00000005"}}}
        self.write("runs/a/results.json", json.dumps(results))
        self.assertEqual(self.experiment(), [["0.2", "0.5", "1"]])
        self.assertIn("results.json is of step 5, the run is at step 10: not used", self.said)
        results["config"]["options"]["checkpoint"] = "c/step_00000010"
        self.write("runs/a/results.json", json.dumps(results))
        self.assertEqual(self.experiment(), [["0.2", "0.9", "1"]])

    def write_answers(self, name: str, steps: tuple = (1, 2), **more: object) -> None:
        for step in steps:
            answer = {"step": step, "set": "bio", "source": "bio", "question": 0, "entity": 0, "attribute": "city"}
            answer |= {"kind": "seen", "group": "all", "correct": True, "nll": 1.0, "exposures": step} | more
            self.write(f"{name}/answers/step_{step:08d}.jsonl", json.dumps(answer) + "\n")

    def curves(self, *arguments: object) -> dict:
        self.said = self.run_ok("curves", *arguments, "--out", self.path("c"))
        with open(self.path("c.json"), encoding="utf-8") as file:
            return json.load(file)

    def test_histories_say_where_they_ended_and_are_of_common_steps(self) -> None:
        self.make_run("a", 0.2, 0.5, done=None)
        self.write_answers("a")
        self.assertIn(
            "has not finished (its state is 'stopped'): the end is step 2 of 10",
            self.curves(self.path("a"))["unfinished"],
        )
        self.assertIn("has not finished", self.said)
        self.write("a/DONE", "finished\n")
        self.assertIsNone(self.curves(self.path("a"), self.path("a", "answers"))["unfinished"])
        self.make_run("b", 0.2, 0.5)
        self.write_answers("b", (3, 4))
        self.run_bad(
            3,
            "no step is evaluated in all of 2 runs",
            "curves",
            self.path("a"),
            self.path("b"),
            "--out",
            self.path("c"),
        )

    def test_an_answer_whose_score_is_no_number_is_not_right(self) -> None:
        self.make_run("a", 0.2, 0.5)
        self.write_answers("a", nll="NaN")
        self.assertEqual(self.curves(self.path("a"))["all"]["share_known"], [0, 0])
        self.assertIn("2 answers have no finite nll; they count as wrong", self.said)

    def test_no_output_takes_the_place_of_an_input_or_of_a_device(self) -> None:
        self.make_run("a", 0.2, 0.5)
        self.write_answers("a")
        before = self.contents()
        own = "is read, or is a run's own file"
        self.run_bad(2, own, "curves", self.path("a"), "--out", self.path("a", "config"))
        self.run_bad(2, own, "infusion", self.path("a"), "--infused", "bio", "--out", self.path("a", "results.csv"))
        draw = "plot experiment", "share/bio", "know/bio/accuracy", "--runs", self.path("a"), "--out"
        os.symlink(self.path("a", "config.json"), self.path("x.csv"))
        self.run_bad(2, own, *draw, self.path("x.png"))
        os.unlink(self.path("x.csv"))
        for name in ("/dev/null", self.path("fifo")):
            if not os.path.exists(name):
                os.mkfifo(name)
            self.run_bad(2, "a device or a FIFO", "curves", self.path("a"), "--out", name)
            self.run_bad(2, "a device or a FIFO", "infusion", self.path("a"), "--infused", "bio", "--out", name)
            os.symlink(name, self.path("x.png"))
            self.run_bad(2, "a device or a FIFO", *draw, self.path("x.png"))
            os.unlink(self.path("x.png"))
        os.unlink(self.path("fifo"))
        self.assertEqual(self.contents(), before)
        os.symlink(self.path("real.png"), self.path("x.png"))
        self.run_ok(*draw, self.path("x.png"))
        self.assertTrue(os.path.islink(self.path("x.png")) and os.path.getsize(self.path("real.png")))

    def test_inputs_that_are_no_files(self) -> None:
        for name in ("config.json", "metrics.jsonl", "eval.jsonl", "results.json", "exposures/bio.npy"):
            self.make_run("a", 0.2, 0.5)
            os.makedirs(self.path("a", "exposures"), exist_ok=True)
            if os.path.exists(self.path("a", name)):
                os.unlink(self.path("a", name))
            os.mkfifo(self.path("a", name))
            self.run_bad(3, "a FIFO or a device", "runs", self.path("a"))
            os.unlink(self.path("a", name))
        os.mkfifo(self.path("step_00000001.jsonl"))
        self.run_bad(3, "a FIFO", "curves", self.path("step_00000001.jsonl"), "--out", self.path("c"))
        deep = self.write("deep.jsonl", '{"step": ' + "[" * 100000 + "\n")
        self.run_bad(3, "deep.jsonl:1: not JSON", "curves", deep, "--out", self.path("c"))

    def test_values_of_another_type_are_said_with_their_place(self) -> None:
        """Found by changing values of a run's files at random."""
        config = {"options": {"steps": 10, "batch-tokens": 5}, "parameters": 1, "parameters_non_embedding": 1}
        config |= {"steps": 10, "plan": {"bio": {"exposures": 1}}}
        for wrong in ({"steps": "NaN"}, {"steps": 10**400}, {"parameters": []}, {"plan": {"bio": {"exposures": {}}}}):
            self.make_run("a", 0.2, 0.5)
            self.write("a/config.json", json.dumps(config | wrong))
            place = "a/config.json:1: not as expected .*left out"
            self.run_bad(3, place, "infusion", self.path("a"), "--infused", "bio", "--out", self.path("t.csv"))
        self.make_run("a", 10**400, 0.5, **{"know/bio/bits": "\ud800"})
        self.run_ok("runs", self.path("a"), "--columns", "all")
        self.run_bad(
            3,
            "no run has both X and Y",
            "plot experiment",
            "share/bio",
            "know/bio/accuracy",
            "--runs",
            self.path("a"),
            "--out",
            self.path("x.png"),
        )

    def test_a_full_disk_names_the_file_and_leaves_nothing(self) -> None:
        """A limit of file size stands for it: writing fails, with another reason."""
        self.make_run("a", 0.2, 0.5)
        before = self.contents()
        done = support.run_process(
            "plot experiment", "share/bio", "know/bio/accuracy", "--runs", self.path("a"), "--out", self.path("x.png"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (1, f"knapsack plot: {self.path('x.png')}: File too large\n"))
        self.assertEqual(self.contents(), before)


if __name__ == "__main__":
    unittest.main()
