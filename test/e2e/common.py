"""What the end-to-end tests share: shards written by hand from dev/formats.md (not by knapsack/, so that the two check
each other), the programs under test, and which tests a sanitizer's build runs."""

import json
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest
from collections.abc import Callable
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KNAPSACK_BUILD", ROOT / "build" / "release"))
TRAIN = BUILD / "train_gpt_cpu"
EVAL = BUILD / "eval_knowledge_cpu"
SANITIZED = BUILD.name.endswith(("asan", "tsan"))
EOT, VOCAB = 0, 256


def under_sanitizers(test: Callable) -> Callable:
    """Marks a test that reads files from outside or goes on from them: a sanitizer's build, in which training takes
    minutes, runs these alone."""
    test.under_sanitizers = True
    return test


class EndToEndTest(unittest.TestCase):
    """Tests that share a folder, `data`."""

    data: pathlib.Path

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if SANITIZED:
            for name, test in list(vars(cls).items()):
                if name.startswith("test_") and not hasattr(test, "under_sanitizers"):
                    delattr(cls, name)

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.data = pathlib.Path(temporary.name)


def crc32c(data: bytes) -> int:
    """As in a checkpoint's COMPLETE."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def write_megatron(prefix: pathlib.Path, sequences: list[list[int]], documents: list[int]) -> None:
    """`documents`: the number of the first sequence of each document."""
    ids = np.array([t for s in sequences for t in s], dtype="<u2")
    lengths = np.array([len(s) for s in sequences], dtype="<i4")
    offsets = (np.cumsum(lengths, dtype=np.int64) - lengths) * 2
    ends = np.array(documents + [len(sequences)], dtype="<i8")
    prefix.with_name(prefix.name + ".bin").write_bytes(ids.tobytes())
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(sequences), len(ends))
    prefix.with_name(prefix.name + ".idx").write_bytes(
        head + lengths.tobytes() + offsets.astype("<i8").tobytes() + ends.tobytes()
    )


def write_sidecar(prefix: pathlib.Path, kind: str, documents: int, tokens: int) -> None:
    side = {
        "format_version": 1,
        "kind": kind,
        "tokenizer": {"name": "test", "sha256": "0" * 64, "file": ""},
        "vocab_size": VOCAB,
        "eot_id": EOT,
        "documents": documents,
        "tokens": tokens,
        "bytes": 4 * tokens,
        "checksums": {},
    }
    prefix.with_name(prefix.name + ".json").write_text(json.dumps(side))


def write_text(prefix: pathlib.Path, documents: int, seed: int, longest: int = 90) -> None:
    """Documents of a first-order Markov chain: something a small model can learn a little of."""
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(documents):
        ids = [int(rng.integers(1, VOCAB))]
        for _ in range(int(rng.integers(5, longest))):
            ids.append(1 + (ids[-1] * 7 + int(rng.integers(0, 4))) % (VOCAB - 1))
        sequences.append(ids + [EOT])
    write_megatron(prefix, sequences, list(range(documents)))
    write_sidecar(prefix, "text", documents, sum(map(len, sequences)))


def write_knowledge(prefix: pathlib.Path, entities: int, seed: int, slots: int = 2, templates: int = 2) -> None:
    """Sentences: two name ids, a template id, two value ids, a full stop; the continuing form has a leading id."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 30, size=(entities, slots))
    sequences, spans = [], []
    for e in range(entities):
        for s in range(slots):
            for t in range(templates):
                for form in range(2):
                    lead = [3] * form
                    ids = lead + [
                        20 + e % 50,
                        70 + e // 50,
                        100 + s * templates + t,
                        130 + int(values[e, s]),
                        170 + s,
                        2,
                    ]
                    sequences.append(ids)
                    spans.append((len(ids) - 3, len(ids) - 1))
    per_entity = slots * templates * 2
    write_megatron(prefix, sequences, list(range(0, len(sequences), per_entity)))
    write_sidecar(prefix, "knowledge", entities, sum(map(len, sequences)))
    names = [f"slot{s}" for s in range(slots)]
    facts = {
        "format_version": 1,
        "entities": entities,
        "slots": [{"name": n, "pool": n, "pool_size": 30, "bits": 4.907} for n in names],
        "templates": templates,
        "forms": ["initial", "continuing"],
        "template_texts": {n: ["{name} {value}."] * templates for n in names},
        "relations": names,
        "groups": ["all"],
        "group_weights": [1.0],
        "pools": {n: {"size": 30, "kind": "fictional"} for n in names},
        "entropy_bits_per_entity": 4.907 * slots,
        "name_bits_per_entity": 0.0,
        "shuffled": False,
        "seed": seed,
    }
    prefix.with_name(prefix.name + ".facts.json").write_text(json.dumps(facts))
    np.save(prefix.with_name(prefix.name + ".spans.npy"), np.array(spans, dtype="<u2"))
    np.save(prefix.with_name(prefix.name + ".values.npy"), values.astype("<u4"))
    np.save(prefix.with_name(prefix.name + ".group.npy"), np.zeros(entities, dtype="<u4"))
    prefix.with_name(prefix.name + ".names.txt").write_text("".join(f"Entity {e}\n" for e in range(entities)))
    write_questions(prefix.with_name(prefix.name + "_questions"), values, templates, names)


