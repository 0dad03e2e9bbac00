"""knapsack study: a toy study end to end, killed and gone on with; what it refuses; what it says of its predictions.

KNAPSACK_KILLS=N kills it N times instead of five."""

import fcntl
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import types
import unittest
import unittest.mock
from collections.abc import Callable

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402

from knapsack.common.parallel import available_cores  # noqa: E402

BUILD = pathlib.Path(os.environ.get("KNAPSACK_BUILD", support.REPOSITORY))
PROGRAMS = BUILD / "train_gpt_cpu", BUILD / "eval_knowledge_cpu"
SANITIZED = BUILD.name.endswith(("asan", "tsan"))  # in which training takes minutes
KILLS = int(os.environ.get("KNAPSACK_KILLS", "5"))
IS_BUILT = all(path.exists() for path in PROGRAMS) and not SANITIZED
needs_programs = unittest.skipUnless(IS_BUILT, "train_gpt_cpu is not built, or for a sanitizer")
WORLD = ["web={data}/web.bin", "pow={data}/rep{replicate}/pow.bin"]
TOY = {
    "about": "a toy",
    "replicates": 2,
    "vocabulary": 512,
    "measures": ["know/pow/accuracy_seen", "know/pow/loss", "val/web/loss"],
    "train": {
        "seq-len": 64, "micro-batch": 16, "batch-tokens": 1024, "tokens": "16k", "lr": 0.003, "per-question": "on",
        "val": "web={data}/web_val.bin", "val-tokens": "2k", "questions-per-set": 60, "source": WORLD,
        "questions": "{data}/rep{replicate}/pow_questions", "model": "pythia:L1:C16:H2", "ratio": "pow=0.5",
    },
    "data": {
        "people": {"command": "synbio --people 20 --text-only 2 --workers 1 --out {data}/people"},
        "tokenizer": {"command": "tokenizer {text}@100k {data}/people.txt --vocab-size 512 --out {data}/tok"},
        "web": {"command": "text {text} --tokenizer {data}/tok --workers 1 --out {data}/web --val-documents 9"},
        "pow": {"command": "synbio --people 8 --seed {replicate} --groups powerlaw:1.5:4 --tokenizer {data}/tok"
                           " --workers 1 --out {data}/rep{replicate}/pow"},
    },
    "blocks": {
        "L": {"vary": {"model": ["pythia:L1:C8:H1", "pythia:L1:C16:H2", "pythia:L1:C32:H2"]},
              "baseline": {"model": "pythia:L1:C8:H1"}},
        "above": {"branches": {"by": "init", "train": {"eval-at": "every:2"},
                               "vary": {"ratio": ["pow=0.1", "pow=0.4"]}}},
    },
    "laws": {"size": {"blocks": ["L"], "arguments": "--set pow --horizon none --cluster seed"}},
    "hysteresis": {"transition": {"above": "above", "below": "L", "axis": "ratio", "set": "pow"}},
    "predictions": {
        "sign": {"hysteresis": "transition", "at": "pow=0.1", "sign": "-"},
        "loss": {"block": "L", "at": {"model": "pythia:L1:C32:H2"}, "measure": "know/pow/loss", "between": [0, 9]},
        "gap": {"block": "L", "at": {"model": "pythia:L1:C32:H2"}, "minus": {"model": "pythia:L1:C8:H1"},
                "measure": "know/pow/loss", "between": [1, 9]},
        "gamma": {"law": "size", "value": "law/exponents/gamma", "between": [1, 2]},
    },
}  # fmt: skip
TOY["hysteresis"]["transition"].pop("below")


def predicting(value: dict) -> str:
    return json.dumps({"blocks": {"L": {}}, "predictions": {"a": value}})


def changed(**parts: object) -> dict:
    return json.loads(json.dumps(TOY)) | parts


def only_L(**parts: object) -> str:
    return json.dumps({"blocks": {"L": {}}} | parts)


def branching(flags: dict) -> str:
    train = {"tokens": "16k", "batch-tokens": "1k"} | flags
    return only_L(blocks={"L": {"train": train, "branches": {"by": "branch", "vary": {"lr": [1, 2]}}}})


