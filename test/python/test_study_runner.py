"""knapsack study: what is run, in which order, what is said of failures and of predictions; with programs that do
nothing."""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import types
import unittest
import unittest.mock
from collections.abc import Callable

from studies import TRAIN, FakeTest, children_of


class Submitted:
    """A job of submitit's that is run at once."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.code = function(*arguments)

    def done(self) -> bool:
        return True

    def result(self) -> int:
        return self.code


class Executor:
    parameters: dict = {}

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def update_parameters(self, **parameters: object) -> None:
        Executor.parameters = parameters

    def submit(self, function: Callable, *arguments: object) -> Submitted:
        return Submitted(function, *arguments)


HELD = """import os, sys, time
while "select" in sys.orig_argv and os.path.exists({hold!r}):
    time.sleep(0.01)
"""


class RunnerTest(FakeTest):
    def test_a_run_that_fails_is_said_and_what_needs_it_is_not_begun(self) -> None:
        block = {"train": {"tokens": 64, "batch-tokens": 8}, "branches": {"by": "init", "vary": {"lr": [1, 2]}}}
        self.study({"blocks": self.BLOCKS | {"B": block}, "replicates": 2})
        done = self.call("run", "out", "toy.json", "--jobs", "3")
        said = "3 of 10 runs failed, 2 of 10 runs were not run because of that\n"
        self.assertEqual((done.returncode, done.stderr), (1, said))
        self.assertIn("B_trunk_replicate-2: FAILED, train_cpu ended with code 2; see ", done.stdout)
        self.assertIn("B_lr-1_replicate-2: not run: it needs B_trunk_replicate-2, which failed", done.stdout)
        self.assertIn("5 of 10 runs are finished", self.report()["md"])
        self.assertIn("| 0.1 | 1 of 2 | 3.25 |", self.report()["md"])

    def test_data_of_a_run_are_made_after_it(self) -> None:
        from knapsack.study.declare import read_study
        from knapsack.study.plan import said_of

        block = {"train": {"tokens": 64, "batch-tokens": 8}, "branches": {"by": "init", "vary": {"lr": [1, 2]}}}
        keep = {"after": "B", "command": "select {trunk} bio --out {data}/keep{replicate}.txt"}
        value = {"blocks": self.BLOCKS | {"B": block}, "replicates": 2, "data": {"keep": keep}}
        self.study(value)
        study = read_study(pathlib.Path(self.path("toy.json")), pathlib.Path(self.path("out")), None)
        said = r"knapsack select \S+/B_trunk_replicate-2 bio --out \S+/keep2.txt   \(after B_trunk_replicate-2\)"
        self.assertRegex(said_of(study.steps[1]), said)
        done = self.call("run", "out", "toy.json", "--jobs", "2")
        self.assertEqual(done.returncode, 1)
        command = rf"knapsack select \S+/B_trunk_replicate-1 bio --out {self.near('out/data/keep1.txt')}"
        log = self.path("out/data/keep.1.log")
        self.assertRegex(
            done.stdout,
            rf"data keep.1: FAILED, ended with code 2: .*no knowledge source.*; its command was {command}; see {log}\n",
        )
        self.assertEqual(done.stdout.count("no knowledge source"), 1)
        self.assertEqual(pathlib.Path(log).read_text().count("no knowledge source"), 1)
        for branch in ("B_lr-1_replicate-1", "B_lr-2_replicate-1"):
            self.assertIn(f"{branch}: not run: it needs data keep.1, which failed", done.stdout)
        self.assertRegex(done.stderr, r"3 of 10 .* failed, 1 steps of the data failed, 4 of 10 runs were not run")
        self.assertIn("A_lr-0.1_replicate-1: done", done.stdout)
        self.assertNotIn("keep.2", done.stdout)  # its trunk failed
        events = [(one["event"], one.get("run") or f"data {one['data']}") for one in self.journal()]
        self.assertEqual([event for event, name in events if name == "data keep.1"], ["begins", "failed"])
        self.assertEqual([event for event, name in events if name == "data keep.2"], ["not run"])
        self.assertEqual([event for event, name in events if name == "B_lr-2_replicate-1"], ["not run"])
        lines = self.report()["md"].splitlines()
        trunk = next(i for i, line in enumerate(lines) if line.startswith("eval_cpu") and "B_trunk_replicate-1" in line)
        self.assertRegex(lines[trunk + 1], "knapsack select OUT/runs/B_trunk_replicate-1 bio --out OUT/data/keep1.txt")

        self.study(value | {"data": {"keep": keep | {"command": keep["command"] + " --rule hardest"}}})
        self.assertIn("CHANGED: step of the data keep was changed after the first run began", self.report()["md"])

    def selecting(self, blocks: dict | None = None) -> dict:
        """A study, written, whose branch goes on with half of four people; the trainer leaves answers of its own."""
        lines = [
            {"step": 1, "set": "bio", "source": "bio", "question": entity, "entity": entity, "attribute": "x",
             "kind": "seen", "group": "all", "correct": False, "nll": 9.0 - entity, "exposures": 1}
            for entity in range(4)
        ]  # fmt: skip
        self.write("answers.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        shards = {"format_version": 1, "slots": ["x"], "shards": [{"name": "bio", "entities": 4}]}
        self.write("bio.json", json.dumps(shards))
        more = f"""mkdir -p "$out/answers" "$out/exposures" "$out/checkpoints/step_00000008"
