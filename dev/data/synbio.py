#!/usr/bin/env python3
"""Makes synthetic biographies (SynBio-N): a knowledge source PREFIX.* and its question set PREFIX_questions.*.

  synbio.py --people 1000 --tokenizer data/bpe2048 --out data/synbio
  synbio.py --people 10k --groups powerlaw:1.5:100 --tokenizer neox/ --out data/powerlaw
  synbio.py --people 1000 --text-only 20 --out data/synbio      (PREFIX.txt, for training a tokenizer on the mixture)

A person has a name and one value for each of five attributes. Each attribute has training templates ('seen'), held-out
statements and question forms. Two kinds of world: plausible, and fictional, whose names and values are invented.

--shuffled makes the control: for each attribute and template apart, the values are permuted between people, so that the
sentences about one name contradict each other and carry no fact, while values keep their frequencies; the questions
still ask for the nominal values, and the best a model can do is chance.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Iterator

import numpy as np

import occurrences
import tokenization
from cli import Progress, UsageError, add_workers_flag, ordered_map, parse_count, run
from compose import Batch, Composer, make_composer, random_rendering
from population import (
    ATTRIBUTES,
    KINDS,
    NAME_PARTS,
    TEXT_STREAM,
    Population,
    make_population,
    question_people,
    random_stream,
)
from readers import Inputs
from shards import FORMAT_VERSION, AtomicFile, Bundle, ShardWriter, dump_json, token_dtype, write_file
from tokenization import END_OF_TEXT, Encoder

PEOPLE_AT_ONCE = 1000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=parse_count, required=True, metavar="N")
    parser.add_argument("--out", required=True, metavar="PREFIX")
    parser.add_argument("--tokenizer", help="tokenizer.json, or a folder with it or with GPT-2's two files")
    parser.add_argument("--eot", metavar="TOKEN", help="token that ends a document (default: <|endoftext|>)")
    parser.add_argument("--kind", choices=("plausible", "fictional"), default="plausible")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--groups",
        default="all",
        metavar="all|uniform:G|powerlaw:EXPONENT:G",
        help="people in G equal groups; weights k^-EXPONENT go to facts.json (default: all)",
    )
    parser.add_argument("--templates", type=parse_count, default=5, metavar="M", help="training templates (default: 5)")
    parser.add_argument(
        "--attributes",
        default=",".join(ATTRIBUTES),
        metavar="A,B,...",
        help=f"some of {', '.join(ATTRIBUTES)} (default: all)",
    )
    parser.add_argument(
        "--pool-size",
        action="append",
        default=[],
        metavar="NAME=K",
        help="use the first K items of a pool: an attribute (birth_date: 336 a year), first, middle or last",
    )
    parser.add_argument("--shuffled", action="store_true", help="the control without facts, see above")
    parser.add_argument(
        "--question-people", default="all", metavar="M|all", help="ask about M people, evenly over groups"
    )
    parser.add_argument("--text", metavar="FILE", help="also write every person's biography once, as text")
    parser.add_argument(
        "--text-only", type=parse_count, metavar="R", help="write only PREFIX.txt: R renderings a person"
    )
    parser.add_argument(
        "--report-against",
        nargs="+",
        default=[],
        metavar="TEXTFILE",
        help="count names and values in these texts: a table, and PREFIX.occurrences.json",
    )
    add_workers_flag(parser)
    options = parser.parse_args()
    if options.seed < 0:
        parser.error("--seed must not be negative")
    if not options.tokenizer and not options.text_only:
        parser.error("--tokenizer is needed (or --text-only)")
    return options


def parse_attributes(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in ATTRIBUTES]
    if unknown or len(set(wanted)) != len(wanted):
        raise UsageError(f"--attributes {text}: expected some of {', '.join(ATTRIBUTES)}, each once")
    return [name for name in ATTRIBUTES if name in wanted]


def parse_pool_sizes(texts: list[str], attributes: list[str]) -> dict[str, int]:
    sizes = {}
    for text in texts:
        name, _, size = text.partition("=")
        if name not in (*attributes, *NAME_PARTS) or not size.isdecimal():
            raise UsageError(
                f"--pool-size {text}: expected NAME=K with NAME out of {', '.join((*attributes, *NAME_PARTS))}"
            )
        sizes[name] = int(size)
    return sizes


def facts(population: Population) -> dict:
    pools = {slot.name: {"size": len(slot.pool), "kind": population.kind} for slot in population.slots}
    return {
        "format_version": FORMAT_VERSION,
        "entities": len(population),
        "slots": [
            {"name": slot.name, "pool": slot.name, "pool_size": len(slot.pool), "bits": slot.bits}
            for slot in population.slots
        ],
        "templates": population.training,
        "forms": ["initial", "continuing"],
        "template_texts": {
            slot.name: [t.text for t in slot.templates[: population.training]] for slot in population.slots
        },
        "relations": [slot.name for slot in population.slots],
        "groups": population.group_names,
        "group_weights": population.group_weights,
        "pools": pools,
        "entropy_bits_per_entity": population.entropy_bits,
        "name_bits_per_entity": population.name_bits,
        "name_pool_size": population.name_pool,
        "shuffled": population.shuffled,
        "seed": population.seed,
    }


_composer: Composer


def _start_worker(composer: Composer) -> None:
    global _composer
    _composer = composer


def _sentences(people: np.ndarray) -> Batch:
    return _composer.sentences(people)


def _questions(people: np.ndarray) -> Batch:
    return _composer.questions(people)


def people_blocks(people: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(people), PEOPLE_AT_ONCE):
        yield people[first : first + PEOPLE_AT_ONCE]


def write_source(prefix: str, composer: Composer, encoder: Encoder, workers: int) -> ShardWriter:
    population = composer.population
    people, slots = population.values.shape
    per_person = slots * population.training * 2
    progress = Progress(prefix, people)
    with Bundle(prefix) as bundle:
        shard = ShardWriter(bundle, token_dtype(encoder.info.vocab_size), per_person)
        spans = bundle.open_npy(".spans.npy", "<u2", (people * per_person, 2))
        blocks = people_blocks(np.arange(people))
        for batch in ordered_map(_sentences, blocks, workers, _start_worker, (composer,)):
            shard.append(batch.tokens, batch.lengths, batch.text_bytes)
            spans.append(batch.spans)
            progress.update(shard.documents, f"{shard.documents:,} people, {shard.tokens / 1e6:.0f}M tokens")
        spans.close()
        for suffix, dtype, column in (
            (".values.npy", "<u4", population.values),
            (".group.npy", "<u4", population.group),
        ):
            bundle.open_npy(suffix, dtype, column.shape).append(column)
        names = bundle.open(".names.txt")
        for person in range(people):
            names.write(population.name(person).encode() + b"\n")
        bundle.open(".facts.json").write(dump_json(facts(population)))
        bundle.commit("knowledge", encoder.info, shard)
    progress.close()
    return shard


class QuestionColumns:
    """The rows of q.npy; the same templates follow each other for every person."""

    def __init__(self, population: Population) -> None:
        self.group = population.group
        self.texts: list[str] = []
        rows = []
        for slot, info in enumerate(population.slots):
            for template in info.templates:
                rows.append((slot, slot, len(self.texts), KINDS.index(template.kind)))
                self.texts.append(template.prompt)
        self.fixed = np.array(rows, np.uint32)

    def rows(self, people: np.ndarray) -> np.ndarray:
        """relation, attribute, template, kind, entity, group, first candidate, first alias (these two: none)."""
        rows = np.zeros((len(people), len(self.fixed), 8), np.uint32)
        rows[:, :, :4] = self.fixed
        rows[:, :, 4] = people[:, None]
        rows[:, :, 5] = self.group[people][:, None]
        return rows.reshape(-1, 8)


def write_questions(
    prefix: str, source: str, composer: Composer, people: np.ndarray, encoder: Encoder, workers: int
) -> ShardWriter:
    population = composer.population
    columns = QuestionColumns(population)
    total = len(people) * len(columns.fixed)
    progress = Progress(prefix, total)
    with Bundle(prefix) as bundle:
        shard = ShardWriter(bundle, token_dtype(encoder.info.vocab_size), 2)
        q = bundle.open_npy(".q.npy", "<u4", (total, 8))
        results = ordered_map(_questions, people_blocks(people), workers, _start_worker, (composer,))
        for block, batch in zip(people_blocks(people), results):
            shard.append(batch.tokens, batch.lengths, batch.text_bytes)
            q.append(columns.rows(block))
            progress.update(shard.documents, f"{shard.documents:,} questions")
        q.close()
        names = [slot.name for slot in population.slots]
        bundle.open(".questions.json").write(
            dump_json(
                {
                    "format_version": FORMAT_VERSION,
                    "name": source,
                    "source": source,
                    "questions": total,
                    "entities": len(population),
                    "relations": names,
                    "attributes": names,
                    "attribute_pools": [len(slot.pool) for slot in population.slots],
                    "attribute_bits": [slot.bits for slot in population.slots],
                    "templates": columns.texts,
                    "kinds": list(KINDS),
                    "groups": population.group_names,
                }
            )
        )
        bundle.commit("questions", encoder.info, shard)
    progress.close()
    return shard


def write_text(path: str, population: Population, renderings: int) -> None:
    """Biographies as text, every rendering of everybody in turn, each closed by a line <|endoftext|>."""
    rng = random_stream(population.seed, TEXT_STREAM)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    file = AtomicFile(path)
    try:
        for _ in range(renderings):
            for person in range(len(population)):
                order, templates = random_rendering(population, rng)
                text = " ".join(population.sentence(person, slot, templates[slot]) for slot in order)
                file.write(f"{text}\n{END_OF_TEXT}\n".encode())
        file.sync()
        file.rename()
    finally:
        file.discard()
    print(f"{path}: {renderings * len(population):,} biographies")


def report(population: Population, prefix: str, texts: list[str]) -> None:
    counts = occurrences.count(population, Inputs(texts).documents())
    write_file(prefix + ".occurrences.json", dump_json(counts))
    print(occurrences.table(counts))
    found = sorted({item for items in counts.values() for item, times in items.items() if times})
    if population.kind == "fictional" and found:
        print(f"warning: the text knows {len(found)} of the invented items: {', '.join(found[:5])}", file=sys.stderr)


def parse_question_people(text: str) -> int | None:
    try:
        return None if text == "all" else parse_count(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--question-people: {error}") from None


def main() -> None:
    options = parse_arguments()
    attributes = parse_attributes(options.attributes)
    wanted = parse_question_people(options.question_people)
    population = make_population(
        options.people,
        options.kind,
        options.seed,
        attributes,
        options.templates,
        options.groups,
        parse_pool_sizes(options.pool_size, attributes),
        options.shuffled,
    )
    os.makedirs(os.path.dirname(options.out) or ".", exist_ok=True)
    if options.report_against:
        report(population, options.out, options.report_against)
    if options.text_only:
        write_text(options.out + ".txt", population, options.text_only)
        return
    start = time.monotonic()
    encoder = tokenization.load(options.tokenizer, options.eot)
    encoder.install(options.out)
    composer, reason = make_composer(population, encoder, options.workers)
    if reason:
        print(
            f"note: this tokenizer does not cut at words ('{reason}'), so every sentence is tokenized; this is slower",
            file=sys.stderr,
        )
    source = write_source(options.out, composer, encoder, options.workers)
    people = question_people(population, wanted)
    questions = write_questions(
        options.out + "_questions", os.path.basename(options.out), composer, people, encoder, options.workers
    )
    if options.text:
        write_text(options.text, population, 1)
    biography = source.tokens / (len(population) * 2 * population.training)
    print(
        f"{options.out}: {len(population):,} people, {source.tokens:,} tokens, about {biography:.1f} a biography; "
        f"{population.entropy_bits:.2f} bits of values and {population.name_bits:.2f} of name a person"
    )
    print(f"{options.out}_questions: {questions.documents:,} questions; {time.monotonic() - start:.1f} s in all")


if __name__ == "__main__":
    run(main)