def with_reading(more: dict) -> str:
    return json.dumps(changed(hysteresis={"t": TOY["hysteresis"]["transition"] | more}))


def with_sign(more: dict) -> str:
    return json.dumps(changed(predictions={"a": TOY["predictions"]["sign"] | more}))


KEEP = {
    "after": "above", "command": "select {trunk} pow --share 0.5 --out {data}/rep{replicate}/keep.txt"
}  # fmt: skip


def selecting(trunks: dict | None = None, **parts: object) -> str:
    blocks = TOY["blocks"] | {"above": TOY["blocks"]["above"] | (trunks or {})}
    return json.dumps(changed(blocks=blocks, data={"keep": KEEP | parts}))


def with_table(parts: dict) -> str:
    table = {"blocks": ["L"], "measures": ["val/web/loss"], "against": {"model": "pythia:L1:C8:H1"}}
    return json.dumps(changed(tables={"t": table | parts}))


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


class StudyTest(support.FolderTest):
    def study(self, value: object = TOY, name: str = "toy.json") -> str:
        return self.write(name, json.dumps(value))

    def words(self, action: str, out: str = "out", name: str = "toy.json", *more: str) -> list[str]:
        self.write("text.txt", "\n<|endoftext|>\n".join(support.documents(120)))
        programs = ["--train-program", str(PROGRAMS[0]), "--eval-program", str(PROGRAMS[1])]
        return [action, self.path(name), "--out", self.path(out), "--text", self.path("text.txt"), *programs, *more]

    def near(self, path: str) -> str:
        return os.path.relpath(self.path(path))

    def call(self, action: str, out: str = "out", name: str = "toy.json", *more: str) -> support.Done:
        return support.run_command("study", *self.words(action, out, name, *more))

    def report(self, out: str = "out", name: str = "toy.json") -> dict[str, str]:
        """Both pages, without their times."""
        done = self.call("report", out, name)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        pages = {ending: pathlib.Path(self.path(out, f"report.{ending}")).read_text() for ending in ("md", "html")}
        return {"md": pages["md"].split("\n## Times\n")[0], "html": pages["html"].split("<h2>Times</h2>")[0]}


