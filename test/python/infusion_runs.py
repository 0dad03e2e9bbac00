"""Run directories of an infusion study: a real run of a second, and copies of it with other numbers planted."""

from __future__ import annotations

import copy
import csv
import functools
import json
import os
import pathlib
import sys
import unittest
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import support

sys.path.insert(0, os.path.join(support.REPOSITORY, "test", "e2e"))
import common  # noqa: E402

ENTITIES, SLOTS, TOKENS_A_FACT, BATCH = 25, 2, 20, 1000
FACTS = ENTITIES * SLOTS
Value = float | tuple[float, float, float]
GRID = (8, 16, 32, 64, 128, 256, 512)


def make_real_run(folder: pathlib.Path) -> None:
    """Web text, facts `wd` twice each, controls; trained for 8 steps, asked."""
    common.write_text(folder / "web", 40, seed=1)
    for number, name in enumerate(("wd", "wd_control")):
        common.write_knowledge(folder / name, ENTITIES, seed=number, slots=SLOTS)
        questions = folder / f"{name}_questions.questions.json"
        questions.write_text(json.dumps(json.loads(questions.read_text()) | {"name": name, "source": name}))
    asked = [flag for name in ("wd", "wd_control") for flag in ("--questions", f"{folder}/{name}_questions")]
    asked += ["--val", f"web={folder}/web.bin", "--val-tokens", "320"]
    size = ["--model", "pythia:L1:C16:H2", "--seq-len", "32", "--batch-tokens", "256", "--steps", "8"]
    sources = ["--source", f"web={folder}/web.bin", "--source", f"wd={folder}/wd.bin", "--exposures", "wd=2"]
    done = common.run(common.TRAIN, *size, *sources, *asked, "--out", str(folder / "run"))
    assert done.returncode == 0, done.stderr
    checkpoint = str(next((folder / "run/checkpoints").iterdir()))
    done = common.run(common.EVAL, "--checkpoint", checkpoint, *asked, "--out", str(folder / "run/results.json"))
    assert done.returncode == 0, done.stderr


@functools.lru_cache(maxsize=1)
def real_run() -> pathlib.Path:
    if not (common.TRAIN.exists() and common.EVAL.exists()):
        raise unittest.SkipTest(f"{common.TRAIN} or {common.EVAL.name} is not built")
    with support.made_once("infusion_run") as (folder, missing):
        if missing:
            make_real_run(pathlib.Path(folder))
        return pathlib.Path(folder) / "run"


@functools.lru_cache(maxsize=8)
def real_json(name: str) -> Any:
    """A file of the real run, not to be changed; of a .jsonl the last line."""
    text = (real_run() / name).read_text()
    return json.loads(text.splitlines()[-1] if name.endswith("l") else text)


def cell(value: Value, **more: object) -> dict:
    """A cell of results.json; a bare number has an interval of 0.01 to either side."""
    value, low, high = value if isinstance(value, tuple) else (value, value - 0.01, value + 0.01)
    planted = {"accuracy": value, "accuracy_interval": [low, high], "chance": 0.02, "majority": 0.06}
    return real_json("results.json")["know"]["wd"]["all"] | planted | more


def choices(value: float, half: float) -> dict:
    found = {"choice_questions": 100, "choice_chance": 0.1, "choice_majority": 0.15, "choice_rank": 2.0}
    for number, name in enumerate(("choice", "choice_norm")):
        at = value - 0.1 * number
        found |= {name: at, f"{name}_stderr": half / 2, f"{name}_interval": [at - half, at + half]}
    return found


def knowledge(value: Value, **more: object) -> dict:
    """A set's part of results.json: seen as given, held-out statements half, questions a quarter of it."""
    bare = value[0] if isinstance(value, tuple) else value
    kinds = (("seen", value), ("heldout", bare / 2), ("question", bare / 4))
    parts = [{"kind": kind} | cell(of_kind, **more) for kind, of_kind in kinds]
    return {"questions": 300, "all": cell(bare / 2, **more), "loss_interval": [1.4, 1.6], "by_kind": parts}


