"""Facts as text to train on and questions to ask.

Writes for each group of facts a knowledge source and a question set (dev/formats.md, 2 and 3):
  PREFIX          infused facts: --exposures NAME=F says how often          PREFIX_questions
  PREFIX_once     facts to be shown once: --exposures NAME_once=1           PREFIX_once_questions
  PREFIX_early    facts for the beginning only: --window NAME_early=0:0.3   PREFIX_early_questions
  (nothing)       controls, facts of the same relations never shown         PREFIX_control_questions
A fact is an entity, and each of its documents one sentence. Every fact is asked in the training statements that it is
shown in ('seen'), in statements that nobody is trained on ('heldout'), and as a question. PREFIX.entities.tsv says
which fact is which entity, and what was said about it.
"""

from __future__ import annotations

import argparse
import os
import time

from knapsack.common.arguments import Flags, add_seed_flag, add_tokenizer_flags, add_workers_flag, parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import AtomicFile
from knapsack.common.survival import check_answers, check_texts
from knapsack.common.tokenizer import END_OF_TEXT, Encoder, load_tokenizer
from knapsack.facts.relations import Relation, read_relations
from knapsack.facts.render import statement
from knapsack.facts.selection import CONTROL, EARLY, GROUPS, INFUSED, ONCE, Choice, World, make_world
from knapsack.facts.table import Fact, read_table
from knapsack.facts.write_files import ENDING, WorldWriter
from knapsack.shards.format import KINDS
from knapsack.shards.knowledge import Written


def parse_amount(text: str) -> float:
    """A number of facts, or a fraction of them such as 0.2."""
    try:
        fraction = float(text)
    except ValueError:
        fraction = 1.0
    return fraction if 0 <= fraction < 1 else float(parse_count(text))


