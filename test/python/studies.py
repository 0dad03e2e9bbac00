"""What the tests of `knapsack study` share: a toy study, programs that do nothing, a study's commands."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest
from collections.abc import Callable

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import support  # noqa: E402

BUILD = pathlib.Path(os.environ.get("KNAPSACK_BUILD", support.REPOSITORY))
PROGRAMS = BUILD / "train_gpt_cpu", BUILD / "eval_knowledge_cpu"
SANITIZED = BUILD.name.endswith(("asan", "tsan"))  # in which training takes minutes
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


KEEP = {
    "after": "above", "command": "select {trunk} pow --share 0.5 --out {data}/rep{replicate}/keep.txt"
}  # fmt: skip


def children_of(process: subprocess.Popen) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return list(map(int, listed.stdout.split()))


def changed(**parts: object) -> dict:
    return json.loads(json.dumps(TOY)) | parts


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

    def journal(self, out: str = "out") -> list[dict]:
        """What is there by now, without a line that is cut off."""
        path = pathlib.Path(self.path(out, "journal.jsonl"))
        found = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def begin(self, out: str, *more: str, path: str = "") -> subprocess.Popen:
        """`study run` as a process of its own, which says what it says in OUT.said; `path`: modules of its own."""
        command = [sys.executable, "-m", "knapsack", "study", *self.words("run", out, "toy.json", *more)]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [support.REPOSITORY, path])))
        with open(self.path(f"{out}.said"), "ab") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not holds():
            self.assertLess(time.monotonic(), end, "waited in vain")
            time.sleep(0.01)


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


class FakeTest(StudyTest):
    """With programs that do nothing."""

    TRAIN = TRAIN  # a test may take another
    BLOCKS = {"A": {"train": {"val": "web=x.bin"}, "vary": {"lr": [0.1, 0.2]}, "measures": ["val/web/loss"]}}

    def words(self, action: str, out: str = "out", name: str = "toy.json", *more: str) -> list[str]:
        for program, text in (("train_cpu", self.TRAIN), ("eval_cpu", EVAL)):
            os.chmod(self.write(program, text), 0o755)
        programs = ["--train-program", self.path("train_cpu"), "--eval-program", self.path("eval_cpu")]
        return [action, self.path(name), "--out", self.path(out), *programs, *more]
