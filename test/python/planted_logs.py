"""Logs as lm-evaluation-harness 0.4 leaves them, of models whose answers follow a planted sigmoid of size and
popularity."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from knapsack.analysis.popularity.items import Joined, Model, family_of

DATE = "2026-05-01T10-00-00.123456"
SIZES = {  # parameters by model
    "acme/alpha-160m": 160e6, "acme/alpha-410m": 410e6, "acme/alpha-1b": 1e9, "acme/alpha-3b": 3e9,
    "bee/beta-300m": 300e6, "bee/beta-700m": 700e6, "bee/beta-1.5b": 1.5e9, "bee/beta-7b": 7e9,
}  # fmt: skip


@dataclass
class World:
    """P(right) = guess + (1 - guess - lapse) expit(a ln(M / 1e9) + b ln(f / 1000) + c + family + model + item)"""

    a: float = 0.9
    b: float = 0.8
    c: float = 0.5
    guess: float = 0.02
    lapse: float = 0.03
    family: dict[str, float] = field(default_factory=lambda: {"alpha": 0.15, "beta": -0.15})
    family_a: dict[str, float] = field(default_factory=dict)  # what a family adds to a
    model_sd: float = 0.1
    model_b_sd: float = 0.0  # of a model's own b
    item_sd: float = 0.0  # of what makes an item hard for all models
    items: int = 1200

    def popularity(self, random: np.random.Generator) -> np.ndarray:
        return np.round(np.exp(random.normal(np.log(1000), 2, self.items))).clip(2).astype(int)

    def level(self, random: np.random.Generator, M: float, family: str = "") -> tuple[float, float]:
        """(z at f = 1000, b) of a model, drawn."""
        level = (self.a + self.family_a.get(family, 0.0)) * np.log(M / 1e9) + self.c + self.family.get(family, 0.0)
        return float(level + random.normal(0, self.model_sd)), self.b + random.normal(0, self.model_b_sd)

    def right(self, z: np.ndarray) -> np.ndarray:
        return self.guess + (1 - self.guess - self.lapse) * expit(z)

    def accuracy(self, z: float) -> float:
        """Over items."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        return float(self.right(z + self.item_sd * nodes) @ weights / weights.sum())

    def threshold(self, level: float, b: float, target: float = 0.6) -> float:
        """ln of the popularity of this accuracy."""
        return float(np.log(1000) + (brentq(lambda z: self.accuracy(z) - target, -20, 20) - level) / b)

    def answers(self, random: np.random.Generator, f: np.ndarray, sizes: dict[str, float]) -> dict[str, np.ndarray]:
        """By model, 1 where the item is right."""
        item = random.normal(0, self.item_sd, len(f)) if self.item_sd else 0.0
        found = {}
        for name, M in sizes.items():
            level, b = self.level(random, M, name.rpartition("/")[2].partition("-")[0])
            p = self.right(level + b * np.log(f / 1000) + item)
            found[name] = (random.random(len(f)) < p).astype(int)
        return found


def joined_of(world: World, random: np.random.Generator, sizes: dict[str, float] = SIZES) -> Joined:
    """As the logs of these models are read; their families are those of their names."""
    f = world.popularity(random)
    answers = world.answers(random, f, sizes)
    order, names = np.argsort(f, kind="stable"), sorted(sizes, key=sizes.__getitem__)
    models = [Model(name, family_of(name), sizes[name], None) for name in names]
    correct = np.array([answers[name][order] for name in names], float)
    return Joined(models, [str(i) for i in order], f[order].astype(float), correct, "exact_match", {})


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, indent=2).encode()).hexdigest()


def sample(number: int, popularity: int, right: int, metric: str = "exact_match") -> dict[str, Any]:
    """A line of --log_samples."""
    doc = {"id": 4222362 + number, "question": f"What is fact {number}?", "s_pop": int(popularity)}
    prompt = f"Q: {doc['question']} A:"
    return {
        "doc_id": number,
        "doc": doc,
        "target": "yes",
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n"], "max_gen_toks": 32}}},
        "resps": [["yes" if right else "no"]],
        "filtered_resps": ["yes" if right else "no"],
        "filter": "none",
        "metrics": [metric],
        "doc_hash": digest(doc),
        "prompt_hash": digest(prompt),
        "target_hash": digest("yes"),
        metric: float(right),
    }


def write_log(
    folder: Path, model: str, samples: list[dict[str, Any]], parameters: float | None, task: str = "popqa"
) -> Path:
    """FOLDER/MODEL/samples_TASK_DATE.jsonl and results_DATE.json; the former's path. `parameters` None: as of a model
    behind an API, whose count the harness has not."""
    place = folder / model.replace("/", "__")
    place.mkdir(parents=True, exist_ok=True)
    config = {"model": "hf", "model_args": f"pretrained={model}", "batch_size": "8", "limit": None}
    config |= {"model_num_parameters": int(parameters), "model_dtype": "torch.bfloat16"} if parameters else {}
    results = {
        "results": {task: {"alias": task, "exact_match,none": 0.5, "exact_match_stderr,none": 0.01}},
        "configs": {task: {"task": task, "dataset_path": "akariasai/PopQA", "num_fewshot": 15}},
        "n-shot": {task: 15},
        "config": config,
        "task_hashes": {task: digest([line.get("doc_hash") for line in samples])},
        "model_source": "hf",
        "model_name": model,
        "model_name_sanitized": model.replace("/", "__"),
    }
    (place / f"results_{DATE}.json").write_text(json.dumps(results, indent=2))
    path = place / f"samples_{task}_{DATE}.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in samples), encoding="utf-8")
    return path


def write_world(folder: Path, world: World, seed: int = 1, sizes: dict[str, float] = SIZES) -> dict[str, Path]:
    """The logs of all models; their paths."""
    random = np.random.default_rng(seed)
    f = world.popularity(random)
    answers = world.answers(random, f, sizes)
    return {
        name: write_log(folder, name, [sample(i, f[i], right[i]) for i in range(len(f))], sizes[name])
        for name, right in answers.items()
    }
