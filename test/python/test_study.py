"""knapsack study: a toy study end to end, killed and gone on with; its plan; what it refuses.

KNAPSACK_KILLS=N kills it N times instead of three."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import unittest

import support
from studies import KEEP, TOY, StudyTest, changed, children_of, needs_programs

from knapsack.common.parallel import available_cores

KILLS = int(os.environ.get("KNAPSACK_KILLS", "3"))
STEP_KILLS = 2  # of them at most at the step that is made of a run, which is short: few moments of all are in it
# A toy whose second stage goes on with the half of the people that the first one knows best, or with any half.
CHOSEN = changed(
    data=TOY["data"] | {"keep": KEEP | {"after": "chosen"}},
    blocks=TOY["blocks"]
    | {
        "chosen": {
            "replicates": 1,
            "train": {"questions-per-set": "all"},
            "branches": {
                "by": "init",
                "runs": {
                    "any": {"subsample": "pow=0.5"},
                    "easiest": {"subsample": "pow=file:{data}/rep{replicate}/keep.txt"},
                },
            },
        }
    },
    tables={
        "half": {
            "about": "Which half?",
            "blocks": ["chosen", "L"],
            "against": [{"run": "any"}, {"block": "L", "model": "pythia:L1:C16:H2"}],
            "measures": ["know/pow/loss"],
        }
    },
)


@needs_programs
@support.needs_tokenizers
class ToyTest(StudyTest):
    def kill_something(self, process: subprocess.Popen, draw: random.Random) -> None:
        """The runner, or a program that it started."""
        victim = draw.choice([process.pid, *children_of(process)])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return
        if victim != process.pid and draw.random() < 0.5:  # what is left goes on, or not
            process.kill()

    def has_been_killed(self, process: subprocess.Popen, seconds: float, draw: random.Random, with_step: bool) -> bool:
        """After so many seconds, or a moment after the step that is made of a run begins; False where it ended
        before."""
        end, before = time.monotonic() + seconds, self.keep_events()
        while process.poll() is None and time.monotonic() < end:
            if with_step and self.keep_events() > before:
                end = min(end, time.monotonic() + draw.uniform(0, 0.5))
            time.sleep(0.02)
        if process.poll() is not None:
            return False
        self.kill_something(process, draw)
        process.wait()
        return True

    def keep_events(self) -> int:
        return sum(one.get("data") == "keep.1" and one["event"] == "begins" for one in self.journal("killed"))

    def check_selection(self, out: str, page: str) -> None:
        """The easiest half was shown and no other; its arm is in the table."""
        runs = pathlib.Path(out, "runs")
        answers = sorted((runs / "chosen_trunk_replicate-1" / "answers").glob("*.jsonl"))[-1]
        losses: dict[int, list[float]] = {}
        for line in map(json.loads, answers.read_text().splitlines()):
            if line["kind"] == "seen":
                losses.setdefault(line["entity"], []).append(line["nll"])
        self.assertEqual(len(losses), 8)
        easiest = sorted(sorted(losses, key=lambda entity: sum(losses[entity]) / len(losses[entity]))[:4])
        keep = pathlib.Path(out, "data", "rep1", "keep.txt")
        self.assertEqual(keep.read_text().split(), list(map(str, easiest)))
        import numpy as np

        ledger = np.load(runs / "chosen_easiest_replicate-1" / "exposures" / "pow.npy")
        self.assertLessEqual(set(np.flatnonzero(ledger["count"].sum(axis=1))), set(easiest))
        note = json.loads((runs / "chosen_easiest_replicate-1.flags.json").read_text())
        self.assertEqual(note["data"]["subsample pow"]["files"][0]["path"], str(keep))
        lines = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| chosen, ")]
        lines = [[cell.strip() for cell in line] for line in lines]
        self.assertEqual([line[:2] for line in lines], [["chosen, any", "1 of 1"], ["chosen, easiest", "1 of 1"]])
        self.assertEqual((lines[0][3], lines[1][2] == lines[0][2]), ("", False))
        self.assertAlmostEqual(float(lines[1][3]), float(lines[1][2]) - float(lines[0][2]), delta=0.002)
        self.assertIn("| know/pow/loss | minus chosen, any | minus L, model pythia:L1:C16:H2 |", page)

    def test_a_study_killed_at_random_ends_with_the_same_report(self) -> None:
        self.study(CHOSEN)
        begun = time.monotonic()
        done = self.call("run", "whole", "toy.json", "--jobs", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        seconds = time.monotonic() - begun
        whole = self.report("whole")
        self.assertIn("15 of 15 runs are finished", whole["md"])
        self.check_selection(self.path("whole"), whole["md"])
        self.assertIn("Written before the first run began, unchanged since", whole["md"])
        rows = [line for line in whole["md"].splitlines() if line.startswith(("| sign |", "| loss |", "| gap |"))]
        self.assertEqual([line.split("|")[1].strip() for line in rows], ["sign", "gap", "loss"])  # what failed first
        self.assertEqual([line.split("|")[4].strip() for line in rows], ["failed", "failed", "held"])
        self.assertIn("Difference to model pythia:L1:C8:H1, paired by replicate", whole["md"])
        self.assertRegex(whole["md"], r"--cluster seed\n```\n\nNo law: 0 runs with a threshold, of 6, .*\n\n## ")
        for page in whole.values():
            self.assertNotRegex(page, r"[ =\"'](/tmp|/root|/home|/work)/")
        draw = random.Random(os.environ.get("KNAPSACK_SEED", "1"))
        kills = 0
        for _ in range(20 * KILLS):
            process = self.begin("killed", "--jobs", "2")
            window = draw.uniform(0.5, max(2.0, 1.5 * seconds / KILLS)) if kills < KILLS else 600
            with_step = kills < KILLS and self.keep_events() < STEP_KILLS
            if not self.has_been_killed(process, window, draw, with_step):
                if process.returncode == 0:
                    break
                continue
            kills += 1
        said = pathlib.Path(self.path("killed.said")).read_text()
        self.assertEqual(process.returncode, 0, said)
        self.assertNotRegex(said, "Traceback|a fault of the program")
        if "KNAPSACK_KILLS" in os.environ:
            print(f"killed {kills} times; keep.1 was begun {self.keep_events()} times", file=sys.stderr)
        self.assertGreater(kills, 0)
        self.assertEqual(self.report("killed"), whole)

    def test_a_plan_counts_what_a_hand_counts(self) -> None:
        """15 steps of 1,024 tokens a run; two checkpoints at most of 3 models; 60 answers an evaluation."""
        self.study()
        done = self.call("plan", "out", "toy.json", "--jobs", "2")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"12 runs, {12 * 15 * 1024:,} tokens to train", done.stdout)
        for block in ("L", "above"):
            self.assertRegex(done.stdout, rf"\n{block} +6 +0 +92,160 +[\d.]+ min ")
        self.assertRegex(
            done.stdout, r"\npythia:L1:C16:H2 +0.02M +[\d,]+ +0.[01]\d\d  timed here, 2 x 1 threads(, when .*)?\n"
        )
        self.assertIn("would be refused: nothing known", done.stdout)
        if available_cores() > 1:  # the first way is the fastest
            self.assertRegex(
                done.stdout, r"\n  pythia:\S+: (\d+) x \d+ threads [\d,]+, \d.* tokens/s; best --jobs \1( \(|\n)"
            )
            self.assertRegex(done.stdout, r"\n  proposed: --jobs \d+, \d+\.\d\d times as fast as \d+")
        people = f"knapsack synbio --people 20 --text-only 2 --workers 1 --out {self.near('out/data/people')}"
        self.assertIn(f"\n  {people}\n", done.stdout)
        rates = pathlib.Path(self.path("out", "rates.json")).read_text()
        again = self.call("plan", "out", "toy.json", "--jobs", "2", "--no-timing")
        self.assertIn("timed here, 2 x 1 threads", again.stdout)
        self.assertEqual(pathlib.Path(self.path("out", "rates.json")).read_text(), rates)
        twice = changed(blocks=TOY["blocks"] | {"M": {"train": {"lr": 0.0030}, "vary": {"model": ["pythia:L1:C8:H1"]}}})
        self.study(twice)
        done = self.call("plan", "out", "toy.json", "--no-timing")
        self.assertEqual(done.returncode, 2)
        self.assertIn("are one run: the same options and data", done.stdout)

    def test_what_is_refused_and_what_is_said_of_changed_predictions(self) -> None:
        value = changed(blocks={"L": TOY["blocks"]["L"]}, hysteresis={}, replicates=1)
        value["predictions"] = {"loss": TOY["predictions"]["loss"]}
        self.study(value)
        done = self.call("run", "out", "toy.json", "--jobs", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, rf"data tokenizer: knapsack tokenizer {self.near('text.txt')}@100k .*\n")
        self.assertIn("done before", self.call("run").stdout)
        self.assertIn("unchanged since", self.report()["md"])
        self.study(value | {"predictions": {"loss": TOY["predictions"]["loss"] | {"between": [5, 6]}}}, "other.json")
        self.assertIn(
            "CHANGED: prediction loss was changed after the first run began", self.report(name="other.json")["md"]
        )
        path = pathlib.Path(self.path("out", "predictions.json"))
        found = json.loads(path.read_text())
        found["declared"]["predictions"]["loss"]["between"] = [5, 6]
        path.write_text(json.dumps(found))
        self.assertIn("predictions.json was edited", self.report(name="other.json")["md"])
        path.unlink()
        self.assertIn("NOT REGISTERED", self.report()["md"])
        self.assertEqual(self.call("run").returncode, 0)
        self.assertIn("WRITTEN LATE: 3 runs had begun", self.report()["md"])

        other = value | {"train": value["train"] | {"lr": 0.001}}
        self.study(other, "other.json")
        done = self.call("run", "out", "other.json")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"was made with other flags \(--lr 0.003, not --lr 0.001\)")
        steps = value["data"] | {"people": {"command": "synbio --people 21 --text-only 2 --out {data}/people"}}
        self.study(value | {"data": steps}, "other.json")
        done = self.call("run", "out", "other.json")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, "data people of .* were made with another command")
        with open(self.path("out", "data", "rep1", "pow.facts.json"), "a") as file:
            file.write(" ")
        done = self.call("run")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, "pow.facts.json has changed since")


if __name__ == "__main__":
    unittest.main()
