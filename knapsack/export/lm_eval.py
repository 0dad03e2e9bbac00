"""Writes a question set (dev/formats.md, 3) as a local task of lm-evaluation-harness 0.4: NAME.yaml and NAME.jsonl.

knapsack lm-eval data/synbio_questions --out tasks --by kind
lm_eval --model hf --model_args pretrained=runs/a/checkpoints/step_00001000 --include_path tasks --tasks synbio

Questions without candidates: output_type loglikelihood, acc (every token of the answer is the greedy one: our exact
match) and perplexity (exp of the mean nats an answer). With candidates: multiple_choice with acc and acc_norm (by
characters, not tokens), the answer at place (number mod choices). A set that has both becomes two tasks, NAME and
NAME_choice. --by makes a task of each kind or attribute and a group of them.

Text is decoded with the sidecar's tokenizer; what the harness would tokenize otherwise is counted, refused with
--strict. Prompts begin with the end-of-text token, as eval_knowledge asks; --no-eot leaves it out, for models with
another tokenizer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import AtomicFile, write_file
from knapsack.common.tokenizer import hugging_face
from knapsack.shards.read import Shard, file_sha256, load_column, load_json, open_shard

CHUNK = 1000
VERSION = 1.0


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("lm-eval", __doc__)
    parser.add_argument("prefix", metavar="PREFIX", help="the question set")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--name", help="of the task (default: the set's)")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one beside the set)")
    parser.add_argument("--by", choices=["kind", "attribute"], help="a task each, and the group NAME of them")
    parser.add_argument("--strict", action="store_true", help="refuse a set of which some text is tokenized otherwise")
    parser.add_argument("--no-eot", action="store_true", help="prompts without the end-of-text token in front")
    parser.add_argument(
        "--data-folder",
        metavar="PATH",
        help="what NAME.yaml says the folder of NAME.jsonl is (default: --out, absolute)",
    )
    return parser.parse_args(argv)


@dataclass
class Texts:
    """Decodes sequences and asks what the harness will make of the text."""

    tokenizer: Any
    prefix_text: str  # the end-of-text token's, or nothing
    eot_id: int

    def decode(self, ids: np.ndarray) -> str:
        return self.tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def parts(self, prompt: np.ndarray, answers: list[np.ndarray]) -> tuple[str, list[str]]:
        """The prompt and what follows it; cut out of the joined text, since some decoders drop a leading space."""
        before = self.decode(prompt)
        texts = []
        for answer in answers:
            whole = self.decode(np.concatenate([prompt, answer]))
            texts.append(whole[len(before) :] if whole.startswith(before) else self.decode(answer))
        return before, texts

    def pair(self, prompt: str, answer: str) -> tuple[str, str]:
        """Context and joined text as the harness tokenizes them: spaces that end a context go to the continuation."""
        context = self.prefix_text + prompt
        return context.rstrip(), context + answer

    def differing(
        self, prompts: list[np.ndarray], answers: list[np.ndarray], pairs: list[tuple[str, str]]
    ) -> list[bool]:
        encoded = iter(self.tokenizer.encode_batch([text for pair in pairs for text in pair], add_special_tokens=False))
        first = [self.eot_id] if self.prefix_text else []
        out = []
        for prompt, answer in zip(prompts, answers):
            context, whole = next(encoded).ids, next(encoded).ids
            expected = first + prompt.tolist()
            # an empty context is replaced by the model's end-of-text token
            out.append(whole != expected + answer.tolist() or context != expected)
        return out


@dataclass
class Task:
    name: str
    choice: bool
    folder: str
    rows: int = 0
    file: AtomicFile = field(init=False)

    def __post_init__(self) -> None:
        self.file = AtomicFile(os.path.join(self.folder, self.name + ".jsonl"))

    def add(self, record: dict[str, Any]) -> None:
        self.file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        self.rows += 1

    def yaml(self, data_folder: str, prefix_text: str) -> bytes:
        """Scalars are written as JSON strings, which YAML reads as they are."""
        quote = json.dumps
        metrics = [
            ("acc", "mean", "true"),
            ("acc_norm", "mean", "true") if self.choice else ("perplexity", "perplexity", "false"),
        ]
        lines = [
            f"task: {quote(self.name)}",
            "dataset_path: json",
            "dataset_kwargs:",
            "  data_files:",
            f"    test: {quote(os.path.join(data_folder, self.name + '.jsonl'), ensure_ascii=False)}",
            "test_split: test",
            f"output_type: {'multiple_choice' if self.choice else 'loglikelihood'}",
            f"doc_to_text: {quote(prefix_text + '{{prompt}}')}",
            f"doc_to_target: {'gold' if self.choice else 'answer'}",
            *(["doc_to_choice: choices"] if self.choice else []),
            'target_delimiter: ""',
            "num_fewshot: 0",
            "metric_list:",
        ]
        for metric, aggregation, higher in metrics:
            lines += [f"  - metric: {metric}", f"    aggregation: {aggregation}", f"    higher_is_better: {higher}"]
        return ("\n".join([*lines, "metadata:", f"  version: {VERSION}"]) + "\n").encode()


@dataclass
class Question:
    number: int
    record: dict[str, Any]
    prompt: np.ndarray
    answers: list[np.ndarray]  # the right one, then the candidates
    texts: list[str]
    aliases: int


def load_questions(shard: Shard, about: dict[str, Any], q: np.ndarray, texts: Texts) -> Iterator[Question]:
    for number, (relation, attribute, template, kind, entity, group, candidate, alias) in enumerate(q.tolist()):
        first, last = (int(end) for end in shard.documents[number : number + 2])
        sequences = [np.asarray(shard.sequence(i), np.int64) for i in range(first, last)]
        end = alias or len(sequences)
        answers = [sequences[1], *(sequences[candidate:end] if candidate else [])]
        prompt, parts = texts.parts(sequences[0], answers)
        record = {
            "question": number,
            "entity": entity,
            "relation": about["relations"][relation],
            "attribute": about["attributes"][attribute],
            "kind": about["kinds"][kind],
            "group": about["groups"][group],
            "prompt": prompt,
        }
        yield Question(number, record, sequences[0], answers, parts, len(sequences) - alias if alias else 0)


def chunked(questions: Iterator[Question]) -> Iterator[list[Question]]:
    chunk: list[Question] = []
    for question in questions:
        chunk.append(question)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def finish_record(question: Question, same: bool) -> dict[str, Any]:
    right, *wrong = question.texts
    record = question.record | {"same_tokens": same}
    if not wrong:
        return record | {"answer": right}
    gold = question.number % (
        len(wrong) + 1
    )  # harness and numpy take the first of equals: a fixed place would favour it
    return record | {"choices": [*wrong[:gold], right, *wrong[gold:]], "gold": gold}


def group_yaml(name: str, tasks: list[Task]) -> bytes:
    """Accuracy of the group weighs every question alike; of exact match and choices together there is none."""
    lines = [f"group: {json.dumps(name)}", "task:", *(f"  - {json.dumps(task.name)}" for task in tasks)]
    if len({task.choice for task in tasks}) == 1:
        lines += ["aggregate_metric_list:"]
        for metric in ["acc", "acc_norm"] if tasks[0].choice else ["acc"]:
            lines += [f"  - metric: {metric}", "    aggregation: mean", "    weight_by_size: true"]
    return ("\n".join([*lines, "metadata:", f"  version: {VERSION}"]) + "\n").encode()


def load_texts(prefix: str, sidecar: dict[str, Any], given: str | None, no_eot: bool) -> Texts:
    about = value_of(prefix + ".json", sidecar, "tokenizer", dict, "an object")
    for key in ("name", "file", "sha256"):
        value_of(prefix + ".json", about, key, str, "a text")
    value_of(prefix + ".json", sidecar, "eot_id", int, "a whole number")
    path = given or os.path.join(os.path.dirname(prefix), sidecar["tokenizer"]["file"])
    if file_sha256(path) != sidecar["tokenizer"]["sha256"]:
        raise DataError(
            f"{path}: not the tokenizer '{sidecar['tokenizer']['name']}' of {prefix}.json (its sha256 differs); name "
            "the right file with --tokenizer"
        )
    tokenizer = hugging_face().Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    eot = tokenizer.id_to_token(sidecar["eot_id"])
    if eot is None:
        raise DataError(f"{path}: has no token {sidecar['eot_id']}, the eot_id of {prefix}.json")
    if not no_eot and tokenizer.encode(eot, add_special_tokens=False).ids != [sidecar["eot_id"]]:
        raise DataError(f"{path}: the text {eot} does not become the one token {sidecar['eot_id']}; use --no-eot")
    return Texts(tokenizer, "" if no_eot else eot, sidecar["eot_id"])


def value_of(path: str, holder: dict[str, Any], key: str, kind: type, what: str) -> Any:
    if key not in holder:
        raise DataError(f"{path}: no key '{key}'")
    if type(holder[key]) is not kind:
        raise DataError(f"{path}: expected {what} at '{key}', found {json.dumps(holder[key])[:60]}")
    return holder[key]


def check_about(path: str, about: dict[str, Any], q: np.ndarray) -> None:
    """The lists that the columns of q.npy index."""
    for key, column in (("relations", 0), ("attributes", 1), ("kinds", 3), ("groups", 5)):
        names = value_of(path, about, key, list, "a list of names")
        wrong = [name for name in names if type(name) is not str]
        if wrong:
            raise DataError(f"{path}: expected a list of names at '{key}', in which is {json.dumps(wrong[0])[:60]}")
        bad = np.flatnonzero(q[:, column] >= len(names))
        if len(bad):
            raise DataError(
                f"{path}: {len(names)} names at '{key}', but question {bad[0]} (q.npy) is of number "
                f"{q[bad[0], column]}, counted from 0"
            )


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    prefix = options.prefix.removesuffix(".json")
    sidecar = load_json(prefix + ".json")
    if sidecar.get("kind") != "questions":
        raise DataError(
            f"{prefix}.json: expected the kind 'questions', found '{sidecar.get('kind')}'; the set of a source is "
            "usually SOURCE_questions"
        )
    about = load_json(prefix + ".questions.json")
    name = options.name or value_of(prefix + ".questions.json", about, "name", str, "a name")
    if not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"--name {name}: a task's name is one word of letters, digits, '_', '-' and '.'")
    shard = open_shard(prefix)
    q = load_column(prefix + ".q.npy", "<u4", (len(shard.documents) - 1, 8))
    check_about(prefix + ".questions.json", about, q)
    texts = load_texts(prefix, sidecar, options.tokenizer, options.no_eot)
    os.makedirs(options.out, exist_ok=True)
    tasks: dict[str, Task] = {}
    differing, aliases = [], 0
    with contextlib.ExitStack() as stack:
        for chunk in chunked(load_questions(shard, about, q, texts)):
            owners = [question for question in chunk for _ in question.answers]
            answers = [answer for question in chunk for answer in question.answers]
            pairs = [texts.pair(question.record["prompt"], text) for question in chunk for text in question.texts]
            wrong = {
                o.number for o, bad in zip(owners, texts.differing([o.prompt for o in owners], answers, pairs)) if bad
            }
            for question in chunk:
                part = f"_{question.record[options.by]}" if options.by else ""
                choice = len(question.answers) > 1
                key = name + part + ("_choice" if choice and bool((q[:, 6] == 0).any()) else "")
                if key not in tasks:
                    tasks[key] = Task(key, choice, options.out)
                    stack.callback(tasks[key].file.discard)
                tasks[key].add(finish_record(question, question.number not in wrong))
                if question.number in wrong:
                    differing.append(
                        f"question {question.number}: {question.record['prompt']!r} + {question.texts[0]!r}"
                    )
                aliases += bool(question.aliases)
        if differing and options.strict:
            raise DataError(
                f"{prefix}: {len(differing)} of {len(q)} questions are tokenized otherwise as text, the first: "
                f"{differing[0]}; without --strict they are written and marked"
            )
        data_folder = options.data_folder if options.data_folder is not None else os.path.abspath(options.out)
        for task in tasks.values():
            task.file.sync()
            task.file.rename()
            write_file(os.path.join(options.out, task.name + ".yaml"), task.yaml(data_folder, texts.prefix_text))
        if len(tasks) > 1 or options.by:
            group = name if name not in tasks else name + "_all"
            write_file(os.path.join(options.out, group + "_group.yaml"), group_yaml(group, list(tasks.values())))
    for task in tasks.values():
        print(
            f"{os.path.join(options.out, task.name)}.yaml: {task.rows:,} questions, "
            f"{'multiple_choice' if task.choice else 'loglikelihood'}"
        )
    print(
        f"{len(differing)} of {len(q):,} questions are tokenized otherwise as text"
        + (f", the first: {differing[0]}" if differing else "")
    )
    if aliases:
        print(
            f"note: {aliases:,} questions have aliases, which the harness does not take; only the first answer counts "
            "there"
        )