def write_questions(prefix: pathlib.Path, values: np.ndarray, templates: int, names: list[str]) -> None:
    sequences, columns = [], []
    for e in range(values.shape[0]):
        for s in range(values.shape[1]):
            for t in range(templates):
                sequences += [[20 + e % 50, 70 + e // 50, 100 + s * templates + t], [130 + int(values[e, s]), 170 + s]]
                columns.append((s, s, t, 0, e, 0, 0, 0))
    write_megatron(prefix, sequences, list(range(0, len(sequences), 2)))
    write_sidecar(prefix, "questions", len(columns), sum(map(len, sequences)))
    info = {
        "format_version": 1,
        "name": "facts",
        "source": "facts",
        "questions": len(columns),
        "entities": int(values.shape[0]),
        "relations": names,
        "attributes": names,
        "attribute_pools": [30] * len(names),
        "attribute_bits": [4.907] * len(names),
        "templates": ["{name}"] * templates,
        "kinds": ["seen", "heldout", "question"],
        "groups": ["all"],
    }
    prefix.with_name(prefix.name + ".questions.json").write_text(json.dumps(info))
    np.save(prefix.with_name(prefix.name + ".q.npy"), np.array(columns, dtype="<u4"))


def make_data(folder: pathlib.Path) -> None:
    """A text, its validation part and a knowledge source."""
    write_text(folder / "web", 300, seed=1)
    write_text(folder / "val", 60, seed=2)
    write_knowledge(folder / "facts", 80, seed=3)


class DataTest(EndToEndTest):
    """The folder holds what make_data writes."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        make_data(cls.data)


def small_run(folder: pathlib.Path, steps: int = 40) -> list[str]:
    """Flags of a run of a few seconds with everything in it: two sources, validation, questions."""
    return (
        f"--model pythia:L2:C32:H2 --seq-len 64 --batch-tokens 512 --steps {steps} --lr 3e-3"
        f" --source web={folder}/web.bin --source facts={folder}/facts.bin --ratio facts=0.4"
        f" --val web={folder}/val.bin --val-tokens 1280 --questions {folder}/facts_questions"
    ).split()


def replaced(flags: list[str], **values: str) -> list[str]:
    """Flags with other values, by their names with _ for -; what is not there is appended."""
    result = list(flags)
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        if flag in result:
            result[result.index(flag) + 1] = value
        else:
            result += [flag, value]
    return result


def run(program: pathlib.Path, *flags: str, env: dict | None = None, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(program), *flags], capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})}, **kwargs
    )


def metrics_without_time(path: pathlib.Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time" and not k.startswith("perf/")} for line in lines]


def find(node: object, name: str) -> object:
    """The value under `name` anywhere in nested JSON."""
    if isinstance(node, dict):
        if name in node:
            return node[name]
        for child in node.values():
            found = find(child, name)
            if found is not None:
                return found
    return None
