"""Token ids of statements and questions. What of a text is the object is found from its end, and must be the very tokens
that the object has everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.tokenizer import Encoder
from knapsack.facts.relations import Relation
from knapsack.facts.selection import Told
from knapsack.shards.knowledge import HELDOUT, KINDS, QUESTION, SEEN, Batch
from knapsack.text.word_encoder import WordEncoder

FORMS = ["initial", "continuing"]  # a document begins with the first; the other stands behind another sentence
UNKNOWN = 2**32 - 1  # popularity


def prompt(template: str, subject: str) -> str:
    """What stands before the object, without the space."""
    return template.removesuffix("[Y].").rstrip(" ").replace("[X]", subject)


def full_stop(object: str) -> str:
    """None where the object brings a mark of its own ('Washington, D.C.'): its last token would merge with it."""
    return "." if object[-1].isalnum() else ""


def statement(template: str, subject: str, object: str) -> str:
    return f"{prompt(template, subject)} {object}{full_stop(object)}"


class Wording(NamedTuple):
    """A template of one relation, of any kind."""

    text: str
    kind: str


@dataclass
class Questions:
    batch: Batch
    sizes: np.ndarray  # sequences of each question
    columns: np.ndarray  # (questions, 8), the rows of q.npy
    popularity: np.ndarray  # (questions)


class Renderer:
    def __init__(self, relations: list[Relation], encoder: Encoder, names: Iterable[str]) -> None:
        """`names`: everything that is ever an answer, right or wrong."""
        self.encoder = WordEncoder(encoder)
        self.number = {relation.id: number for number, relation in enumerate(relations)}
        self.relation = {relation.id: relation for relation in relations}
        self.wordings: list[Wording] = []
        self.first: dict[str, int] = {}  # by relation: where its templates begin, the training ones first
        for relation in relations:
            self.first[relation.id] = len(self.wordings)
            kinds = ((SEEN, relation.seen), (HELDOUT, relation.heldout), (QUESTION, relation.question))
            self.wordings += [Wording(text, kind) for kind, texts in kinds for text in texts]
        known = sorted(set(names))
        self.ids = dict(zip(known, encoder.encode_batch([" " + name for name in known])))
        self.stop = encoder.encode_batch(["."])[0]

    def prompts(self) -> list[str]:
        """Of questions.json, with the subject's hole still open."""
        return [prompt(wording.text, "[X]") for wording in self.wordings]

    def asked(self, told: Told) -> list[int]:
        """Numbers of the templates in which a fact is asked: those that it is told in, and all that nobody is trained on."""
        first, relation = self.first[told.fact.relation], self.relation[told.fact.relation]
        end = first + len(relation.seen)
        return [
            *(first + number for number in told.templates),
            *range(end, end + len(relation.heldout) + len(relation.question)),
        ]

    def begin_of(self, object: str, stop: str, text: str, ids: list[int]) -> int:
        """Where the object's tokens begin in those of `text`, which ends with object and stop."""
        answer, behind = self.ids[object], self.stop if stop else []
        begin = len(ids) - len(behind) - len(answer)
        if begin < 1 or ids[begin:] != answer + behind:
            raise DataError(
                f"'{text}': with this tokenizer '{object}' has other tokens here than elsewhere, so that the answer cannot "
                "be told from the text before it; leave the fact out, or take a tokenizer that cuts text at words"
            )
        return begin

    def statements(self, block: list[Told]) -> Batch:
        """The sequences of each fact: template, then form (dev/formats.md, 2; there is one slot)."""
        texts, objects = [], []
        for told in block:
            templates = self.relation[told.fact.relation].seen
            for number in told.templates:
                text = statement(templates[number], told.fact.subject, told.object)
                texts += [text, " " + text]
                objects += [told.object] * len(FORMS)
        runs, spans = self.encoder.encode(texts, len(texts) // len(block)), []
        for text, ids, object in zip(texts, runs, objects):
            begin = self.begin_of(object, full_stop(object), text, ids)
            spans.append((begin, begin + len(self.ids[object])))
        return joined(runs, np.array(spans), sum(len(text.encode()) for text in texts))

    def different(self, names: Iterable[str], taken: set[tuple[int, ...]]) -> list[str]:
        """Those whose tokens are not taken yet."""
        found = []
        for name in names:
            if (tokens := tuple(self.ids[name])) not in taken:
                taken.add(tokens)
                found.append(name)
        return found

    def questions(self, block: list[Told], first_entity: int) -> Questions:
        """Each fact in each of its templates: prompt, answer, wrong answers, other right answers."""
        texts, rows, offers = [], [], []  # offers: of each fact, its number of questions and the other answers
        for entity, told in enumerate(block, first_entity):
            taken = {tuple(self.ids[told.object])}
            right = self.different(told.accepted, taken)
            wrong = self.different(told.rivals, taken)
            relation = self.number[told.fact.relation]
            places = (2 if wrong else 0, 2 + len(wrong) if right else 0)
            templates = self.asked(told)
            for template in templates:
                kind = KINDS.index(self.wordings[template].kind)
                texts.append(f"{prompt(self.wordings[template].text, told.fact.subject)} {told.object}")
                rows.append((relation, relation, template, kind, entity, 0, *places))
            offers.append((told, len(templates), wrong + right))
        runs, sizes, popularity, text_bytes = [], [], [], sum(len(text.encode()) for text in texts)
        answers = iter(zip(texts, self.encoder.encode(texts, len(texts) // len(block))))
        for told, templates, others in offers:
            behind = [self.ids[name] for name in others]
            for text, ids in islice(answers, templates):
                begin = self.begin_of(told.object, "", text, ids)
                runs += [ids[:begin], ids[begin:], *behind]
            sizes += [2 + len(others)] * templates
            popularity += [UNKNOWN if told.fact.popularity is None else told.fact.popularity] * templates
            text_bytes += templates * sum(1 + len(name.encode()) for name in others)
        columns = np.array(rows, np.uint32), np.array(popularity, np.uint32)
        return Questions(joined(runs, None, text_bytes), np.array(sizes), *columns)


def joined(runs: list[list[int]], spans: np.ndarray | None, text_bytes: int) -> Batch:
    lengths = np.fromiter(map(len, runs), np.int64, len(runs))
    tokens = np.fromiter(chain.from_iterable(runs), np.uint32, int(lengths.sum()))
    return Batch(tokens, lengths, spans, text_bytes)
