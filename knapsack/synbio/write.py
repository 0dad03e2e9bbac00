"""Writes knowledge sources and question sets: PREFIX.*, its companions, PREFIX_questions.*, PREFIX_names.*; what stands
where is said in dev/formats.md, 2 and 3."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from knapsack.common.files import dump_json
from knapsack.common.parallel import ordered_map
from knapsack.common.progress import Progress
from knapsack.common.tokenizer import Encoder
from knapsack.shards.knowledge import KINDS, SEEN, Batch, Written
from knapsack.shards.write import FORMAT_VERSION, Bundle, ShardWriter, token_dtype
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


def people_blocks(people: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(people), PEOPLE_AT_ONCE):
        yield people[first : first + PEOPLE_AT_ONCE]


def tag_entry(composer: Composer) -> dict[str, str]:
    return {"tag": composer.tag.text} if composer.tag.text else {}


def facts(composer: Composer, wording: Wording, source: str) -> dict[str, Any]:
    population = composer.population
    pools = {
        slot.name: {"size": len(slot.pool), "kind": "own" if slot.own else population.kind} for slot in population.slots
    }
    about = {
        "format_version": FORMAT_VERSION,
        "entities": len(wording.people),
        "slots": [
            {"name": slot.name, "pool": slot.name, "pool_size": len(slot.pool), "bits": slot.bits}
            for slot in population.slots
        ],
        "templates": wording.templates,
        "forms": wording.forms,
        "rendering": wording.rendering,
        "template_texts": wording.texts,
        "relations": [slot.name for slot in population.slots],
        "groups": population.group_names,
        "group_weights": population.group_weights,
        "pools": pools,
        "entropy_bits_per_entity": population.entropy_bits,
        "name_bits_per_entity": population.name_bits,
        "name_pool_size": population.name_pool,
        "shuffled": population.shuffled,
        "seed": population.seed,
        **tag_entry(composer),
    }
    if "pronoun" in wording.forms:
        about["pronoun_bits_per_entity"] = 1.0
    if wording.ending:
        about["source"] = source
    return about


def write_source(prefix: str, composer: Composer, wording: Wording, encoder: Encoder, workers: int) -> Written:
    """`prefix`: of the world; the wording adds its ending."""
    population, people, forms = composer.population, wording.people, len(wording.forms)
    base, prefix = os.path.basename(prefix), prefix + wording.ending
    per_person = len(wording.frames) * wording.templates * forms
    progress = Progress(prefix, len(people))
    by_form = np.zeros(forms)
    with Bundle(prefix) as bundle:
        shard = ShardWriter(bundle, token_dtype(encoder.info.vocab_size), per_person)
        spans = bundle.open_npy(".spans.npy", "<u2", (len(people) * per_person, 2))
        for batch in ordered_map(_sentences, people_blocks(people), workers, (composer, wording)):
            shard.append(batch.tokens, batch.lengths, batch.text_bytes)
            spans.append(batch.spans)
            by_form += batch.lengths.reshape(-1, forms).sum(axis=0)
            progress.update(shard.documents, f"{shard.documents:,} people, {shard.tokens / 1e6:.0f}M tokens")
        spans.close()
        for suffix, dtype, column in (
            (".values.npy", "<u4", population.values[people]),
            (".group.npy", "<u4", population.group[people]),
        ):
            bundle.open_npy(suffix, dtype, column.shape).append(column)
        names = bundle.open(".names.txt")
        for person in people:
            names.write(population.name(person).encode() + b"\n")
        bundle.open(".facts.json").write(dump_json(facts(composer, wording, base)))
        bundle.commit("knowledge", encoder.info, shard)
    progress.close()
    first, *others = by_form / (len(people) * wording.templates)  # a sentence of every slot, by form
    slots = len(wording.frames)
    return Written(shard.documents, shard.tokens, (first + (slots - 1) * sum(others) / len(others)) / slots)


class QuestionColumns:
    """The rows of q.npy; the same templates follow each other for every person."""

    def __init__(self, composer: Composer, groups: Groups) -> None:
        self.group = groups.of_person
        self.first_candidate = 2 if composer.candidates else 0
        self.texts: list[str] = []
        rows = []
        for slot, info in enumerate(composer.population.slots):
            for template in info.templates:
                rows.append((slot, slot, len(self.texts), KINDS.index(template.kind)))
                self.texts.append(template.prompt)
        self.fixed = np.array(rows, np.uint32)

    def rows(self, people: np.ndarray) -> np.ndarray:
        """relation, attribute, template, kind, entity, group, first candidate, first alias (there are none)."""
        rows = np.zeros((len(people), len(self.fixed), 8), np.uint32)
        rows[:, :, :4] = self.fixed
        rows[:, :, 4] = people[:, None]
        rows[:, :, 5] = self.group[people][:, None]
        rows[:, :, 6] = self.first_candidate
        return rows.reshape(-1, 8)


def _write_set(
    prefix: str,
    composer: Composer,
    people: np.ndarray,
    encoder: Encoder,
    workers: int,
    batches: Callable[[Composer, np.ndarray], Batch],
    sequences: int,
    each: int,
    rows: Callable[[np.ndarray], np.ndarray],
    about: dict[str, Any],
) -> Written:
    """`each` questions of `sequences` sequences a person."""
    total = len(people) * each
    progress = Progress(prefix, total)
    with Bundle(prefix) as bundle:
        shard = ShardWriter(bundle, token_dtype(encoder.info.vocab_size), sequences)
        q = bundle.open_npy(".q.npy", "<u4", (total, 8))
        results = ordered_map(batches, people_blocks(people), workers, composer)
        for block, batch in zip(people_blocks(people), results):
            shard.append(batch.tokens, batch.lengths, batch.text_bytes)
            q.append(rows(block))
            progress.update(shard.documents, f"{shard.documents:,} questions")
        q.close()
        head = {"format_version": FORMAT_VERSION, "name": about.pop("name"), "source": about.pop("source")}
        head |= {"questions": total, "entities": len(composer.population)}
        bundle.open(".questions.json").write(dump_json({**head, **about, **tag_entry(composer)}))
        bundle.commit("questions", encoder.info, shard)
    progress.close()
    return Written(shard.documents, shard.tokens)


def write_questions(
    prefix: str, composer: Composer, people: np.ndarray, groups: Groups, encoder: Encoder, workers: int
) -> Written:
    """PREFIX_questions: every attribute of these people in every template. `prefix`: of the world."""
    slots, base = composer.population.slots, os.path.basename(prefix)
    columns = QuestionColumns(composer, groups)
    names = [slot.name for slot in slots]
    about = {
        "name": base,
        "source": base,
        "relations": names,
        "attributes": names,
        "attribute_pools": [len(slot.pool) for slot in slots],
        "attribute_bits": [slot.bits for slot in slots],
        "templates": columns.texts,
        "kinds": list(KINDS),
        "groups": groups.names,
        "group_weights": groups.weights,
    }
    each, sequences = len(columns.fixed), 2 + composer.candidates
    prefix += "_questions"
    return _write_set(prefix, composer, people, encoder, workers, _questions, sequences, each, columns.rows, about)


def write_names(prefix: str, composer: Composer, encoder: Encoder, workers: int) -> Written:
    """PREFIX_names: what the model has learned of who there is. The prompt is empty, or the tag."""
    population, base = composer.population, os.path.basename(prefix)

    def rows(people: np.ndarray) -> np.ndarray:
        made = np.zeros((len(people), 8), np.uint32)
        made[:, 4], made[:, 5] = people, population.group[people]
        return made

    about = {
        "name": base + "_names",
        "source": base,
        "relations": ["name"],
        "attributes": ["name"],
        "attribute_pools": [population.name_pool],
        "attribute_bits": [population.name_bits],
        "templates": [""],
        "kinds": [SEEN],
        "groups": population.group_names,
        "group_weights": population.group_weights,
    }
    everybody = np.arange(len(population))
    return _write_set(prefix + "_names", composer, everybody, encoder, workers, _names, 2, 1, rows, about)
