"""Writes the knowledge source and the question set of each group of facts (dev/formats.md, 2 and 3)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from knapsack.common.files import AtomicFile, dump_json
from knapsack.common.parallel import ordered_map
from knapsack.common.progress import Progress
from knapsack.common.tokenizer import Encoder
from knapsack.facts.render import FORMS, Questions, Renderer
from knapsack.facts.selection import CONTROL, EARLY, INFUSED, ONCE, Choice, Told, World
from knapsack.shards.knowledge import KINDS, REDRAWN, Batch, Written
from knapsack.shards.write import FORMAT_VERSION, Bundle, ShardWriter, token_dtype

FACTS_AT_ONCE = 500
SLOT = "object"
ENDING = {INFUSED: "", ONCE: "_once", EARLY: "_early", CONTROL: "_control"}


def _statements(renderer: Renderer, item: tuple[int, list[Told]]) -> Batch:
    return renderer.statements(item[1])


def _questions(renderer: Renderer, item: tuple[int, list[Told]]) -> Questions:
    return renderer.questions(item[1], item[0])


def blocks(group: list[Told]) -> Iterator[tuple[int, list[Told]]]:
    for first in range(0, len(group), FACTS_AT_ONCE):
        yield first, group[first : first + FACTS_AT_ONCE]


class Writer:
    """One world's files."""

    def __init__(self, prefix: str, world: World, choice: Choice, encoder: Encoder, workers: int) -> None:
        self.prefix, self.world, self.choice, self.encoder, self.workers = prefix, world, choice, encoder, workers
        everybody = [told for group in world.groups.values() for told in group]
        names = {name for pool in world.pools.values() for name in pool}
        self.renderer = Renderer(world.relations, encoder, names.union(*(told.accepted for told in everybody)))
        self.labels = [f"{relation.id} {relation.label}" for relation in world.relations]
        self.pool = sorted(names)

    def name(self, group: str) -> str:
        return os.path.basename(self.prefix) + ENDING[group]

    def bits(self, relation: str) -> float:
        return math.log2(len(self.world.pools[relation]))

    def facts_json(self, group: list[Told]) -> dict[str, Any]:
        bits = sum(self.bits(told.fact.relation) for told in group) / len(group)
        texts = {relation.id: list(relation.seen[: self.choice.templates]) for relation in self.world.relations}
        return {
            "format_version": FORMAT_VERSION,
            "entities": len(group),
            "slots": [{"name": SLOT, "pool": SLOT, "pool_size": len(self.pool), "bits": bits}],
            "templates": self.choice.templates_per_fact,
            "forms": FORMS,
            "rendering": REDRAWN,
            "template_texts": texts,
            "relations": self.labels,
            "groups": self.labels,
            "pools": {
                SLOT: {"size": len(self.pool), "kind": "counterfactual" if self.choice.counterfactual else "real"}
            },
            "entropy_bits_per_entity": bits,
            "shuffled": False,
            "seed": self.choice.seed,
        }

    def write_source(self, name: str, group: list[Told]) -> Written:
        prefix, per_fact = self.prefix + ENDING[name], self.choice.templates_per_fact * len(FORMS)
        initial = 0
        progress = Progress(prefix, len(group))
        with Bundle(prefix) as bundle:
            shard = ShardWriter(bundle, token_dtype(self.encoder.info.vocab_size), per_fact)
            spans = bundle.open_npy(".spans.npy", "<u2", (len(group) * per_fact, 2))
            for batch in ordered_map(_statements, blocks(group), self.workers, self.renderer):
                shard.append(batch.tokens, batch.lengths, batch.text_bytes)
                spans.append(batch.spans)
                initial += int(batch.lengths[:: len(FORMS)].sum())
                progress.update(shard.documents, f"{shard.documents:,} facts")
            spans.close()
            place = {name: number for number, name in enumerate(self.pool)}
            values = np.array([[place[told.object]] for told in group])
            relations = np.array([self.renderer.number[told.fact.relation] for told in group])
            for suffix, column in ((".values.npy", values), (".group.npy", relations)):
                bundle.open_npy(suffix, "<u4", column.shape).append(column)
            bundle.open(".names.txt").write("".join(f"{told.fact.subject}\n" for told in group).encode())
            bundle.open(".facts.json").write(dump_json(self.facts_json(group)))
            bundle.commit("knowledge", self.encoder.info, shard)
        progress.close()
        return Written(shard.documents, shard.tokens, initial / (len(group) * self.choice.templates_per_fact))

    def questions_json(self, name: str, group: list[Told], questions: int) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name(name),
            "source": self.name(name),
            "questions": questions,
            "entities": len(group),
            "relations": self.labels,
            "attributes": self.labels,
            "attribute_pools": [len(self.world.pools[relation.id]) for relation in self.world.relations],
            "templates": self.renderer.prompts(),
            "kinds": list(KINDS),
            "groups": [name],
        }

    def write_questions(self, name: str, group: list[Told]) -> Written:
        prefix = f"{self.prefix}{ENDING[name]}_questions"
        total = sum(len(self.renderer.asked(told)) for told in group)
        progress = Progress(prefix, total)
        with Bundle(prefix) as bundle:
            shard = ShardWriter(bundle, token_dtype(self.encoder.info.vocab_size))
            columns = bundle.open_npy(".q.npy", "<u4", (total, 8))
            popularity = bundle.open_npy(".popularity.npy", "<u4", (total,))
            for block in ordered_map(_questions, blocks(group), self.workers, self.renderer):
                shard.append(block.batch.tokens, block.batch.lengths, block.batch.text_bytes, block.sizes)
                columns.append(block.columns)
                popularity.append(block.popularity)
                progress.update(shard.documents, f"{shard.documents:,} questions")
            columns.close()
            popularity.close()
            bundle.open(".questions.json").write(dump_json(self.questions_json(name, group, total)))
            bundle.commit("questions", self.encoder.info, shard)
        progress.close()
        return Written(shard.documents, shard.tokens)

    def write_entities(self) -> None:
        """PREFIX.entities.tsv: the way from (set, entity) back to the fact."""
        file = AtomicFile(self.prefix + ".entities.tsv")
        try:
            file.write(f"# entities, format_version {FORMAT_VERSION}\n".encode())
            file.write(b"source\tentity\tid\trelation\tsubject\tstated\tobject\ttemplates\n")
            for name, group in self.world.groups.items():
                for entity, told in enumerate(group):
                    fact = told.fact
                    templates = ",".join(map(str, told.templates))
                    row = (
                        self.name(name),
                        entity,
                        fact.id,
                        fact.relation,
                        fact.subject,
                        told.object,
                        fact.object,
                        templates,
                    )
                    file.write(("\t".join(map(str, row)) + "\n").encode())
            file.sync()
            file.rename()
        finally:
            file.discard()