def parse_candidates(text: str) -> int | None:
    if text == "all":
        return None
    return 0 if text == "0" else parse_count(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("facts", metavar="FACTS.tsv", help="a table that `table` or `scan` wrote, or facts/sample.tsv")
    parser.add_argument("--out", required=True, metavar="PREFIX")
    add_tokenizer_flags(parser, required=False)
    parser.add_argument(
        "--text-only",
        action="store_true",
        help="write only PREFIX.txt: every fact of every group, controls too, in each of its training statements (to "
        "train a tokenizer that treats all alike)",
    )
    add_seed_flag(parser)
    add_workers_flag(parser)
    add_fact_flags(parser.add_argument_group("which facts"))
    add_question_flags(parser.add_argument_group("how they read, and are asked"))


def add_fact_flags(flags: Flags) -> None:
    flags.add_argument("--relation", metavar="P36,P50,...", help="only facts of these relations (default: all)")
    flags.add_argument(
        "--max-web-documents",
        type=int,
        metavar="N",
        help="only facts whose subject and object share at most N documents of the text that `scan` read",
    )
    defaults = {INFUSED: "what the others leave", ONCE: "0", EARLY: "0", CONTROL: "0.2"}
    for name, default in defaults.items():
        flags.add_argument(
            f"--{name}",
            type=parse_amount,
            metavar="N",
            default=None if name == INFUSED else float(default),
            help=f"{name} facts: a number, or a fraction of the table below 1 (default: {default})",
        )
    flags.add_argument(
        "--counterfactual", action="store_true", help="permute the objects within each relation: none is true"
    )


def add_question_flags(flags: Flags) -> None:
    flags.add_argument(
        "--relations", metavar="FILE", help="your templates; they replace the built-in ones of a relation"
    )
    flags.add_argument("--templates", type=parse_count, default=5, metavar="M", help="training statements (default: 5)")
    flags.add_argument(
        "--templates-per-fact",
        type=parse_count,
        metavar="m",
        help="each fact has m of them, drawn by seed, at the same exposures (default: all M)",
    )
    flags.add_argument(
        "--candidates",
        type=parse_candidates,
        default=9,
        metavar="K|all",
        help="wrong answers with each question, out of the relation's own objects (default: 9)",
    )


def choose_facts(options: argparse.Namespace, relations: dict[str, Relation]) -> list[Fact]:
    """The table without what the flags leave out; says how many facts that were."""
    facts = read_table(options.facts)
    wanted = options.relation.split(",") if options.relation else sorted(relations)
    for name in wanted:
        if name not in relations:
            raise UsageError(f"--relation {name}: no templates for it; `knapsack facts relations` lists the relations")
    kept, left_out = (
        [],
        dict.fromkeys(("of other relations", "of relations without templates", "in the web text"), 0),
    )
    for fact in facts:
        if fact.relation not in wanted:
            left_out["of other relations" if fact.relation in relations else "of relations without templates"] += 1
        elif options.max_web_documents is None:
            kept.append(fact)
        elif fact.web_documents is None:
            raise UsageError(
                f"--max-web-documents: {fact.id} of {options.facts} was not counted; run `knapsack facts scan` first"
            )
        elif fact.web_documents > options.max_web_documents:
            left_out["in the web text"] += 1
        else:
            kept.append(fact)
    print(
        f"{options.facts}: {len(facts):,} facts"
        + "".join(f", {n:,} {why} left out" for why, n in left_out.items() if n)
    )
    if not kept:
        raise DataError(f"{options.facts}: no fact is left")
    return kept


def write_text(path: str, world: World) -> None:
    relations = {relation.id: relation for relation in world.relations}
    documents = 0
    with AtomicFile(path) as file:
        for stated in (stated for group in world.groups.values() for stated in group):
            for number in stated.templates:
                text = statement(relations[stated.fact.relation].seen[number], stated.fact.subject, stated.object)
                file.write(f"{text}\n{END_OF_TEXT}\n".encode())
                documents += 1
        file.commit()
    print(f"{path}: {documents:,} statements")


def check_tokens(encoder: Encoder, world: World) -> None:
    everybody = [stated for group in world.groups.values() for stated in group]
    answers = {name for pool in world.pools.values() for name in pool}
    check_answers(encoder, answers.union(*(stated.accepted for stated in everybody)))
    check_texts(encoder, {stated.fact.subject for stated in everybody}, "subjects")
    check_texts(encoder, {text for relation in world.relations for text in texts_of(relation)}, "templates")


def texts_of(relation: Relation) -> list[str]:
    return [text.replace("[X]", "A").replace("[Y]", "B") for kind in KINDS for text in getattr(relation, kind)]


def check_output(prefix: str, groups: set[str]) -> None:
    if not os.path.basename(prefix):
        raise UsageError(f"--out {prefix}: a folder; expected the beginning of the files' names, such as {prefix}wd")
    for group in set(GROUPS) - groups:
        for ending in ("", "_questions"):
            if os.path.exists(path := f"{prefix}{ENDING[group]}{ending}.json"):
                raise UsageError(
                    f"--out {prefix}: {path} of an earlier run has other facts; remove its files, or choose "
                    "another --out"
                )


def flags_for_training(prefix: str, written: dict[str, tuple[Written, Written]]) -> list[str]:
    base = os.path.basename(prefix)
    flags = [f"--source {base}{ENDING[g]}={prefix}{ENDING[g]}.bin" for g in written if g != CONTROL]
    flags += [f"--questions {prefix}{ENDING[group]}_questions" for group in written]
    if INFUSED in written:
        flags.append(f"--exposures {base}=64")
    if ONCE in written:
        flags.append(f"--exposures {base}_once=1")
    if EARLY in written:
        flags += [f"--exposures {base}_early=64", f"--window {base}_early=0:0.3"]
    return flags


def print_summary(prefix: str, world: World, choice: Choice, written: dict[str, tuple[Written, Written]]) -> None:
    for group, (source, questions) in written.items():
        stored = f"{source.tokens:,} tokens stored, {source.document_tokens + 1:.1f} a document"
        shown = stored if group != CONTROL else "never shown"
        facts = f"{len(world.groups[group]):,} {group} facts"
        print(f"{prefix}{ENDING[group]}: {facts}, {shown}; {questions.documents:,} questions")
    if choice.counterfactual:
        left = f", {world.without_another:,} facts left out for want of one" if world.without_another else ""
        print(f"  counterfactual: every fact states another object than the true one{left}")
    if world.shared_names:
        print(f"  {world.shared_names:,} facts have an object with the name of another one; each keeps its own aliases")
    if world.unused:
        print(f"  {world.unused:,} facts of the table are in no group")
    print("  to train, together with a text source:\n    " + " \\\n    ".join(flags_for_training(prefix, written)))


def main(options: argparse.Namespace) -> None:
    if not options.tokenizer and not options.text_only:
        raise UsageError("--tokenizer is needed (or --text-only)")
    start = time.monotonic()
    relations = read_relations(options.relations)
    facts = choose_facts(options, relations)
    choice = Choice(
        {group: getattr(options, group) for group in GROUPS},
        options.templates,
        options.templates_per_fact or options.templates,
        0 if options.text_only else options.candidates,
        options.counterfactual,
        options.seed,
    )
    world = make_world(facts, relations, choice)
    groups = {name: group for name, group in world.groups.items() if group}
    check_output(options.out, set(groups))
    if options.text_only:
        write_text(options.out + ".txt", world)
        return
    encoder = load_tokenizer(options.tokenizer, options.eot)
    check_tokens(encoder, world)
    encoder.install(options.out)
    writer = WorldWriter(options.out, world, choice, encoder, options.workers)
    nothing = Written(0, 0)
    written = {
        name: (writer.source(name, group) if name != CONTROL else nothing, writer.questions(name, group))
        for name, group in groups.items()
    }
    writer.entities()
    print_summary(options.out, world, choice, written)
    print(f"{time.monotonic() - start:.1f} s in all")
