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
import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from knapsack.common.arguments import make_parser
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import AtomicFile, FileGroup, make_folder
from knapsack.common.tokenizer import decode_batch, hugging_face
from knapsack.shards.read import QuestionSet, StoredQuestion, tokenizer_file

CHUNK = 1000
VERSION = 1.0
LONGEST = 100  # letters of a label in a task's name


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("lm-eval", __doc__)
    parser.add_argument("prefix", metavar="PREFIX", help="the question set")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--name", help="of the task (default: the set's)")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one next to the set)")
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
        return decode_batch(self.tokenizer, [ids.tolist()])[0]

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


def part_of_name(label: str) -> str:
    """What a task's name, and so that of its files, has of a kind or an attribute; different for different labels."""
    plain = re.sub(r"[^\w.-]+", "-", label)
    if plain == label and len(label) <= LONGEST:
        return label
    return f"{plain[:LONGEST]}-{hashlib.sha256(label.encode(errors='surrogatepass')).hexdigest()[:8]}"


def to_yaml(fields: dict[str, Any]) -> bytes:
    """A line a key, its value as JSON, which YAML contains."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items()).encode()


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
        metrics = [
            ("acc", "mean", True),
            ("acc_norm", "mean", True) if self.choice else ("perplexity", "perplexity", False),
        ]
        task = {
            "task": self.name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": os.path.join(data_folder, self.name + ".jsonl")}},
            "test_split": "test",
            "output_type": "multiple_choice" if self.choice else "loglikelihood",
            "doc_to_text": prefix_text + "{{prompt}}",
            "doc_to_target": "gold" if self.choice else "answer",
            "doc_to_choice": "choices",
            "target_delimiter": "",
            "num_fewshot": 0,
            "metric_list": [dict(zip(("metric", "aggregation", "higher_is_better"), metric)) for metric in metrics],
            "metadata": {"version": VERSION},
        }
        if not self.choice:
            del task["doc_to_choice"]
        return to_yaml(task)


@dataclass
class Asked:
    """A question as text: what follows the prompt is the right answer, then the candidates."""

    stored: StoredQuestion
    prompt: str
    answers: list[str]

    @property
    def record(self) -> dict[str, Any]:
        stored = self.stored
        names = {name: getattr(stored, name) for name in ("relation", "attribute", "kind", "group")}
        return {"question": stored.number, "entity": stored.entity, **names, "prompt": self.prompt}

    def finished(self, same_tokens: bool) -> dict[str, Any]:
        """A line of NAME.jsonl. The right choice's place turns with the number of the question: harness and numpy take
        the first of equals, so a fixed place would favour it."""
        right, *wrong = self.answers
        record = self.record | {"same_tokens": same_tokens}
        if not wrong:
            return record | {"answer": right}
        gold = self.stored.number % (len(wrong) + 1)
        return record | {"choices": [*wrong[:gold], right, *wrong[gold:]], "gold": gold}


def as_text(stored: StoredQuestion, texts: Texts) -> Asked:
    return Asked(stored, *texts.parts(stored.prompt, stored.answers))


def group_yaml(name: str, tasks: list[Task]) -> bytes:
    """Accuracy of the group weighs every question alike; of exact match and choices together there is none."""
    group: dict[str, Any] = {"group": name, "task": [task.name for task in tasks]}
    if len({task.choice for task in tasks}) == 1:
        metrics = ["acc", "acc_norm"] if tasks[0].choice else ["acc"]
        weighted = {"aggregation": "mean", "weight_by_size": True}
        group["aggregate_metric_list"] = [{"metric": metric, **weighted} for metric in metrics]
    return to_yaml(group | {"metadata": {"version": VERSION}})


def load_texts(prefix: str, sidecar: dict[str, Any], given: str | None, no_eot: bool) -> Texts:
    path, eot_id = tokenizer_file(prefix, sidecar, given), sidecar["eot_id"]
    tokenizer = hugging_face().Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    eot = tokenizer.id_to_token(eot_id)
    if eot is None:
        raise DataError(f"{path}: has no token {eot_id}, the eot_id of {prefix}.json")
    if not no_eot and tokenizer.encode(eot, add_special_tokens=False).ids != [eot_id]:
        raise DataError(f"{path}: the text {eot} does not become the one token {eot_id}; use --no-eot")
    return Texts(tokenizer, "" if no_eot else eot, eot_id)


def with_space(texts: Texts, asked: list[Asked]) -> Texts:
    """Tokenizers that begin every text with a space (SentencePiece's) give the first word none after a special token:
    the prompts' own tokens then come back with a space in front of them."""
    if not texts.prefix_text or not asked:
        return texts
    prompts = [one.stored.prompt.tolist() for one in asked]

    def agree(prefix: str) -> int:
        runs = texts.tokenizer.encode_batch([prefix + one.prompt for one in asked], add_special_tokens=False)
        return sum(run.ids == [texts.eot_id, *prompt] for run, prompt in zip(runs, prompts))

    spaced = texts.prefix_text + " "
    return replace(texts, prefix_text=spaced) if agree(spaced) > agree(texts.prefix_text) else texts


class Tasks:
    """The tasks that a question set becomes, and the questions that the harness will tokenize otherwise."""

    def __init__(self, name: str, folder: str, by: str | None, mixed: bool) -> None:
        """`mixed`: questions with candidates and without."""
        self.name, self.folder, self.by, self.mixed = name, folder, by, mixed
        self.tasks: dict[tuple[str, bool], Task] = {}  # by label, and whether with candidates
        self.differing: list[str] = []
        self.aliases = 0

    def __enter__(self) -> Tasks:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self.tasks.values():
            task.file.discard()

    def add(self, chunk: list[Asked], texts: Texts) -> None:
        owners = [asked for asked in chunk for _ in asked.answers]
        pairs = [texts.pair(asked.prompt, answer) for asked in chunk for answer in asked.answers]
        answers = [answer for asked in chunk for answer in asked.stored.answers]
        differing = texts.differing([owner.stored.prompt for owner in owners], answers, pairs)
        wrong = {owner.stored.number for owner, bad in zip(owners, differing) if bad}
        for asked in chunk:
            number = asked.stored.number
            self.task_of(asked).add(asked.finished(number not in wrong))
            if number in wrong:
                self.differing.append(f"question {number}: {asked.prompt!r} + {asked.answers[0]!r}")
            self.aliases += bool(asked.stored.aliases)

    def task_of(self, asked: Asked) -> Task:
        choice = len(asked.answers) > 1
        label = getattr(asked.stored, self.by) if self.by else ""
        if (label, choice) not in self.tasks:
            part = f"_{part_of_name(label)}" if self.by else ""
            name = self.name + part + ("_choice" if choice and self.mixed else "")
            self.tasks[label, choice] = Task(name, choice, self.folder)
        return self.tasks[label, choice]

    def commit(self, data_folder: str, prefix_text: str) -> None:
        with FileGroup() as files:
            files.files += [task.file for task in self.tasks.values()]
            for task in self.tasks.values():
                files.write(os.path.join(self.folder, task.name + ".yaml"), task.yaml(data_folder, prefix_text))
            self.write_group(files)
            files.commit()

    def write_group(self, files: FileGroup) -> None:
        if len(self.tasks) > 1 or self.by:
            names = {task.name for task in self.tasks.values()}
            group = self.name if self.name not in names else self.name + "_all"
            data = group_yaml(group, list(self.tasks.values()))
            files.write(os.path.join(self.folder, group + "_group.yaml"), data)

    def print_summary(self, questions: int) -> None:
        for task in self.tasks.values():
            kind = "multiple_choice" if task.choice else "loglikelihood"
            print(f"{os.path.join(self.folder, task.name)}.yaml: {task.rows:,} questions, {kind}")
        first = f", the first: {self.differing[0]}" if self.differing else ""
        print(f"{len(self.differing)} of {questions:,} questions are tokenized otherwise as text{first}")
        if self.aliases:
            print(
                f"note: {self.aliases:,} questions have aliases, which the harness does not take; only the first "
                "answer counts there"
            )


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    questions = QuestionSet(options.prefix.removesuffix(".json"))
    name = options.name or questions.name
    if not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"--name {name}: a task's name is one word of letters, digits, '_', '-' and '.'")
    texts = load_texts(questions.prefix, questions.sidecar, options.tokenizer, options.no_eot)
    first_asked = [as_text(questions[number], texts) for number in range(min(CHUNK, len(questions)))]
    texts = with_space(texts, [asked for asked in first_asked if asked.prompt])
    make_folder(options.out)
    with Tasks(name, options.out, options.by, bool((questions.column("candidates") == 0).any())) as tasks:
        for first in range(0, len(questions), CHUNK):
            numbers = range(first, min(first + CHUNK, len(questions)))
            tasks.add([as_text(questions[number], texts) for number in numbers], texts)
        if tasks.differing and options.strict:
            raise DataError(
                f"{questions.prefix}: {len(tasks.differing)} of {len(questions)} questions are tokenized otherwise as "
                f"text, the first: {tasks.differing[0]}; without --strict they are written and marked"
            )
        data_folder = options.data_folder if options.data_folder is not None else os.path.abspath(options.out)
        tasks.commit(data_folder, texts.prefix_text)
    tasks.print_summary(len(questions))
