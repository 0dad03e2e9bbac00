"""Token ids of sentences and questions, for many people at once.

A tokenizer that cuts text at words sees 'Ann', ' Lee', ' was born in', ' Oslo' and '.' one by one, so each piece is
tokenized once and sentences are put together by indexing (PieceComposer). Whether the tokenizer at hand works so is not
assumed but checked against whole texts (encode.py); if it does not, every sentence is tokenized in full after
another one (encode_whole.py), and only a tokenizer that merges over the border of sentences or values is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from knapsack.common.tokenizer import Encoder
from knapsack.shards.knowledge import Batch
from knapsack.synbio.candidates import rivals
from knapsack.synbio.population import Population
from knapsack.synbio.wording import NAME, NOBODY, PRONOUNS, Frame, Tag, Wording, asked


class Composer(Protocol):
    population: Population
    tag: Tag
    wordings: list[Wording]
    candidates: int  # wrong answers a question

    def sentences(self, people: np.ndarray, wording: Wording) -> Batch:
        """All sentences of these people in the order of dev/formats.md, 2: slot, template, form."""

    def questions(self, people: np.ndarray) -> Batch:
        """For each person, slot and template of any kind: prompt, answer, candidates."""

    def names(self, people: np.ndarray) -> Batch:
        """For each person: the tag, or nothing, then the name as it opens a document."""


class Pieces:
    """A table of token runs, addressed by number."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.texts: list[str] = []

    def add(self, texts: list[str]) -> int:
        """Number of the first; the others follow."""
        self.texts += texts
        return len(self.texts) - len(texts)

    def finish(self) -> None:
        ids = self.encoder.encode_batch(self.texts)
        self.length = np.array([len(run) for run in ids], np.int64)
        self.bytes = np.array([len(text.encode()) for text in self.texts], np.int64)
        self.start = np.cumsum(self.length) - self.length
        self.flat = np.array([i for run in ids for i in run], np.uint32)

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """The token runs of these pieces, one after another."""
        lengths = self.length[numbers]
        ends = np.cumsum(lengths)
        return self.flat[np.arange(ends[-1]) + np.repeat(self.start[numbers] - ends + lengths, lengths)]


@dataclass
class FrameTable:
    """The frames of one slot as numbers of pieces, each array (templates, forms, ...)."""

    fixed: np.ndarray  # (templates, forms, 3): head, words, tail
    parts: np.ndarray  # (templates, forms, 3): the first piece that can be the first, middle, last name
    named: np.ndarray  # 1 where the name's parts choose among these pieces, else 0
    gendered: np.ndarray  # 1 where the pronoun chooses


