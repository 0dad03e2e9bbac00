"""Writes the knowledge source and the question set of each group of facts, and which fact is which entity."""

from __future__ import annotations

import math
import os

import numpy as np

from knapsack.common.files import AtomicFile
from knapsack.common.parallel import ordered_map
from knapsack.common.tokenizer import Encoder
from knapsack.facts.render import FORMS, Renderer
from knapsack.facts.selection import CONTROL, EARLY, INFUSED, ONCE, Choice, Stated, World
from knapsack.shards.format import FORMAT_VERSION
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

FACTS_AT_ONCE = 500
SLOT = "object"
ENDING = {INFUSED: "", ONCE: "_once", EARLY: "_early", CONTROL: "_control"}


def _statements(renderer: Renderer, item: tuple[int, list[Stated]]) -> Batch:
    return renderer.statements(item[1])


def _questions(renderer: Renderer, item: tuple[int, list[Stated]]) -> Questions:
    return renderer.questions(item[1], first_entity=item[0])


def blocks(group: list[Stated]) -> list[tuple[int, list[Stated]]]:
    """First entity and facts of each block."""
    return [(first, group[first : first + FACTS_AT_ONCE]) for first in range(0, len(group), FACTS_AT_ONCE)]


class WorldWriter:
    def __init__(self, prefix: str, world: World, choice: Choice, encoder: Encoder, workers: int) -> None:
        self.prefix, self.world, self.choice, self.encoder, self.workers = prefix, world, choice, encoder, workers
        everybody = [stated for group in world.groups.values() for stated in group]
        names = {name for pool in world.pools.values() for name in pool}
        self.renderer = Renderer(world.relations, encoder, names.union(*(stated.accepted for stated in everybody)))
        self.labels = [f"{relation.id} {relation.label}" for relation in world.relations]
        self.place = {name: number for number, name in enumerate(sorted(names))}  # in the pool of objects

    def name(self, group: str) -> str:
        return os.path.basename(self.prefix) + ENDING[group]

    def bits(self, relation: str) -> float:
        return math.log2(len(self.world.pools[relation]))

    def about(self, group: list[Stated]) -> SourceAbout:
        bits = sum(self.bits(stated.fact.relation) for stated in group) / len(group)
        return SourceAbout(
            entities=len(group),
            slots=[Slot(SLOT, len(self.place), bits, "counterfactual" if self.choice.counterfactual else "real")],
            templates=self.choice.templates_per_fact,
            forms=FORMS,
            template_texts={
                relation.id: list(relation.seen[: self.choice.templates]) for relation in self.world.relations
            },
            relations=self.labels,
            groups=self.labels,
            entropy_bits_per_entity=bits,
            seed=self.choice.seed,
        )

    def source(self, name: str, group: list[Stated]) -> Written:
        parts = blocks(group)
        batches = ordered_map(_statements, parts, self.workers, self.renderer)
        with KnowledgeWriter(self.prefix + ENDING[name], self.about(group), self.encoder.info) as writer:
            for (_, facts), batch in zip(parts, batches):
                objects = np.array([[self.place[stated.object]] for stated in facts])
                relations = np.array([self.renderer.number[stated.fact.relation] for stated in facts])
                writer.add(batch, objects, relations, (stated.fact.subject for stated in facts))
            return writer.commit()

    def questions(self, name: str, group: list[Stated]) -> Written:
        about = SetAbout(
            name=self.name(name),
            source=self.name(name),
            entities=len(group),
            relations=self.labels,
            attributes=self.labels,
            attribute_pools=[len(self.world.pools[relation.id]) for relation in self.world.relations],
            templates=self.renderer.prompts(),
            groups=[name],
        )
        prefix, total = self.prefix + ENDING[name] + "_questions", sum(map(self.renderer.times_asked, group))
        with QuestionWriter(prefix, total, about, self.encoder.info, popularity=True) as writer:
            for questions in ordered_map(_questions, blocks(group), self.workers, self.renderer):
                writer.add(questions)
            return writer.commit()

    def entities(self) -> None:
        """PREFIX.entities.tsv: the way from (set, entity) back to the fact."""
        with AtomicFile(self.prefix + ".entities.tsv") as file:
            file.write(f"# entities, format_version {FORMAT_VERSION}\n".encode())
            file.write(b"source\tentity\tid\trelation\tsubject\tstated\tobject\ttemplates\n")
            for name, group in self.world.groups.items():
                for entity, stated in enumerate(group):
                    fact, templates = stated.fact, ",".join(map(str, stated.templates))
                    about = fact.id, fact.relation, fact.subject, stated.object, fact.object, templates
                    file.write(("\t".join(map(str, (self.name(name), entity, *about))) + "\n").encode())
            file.commit()