class DeclarationTest(StudyTest):
    def test_what_a_file_may_not_say(self) -> None:
        cases = {
            "{": "not JSON",
            "[]": "expected an object",
            '{"block": {}}': "no key block; there are about",
            '{"blocks": {}}': "at least one block",
            '{"blocks": {"L": {"varies": {}}}}': "blocks: L: no key varies",
            '{"blocks": {"L": {"replicates": 0}}}': "replicates: expected a whole number",
            '{"blocks": {"L": {"train": {"seed": 1}}}}': "--seed is given, but a replicate sets it",
            '{"blocks": {"L": {"branches": {"by": "magic"}}}}': "by: expected init or branch",
            '{"blocks": {"L": {"branches": {"by": "init"}}}}': "a block with branches says --tokens itself",
            '{"blocks": {"L": {}}, "data": {"a": {"command": "x", "blocks": "M"}}}': "data: a: no block M",
            '{"blocks": {"L": {}}, "laws": {"a": {"blocks": ["M"]}}}': 'laws: a: no block "M"; there are L',
            predicting({}): "predictions: a: expected one of law, block and hysteresis",
            predicting({"block": "L", "measure": "x", "between": [2, 1]}): "a: between: expected .low, high., found",
            predicting({"block": "L", "measure": "x", "between": [1, 2], "at": {"lr": 1}}): "at: no run is at",
            only_L(laws={"a": {"blocks": ["L"], "arguments": "--set 'x"}}): "laws: a: arguments: no closing quotation",
            only_L(laws={"a": {"blocks": [["L"]]}}): "laws: a: expected a text",
            with_reading({"axis": "lr"}): "hysteresis: t: above: lr: no such axis",
            with_reading({"above": "L", "axis": "model"}): "'pythia:L1:C8:H1' is no number to be put in order",
            with_reading({"above": ["L"]}): "t: above: no block",
            only_L(vocabulary="abc"): 'vocabulary: expected a whole number above 0, found "abc"',
            only_L(vocabulary=True): "vocabulary: expected a whole number",
            only_L(rates="fast"): "rates: expected an object",
            only_L(rates={"tokens_per_s": {"a": "fast"}}): "rates: tokens_per_s: a: expected a number above 0",
            only_L(rates={"tokens_per_s": 5}): "rates: tokens_per_s: expected an object",
            only_L(data={"a": {"command": "text 'x"}}): "data: a: command: no closing quotation",
            selecting(after="M"): "data: keep: after: 'M' is no block whose branches go on by init",
            selecting(after="L"): "data: keep: after: 'L' is no block whose branches go on by init",
            selecting(blocks="above"): "data: keep: blocks: those of a step after above are the branches of above",
            selecting(command="select {trunk} pow"): "command: expected {replicate}, above has 2 replicates",
            selecting({"vary": {"lr": [1, 2]}}): "'above' is no block whose branches go on by init from one trunk each",
            with_table({"measures": []}): "tables: t: measures: expected at least one",
            with_table({"blocks": ["M"]}): "tables: t: no block M",
            with_table({"against": {"model": "x"}}): 'tables: t: against: no run is at {"model": "x"}',
            with_table({"against": {}}): "tables: t: against: several runs of a replicate are at {}",
            with_table({"rows": 1}): "tables: t: no key rows",
            branching({"cooldown": "abc"}): "--cooldown: expected a share of 0 to 1, found 'abc'",
            branching({"batch-tokens": "0"}): "--batch-tokens: '0' is not a count",
            branching({"tokens": "many"}): "--tokens: 'many' is not a count",
            predicting({"law": ["x"]}): 'a: law: there is no \\["x"\\]',
            predicting({"block": "L", "measure": "x", "between": [1, 2], "at": {"block": ["L"]}}): "at: no block",
            with_sign({"sign": "0"}): "margin: a prediction of 0 declares",
            with_sign({"sign": "0", "margin": 0}): "above 0; found 0",
            with_sign({"margin": 1}): "margin: only of a prediction of 0",
        }  # fmt: skip
        for text, said in cases.items():
            with self.subTest(text):
                self.write("bad.json", text)
                self.run_bad(2, said, "study", "run", self.path("bad.json"), "--out", self.path("out"))
        self.run_bad(2, "there is no|No such file", "study", "plan", self.path("none.json"), "--out", self.path("out"))
        self.assertFalse(os.path.exists(self.path("out")))

    def test_blocks_are_chosen_in_order_and_by_replicate(self) -> None:
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study

        study = read_study(pathlib.Path(self.study()), pathlib.Path(self.path("out")), None)
        names = [one.run.name for one in choose(study, "above:2,L:1")]
        self.assertEqual(names[0], "above_trunk_replicate-2")
        self.assertEqual(len(names), 6)
        self.assertEqual([one.replicate for one in choose(study, "L")], [1, 1, 1, 2, 2, 2])
        branch = choose(study, "above:1")[1]
        self.assertEqual(branch.needs, ("above_trunk_replicate-1",))
        self.assertEqual(branch.run.flags["seed"], ["1"])
        self.assertTrue(branch.run.flags["init"][0].endswith("above_trunk_replicate-1/checkpoints/step_00000015"))
        self.assertNotIn("model", branch.run.flags)
        self.assertIn("rep1/pow.bin", branch.run.flags["source"][1])

    def test_a_law_may_be_of_a_part_of_a_block(self) -> None:
        from knapsack.study.choose import runs_of_law
        from knapsack.study.declare import read_study

        block = {"train": {"tokens": "48k"}, "branches": {"by": "branch", "vary": {"tokens": ["16k", "32k"]}}}
        laws = {"all": {"blocks": "H"}, "one": {"blocks": ["H"], "at": {"tokens": "16k"}},
                "long": {"blocks": ["H"], "at": [{"tokens": "32k"}, {"tokens": "48k"}]}}  # fmt: skip
        value = changed(blocks={"H": block}, laws=laws, hysteresis={}, predictions={}, replicates=1)
        study = read_study(pathlib.Path(self.study(value)), pathlib.Path(self.path("out")), None)
        found = {name: [run.setting["tokens"] for run in runs_of_law(study, law)] for name, law in study.laws.items()}
        self.assertEqual(found, {"all": ["48k", "16k", "32k"], "one": ["16k"], "long": ["48k", "32k"]})
        self.assertEqual(study.declared["laws"], laws)
        self.write("bad.json", json.dumps(value | {"laws": {"a": {"blocks": "H", "at": {"tokens": "64k"}}}}))
        self.run_bad(2, "laws: a: at: no run is at", "study", "plan", self.path("bad.json"), "--out", self.path("out"))

    def test_horizons_branch_where_their_cooldown_begins(self) -> None:
        from knapsack.study.declare import read_study

        block = {"train": {"tokens": "48k"}, "branches": {"by": "branch", "vary": {"tokens": ["16k", "32k"]}}}
        value = changed(blocks={"H": block}, laws={}, hysteresis={}, predictions={}, replicates=1)
        study = read_study(pathlib.Path(self.study(value)), pathlib.Path(self.path("out")), None)
        trunk, short, long = study.runs
        self.assertEqual(trunk.run.flags["checkpoint-at"], ["at:13,at:28,end"])  # 15 - 2, 31 - 3 of 46 steps
        self.assertEqual(trunk.run.flags["keep"], ["0"])
        self.assertEqual([one.setting["tokens"] for one in study.runs], ["48k", "16k", "32k"])
        self.assertTrue(short.run.flags["branch"][0].endswith("step_00000013"))
        self.assertTrue(long.run.flags["branch"][0].endswith("step_00000028"))

    def test_a_grid_has_replicates(self) -> None:
        grid = {
            "replicates": 2,
            "vary": {"ratio": ["bio=0.1", "bio=0.2"]},
            "train": {"source": ["web=web.bin", "bio=bio{replicate}.bin"]},
        }
        path = self.write("grid.json", json.dumps(grid))
        said = self.run_ok("sweep", "--grid", path, "--out", self.path("out"), "--dry-run")
        lines = [line for line in said.splitlines() if "train_gpt" in line]
        self.assertEqual(len(lines), 4)
        self.assertIn("--source web=web.bin --source bio=bio2.bin --ratio bio=0.1 --seed 2 --data-seed 2", lines[1])
        self.write("grid.json", json.dumps(grid | {"vary": {"seed": [1, 2]}}))
        self.run_bad(2, "--seed is given, but a replicate sets it", "sweep", "--grid", path, "--out", "x", "--dry-run")
        self.write("grid.json", '{"replicates": true}')
        self.run_bad(2, "replicates: expected a whole number", "sweep", "--grid", path, "--out", "x", "--dry-run")


