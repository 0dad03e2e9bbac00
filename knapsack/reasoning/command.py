"""Reasoning problems as training text: the slope through two points, the maximum of N numbers (arXiv 2505.18091, 3.3).

knapsack reasoning slope --documents 50k --tokenizer data/bpe --out data/slope
knapsack reasoning max --numbers 30 --documents 3000 --tokenizer data/bpe --out data/max
knapsack reasoning check generated.jsonl --task slope

Writes PREFIX.{bin,idx,json}, a text shard with a worked problem a document; PREFIX_heldout.jsonl, problems that never
occur in it (in any order of their points or numbers); PREFIX_questions, a question set of these: the prompt is the
question, the answer the whole worked solution. Its exact match asks for every token of that solution (teacher-forced),
so it is a lower bound of solving: a model may reach the right number by other words. For the final answer alone, let the
model go on by itself, `eval_knowledge --questions PREFIX_questions --generate generated.jsonl --generate-tokens 320`, and `check` the texts:
lines with "text" and with "prompt", "question" (text) or "problem" (the numbers).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from knapsack.common.arguments import add_workers_flag, make_parser, parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import write_file
from knapsack.common.parallel import ordered_map
from knapsack.common.tokenizer import Encoder, load_tokenizer
from knapsack.reasoning.problems import Problem, Task, final_answer, identity, solve
from knapsack.shards.format import HELDOUT
from knapsack.shards.knowledge import Batch, Questions, QuestionWriter, SetAbout, Written
from knapsack.shards.text_shards import TextShards

BEHIND_QUESTION = "\nA:"  # a solution begins with a space, at which tokenizers cut
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


def _chunk(
    state: tuple[Task, Encoder, int, set[tuple], int], number: int
) -> tuple[list[list[int]], list[int], list[tuple], int]:
    """Documents of one chunk: ids, bytes, identities, how many draws were held-out problems. A chunk has its own random
    numbers, so the text does not depend on the number of processes, and more documents begin with the same ones."""
    task, encoder, seed, heldout, documents = state
    rng, texts, identities, refused = stream(seed, TRAIN_STREAM, number), [], [], 0
    while len(texts) < min(CHUNK, documents - number * CHUNK):
        problem, template = task.draw(rng), int(rng.integers(len(task.questions)))
        if (one := identity(task.name, problem)) in heldout:
            refused += 1
            if refused > 100 * CHUNK:
                raise UsageError("nearly every problem is held out; ask for fewer --heldout or more --numbers")
            continue
        question, solution = task.render(problem, template)
        texts.append(question + BEHIND_QUESTION + solution)
        identities.append(one)
    return (
        [ids + [encoder.eot_id] for ids in encoder.encode_batch(texts)],
        [len(text.encode()) for text in texts],
        identities,
        refused,
    )


def write_training(
    prefix: str, task: Task, encoder: Encoder, options: argparse.Namespace, heldout: list[tuple[Problem, int]]
) -> tuple[TextShards, int, int]:
    shards, refused, seen = TextShards(prefix, encoder, None), 0, set()
    held = {identity(task.name, problem) for problem, _ in heldout}
    chunks = range(-(-options.documents // CHUNK))
    try:
        for documents, sizes, identities, skipped in ordered_map(
            _chunk, chunks, options.workers, (task, encoder, options.seed, held, options.documents)
        ):
            for ids, size in zip(documents, sizes):
                shards.append(np.array(ids, np.uint32), size)
            seen.update(map(hash, identities))
            refused += skipped
            if not held.isdisjoint(identities):
                raise AssertionError("a held-out problem stands in the training text")
        shards.commit()
    finally:
        shards.discard()
    return shards, refused, len(seen)


def heldout_records(task: Task, heldout: list[tuple[Problem, int]]) -> Iterator[dict[str, Any]]:
    for problem, template in heldout:
        question, solution = task.render(problem, template)
        yield {
            "task": task.name,
            "problem": list(problem),
            "question": question,
            "prompt": question + BEHIND_QUESTION,
            "solution": solution,
            "answer": str(solve(task.name, problem)),
        }


def write_questions(prefix: str, task: Task, encoder: Encoder, heldout: list[tuple[Problem, int]]) -> Written:
    records = list(heldout_records(task, heldout))
    prompts = encoder.encode_batch([record["prompt"] for record in records])
    wholes = encoder.encode_batch([record["prompt"] + record["solution"] for record in records])
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


def write(options: argparse.Namespace) -> None:
    task = Task(options.command, getattr(options, "numbers", 0), getattr(options, "solution", "") == "short")
    encoder = load_tokenizer(options.tokenizer, options.eot)
    encoder.install(options.out)
    heldout = draw_heldout(task, options.seed, options.heldout)
    questions = write_questions(options.out + "_questions", task, encoder, heldout)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in heldout_records(task, heldout))
    write_file(options.out + "_heldout.jsonl", "".join(lines).encode())
    shards, refused, different = write_training(options.out, task, encoder, options, heldout)
    print(
        f"{options.out}: {shards.documents:,} documents, {different:,} different problems, {shards.tokens:,} tokens, "
        f"{shards.tokens / shards.documents:.1f} a document; {refused:,} draws were held out"
    )
    print(
        f"{options.out}_questions, {options.out}_heldout.jsonl: {questions.documents:,} problems, none of them in the "
        "text"
    )


def problem_of(record: dict[str, Any], task: str, place: str) -> Problem:
    numbers = record.get("problem")
    texts = [record[key] for key in ("question", "prompt") if isinstance(record.get(key), str)]
    if numbers is None and texts:  # eval_knowledge --generate: `question` is a number, `prompt` the text
        numbers = [int(number) for number in re.findall(r"\d+", texts[0])]
    valid = isinstance(numbers, list) and len(numbers) >= 1 and all(type(number) is int for number in numbers)
    if not valid or (task == "slope" and (len(numbers) != 4 or numbers[0] == numbers[2])):
        expected = "four numbers x1, y1, x2, y2 with x1 != x2" if task == "slope" else "at least one number"
        raise DataError(
            f"{place}: expected {expected} in 'problem' (a list), 'question' or 'prompt' (text), found {numbers!r}; the lines of "
            "PREFIX_heldout.jsonl have them"
        )
    return tuple(numbers)


def wilson(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share."""
    middle = (right + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * math.sqrt(right * (total - right) / total + z * z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def check(options: argparse.Namespace) -> None:
    counts: Counter[str] = Counter()
    cut = 0  # texts that a limit of tokens ended before their answer
    try:
        with open(options.answers, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                place = f"{options.answers}:{number}"
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{place}: not JSON ({error})") from None
                if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                    raise DataError(f"{place}: expected an object with the generated text at 'text'")
                task = options.task or record.get("task")
                if task not in ("slope", "max"):
                    raise UsageError(f"{place}: no 'task' there; say --task slope or --task max")
                answer, truth = final_answer(record["text"]), solve(task, problem_of(record, task, place))
                cut += answer is None and record.get("ended") is False
                counts["malformed" if answer is None else "right" if answer == truth else "wrong"] += 1
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{options.answers}: {getattr(error, 'strerror', None) or error}") from None
    total = sum(counts.values())
    if not total:
        raise DataError(f"{options.answers}: empty; expected one JSON object a generated text")
    low, high = wilson(counts["right"], total)
    print(
        f"{counts['right']} of {total} right: accuracy {counts['right'] / total:.4f}, 95 % interval {low:.4f} to "
        f"{high:.4f}; {counts['wrong']} wrong, {counts['malformed']} malformed (counted as wrong)"
    )
    if cut:
        print(f"{cut} of the malformed were cut off; try a greater --generate-tokens", file=sys.stderr)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("reasoning", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("slope", "max"):
        command = commands.add_parser(name)
        command.add_argument(
            "--documents", type=parse_count, required=True, metavar="N", help="worked problems in the training text"
        )
        command.add_argument("--out", required=True, metavar="PREFIX")
        command.add_argument(
            "--tokenizer", required=True, help="tokenizer.json, or a folder with it or with GPT-2's two files"
        )
        command.add_argument("--eot", metavar="TOKEN", help="token that ends a document (default: <|endoftext|>)")
        command.add_argument(
            "--heldout", type=parse_count, default=1000, metavar="N", help="problems for the questions (1000)"
        )
        command.add_argument("--seed", type=int, default=1)
        add_workers_flag(command)
        if name == "max":
            command.add_argument(
                "--numbers", type=parse_count, default=30, metavar="N", help="of which the maximum is asked (30)"
            )
            command.add_argument(
                "--solution",
                choices=["steps", "short"],
                default="steps",
                help="running maximum (default), or the answer at once",
            )
    command = commands.add_parser("check")
    command.add_argument("answers", metavar="ANSWERS.jsonl")
    command.add_argument("--task", choices=["slope", "max"], help="where the lines have no 'task'")
    options = parser.parse_args(argv)
    if getattr(options, "seed", 0) < 0:
        parser.error("--seed must not be negative")
    return options


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    check(options) if options.command == "check" else write(options)
