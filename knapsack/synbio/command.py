"""Makes synthetic biographies (SynBio-N): a knowledge source PREFIX.* and its question sets PREFIX_questions.* and
PREFIX_names.*; on demand companions that state the same facts otherwise (PREFIX_qa.*, PREFIX_compact.*).

  knapsack synbio --people 1000 --text-only 20 --out data/bio            PREFIX.txt, to train a tokenizer on
  knapsack synbio --people 1000 --tokenizer data/tok --out data/bio
  knapsack synbio --people 10k --groups powerlaw:1.5:100 --tokenizer neox/ --out data/powerlaw
  knapsack synbio --people 10k --variant multi5+permute --templates 50 --qa 0.5 --tokenizer neox/ --out data/bios
  knapsack synbio --people 10k --compact --tokenizer neox/ --out data/ckm         prints the --ratio flags to give

A person has a name and one value for each of five attributes. Each attribute has training templates ('seen'), held-out
statements and question forms. Two kinds of world: plausible, and fictional, whose names and values are invented.

--shuffled makes the control: for each attribute and template apart, the values are permuted between people, so that the
sentences about one name contradict each other and carry no fact, while values keep their frequencies; the questions
still ask for the nominal values. A few sentences state them by chance (the summary says how many): a model that knows
every sentence by heart gets that share right in training wordings, and chance elsewhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np

from knapsack.common.errors import UsageError
from knapsack.common.files import AtomicFile, dump_json, write_file
from knapsack.common.survival import check_answers, check_texts
from knapsack.common.tokenizer import END_OF_TEXT, Encoder, load_tokenizer
from knapsack.shards.format import HELDOUT, QUESTION, SEEN
from knapsack.shards.knowledge import Written
from knapsack.synbio import occurrences
from knapsack.synbio.candidates import check_candidates
from knapsack.synbio.companions import mixing_advice, question_groups, trained_on_questions
from knapsack.synbio.encode import document_text, make_composer, random_rendering, special_tokens, tagged
from knapsack.synbio.flags import (
    check_control,
    parse_arguments,
    parse_attributes,
    parse_pool_sizes,
    parse_question_people,
)
from knapsack.synbio.population import (
    TEXT_STREAM,
    Population,
    WorldChoice,
    make_population,
    question_people,
    random_stream,
)
from knapsack.synbio.variants import Variant, choose
from knapsack.synbio.wording import Tag, biographies, compact, parse_tag, question_answers
from knapsack.synbio.world import check_world
from knapsack.synbio.write import Groups, WorldWriter
from knapsack.text.documents import Inputs


def write_text(path: str, population: Population, variant: Variant, renderings: int, filler: int) -> None:
    """Biographies as text, without the tag: every rendering of everybody in turn, each closed by <|endoftext|>."""
    wording, rng = (
        biographies(population, Tag(), variant.names, variant.rendering, filler),
        random_stream(population.seed, TEXT_STREAM),
    )
    with AtomicFile(path) as file:
        for _ in range(renderings):
            for person in range(len(population)):
                chosen = random_rendering(wording, rng)
                text = document_text(population, wording, person, population.stated[person], chosen)
                file.write(f"{text}\n{END_OF_TEXT}\n".encode())
        file.commit()
    print(f"{path}: {renderings * len(population):,} biographies")


def report(population: Population, prefix: str, texts: list[str]) -> None:
    counts = occurrences.count(population, Inputs(texts).documents())
    write_file(prefix + ".occurrences.json", dump_json(counts))
    print(occurrences.table(counts))
    found = sorted({item for items in counts.values() for item, times in items.items() if times})
    if population.kind == "fictional" and found:
        print(f"warning: the text knows {len(found)} of the invented items: {', '.join(found[:5])}", file=sys.stderr)


def check_output(prefix: str, endings: set[str]) -> None:
    if not os.path.basename(prefix):
        raise UsageError(f"--out {prefix}: a folder; expected the beginning of the files' names, such as {prefix}bio")
    for ending in sorted({"_qa", "_compact"} - endings):
        if os.path.exists(f"{prefix}{ending}.json"):
            raise UsageError(
                f"--out {prefix}: {prefix}{ending}.* of an earlier run may be about other people; remove them, or make "
                f"them again with --{ending[1:]}"
            )


def print_summary(prefix: str, population: Population, variant: Variant, written: dict[str, Written], tag: str) -> None:
    base = os.path.basename(prefix)
    pronouns = " + 1.00 of pronoun" if variant.names != "full" else ""
    print(
        f"{prefix}: {len(population):,} people, {written[''].tokens:,} tokens, about "
        f"{written[''].document_tokens:.1f} a biography; {population.entropy_bits:.2f} bits of values and "
        f"{population.name_bits:.2f} of name a person{pronouns}"
    )
    print(f"  to train on: wordings {variant.wordings}, orders {variant.orders}, names {variant.names}{tag}")
    if population.shuffled:
        own = float((population.stated == population.values[:, :, None]).mean())
        print(f"  the control: {100 * own:.2f} % of its sentences state the nominal value by chance")
    if variant.wordings != "redrawn" or variant.names != "full":
        print("  the questions ask in every training template, after the full name; not every person is shown so:")
        print("  accuracy and learned bits on training templates are lower bounds for this source")
    if "_qa" in written:
        qa = written["_qa"]
        print(f"{prefix}_qa: to train on: questions and answers about {qa.documents:,} people, {qa.tokens:,} tokens")
    if "_compact" in written:
        short = written["_compact"]
        print(f"{prefix}_compact: to train on together with {base}: the same facts in {short.tokens:,} tokens")
        print("\n".join(mixing_advice(base, written[""].document_tokens + 1, short.document_tokens + 1)))
    print(f"{prefix}_questions: to measure values: {written['_questions'].documents:,} questions")
    print(f"{prefix}_names: to measure names, asked after {'the tag' if tag else 'an empty prompt'}")


def check_tokens(encoder: Encoder, population: Population) -> None:
    """Values and names are asked for; templates are read."""
    for slot in population.slots:
        check_answers(encoder, slot.pool, f"values of {slot.name}")
        templates = {template.text.format(name="Ann", value="Oslo") for template in slot.templates}
        check_texts(encoder, templates, f"templates of {slot.name}")
    check_answers(encoder, (name for pool in population.parts for name in pool), "names")


def write_shards(
    options: argparse.Namespace, population: Population, variant: Variant, trained: np.ndarray | None
) -> None:
    """`trained`: whose questions are trained on."""
    encoder = load_tokenizer(options.tokenizer, options.eot)
    tag = parse_tag(options.tag, special_tokens(encoder), encoder.tokenizer.id_to_token(encoder.eot_id))
    check_tokens(encoder, population)
    encoder = tagged(encoder, tag)
    encoder.install(options.out)
    wordings = [biographies(population, tag, variant.names, variant.rendering, options.filler)]
    if trained is not None:
        wordings.append(question_answers(population, tag, trained.nonzero()[0]))
    if options.compact:
        wordings.append(compact(population, tag))
    composer, reason = make_composer(population, encoder, wordings, tag, options.candidates, options.workers)
    if reason:
        print(
            f"note: this tokenizer does not cut at words ('{reason}'), so every sentence is tokenized; this is slower",
            file=sys.stderr,
        )
    writer = WorldWriter(options.out, composer, encoder, options.workers)
    written = {wording.ending: writer.source(wording) for wording in wordings}
    groups = Groups(*question_groups(population, trained))
    wanted = parse_question_people(options.question_people)
    people = question_people(population, wanted, groups.of_person, len(groups.names))
    written["_questions"] = writer.questions(people, groups)
    written["_names"] = writer.names()
    if options.text:
        write_text(options.text, population, variant, 1, options.filler)
    ids = len(encoder.encode_batch([tag.text])[0]) if tag.text else 0
    said = f", tag '{tag.text}' ({ids} token{'s' * (ids != 1)}{', special' * tag.special})" if tag.text else ""
    print_summary(options.out, population, variant, written, said)


def main(argv: list[str]) -> None:
    start, options = time.monotonic(), parse_arguments(argv, __doc__)
    attributes = parse_attributes(options.attributes)
    asked_about = parse_question_people(options.question_people)
    if asked_about is not None and asked_about > options.people:
        raise UsageError(f"--question-people {asked_about}: there are only {options.people:,} people")
    variant = choose(options.variant, options.wordings, options.orders, options.names)
    check_control(options, variant)
    if options.world:
        check_world(options.world)
    templates = {SEEN: options.templates, HELDOUT: options.heldout_templates, QUESTION: options.question_templates}
    choice = WorldChoice(
        people=options.people,
        kind=options.kind,
        seed=options.seed,
        attributes=attributes,
        templates=templates,
        groups=options.groups,
        pool_sizes=parse_pool_sizes(options.pool_size, attributes),
        shuffled=options.shuffled,
        folder=options.world,
    )
    population = make_population(choice)
    check_candidates(population, options.candidates)
    trained = trained_on_questions(population, options.qa)
    endings = {"_qa": trained is not None, "_compact": options.compact}
    check_output(options.out, {ending for ending, wanted in endings.items() if wanted})
    if options.report_against:
        report(population, options.out, options.report_against)
    if options.text_only:
        write_text(options.out + ".txt", population, variant, options.text_only, options.filler)
        return
    write_shards(options, population, variant, trained)
    print(f"{time.monotonic() - start:.1f} s in all")