class CellTest(support.FolderTest):
    """Parts of the report that need no runs."""

    def test_an_interval_is_of_the_run_whose_value_is_shown(self) -> None:
        from knapsack.study.tables import over_replicates

        self.assertEqual(over_replicates([(None, 0.1, 0.2), (0.5, 0.4, 0.6)]), "0.5 [0.4, 0.6] people")
        self.assertEqual(over_replicates([(0.5, None, None), (None, 0.1, 0.2)]), "0.5")
        self.assertEqual(over_replicates([(None, 0.1, 0.2)]), "-")
        self.assertRegex(over_replicates([(0.5, 0, 1), (0.7, 0, 1)]), r"^0.6 \[-0.67\d*, 1.87\d*\]$")

    def test_commands_do_not_carry_the_machine_s_folders(self) -> None:
        from knapsack.study.blocks import PACKAGE
        from knapsack.study.report import command

        here = os.getcwd()
        study = types.SimpleNamespace(out=pathlib.Path("/srv/studies/toy"))
        words = ["text", f"{here}/text.txt@6M", "--out", "/srv/studies/toy/data/web", "--source", f"a={here}/a b.bin"]
        words += ["--facts", f"{PACKAGE}/facts/sample.tsv", "--val", "web=/srv/studies/toy/data/v.bin", "ratio=0.5"]
        self.assertEqual(
            command(words, study),
            "knapsack text text.txt@6M --out OUT/data/web --source 'a=a b.bin' --facts knapsack/facts/sample.tsv"
            " --val web=OUT/data/v.bin ratio=0.5",
        )
        self.assertEqual(command([f"{os.path.dirname(here)}/x"], study), "knapsack ../x")

    def test_no_law_says_why(self) -> None:
        from knapsack.study.report import refusal_of

        self.assertEqual(refusal_of({"law": {"refused": "two runs"}}, "no law: two runs"), "two runs")
        self.assertEqual(
            refusal_of({"settings": [{"laws": {"a": {"refused": "x"}, "b": {"refused": "y"}}}]}, ""), "x; y"
        )
        self.assertEqual(refusal_of({"settings": [{"laws": {"a": {"refused": "x"}, "b": {}}}]}, ""), "")
        self.assertEqual(refusal_of({"law": {"exponents": {}}}, "left out: a run"), "")
        self.assertEqual(refusal_of({}, "knapsack laws: no law: two runs\n"), "two runs")
        self.assertEqual(refusal_of({}, "no run of it is finished"), "no run of it is finished")