@dataclass
class Planted:
    """A copy of the real run with F exposures of each fact and what was found of them."""

    F: int
    seen: Value = 0.5
    control: Value | None = None
    seed: int = 1
    N: int = 10000
    budget: str = "replace"
    tokens: int = 400000
    loss: float | str = 4.0
    done: str | None = "DONE"
    steps: int | None = None  # stopped there
    results: bool = True
    account: bool = True
    more: dict[str, dict] = field(default_factory=dict)  # further question sets
    options: dict[str, Any] = field(default_factory=dict)
    K: int = FACTS

    @property
    def own(self) -> int:
        """Tokens of the facts."""
        return self.F * self.K * TOKENS_A_FACT

    @property
    def planned(self) -> int:
        """Steps."""
        return -(-(self.tokens + self.own * (self.budget == "append")) // BATCH)

    @property
    def realised(self) -> int:
        return self.planned if self.steps is None else self.steps

    def config(self) -> dict:
        config = copy.deepcopy(real_json("config.json"))
        plan = config["plan"]
        if self.F:
            plan["wd"] |= {"tokens": self.own, "epochs": self.F, "exposures": self.F}
        else:
            del plan["wd"]
        config["options"] |= {
            "model": f"pythia:{self.N}",
            "seed": self.seed,
            "budget": self.budget,
            "tokens": self.tokens,
            "steps": None,
            "batch-tokens": BATCH,
            "lr": 0.003,
            "warmup": min(160, self.planned // 10),
            "source": [f"{name}=data/{name}.bin" for name in plan],
            "exposures": [f"wd={self.F}"] if self.F else [],
            **self.options,
        }
        numbers = {"parameters": self.N, "parameters_non_embedding": self.N // 2}
        return config | numbers | {"steps": self.planned, "tokens": self.planned * BATCH}

    def log(self) -> dict:
        """The last line of metrics.jsonl."""
        D = self.realised * BATCH
        tokens = {"web": D - self.own, "wd": self.own} if self.F else {"web": D}
        line = {name: value for name, value in real_json("metrics.jsonl").items() if "/wd" not in name}
        line |= {"step": self.realised - 1, "tokens": D, "train/loss": 2.5}
        for name, own in tokens.items():
            line |= {f"data/{name}/tokens": own, f"data/{name}/ratio": own / D}
        return line

    def mixture(self) -> dict:
        account, log = copy.deepcopy(real_json("mixture.json")), self.log()
        account["planned"]["steps"] = self.planned
        account["realised"] = {"steps": self.realised, "tokens": log["tokens"]}
        account["sources"] = [s for s in account["sources"] if f"data/{s['name']}/tokens" in log]
        for source in account["sources"]:
            source["realised"]["tokens"] = log[f"data/{source['name']}/tokens"]
            if source["name"] == "wd":
                source["realised"]["exposures"] = {"mean": float(self.F), "least": self.F - 1, "most": self.F + 1}
        return account

    def answers(self) -> dict:
        """results.json."""
        sets = {"wd": knowledge(self.seen), **self.more}
        if self.control is not None:
            sets["wd_control"] = knowledge(self.control)
        config = {"options": {"checkpoint": f"checkpoints/step_{self.realised:08d}"}}
        return real_json("results.json") | {"know": sets, "metrics": {"val/web/loss": self.loss}, "config": config}

    def ledger(self) -> np.ndarray:
        ledger = np.load(real_run() / "exposures" / "wd.npy")
        assert ledger.shape == (ENTITIES, SLOTS)
        ledger = np.zeros((self.K,), ledger.dtype) if self.K != FACTS else ledger
        ledger["count"] = self.F
        ledger["count"].flat[:2] = self.F + 1, self.F - 1
        return ledger

    def write(self, folder: str) -> None:
        path = pathlib.Path(folder)
        (path / "exposures").mkdir(parents=True, exist_ok=True)
        seen = self.seen[0] if isinstance(self.seen, tuple) else self.seen
        last = {"step": self.realised, "val/web/loss": self.loss, "know/wd/accuracy_seen": seen}
        files = {"config.json": self.config(), "metrics.jsonl": self.log(), "eval.jsonl": last}
        files |= {"mixture.json": self.mixture()} if self.account else {}
        files |= {"results.json": self.answers()} if self.results else {}
        for name, content in files.items():
            (path / name).write_text(json.dumps(content) + "\n")
        if self.F:
            np.save(path / "exposures" / "wd.npy", self.ledger())
        if self.done:
            (path / self.done).write_text("finished\n")


class StudyTest(support.FolderTest):
    """A study of planted runs in a folder, and what `knapsack infusion` says of it."""

    def make_run(self, name: str, F: int, *seen_control: Value, **more: Any) -> str:
        Planted(F, *seen_control, **more).write(self.path(name))
        return self.path(name)

    def make_curve(self, values: dict[int, Value], folder: str = "runs", **more: object) -> None:
        for F, value in values.items():
            self.make_run(f"{folder}/F{F}_{more.get('seed', 1)}", F, value, **more)

    def analyse(self, *flags: object, code: int = 0, folder: str | list[str] = "runs") -> tuple[list[dict], dict, str]:
        """The rows, the sidecar and what was printed."""
        out = self.path("t.csv")
        folders = [self.path(name) for name in (folder if isinstance(folder, list) else [folder])]
        done = support.run_script("infusion", *folders, "--infused", "wd", "--out", out, *flags)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        with open(out, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with open(self.path("t.json"), encoding="utf-8") as file:
            sidecar = json.load(file)
        with open(out, encoding="utf-8") as file:
            self.assertEqual(next(csv.reader(file)), [column["name"] for column in sidecar["columns"]])
        return rows, sidecar, done.stdout + done.stderr

    def reading(self, *flags: object, **more: object) -> dict:
        _, sidecar, _ = self.analyse(*flags, **more)
        self.assertEqual(len(sidecar["curves"]), 1)
        return sidecar["curves"][0]["collapse"]

    def assert_bracket(self, reading: dict, low: int, high: int) -> None:
        self.assertEqual((reading["status"], reading["F_lo"], reading["F_hi"]), ("bracket", low, high), reading)

    def assert_seen(self, reading: dict, low: int, high: int) -> None:
        """A fall there, in single runs: no claim."""
        self.assertEqual((reading["status"], reading["F_lo"], reading["F_hi"]), ("not_replicated", low, high), reading)
        self.assertIn("not replicated (1 run at F = ", " ".join(reading["notes"]))

    def assert_censored(self, reading: dict, at: int, note: str = "") -> None:
        self.assertEqual((reading["status"], reading["F_lo"], reading["F_hi"]), ("censored", at, None), reading)
        self.assertIn(note, " ".join(reading["notes"]))

    def write_answers(self, run: str, right: list[int], name: str = "wd") -> None:
        """Of 4 answers about each entity so many are right."""
        lines = [
            {
                "step": 8,
                "set": name,
                "source": name,
                "question": 4 * e + i,
                "entity": e,
                "attribute": "a",
                "kind": "seen",
            }
            | {"group": "g", "correct": i < count, "nll": 1.0}
            for e, count in enumerate(right)
            for i in range(4)
        ]
        self.write(f"{run}/answers/step_00000008.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
