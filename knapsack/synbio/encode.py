"""Which composer is right for a tokenizer: composed sentences, questions and documents against whole texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.parallel import ordered_map
from knapsack.common.tokenizer import Encoder
from knapsack.shards.knowledge import Batch
from knapsack.synbio.encode_pieces import Composer, PieceComposer
from knapsack.synbio.encode_whole import DirectComposer
from knapsack.synbio.population import CHECK_STREAM, Population, random_stream
from knapsack.synbio.wording import Frame, Tag, Wording, asked

DOCUMENTS_CHECKED = 500
TEMPLATES_CHECKED = 9  # for each value; with more templates, people take turns


@dataclass
class TaggedEncoder(Encoder):
    """An encoder that knows one special token: at the beginning of a text it is that token, elsewhere text as ever."""

    tag: str = ""
    tag_id: int = 0

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        runs = super().encode_batch([text.removeprefix(self.tag) for text in texts])
        return [[self.tag_id, *run] if text.startswith(self.tag) else run for text, run in zip(texts, runs)]


def special_tokens(encoder: Encoder) -> set[str]:
    return {token.content for token in encoder.tokenizer.get_added_tokens_decoder().values() if token.special}


def tagged(encoder: Encoder, tag: Tag) -> Encoder:
    if not tag.special:
        return encoder
    fields = (encoder.tokenizer, encoder.info, encoder.file_bytes, encoder.config_bytes)
    return TaggedEncoder(*fields, tag.text, encoder.tokenizer.token_to_id(tag.text))


def coverage(population: Population) -> Iterator[tuple[int, np.ndarray]]:
    """For each slot people among whom every value in use and every part of a name in use occurs."""
    names = [np.unique(population.name_parts[:, part], return_index=True)[1] for part in range(3)]
    for slot in range(len(population.slots)):
        holders = np.unique(population.values[:, slot], return_index=True)[1]
        people = np.unique(np.concatenate([holders, *names]))
        for first in range(0, len(people), 1000):
            yield slot, people[first : first + 1000]


def turns(people: int, templates: int) -> np.ndarray:
    """(people, checked): the templates in which these people's values are checked: all, or some in turn."""
    checked = min(templates, TEMPLATES_CHECKED)
    return (np.arange(people)[:, None] * checked + np.arange(checked)) % templates


def disagreement(item: tuple[int, np.ndarray], composer: PieceComposer, encoder: Encoder) -> str | None:
    """A text of this slot whose pieces are not its tokens, if there is one."""
    slot, people = item
    population = composer.population
    info = population.slots[slot]
    values = population.values[people, slot]
    rows = np.arange(len(people))[:, None]
    texts: list[str] = []
    built: list[np.ndarray] = []

    def add(frames: list[Frame], numbers: np.ndarray) -> np.ndarray:
        """Notes the texts of (people, templates, 7) and gives the pieces of those that are checked."""
        chosen = turns(len(people), len(frames))
        for person, value, templates in zip(people, values, chosen):
            texts.extend(frames[template].text(population, person, info.pool[value]) for template in templates)
        return numbers[rows, chosen].reshape(-1, 7)

    for wording in composer.wordings:
        first = [forms[0] for forms in wording.frames[slot]]
        nominal = np.repeat(values[:, None], len(first), axis=1)
        sentences = composer.slot_sentences(wording, people, slot, nominal)[:, :, 0]
        built += composer.join_sentences(add(first, sentences)).split()
    asked_frames = [asked(template, composer.tag) for template in info.templates]
    questions = composer.join_questions(add(asked_frames, composer.slot_questions(people, slot))).split()
    built += [np.concatenate(pair) for pair in zip(questions[::2], questions[1::2])]
    for text, tokens, ids in zip(texts, built, encoder.encode_batch(texts)):
        if ids != tokens.tolist():
            return text
    return None