class SignTest(support.FolderTest):
    """What a slope shows of keeping what is known."""

    def run_of(self, name: str, shares: list[float], people: int = 60) -> pathlib.Path:
        """A run of 1M tokens a step, whose evaluations of steps 3, 4, ... are of people that are right as often as
        this; two answers a person."""
        draw = random.Random(5)
        folder = pathlib.Path(self.path(name))
        (folder / "answers").mkdir(parents=True)
        options = {"schedule": "wsd", "warmup": 0, "cooldown": 0.1}
        (folder / "config.json").write_text(json.dumps({"options": options, "steps": 10, "tokens": 10_000_000}))
        for step, share in enumerate(shares, 3):
            lines = []
            for entity in range(people):
                for number, attribute in enumerate(("birth_city", "major")):
                    fact = {
                        "step": step,
                        "set": "bio",
                        "question": 2 * entity + number,
                        "source": "bio",
                        "group": "all",
                    }
                    fact |= {"entity": entity, "attribute": attribute, "kind": "seen", "nll": 1.0, "exposures": 1}
                    lines.append(json.dumps(fact | {"correct": draw.random() < share}))
            (folder / "answers" / f"step_{step:08d}.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    def sign(self, name: str, shares: list[float], margin: float, people: int = 60) -> str:
        from knapsack.runs.answers import Chosen
        from knapsack.study.hysteresis import Slope, sign_of, trend_of

        trend = trend_of(self.run_of(name, shares, people), Chosen("seen", None, "bio"))
        return Slope(name, "bio=0.2", 1, trend, sign_of(trend)).sign_within(margin)

    def test_zero_is_shown_and_not_what_is_left(self) -> None:
        self.assertEqual(self.sign("kept", [0.5] * 5, 0.06), "0")
        self.assertEqual(self.sign("kept too wide", [0.5] * 5, 0.001), "?")
        self.assertEqual(self.sign("few people", [0.5] * 5, 0.06, people=3), "?")
        self.assertEqual(self.sign("one evaluation", [0.5], 0.06), "?")
        self.assertEqual(self.sign("nothing is known", [0.0] * 5, 0.06), "?")
        self.assertEqual(self.sign("little is known", [0.04] * 5, 0.06), "?")
        self.assertEqual(self.sign("the margin takes all of it", [0.2] * 5, 0.08), "?")
        self.assertEqual(self.sign("learns", [0.3, 0.4, 0.5, 0.6, 0.7], 0.06), "+")
        self.assertEqual(self.sign("forgets", [0.7, 0.6, 0.5, 0.4, 0.3], 0.06), "-")


# In the place of the programs: a run whose training ends with its seed's code, 0 for the seed 1.
TRAIN = """#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --out) out=$2 ;; --seed) seed=$2 ;; esac; shift; done
mkdir -p "$out"
echo '{"options": {}, "steps": 1}' >"$out/config.json"
[ "$seed" = 1 ] || exit "$seed"
echo finished >"$out/DONE"
"""
EVAL = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
echo '{"metrics": {"val/web/loss": 3.25}}' >"$out"
"""


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


class RunnerTest(StudyTest):
    """With programs that do nothing."""

    BLOCKS = {"A": {"train": {"val": "web=x.bin"}, "vary": {"lr": [0.1, 0.2]}, "measures": ["val/web/loss"]}}

    def words(self, action: str, out: str = "out", name: str = "toy.json", *more: str) -> list[str]:
        for program, text in (("train_cpu", TRAIN), ("eval_cpu", EVAL)):
            os.chmod(self.write(program, text), 0o755)
        programs = ["--train-program", self.path("train_cpu"), "--eval-program", self.path("eval_cpu")]
        return [action, self.path(name), "--out", self.path(out), *programs, *more]

    def journal(self) -> list[dict]:
        return list(map(json.loads, pathlib.Path(self.path("out", "journal.jsonl")).read_text().splitlines()))

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

    def test_data_of_a_run_are_made_once(self) -> None:
        """Also where the study was killed between the command and its stamp, or before the branch."""
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
        with unittest.mock.patch.dict(globals(), {"TRAIN": TRAIN.replace("echo finished", more + "echo finished")}):
            keep = {"after": "B", "command": "select {trunk} bio --share 0.5 --out {data}/keep{replicate}.txt"}
            branches = {"by": "init", "runs": {"easiest": {"subsample": "bio=file:{data}/keep{replicate}.txt"}}}
            block = {"train": {"tokens": 64, "batch-tokens": 8, "val": "web=x.bin"}, "branches": branches}
            value = {"blocks": {"B": block}, "data": {"keep": keep}}
            self.study(value)

            def run(code: int = 0) -> str:
                done = self.call("run")
                self.assertEqual(done.returncode, code, done.stderr)
                return done.stdout + done.stderr

            self.assertIn("data keep.1: knapsack select", run())
            made, stamp = (
                pathlib.Path(self.path("out/data/keep1.txt")),
                pathlib.Path(self.path("out/data/keep.1.done.json")),
            )
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

    def test_studies_that_are_shipped(self) -> None:
        from knapsack.study.choose import choose
        from knapsack.study.declare import read_study
        from knapsack.study.predictions import check_predictions

        folder = pathlib.Path(support.REPOSITORY, "dev", "studies")
        counted = {}
        for path in sorted(folder.glob("*.json")):
            study = read_study(path, pathlib.Path(self.path("out")), None)
            check_predictions(study)
            counted[path.stem] = len(choose(study, None))
        self.assertEqual(
            counted,
            {"cpu-capacity": 18, "cpu-critical": 16, "cpu-law": 73, "cpu-mitigation": 30, "gpu-quarter-hour": 8,
             "gu2025-410m": 6, "gu2025-70m": 34, "gu2025-frequency": 10, "lv2025-ladder": 32},
        )  # fmt: skip


@needs_programs
@support.needs_tokenizers
class ToyTest(StudyTest):
    def start(self, out: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "knapsack", "study", *self.words("run", out, "toy.json", "--jobs", "2")]
        environment = dict(os.environ, PYTHONPATH=support.REPOSITORY)
        with open(self.path(f"{out}.said"), "ab") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)

    def kill_something(self, process: subprocess.Popen, draw: random.Random) -> None:
        """The runner, or a program that it started."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
        children = list(map(int, listed.stdout.split()))
        victim = draw.choice([process.pid, *children])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return
        if victim != process.pid and draw.random() < 0.5:  # what is left goes on, or not
            process.kill()

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
        kills, process = 0, None
        for _ in range(20 * KILLS):
            process = self.start("killed")
            try:
                process.wait(timeout=draw.uniform(0.5, max(2.0, 2 * seconds / KILLS)) if kills < KILLS else 300)
            except subprocess.TimeoutExpired:
                self.kill_something(process, draw)
                process.wait()
                kills += 1
                continue
            if process.returncode == 0:
                break
        said = pathlib.Path(self.path("killed.said")).read_text()
        self.assertEqual(process.returncode, 0, said)
        self.assertNotRegex(said, "Traceback|a fault of the program")
        if "KNAPSACK_KILLS" in os.environ:
            print(f"killed {kills} times", file=sys.stderr)
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