class PieceComposer:
    """A sentence is the pieces head, first, middle, last name (or pronoun), words up to the value, value, rest."""

    HEAD, FIRST, MIDDLE, LAST, WORDS, VALUE, TAIL = range(7)

    def __init__(
        self, population: Population, encoder: Encoder, wordings: list[Wording], tag: Tag, candidates: int
    ) -> None:
        self.population, self.tag, self.wordings, self.candidates = population, tag, wordings, candidates
        self.pieces = Pieces(encoder)
        first, middle, last = population.parts
        self.nothing = self.pieces.add([""])
        self.first = [self.pieces.add(first), self.pieces.add([" " + name for name in first])]  # after a space
        self.others = [self.pieces.add([" " + name for name in names]) for names in (middle, last)]
        self.pronoun = {
            kind: [self.pieces.add(list(both)), self.pieces.add([" " + word for word in both])]
            for kind, both in PRONOUNS.items()
        }
        self.value = [self.pieces.add([" " + value for value in slot.pool]) for slot in population.slots]
        self.tables = {w.ending: [self._table(frames) for frames in w.frames] for w in wordings}
        self.asked = [self._table([[asked(t, tag)] for t in slot.templates]) for slot in population.slots]
        self.opening = self._table([[Frame(tag.opening, NAME, "", "")]])
        self.pieces.finish()

    def _table(self, frames: list[list[Frame]]) -> FrameTable:
        fixed = [
            [[self.pieces.add([text]) for text in (f.head.rstrip(" "), f.middle.rstrip(" "), f.tail)] for f in forms]
            for forms in frames
        ]
        parts = [[self._subject(frame) for frame in forms] for forms in frames]
        named = [[int(frame.subject == NAME) for frame in forms] for forms in frames]
        gendered = [[int(frame.subject in PRONOUNS) for frame in forms] for forms in frames]
        return FrameTable(*(np.array(column, np.int32) for column in (fixed, parts, named, gendered)))

    def _subject(self, frame: Frame) -> list[int]:
        after_space = frame.head.endswith(" ")
        if frame.subject == NOBODY:
            return [self.nothing] * 3
        if frame.subject == NAME:
            return [self.first[after_space], *self.others]
        return [self.pronoun[frame.subject][after_space], self.nothing, self.nothing]

    def numbers(self, table: FrameTable, people: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """Pieces (people, templates, forms, 7); `values` numbers in the table of pieces, (people, templates)."""
        numbers = np.empty((len(people), *table.named.shape, 7), np.int32)
        numbers[..., [self.HEAD, self.WORDS, self.TAIL]] = table.fixed
        chosen = self.population.name_parts[people].astype(np.int32)
        for part, column in enumerate((self.FIRST, self.MIDDLE, self.LAST)):
            numbers[..., column] = table.parts[..., part] + table.named * chosen[:, part, None, None]
        if table.gendered.any():
            numbers[..., self.FIRST] += table.gendered * self.population.pronoun[people].astype(np.int32)[:, None, None]
        numbers[..., self.VALUE] = self.nothing if values is None else values[:, :, None]
        return numbers

    def slot_sentences(self, wording: Wording, people: np.ndarray, slot: int, values: np.ndarray) -> np.ndarray:
        """(people, templates, forms, 7) for values of shape (people, templates)."""
        return self.numbers(self.tables[wording.ending][slot], people, self.value[slot] + values)

    def slot_questions(self, people: np.ndarray, slot: int) -> np.ndarray:
        """(people, templates of every kind, 7)."""
        answers = self.value[slot] + self.population.values[people, slot][:, None]
        return self.numbers(self.asked[slot], people, answers)[:, :, 0]

    def sentences(self, people: np.ndarray, wording: Wording) -> Batch:
        stated = wording.stated(self.population, people)
        slots = [self.slot_sentences(wording, people, s, stated[:, s]) for s in range(len(self.population.slots))]
        return self.join_sentences(np.stack(slots, axis=1).reshape(-1, 7))

    def questions(self, people: np.ndarray) -> Batch:
        asked_pieces = [self.slot_questions(people, s) for s in range(len(self.population.slots))]
        others = []
        if self.candidates:
            wrong = rivals(self.population, people, self.candidates)
            for slot, pieces in enumerate(asked_pieces):
                shape = (*pieces.shape[:2], self.candidates)
                others.append(np.broadcast_to(self.value[slot] + wrong[:, slot, None], shape))
        numbers = np.concatenate(asked_pieces, axis=1).reshape(-1, 7)
        return self.join_questions(numbers, np.concatenate(others, axis=1) if others else None)

    def names(self, people: np.ndarray) -> Batch:
        numbers = self.numbers(self.opening, people, None).reshape(-1, 7)[:, : self.WORDS]
        lengths = self.pieces.length[numbers]
        both = np.stack([lengths[:, self.HEAD], lengths[:, self.FIRST :].sum(axis=1)], axis=1)
        return Batch(self.pieces.gather(numbers.ravel()), both.ravel(), None, int(self.pieces.bytes[numbers].sum()))

    def join_sentences(self, numbers: np.ndarray) -> Batch:
        lengths = self.pieces.length[numbers]
        before = lengths[:, : self.VALUE].sum(axis=1)
        spans = np.stack([before, before + lengths[:, self.VALUE]], axis=1)
        return Batch(
            self.pieces.gather(numbers.ravel()), lengths.sum(axis=1), spans, int(self.pieces.bytes[numbers].sum())
        )

    def join_questions(self, numbers: np.ndarray, others: np.ndarray | None = None) -> Batch:
        """What would follow the value is left out; the candidates' pieces, if any, come instead."""
        columns = [numbers[:, : self.TAIL]]
        if others is not None:
            columns.append(others.reshape(len(numbers), -1).astype(np.int32))
        numbers = np.concatenate(columns, axis=1)
        lengths = self.pieces.length[numbers]
        runs = np.concatenate([lengths[:, : self.VALUE].sum(axis=1)[:, None], lengths[:, self.VALUE :]], axis=1)
        return Batch(self.pieces.gather(numbers.ravel()), runs.ravel(), None, int(self.pieces.bytes[numbers].sum()))
