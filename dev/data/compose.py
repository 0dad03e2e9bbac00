"""Token ids of sentences and questions, for many people at once.

A tokenizer that cuts text at words sees 'Ann', ' Lee', ' was born in', ' Oslo' and '.' one by one, so each piece is
tokenized once and sentences are put together by indexing (PieceComposer). Whether the tokenizer at hand works so is not
assumed but checked against whole texts (`disagreement`); if it does not, every sentence is tokenized in full behind
another one (DirectComposer), and only a tokenizer that merges over the border of sentences or values is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Protocol

import numpy as np

from cli import DataError, ordered_map
from population import CHECK_STREAM, Population, random_stream
from tokenization import Encoder

DOCUMENTS_CHECKED = 500


@dataclass
class Batch:
    """Sequences one after another. `spans` (sequences, 2) is where the value stands; questions have none."""

    tokens: np.ndarray
    lengths: np.ndarray
    spans: np.ndarray | None
    text_bytes: int

    def split(self) -> list[np.ndarray]:
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])


class Composer(Protocol):
    population: Population

    def sentences(self, people: np.ndarray) -> Batch:
        """All sentences of these people in the order of dev/formats.md, 2: slot, template, form."""

    def questions(self, people: np.ndarray) -> Batch:
        """For each person, slot and template: prompt, answer."""


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


class PieceComposer:
    """A sentence is the pieces head, first, middle, last name, words up to the value, value, rest."""

    HEAD, FIRST, MIDDLE, LAST, WORDS, VALUE, TAIL = range(7)

    def __init__(self, population: Population, encoder: Encoder) -> None:
        self.population = population
        self.pieces = Pieces(encoder)
        first, middle, last = population.parts
        self.first = [self.pieces.add(first), self.pieces.add([" " + name for name in first])]  # by form
        self.others = [self.pieces.add([" " + name for name in names]) for names in (middle, last)]
        self.value = [self.pieces.add([" " + value for value in slot.pool]) for slot in population.slots]
        fixed = [[(t.head.rstrip(), t.middle.rstrip(), t.tail) for t in slot.templates] for slot in population.slots]
        self.fixed = [np.array([[self.pieces.add([text]) for text in texts] for texts in slot]) for slot in fixed]
        self.pieces.finish()

    def _fill(self, shape: tuple[int, ...], people: np.ndarray) -> np.ndarray:
        """Piece numbers (people, ...) with the middle and last name in place."""
        numbers = np.empty((len(people), *shape, 7), np.int32)
        axes = (slice(None),) + (None,) * len(shape)
        parts = self.population.name_parts[people]
        numbers[..., self.MIDDLE] = self.others[0] + parts[:, 1][axes]
        numbers[..., self.LAST] = self.others[1] + parts[:, 2][axes]
        return numbers

    def sentence_pieces(self, people: np.ndarray, slot: int, values: np.ndarray) -> np.ndarray:
        """(people, templates, forms, 7) for values of shape (people, templates)."""
        numbers = self._fill((self.population.training, 2), people)
        fixed = self.fixed[slot][None, : self.population.training, None]
        numbers[..., [self.HEAD, self.WORDS, self.TAIL]] = fixed
        numbers[..., self.VALUE] = self.value[slot] + values[:, :, None]
        for form in (0, 1):
            numbers[:, :, form, self.FIRST] = self.first[form] + self.population.name_parts[people, 0][:, None]
        return numbers

    def question_pieces(self, people: np.ndarray, slot: int) -> np.ndarray:
        """(people, templates of every kind, 7); what would follow the value is left out when gathering."""
        templates = self.population.slots[slot].templates
        numbers = self._fill((len(templates),), people)
        numbers[..., [self.HEAD, self.WORDS, self.TAIL]] = self.fixed[slot][None]
        numbers[..., self.VALUE] = self.value[slot] + self.population.values[people, slot][:, None]
        for i, template in enumerate(templates):
            numbers[:, i, self.FIRST] = self.first[bool(template.head)] + self.population.name_parts[people, 0]
        return numbers

    def sentences(self, people: np.ndarray) -> Batch:
        stated = self.population.stated[people]
        slots = [self.sentence_pieces(people, s, stated[:, s]) for s in range(len(self.population.slots))]
        return self.join_sentences(np.stack(slots, axis=1).reshape(-1, 7))

    def questions(self, people: np.ndarray) -> Batch:
        slots = [self.question_pieces(people, s) for s in range(len(self.population.slots))]
        return self.join_questions(np.concatenate(slots, axis=1).reshape(-1, 7))

    def join_sentences(self, numbers: np.ndarray) -> Batch:
        lengths = self.pieces.length[numbers]
        before = lengths[:, : self.VALUE].sum(axis=1)
        spans = np.stack([before, before + lengths[:, self.VALUE]], axis=1)
        return Batch(
            self.pieces.gather(numbers.ravel()), lengths.sum(axis=1), spans, int(self.pieces.bytes[numbers].sum())
        )

    def join_questions(self, numbers: np.ndarray) -> Batch:
        numbers = numbers[:, : self.TAIL]
        lengths = self.pieces.length[numbers]
        both = np.stack([lengths[:, : self.VALUE].sum(axis=1), lengths[:, self.VALUE]], axis=1)
        return Batch(self.pieces.gather(numbers.ravel()), both.ravel(), None, int(self.pieces.bytes[numbers].sum()))


class DirectComposer:
    """Tokenizes every text in full. A continuing sentence is what stands behind a first sentence of the same person."""

    def __init__(self, population: Population, encoder: Encoder) -> None:
        self.population, self.encoder = population, encoder
        self.value_tokens: dict[tuple[int, str], list[int]] = {}

    def _cut(self, slot: int, value: str, value_at: int, borders: list[list[str]]) -> list[list[list[int]]]:
        """Each item of `borders` is a text's growing beginnings, the last one whole; the tokens between them, or an
        error where a token reaches over a border or the value's tokens (those of part `value_at`) are not what they
        were elsewhere.
        """
        ids = iter(self.encoder.encode_batch([text for texts in borders for text in texts]))
        cut = []
        for texts in borders:
            runs = [next(ids) for _ in texts]
            if any(runs[-1][: len(run)] != run for run in runs):
                raise DataError(
                    f"this tokenizer merges '{value}' or a sentence's end with its neighbour in '{texts[-1]}'"
                )
            parts = [run[len(before) :] for before, run in zip([[], *runs], runs)]
            if self.value_tokens.setdefault((slot, value), parts[value_at]) != parts[value_at]:
                raise DataError(f"the tokens of '{value}' differ between templates; see '{texts[-1]}'")
            cut.append(parts)
        return cut

    def sentences(self, people: np.ndarray) -> Batch:
        population, tokens, lengths, spans, text_bytes = self.population, [], [], [], 0
        for person in people:
            anchor = population.sentence(person, 0, 0)
            for slot in range(len(population.slots)):
                for template in range(population.training):
                    whole = population.sentence(person, slot, template)
                    value = population.slots[slot].pool[population.stated[person, slot, template]]
                    before = population.prompt(person, population.slots[slot].templates[template])
                    growing = [before, f"{before} {value}", whole]
                    cut = self._cut(slot, value, -2, [growing, [anchor, *(f"{anchor} {text}" for text in growing)]])
                    for prompt, answer, tail in (cut[0], cut[1][1:]):
                        tokens += prompt + answer + tail
                        lengths.append(len(prompt) + len(answer) + len(tail))
                        spans.append((len(prompt), len(prompt) + len(answer)))
                    text_bytes += 2 * len(whole.encode()) + 1
        return Batch(np.array(tokens, np.uint32), np.array(lengths), np.array(spans), text_bytes)

    def questions(self, people: np.ndarray) -> Batch:
        population, tokens, lengths, text_bytes = self.population, [], [], 0
        for person in people:
            for slot, info in enumerate(population.slots):
                answer = population.answer(person, slot)
                prompts = [population.prompt(person, template) for template in info.templates]
                for prompt, value in self._cut(slot, answer[1:], -1, [[prompt, prompt + answer] for prompt in prompts]):
                    tokens += prompt + value
                    lengths += [len(prompt), len(value)]
                text_bytes += sum(len((prompt + answer).encode()) for prompt in prompts)
        return Batch(np.array(tokens, np.uint32), np.array(lengths), None, text_bytes)


def coverage(population: Population) -> Iterator[tuple[int, np.ndarray]]:
    """For each slot people among whom every value in use and every part of a name in use occurs."""
    names = [np.unique(population.name_parts[:, part], return_index=True)[1] for part in range(3)]
    for slot in range(len(population.slots)):
        holders = np.unique(population.values[:, slot], return_index=True)[1]
        people = np.unique(np.concatenate([holders, *names]))
        for first in range(0, len(people), 1000):
            yield slot, people[first : first + 1000]


def disagreement(item: tuple[int, np.ndarray], composer: PieceComposer, encoder: Encoder) -> str | None:
    """A text of this slot whose pieces are not its tokens, if there is one."""
    slot, people = item
    population = composer.population
    templates, seen = population.slots[slot].templates, population.training
    nominal = np.repeat(population.values[people, slot][:, None], seen, axis=1)
    numbers = composer.sentence_pieces(people, slot, nominal)[:, :, 0].reshape(-1, 7)
    asked = composer.question_pieces(people, slot).reshape(-1, 7)
    questions = composer.join_questions(asked).split()
    built = composer.join_sentences(numbers).split() + [
        np.concatenate(pair) for pair in zip(questions[::2], questions[1::2])
    ]
    texts = [population.prompt(p, t) + population.answer(p, slot) + t.tail for p in people for t in templates[:seen]]
    texts += [population.prompt(p, t) + population.answer(p, slot) for p in people for t in templates]
    for text, tokens, ids in zip(texts, built, encoder.encode_batch(texts)):
        if ids != tokens.tolist():
            return text
    return None


def document_disagreement(composer: Composer, encoder: Encoder) -> str | None:
    """A whole document, out of a random sample, whose sentences' tokens are not its tokens."""
    population = composer.population
    rng = random_stream(population.seed, CHECK_STREAM)
    sample = rng.choice(len(population), min(DOCUMENTS_CHECKED, len(population)), replace=False)
    shape = (len(population.slots), population.training, 2)
    texts, built = [], []
    for person, sequences in zip(sample, _by_person(composer.sentences(sample), len(sample))):
        order, templates = random_rendering(population, rng)
        forms = [0] + [1] * (len(order) - 1)
        at = [np.ravel_multi_index((s, templates[s], form), shape) for s, form in zip(order, forms)]
        built.append([int(i) for sequence in at for i in sequences[sequence]])
        texts.append(" ".join(population.sentence(person, slot, templates[slot]) for slot in order))
    return next((text for text, a, b in zip(texts, built, encoder.encode_batch(texts)) if a != b), None)


