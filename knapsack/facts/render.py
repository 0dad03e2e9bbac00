"""Token ids of statements and questions. What of a text is the object is found from its end, and must be the very
tokens that the object has everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.tokenizer import Encoder
from knapsack.facts.relations import Relation
from knapsack.facts.selection import Stated
from knapsack.shards.format import HELDOUT, KINDS, QUESTION, SEEN, UNKNOWN_POPULARITY
from knapsack.shards.knowledge import Batch, Questions
from knapsack.text.word_encoder import WordEncoder

FORMS = ["initial", "continuing"]  # a document begins with the first; the other continues one


def prompt(template: str, subject: str) -> str:
    """What comes before the object, without the space."""
    return template.removesuffix("[Y].").rstrip(" ").replace("[X]", subject)


def full_stop(object: str) -> str:
    """None where the object ends in a mark itself ('Washington, D.C.'): its last token would merge with it."""
    return "." if object[-1].isalnum() else ""


def statement(template: str, subject: str, object: str) -> str:
    return f"{prompt(template, subject)} {object}{full_stop(object)}"


class Wording(NamedTuple):
    """A template of one relation, of any kind."""

    text: str
    kind: str


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
        self.stop = encoder.after_word(".")

    def prompts(self) -> list[str]:
        """Of questions.json, with the subject's hole still open."""
        return [prompt(wording.text, "[X]") for wording in self.wordings]

    def asked(self, stated: Stated) -> list[int]:
        """Numbers of the templates in which a fact is asked: those that it is trained in, and all that no fact is."""
        first, relation = self.first[stated.fact.relation], self.relation[stated.fact.relation]
        end = first + len(relation.seen)
        return [
            *(first + number for number in stated.templates),
            *range(end, end + len(relation.heldout) + len(relation.question)),
        ]

    def begin_of(self, object: str, stop: str, text: str, ids: list[int]) -> int:
        """Where the object's tokens begin in those of `text`, which ends with object and stop."""
        answer, after = self.ids[object], self.stop if stop else []
        begin = len(ids) - len(after) - len(answer)
        if begin < 1 or ids[begin:] != answer + after:
            raise DataError(
                f"'{text}': with this tokenizer '{object}' has other tokens here than elsewhere, so that the answer "
                "cannot be separated from the text before it; leave the fact out, or take a tokenizer that cuts text "
                "at words"
            )
        return begin

    def statements(self, block: list[Stated]) -> Batch:
        """The sequences of each fact: template, then form (dev/formats.md, 2; there is one slot)."""
        texts, objects = [], []
        for stated in block:
            templates = self.relation[stated.fact.relation].seen
            for number in stated.templates:
                text = statement(templates[number], stated.fact.subject, stated.object)
                texts += [text, " " + text]
                objects += [stated.object] * len(FORMS)
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

    def times_asked(self, stated: Stated) -> int:
        return len(self.asked(stated))

    def questions(self, block: list[Stated], first_entity: int) -> Questions:
        """Each fact in each of its templates: prompt, answer, wrong answers, other right answers."""
        texts, rows, offers = [], [], []  # offers: of each fact, its number of questions and the other answers
        for entity, stated in enumerate(block, first_entity):
            taken = {tuple(self.ids[stated.object])}
            right = self.different(stated.accepted, taken)
            wrong = self.different(stated.rivals, taken)
            relation = self.number[stated.fact.relation]
            places = (2 if wrong else 0, 2 + len(wrong) if right else 0)
            templates = self.asked(stated)
            for template in templates:
                kind = KINDS.index(self.wordings[template].kind)
                texts.append(f"{prompt(self.wordings[template].text, stated.fact.subject)} {stated.object}")
                rows.append((relation, template, kind, entity, *places))
            offers.append((stated, len(templates), wrong + right))
        runs, sizes, popularity, text_bytes = [], [], [], sum(len(text.encode()) for text in texts)
        answers = iter(zip(texts, self.encoder.encode(texts, len(texts) // len(block))))
        for stated, templates, others in offers:
            after = [self.ids[name] for name in others]
            for text, ids in islice(answers, templates):
                begin = self.begin_of(stated.object, "", text, ids)
                runs += [ids[:begin], ids[begin:], *after]
            sizes += [2 + len(others)] * templates
            known = stated.fact.popularity is not None
            popularity += [stated.fact.popularity if known else UNKNOWN_POPULARITY] * templates
            text_bytes += templates * sum(1 + len(name.encode()) for name in others)
        relations, templates, kinds, entities, candidates, aliases = np.array(rows, np.uint32).T
        return Questions(
            joined(runs, None, text_bytes),
            np.array(sizes),
            relation=relations,
            attribute=relations,
            template=templates,
            kind=kinds,
            entity=entities,
            candidates=candidates,
            aliases=aliases,
            popularity=np.array(popularity, np.uint32),
        )


def joined(runs: list[list[int]], spans: np.ndarray | None, text_bytes: int) -> Batch:
    lengths = np.fromiter(map(len, runs), np.int64, len(runs))
    tokens = np.fromiter(chain.from_iterable(runs), np.uint32, int(lengths.sum()))
    return Batch(tokens, lengths, spans, text_bytes)