cp {self.path("answers.jsonl")} "$out/answers/step_00000001.jsonl"
cp {self.path("bio.json")} "$out/exposures/bio.json"
"""
        self.TRAIN = TRAIN.replace("echo finished", more + "echo finished")
        keep = {"after": "B", "command": "select {trunk} bio --share 0.5 --out {data}/keep{replicate}.txt"}
        branches = {"by": "init", "runs": {"easiest": {"subsample": "bio=file:{data}/keep{replicate}.txt"}}}
        block = {"train": {"tokens": 64, "batch-tokens": 8, "val": "web=x.bin"}, "branches": branches}
        value = {"blocks": {"B": block | {"measures": ["val/web/loss"]}} | (blocks or {}), "data": {"keep": keep}}
        self.study(value)
        return value

    def test_data_of_a_run_are_made_once(self) -> None:
        """Also where the study was killed between the command and its stamp, or before the branch."""
        value = self.selecting()
        keep = value["data"]["keep"]

        def run(code: int = 0) -> str:
            done = self.call("run")
            self.assertEqual(done.returncode, code, done.stderr)
            return done.stdout + done.stderr

        self.assertIn("data keep.1: knapsack select", run())
        made = pathlib.Path(self.path("out/data/keep1.txt"))
        stamp = pathlib.Path(self.path("out/data/keep.1.done.json"))
        self.assertEqual(made.read_text(), "2\n3\n")
        log = pathlib.Path(self.path("out/runs/B_easiest_replicate-1.log")).read_text()
        self.assertIn(f"--subsample bio=file:{made} ", log)
        self.assertNotIn("data keep.1", run())
        branch = pathlib.Path(self.path("out/runs/B_easiest_replicate-1"))
        stamp.unlink()
        self.assertNotIn("data keep.1", run())  # nobody needs it any more
        shutil.rmtree(branch)
        self.assertIn("data keep.1: knapsack select", run())
        self.assertEqual(made.read_text(), "2\n3\n")
        self.study(value | {"data": {"keep": keep | {"command": keep["command"] + " --rule hardest"}}})
        self.assertIn("data keep.1 of", run(2))
        self.study(value)
        made.write_text("0\n1\n")
        self.assertRegex(run(3), "was made with other data: .*keep1.txt has changed since")

    def keep_events(self, out: str = "out") -> list[str]:
        return [one["event"] for one in self.journal(out) if one.get("data") == "keep.1"]

    def test_killed_while_data_of_a_run_are_made(self) -> None:
        """Whoever is killed, the same command goes on and ends with the same report."""
        self.selecting()
        self.assertEqual(self.call("run", "whole").returncode, 0)
        whole = self.report("whole")
        hold = self.path("hold")  # while it is there, `knapsack select` does not begin
        self.write("sitecustomize.py", HELD.format(hold=hold))
        for victim in ("runner", "step", "both", "interrupt"):
            with self.subTest(victim):
                self.write("hold", "")
                process = self.begin(victim, path=self.folder)
                step = self.begun_step(victim, process)
                if victim != "step":
                    process.send_signal(signal.SIGINT if victim == "interrupt" else signal.SIGKILL)
                if victim in ("step", "both"):
                    os.kill(step, signal.SIGKILL)
                code = process.wait(timeout=120)
                said = pathlib.Path(self.path(f"{victim}.said")).read_text()
                self.assertEqual(code, {"step": 1, "interrupt": 75}.get(victim, -9), said)
                if victim == "step":
                    self.assertIn("data keep.1: FAILED, ended with code -9", said)
                    page = self.report(victim)["md"]
                    self.assertIn("Failed when it was last tried: data keep.1, ended with code -9", page)
                    self.assertIn("(OUT/data/keep.1.log). Not run because of it: B_easiest_replicate-1.", page)
                os.remove(hold)
                self.assertFalse(os.path.exists(self.path(victim, "runs", "B_easiest_replicate-1")))
                self.assertEqual(self.call("run", victim).returncode, 0)
                self.assertEqual(self.keep_events(victim)[-2:], ["begins", "done"])
                self.assertEqual(self.report(victim), whole)

    def begun_step(self, out: str, study: subprocess.Popen) -> int:
        self.wait_until(lambda: bool(self.keep_events(out) and children_of(study)))
        return children_of(study)[0]

    def test_other_runs_go_on_while_data_of_a_run_are_made(self) -> None:
        """Here the command waits for one of an earlier start, which still has its log."""
        self.selecting(self.BLOCKS)
        os.makedirs(self.path("out", "data"))
        with open(self.path("out", "data", "keep.1.log"), "a") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            process = self.begin("out", "--jobs", "2")

            def others_are_done() -> bool:
                done = {one.get("run") for one in self.journal() if one["event"] == "done"}
                return {"A_lr-0.1_replicate-1", "A_lr-0.2_replicate-1"} <= done

            self.wait_until(others_are_done)
            self.assertEqual(self.keep_events(), ["begins"])
        self.assertEqual(process.wait(timeout=120), 0)
        self.assertEqual(self.keep_events(), ["begins", "done"])

    def test_predictions_may_change_until_a_run_begins(self) -> None:
        def written(low: float) -> dict:
            prediction = {"block": "A", "at": {"lr": 0.1}, "measure": "val/web/loss", "between": [low, 9]}
            self.study({"blocks": self.BLOCKS, "predictions": {"a": prediction}})
            self.assertEqual(self.call("run", "out", "toy.json", *more).returncode, 0)
            path = pathlib.Path(self.path("out", "predictions.json"))
            return json.loads(path.read_text())["declared"]["predictions"] if path.exists() else {}

        more = ("--data-only",)
        self.assertEqual(written(1), {})
        more = ()
        self.assertEqual(written(2)["a"]["between"], [2, 9])
        self.assertEqual(written(3)["a"]["between"], [2, 9])
        self.assertIn("CHANGED: prediction a was changed", self.report()["md"])
        self.assertIn("| a (changed) | 3 to 9 | 3.25 | held |", self.report()["md"])

    def registered(self) -> dict:
        return json.loads(pathlib.Path(self.path("out", "predictions.json")).read_text())

    def test_what_was_registered_before_is_kept_and_shown(self) -> None:
        from knapsack.study.declare import read_study
        from knapsack.study.predictions import register

        def value(low: float, **parts: object) -> dict:
            prediction = {"block": "A", "at": {"lr": 0.1}, "measure": "val/web/loss", "between": [low, 9]}
            return {"blocks": self.BLOCKS, "predictions": {"a": prediction}} | parts

        for low in (1, 2, 2, 3):
            path = pathlib.Path(self.study(value(low)))
            register(read_study(path, pathlib.Path(self.path("out")), None))
        self.assertEqual(self.call("run").returncode, 0)
        found = self.registered()
        lows = [one["declared"]["predictions"]["a"]["between"][0] for one in (*found["before"], found)]
        self.assertEqual(lows, [1, 2, 3])
        self.assertTrue(all(one["written"] and one["sha256"] for one in found["before"]))
        page = self.report()["md"]
        self.assertEqual(page.count("Registered earlier too, before any run began"), 2)
        self.assertEqual(page.count("prediction a changed."), 2)
        dates = ", ".join(one["written"] for one in found["before"])
        whole = pathlib.Path(self.path("out", "report.md")).read_text()
        self.assertIn(f"Predictions written {found['written']} (before that {dates})", whole)
        self.assertIn("Written before the first run began, unchanged since", page)

    def test_runs_that_the_file_no_longer_names_have_begun(self) -> None:
        """The old way around: take the blocks that are done out of the file, run, put them back with predictions."""
        prediction = {"block": "B", "at": {"lr": 0.3}, "measure": "val/web/loss", "between": [3, 4]}
        self.study({"blocks": self.BLOCKS})
        self.assertEqual(self.call("run").returncode, 0)
        os.remove(self.path("out", "predictions.json"))
        other = {"B": self.BLOCKS["A"] | {"vary": {"lr": [0.3]}}}
        self.study({"blocks": other, "predictions": {"b": prediction}})
        self.call("run")
        self.study({"blocks": self.BLOCKS | other, "predictions": {"b": prediction}})
        self.call("run")
        self.assertIn("WRITTEN LATE: 2 runs had begun", self.report()["md"])

    def test_what_a_prediction_is_about_is_registered_too(self) -> None:
        prediction = {"block": "A", "at": {"lr": 0.1}, "measure": "val/web/loss", "between": [1, 9]}
        value = {"blocks": {"A": self.BLOCKS["A"]}, "predictions": {"a": prediction}}
        self.study(value)
        self.assertEqual(self.call("run").returncode, 0)
        self.study(value | {"blocks": {"A": self.BLOCKS["A"] | {"about": "in other words"}}})
        self.assertIn("unchanged since", self.report()["md"])
        more = self.BLOCKS["A"] | {"measures": ["val/web/loss", "val/web/ppl"]}
        self.study(value | {"blocks": {"A": more}, "laws": {"late": {"blocks": ["A"], "arguments": "--size none"}}})
        page = self.report()["md"]
        self.assertIn("CHANGED: block A was changed after the first run began.", page)
        self.assertIn("CHANGED: law", page)
        self.assertIn("| a (changed) | 1 to 9 | 3.25 | held |", page)
        self.study({"blocks": {"A": self.BLOCKS["A"]}})
        self.assertIn("CHANGED: prediction", self.report()["md"])

    def test_by_slurm(self) -> None:
        from knapsack.study import slurm

        self.study({"blocks": self.BLOCKS})
        with unittest.mock.patch.object(slurm, "submitit", types.SimpleNamespace(AutoExecutor=Executor)):
            done = self.call("run", "out", "toy.json", "--slurm", "gpu", "--slurm-hours", "3", "--jobs", "2")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(Executor.parameters["timeout_min"], 180)
        self.assertIn("2 of 2 runs are finished", self.report()["md"])

    def test_slurm_needs_its_package(self) -> None:
        from knapsack.study import slurm

        self.study({"blocks": self.BLOCKS})
        with unittest.mock.patch.object(slurm, "submitit", None):
            done = self.call("run", "out", "toy.json", "--slurm", "gpu")
        self.assertEqual(done.returncode, 2)
        self.assertIn("'submitit' is missing; install it with: pip install submitit", done.stderr)

    def test_a_second_runner_is_refused(self) -> None:
        self.study({"blocks": self.BLOCKS})
        os.makedirs(self.path("out"))
        with open(self.path("out", "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.call("run")
        self.assertEqual(done.returncode, 2)
        self.assertIn("another `knapsack study run` is at work", done.stderr)

    def test_a_gpu_each(self) -> None:
        from knapsack.runs.runner import Programs
        from knapsack.study import execute

        programs = Programs(pathlib.Path("train_gpt"), pathlib.Path("eval_knowledge"))
        with unittest.mock.patch.object(execute, "gpus", lambda: 2):
            devices = [one["CUDA_VISIBLE_DEVICES"] for one in execute.slots(3, programs)]
        self.assertEqual(devices, ["0", "1", "0"])


if __name__ == "__main__":
    unittest.main()