def _by_person(batch: Batch, people: int) -> list[list[np.ndarray]]:
    sequences = batch.split()
    each = len(sequences) // people
    return [sequences[first : first + each] for first in range(0, len(sequences), each)]


def random_rendering(population: Population, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """An order of the slots and a template for each, as the trainer's composition draws them anew at every exposure."""
    slots = len(population.slots)
    return rng.permutation(slots).tolist(), rng.integers(population.training, size=slots).tolist()


_check: tuple[PieceComposer, Encoder]


def _start_check(composer: PieceComposer, encoder: Encoder) -> None:
    global _check
    _check = composer, encoder


def _check_one(item: tuple[int, np.ndarray]) -> str | None:
    return disagreement(item, *_check)


def make_composer(population: Population, encoder: Encoder, workers: int) -> tuple[Composer, str | None]:
    """The quick composer where it is right, else the direct one with a text that shows why."""
    pieces = PieceComposer(population, encoder)
    found = document_disagreement(pieces, encoder)
    if found is None:
        checks = ordered_map(_check_one, coverage(population), workers, _start_check, (pieces, encoder))
        found = next((text for text in checks if text is not None), None)
    if found is None:
        return pieces, None
    direct = DirectComposer(population, encoder)
    wrong = document_disagreement(direct, encoder)
    if wrong is not None:
        raise DataError(f"this tokenizer does not give a document the tokens of its sentences: '{wrong}'")
    return direct, found