def pool_disagreement(composer: PieceComposer, encoder: Encoder) -> str | None:
    """Candidates come from whole pools, also values that nobody has: each after one person's prompt."""
    population = composer.population
    for slot, info in enumerate(population.slots):
        frame = asked(info.templates[0], composer.tag)
        before = composer.slot_questions(np.array([0]), slot)[0, :1]
        for first in range(0, len(info.pool), 1000):
            values = info.pool[first : first + 1000]
            numbers = np.repeat(before, len(values), axis=0)
            numbers[:, composer.VALUE] = composer.value[slot] + first + np.arange(len(values))
            runs = composer.join_questions(numbers).split()
            texts = [frame.text(population, 0, value) for value in values]
            for text, prompt, answer, ids in zip(texts, runs[::2], runs[1::2], encoder.encode_batch(texts)):
                if ids != [*prompt.tolist(), *answer.tolist()]:
                    return text
    return None


def document_disagreement(composer: Composer, encoder: Encoder) -> str | None:
    """A whole document, out of a random sample of each source, whose sentences' tokens are not its tokens."""
    population = composer.population
    rng = random_stream(population.seed, CHECK_STREAM)
    for wording in composer.wordings:
        sample = rng.choice(wording.people, min(DOCUMENTS_CHECKED, len(wording.people)), replace=False)
        shape = (len(wording.frames), wording.templates, len(wording.forms))
        texts, built = [], []
        people = zip(sample, _by_person(composer.sentences(sample, wording), len(sample)))
        for (person, sequences), stated in zip(people, wording.stated(population, sample)):
            chosen = random_rendering(wording, rng)
            built.append([int(i) for at in chosen for i in sequences[np.ravel_multi_index(at, shape)]])
            texts.append(document_text(population, wording, person, stated, chosen))
        found = next((text for text, a, b in zip(texts, built, encoder.encode_batch(texts)) if a != b), None)
        if found is not None:
            return found
    return None


def _by_person(batch: Batch, people: int) -> list[list[np.ndarray]]:
    sequences = batch.split()
    each = len(sequences) // people
    return [sequences[first : first + each] for first in range(0, len(sequences), each)]


def random_rendering(wording: Wording, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Slot, template and form of each sentence, as the trainer's composition draws them anew at every exposure."""
    slots = len(wording.frames)
    order = list(range(slots)) if wording.rendering["orders"] == "listed" else rng.permutation(slots).tolist()
    templates = rng.integers(wording.templates, size=slots).tolist()
    forms = [1] * slots if len(wording.forms) == 2 else rng.integers(1, len(wording.forms), size=slots).tolist()
    return [(slot, templates[slot], form) for slot, form in zip(order, [0, *forms[1:]])]


def document_text(
    population: Population, wording: Wording, person: int, stated: np.ndarray, chosen: list[tuple[int, int, int]]
) -> str:
    """`stated`: this person's values, (slots, templates)."""
    pools = [slot.pool for slot in population.slots]
    return "".join(
        wording.frames[slot][template][form].text(population, person, pools[slot][stated[slot, template]])
        for slot, template, form in chosen
    )


def _check(state: tuple[PieceComposer, Encoder], item: tuple[int, np.ndarray]) -> str | None:
    return disagreement(item, *state)


def make_composer(
    population: Population, encoder: Encoder, wordings: list[Wording], tag: Tag, candidates: int, workers: int
) -> tuple[Composer, str | None]:
    """The quick composer where it is right, else the direct one with a text that shows why."""
    parts: tuple[Any, ...] = (population, encoder, wordings, tag, candidates)
    pieces = PieceComposer(*parts)
    found = document_disagreement(pieces, encoder)
    if found is None:
        checks = ordered_map(_check, coverage(population), workers, (pieces, encoder))
        found = next((text for text in checks if text is not None), None)
    if found is None and candidates:
        found = pool_disagreement(pieces, encoder)
    if found is None:
        return pieces, None
    direct = DirectComposer(*parts)
    wrong = document_disagreement(direct, encoder)
    if wrong is not None:
        raise DataError(f"this tokenizer does not give a document the tokens of its sentences: '{wrong}'")
    return direct, found
