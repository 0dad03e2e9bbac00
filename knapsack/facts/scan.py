"""Counts for every fact the documents of a text that have its subject, its object, and both.

An object counts under each of its names, and so do the fact's other right answers. Names count as whole words, with the
case they have, over the ends of lines, with typographic marks or plain ones, in scripts without spaces too, anywhere in
a document and in any order. That is no proof that a document states the fact, but a fact
without such a document can hardly have been learned from the text. TEXT is a token shard (PREFIX or PREFIX.bin) or
text, JSONL or parquet, as knapsack text reads them. Writes the table again as OUT.tsv with the column web_documents
filled in, and OUT.scan.json with the three counts of every fact.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from knapsack.common.arguments import add_workers_flag
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import dump_json, write_files
from knapsack.common.parallel import ordered_map
from knapsack.common.progress import Progress
from knapsack.common.survival import warn
from knapsack.facts.selection import Objects, by_relation
from knapsack.facts.table import Fact, read_table, table_bytes
from knapsack.shards.format import FORMAT_VERSION
from knapsack.text.corpus import Chunk, Corpus
from knapsack.text.phrases import Finder

SHOWN = 10


def all_answers(facts: list[Fact]) -> list[tuple[str, ...]]:
    """Of each fact: its object under all names that any fact of the relation gives it, which `write` accepts, too, and
    its other right answers."""
    objects = {relation: Objects(of_relation) for relation, of_relation in by_relation(facts).items()}
    names = [objects[fact.relation].names[objects[fact.relation].key(fact)] for fact in facts]
    return [tuple(dict.fromkeys((fact.object, *others, *fact.also))) for fact, others in zip(facts, names)]


@dataclass
class Found:
    """Documents read, and with a subject, with one of a set of answers, with both of a fact."""

    documents: int = 0
    subjects: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, ...]] = field(default_factory=Counter)
    both: Counter[int] = field(default_factory=Counter)  # by the fact's place in the table
    names: set[str] | None = None  # of a piece of a long document
    ends: bool = True  # the document ends with it

    def add(self, other: Found) -> None:
        self.documents += other.documents
        for mine, theirs in ((self.subjects, other.subjects), (self.answers, other.answers), (self.both, other.both)):
            mine.update(theirs)


class Scanner:
    def __init__(self, facts: list[Fact], corpus: Corpus) -> None:
        self.corpus, self.answers = corpus, all_answers(facts)
        self.of_subject: dict[str, list[int]] = defaultdict(list)
        sets_with: dict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
        for number, fact in enumerate(facts):
            self.of_subject[fact.subject].append(number)
            for name in self.answers[number]:
                sets_with[name][self.answers[number]] = None
        self.sets_with = {name: list(sets) for name, sets in sets_with.items()}
        self.finder = Finder(self.of_subject.keys() | self.sets_with.keys())

    def scan(self, chunk: Chunk) -> Found:
        found = Found()
        texts = self.corpus.texts(chunk)
        if chunk.is_piece:
            return Found(names=set(self.finder.find(texts[0])), ends=chunk.ends)
        for text in texts:
            self.count(found, set(self.finder.find(text)))
        return found

    def count(self, found: Found, names: set[str]) -> None:
        """A document that has these names."""
        found.documents += 1
        subjects = names & self.of_subject.keys()
        found.subjects.update(subjects)
        found.answers.update({one for name in names for one in self.sets_with.get(name, ())})
        for subject in subjects:
            found.both.update(n for n in self.of_subject[subject] if not names.isdisjoint(self.answers[n]))

    def scan_all(self, workers: int) -> Found:
        found, names, progress = Found(), set(), Progress("scan")
        for one in ordered_map(Scanner.scan, self.corpus.chunks(), workers, self):
            if one.names is None:
                found.add(one)
            else:
                names |= one.names
                if one.ends:
                    self.count(found, names)
                    names = set()
            progress.update(0, f"{found.documents:,} documents")
        progress.close()
        return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("facts", metavar="FACTS.tsv", help="a table that `table` wrote, or facts/sample.tsv")
    parser.add_argument("--text", nargs="+", required=True, metavar="TEXT", help="token shards, or files of text")
    parser.add_argument("--key", help="of JSON and parquet records: where the text is (default: text, else content)")
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip lines and records that cannot be read; says how many"
    )
    parser.add_argument("--out", required=True, metavar="OUT.tsv", help="the table with counts")
    add_workers_flag(parser)


def scan_json(options: argparse.Namespace, facts: list[Fact], answers: list[tuple[str, ...]], found: Found) -> bytes:
    counts = {
        fact.id: {
            "subject": found.subjects[fact.subject],
            "object": found.answers[answers[number]],
            "both": found.both[number],
        }
        for number, fact in enumerate(facts)
    }
    texts = [os.path.basename(name) for name in options.text]
    return dump_json({"format_version": FORMAT_VERSION, "text": texts, "documents": found.documents, "facts": counts})


def print_summary(options: argparse.Namespace, facts: list[Fact], found: Found, seconds: float) -> None:
    steps = {"no": (0, 0), "1 to 9": (1, 9), "10 to 99": (10, 99), "100 or more": (100, found.documents)}
    both = [found.both[number] for number in range(len(facts))]
    print(f"{', '.join(options.text)}: {found.documents:,} documents, {seconds:.1f} s")
    for name, (least, most) in steps.items():
        print(f"  {sum(least <= count <= most for count in both):9,} facts with subject and object in {name} documents")
    for number, count in sorted(found.both.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]:
        print(f"  {count:9,} documents: {facts[number].relation} {facts[number].subject}, {facts[number].object}")
    print(f"{options.out}: {len(facts):,} facts")


def main(options: argparse.Namespace) -> None:
    if len({os.path.realpath(name.removesuffix(".bin")) for name in options.text}) != len(options.text):
        raise UsageError("--text: an input is given twice")
    if os.path.isdir(options.out):
        raise UsageError(f"--out {options.out}: a folder; expected a file such as {options.out.rstrip('/')}/facts.tsv")
    start, facts, corpus = (
        time.monotonic(),
        read_table(options.facts),
        Corpus(options.text, options.key, options.skip_bad),
    )
    scanner = Scanner(facts, corpus)
    found = scanner.scan_all(options.workers)
    if not found.documents:
        raise DataError(f"{', '.join(options.text)}: expected a document, found none")
    counted = [replace(fact, web_documents=found.both[number]) for number, fact in enumerate(facts)]
    stem = options.out.removesuffix(".tsv")
    write_files(
        {options.out: table_bytes(counted), stem + ".scan.json": scan_json(options, facts, scanner.answers, found)}
    )
    warn(corpus.warnings())
    print_summary(options, facts, found, time.monotonic() - start)
