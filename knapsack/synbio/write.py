"""A world's files: its knowledge sources PREFIX, PREFIX_qa, PREFIX_compact, its question sets PREFIX_questions,
PREFIX_names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from knapsack.common.parallel import ordered_map
from knapsack.common.tokenizer import Encoder
from knapsack.shards.format import KINDS, SEEN
from knapsack.shards.knowledge import (
    Batch,
    KnowledgeWriter,
    Questions,
    QuestionWriter,
    SetAbout,
    Slot,
    SourceAbout,
    Written,
)
from knapsack.synbio.encode_pieces import Composer
from knapsack.synbio.wording import Wording

PEOPLE_AT_ONCE = 1000


@dataclass
class Groups:
    """Of a question set: names and weights, and the number of everybody's."""

    names: list[str]
    weights: list[float]
    of_person: np.ndarray


def _sentences(state: tuple[Composer, Wording], people: np.ndarray) -> Batch:
    composer, wording = state
    return composer.sentences(people, wording)


def _questions(composer: Composer, people: np.ndarray) -> Batch:
    return composer.questions(people)


def _names(composer: Composer, people: np.ndarray) -> Batch:
    return composer.names(people)


def people_blocks(people: np.ndarray) -> list[np.ndarray]:
    return [people[first : first + PEOPLE_AT_ONCE] for first in range(0, len(people), PEOPLE_AT_ONCE)]


class WorldWriter:
    def __init__(self, prefix: str, composer: Composer, encoder: Encoder, workers: int) -> None:
        self.prefix, self.name = prefix, os.path.basename(prefix)
        self.composer, self.population = composer, composer.population
        self.encoder, self.workers = encoder, workers
        self.tag = composer.tag.text or None

    def source(self, wording: Wording) -> Written:
        """A knowledge source; the wording adds its ending to the prefix."""
        population, blocks = self.population, people_blocks(wording.people)
        batches = ordered_map(_sentences, blocks, self.workers, (self.composer, wording))
        with KnowledgeWriter(self.prefix + wording.ending, self.about(wording), self.encoder.info) as writer:
            for people, batch in zip(blocks, batches):
                writer.add(batch, population.values[people], population.group[people], map(population.name, people))
            return writer.commit()

    def about(self, wording: Wording) -> SourceAbout:
        population = self.population
        slots = [
            Slot(slot.name, len(slot.pool), slot.bits, "own" if slot.own else population.kind)
            for slot in population.slots
        ]
        return SourceAbout(
            entities=len(wording.people),
            slots=slots,
            templates=wording.templates,
            forms=wording.forms,
            rendering=wording.rendering,
            template_texts=wording.texts,
            relations=[slot.name for slot in slots],
            groups=population.group_names,
            group_weights=population.group_weights,
            entropy_bits_per_entity=population.entropy_bits,
            name_bits_per_entity=population.name_bits,
            name_pool_size=population.name_pool,
            shuffled=population.shuffled,
            seed=population.seed,
            tag=self.tag,
            pronoun_bits_per_entity=1.0 if "pronoun" in wording.forms else None,
            source=self.name if wording.ending else None,
        )

    def questions(self, people: np.ndarray, groups: Groups) -> Written:
        """Every attribute of these people in every template; the same templates follow each other for every person."""
        slots = self.population.slots
        asked = [(number, template) for number, slot in enumerate(slots) for template in slot.templates]
        about = SetAbout(
            name=self.name,
            source=self.name,
            shuffled=self.population.shuffled or None,
            entities=len(self.population),
            relations=[slot.name for slot in slots],
            attributes=[slot.name for slot in slots],
            attribute_pools=[len(slot.pool) for slot in slots],
            attribute_bits=[slot.bits for slot in slots],
            templates=[template.prompt for _, template in asked],
            groups=groups.names,
            group_weights=groups.weights,
            tag=self.tag,
        )
        slot_of = np.array([slot for slot, _ in asked])
        kind_of = np.array([KINDS.index(template.kind) for _, template in asked])
        candidates = self.composer.candidates

        def blocks() -> Iterator[Questions]:
            parts = people_blocks(people)
            for block, batch in zip(parts, ordered_map(_questions, parts, self.workers, self.composer)):
                number, entity = len(block) * len(asked), np.repeat(block, len(asked))
                slot = np.tile(slot_of, len(block))
                yield Questions(
                    batch,
                    np.full(number, 2 + candidates),
                    relation=slot,
                    attribute=slot,
                    template=np.tile(np.arange(len(asked)), len(block)),
                    kind=np.tile(kind_of, len(block)),
                    entity=entity,
                    group=groups.of_person[entity],
                    candidates=2 if candidates else 0,
                )

        return self.write_set("_questions", len(people) * len(asked), about, blocks())

    def names(self) -> Written:
        """What the model has learned of who there is. The prompt is empty, or the tag."""
        population = self.population
        about = SetAbout(
            name=self.name + "_names",
            source=self.name,
            entities=len(population),
            relations=["name"],
            attributes=["name"],
            attribute_pools=[population.name_pool],
            attribute_bits=[population.name_bits],
            templates=[""],
            kinds=[SEEN],
            groups=population.group_names,
            group_weights=population.group_weights,
            tag=self.tag,
        )
        parts = people_blocks(np.arange(len(population)))
        batches = ordered_map(_names, parts, self.workers, self.composer)
        blocks = (
            Questions(batch, np.full(len(people), 2), entity=people, group=population.group[people])
            for people, batch in zip(parts, batches)
        )
        return self.write_set("_names", len(population), about, blocks)

    def write_set(self, ending: str, questions: int, about: SetAbout, blocks: Iterable[Questions]) -> Written:
        with QuestionWriter(self.prefix + ending, questions, about, self.encoder.info) as writer:
            for block in blocks:
                writer.add(block)
            return writer.commit()
