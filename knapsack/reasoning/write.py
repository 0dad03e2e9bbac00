"""Training text of worked problems, and held-out problems as questions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from knapsack.common.errors import DataError, UsageError
from knapsack.common.parallel import ordered_map
from knapsack.common.survival import LOST, fate
from knapsack.common.tokenizer import Encoder
from knapsack.reasoning.problems import Problem, Task, identity, solve
from knapsack.shards.format import HELDOUT
from knapsack.shards.knowledge import Batch, Questions, QuestionWriter, SetAbout, Written
from knapsack.shards.text_shards import TextShards

AFTER_QUESTION = "\nA:"  # a solution begins with a space, at which tokenizers cut
CHUNK = 1000
TRAIN_STREAM, HELDOUT_STREAM = 100, 101


def stream(seed: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))


def draw_heldout(task: Task, seed: int, count: int) -> list[tuple[Problem, int]]:
    """Different problems, each with the number of its question template."""
    rng, found, seen, draws = stream(seed, HELDOUT_STREAM), [], set(), 0
    while len(found) < count:
        problem, template = task.draw(rng), int(rng.integers(len(task.questions)))
        draws += 1
        if draws > 20 * count + 1000:
            raise UsageError(
                f"--heldout {count}: there are too few different problems; only {len(found)} were found in {draws} "
                "draws. Ask for fewer or more --numbers"
            )
        if identity(task.name, problem) not in seen:
            seen.add(identity(task.name, problem))
            found.append((problem, template))
    return found


class Chunk(NamedTuple):
    """Documents: their ids, bytes, the identities of their problems; how many draws were held-out problems."""

    documents: list[list[int]]
    sizes: list[int]
    identities: list[tuple]
    refused: int


@dataclass
class Training:
    """The text to train on; no problem of `held` occurs in it."""

    task: Task
    encoder: Encoder
    seed: int
    documents: int
    held: set[tuple]  # identities

    def chunk(self, number: int) -> Chunk:
        """A chunk has its own random numbers, so the text does not depend on the number of processes, and more
        documents begin with the same ones."""
        rng, texts, identities, refused = stream(self.seed, TRAIN_STREAM, number), [], [], 0
        while len(texts) < min(CHUNK, self.documents - number * CHUNK):
            problem, template = self.task.draw(rng), int(rng.integers(len(self.task.questions)))
            if (one := identity(self.task.name, problem)) in self.held:
                refused += 1
                if refused > 100 * CHUNK:
                    raise UsageError("nearly every problem is held out; ask for fewer --heldout or more --numbers")
                continue
            question, solution = self.task.render(problem, template)
            texts.append(question + AFTER_QUESTION + solution)
            identities.append(one)
        documents = [ids + [self.encoder.eot_id] for ids in self.encoder.encode_batch(texts)]
        return Chunk(documents, [len(text.encode()) for text in texts], identities, refused)

    def write(self, prefix: str, workers: int) -> tuple[TextShards, int, int]:
        """The shards, the number of draws that were held out, the number of different problems."""
        refused, seen = 0, set()
        with TextShards(prefix, self.encoder) as shards:
            for chunk in ordered_map(Training.chunk, range(-(-self.documents // CHUNK)), workers, self):
                for ids, size in zip(chunk.documents, chunk.sizes):
                    shards.append([np.array(ids, np.uint32)], len(ids), size)
                seen.update(map(hash, chunk.identities))
                refused += chunk.refused
                if not self.held.isdisjoint(chunk.identities):
                    raise AssertionError("a held-out problem is in the training text")
            shards.commit()
        return shards, refused, len(seen)


def heldout_records(task: Task, heldout: list[tuple[Problem, int]]) -> Iterator[dict[str, Any]]:
    for problem, template in heldout:
        question, solution = task.render(problem, template)
        yield {
            "task": task.name,
            "problem": list(problem),
            "question": question,
            "prompt": question + AFTER_QUESTION,
            "solution": solution,
            "answer": str(solve(task.name, problem)),
        }


def write_questions(prefix: str, task: Task, encoder: Encoder, heldout: list[tuple[Problem, int]]) -> Written:
    records = list(heldout_records(task, heldout))
    prompts = encoder.encode_batch([record["prompt"] for record in records])
    wholes = encoder.encode_batch([record["prompt"] + record["solution"] for record in records])
    lossy = [
        record["solution"]
        for record, back in zip(records, encoder.decode_batch(wholes))
        if fate(record["prompt"] + record["solution"], back) == LOST
    ]
    if lossy or any(map(encoder.unknown_in, wholes)):
        shown = f", such as '{lossy[0][:60]}'" if lossy else ""
        raise DataError(
            f"tokenizer '{encoder.info.name}' loses letters of {len(lossy):,} of {len(records):,} solutions{shown}; "
            "take one that has a token for every byte"
        )
    for record, prompt, whole in zip(records, prompts, wholes):
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            raise DataError(
                "this tokenizer merges the end of the question with the solution in "
                f"'{record['prompt']}{record['solution'][:20]}'; choose one that cuts at spaces"
            )
    sizes = [(len(prompt), len(whole) - len(prompt)) for prompt, whole in zip(prompts, wholes)]
    text_bytes = sum(len((record["prompt"] + record["solution"]).encode()) for record in records)
    tokens = np.array([i for whole in wholes for i in whole], np.uint32)
    about = SetAbout(
        name=os.path.basename(prefix).removesuffix("_questions"),
        entities=len(records),
        relations=[task.name],
        attributes=[task.name],
        attribute_pools=[0],
        templates=task.questions,
        kinds=[HELDOUT],
    )
    with QuestionWriter(prefix, len(records), about, encoder.info) as writer:
        questions = Questions(
            Batch(tokens, np.array(sizes).ravel(), None, text_bytes),
            np.full(len(records), 2),
            template=np.array([template for _, template in heldout]),
            entity=np.arange(len(records)),
        )
        writer.add(questions)
        return writer.commit()
