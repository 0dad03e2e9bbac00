"""Makes a table of facts out of data sets in many formats, and accounts for every row.

Formats, recognised by name and content, or named by --format:
  entityquestions  a folder, an archive (.tar, .tar.gz, .tar.zst) or files P36.dev.json of {"question", "answers"};
                   the question templates are looked for next to the input and in the folders above
  bear             a folder or files P36.jsonl with sub_label, obj_label, answer_idx; the file's name is the relation
  pararel          a TSV with the columns prop, subj, obj; or P36.jsonl as LAMA has them (sub_label, obj_label)
  popqa            a TSV with the columns subj, prop, obj, s_pop, possible_answers and more
  query            what the Wikidata query service answers (JSON with head.vars, results.bindings): subjectLabel,
                   objectLabel, and where there are any subject, object, relation, objectAltLabel, sitelinks
  dump             a truthy dump: .nt, .nt.gz, .nt.bz2, .nt.zst, read twice
  table            a table of this program; columns other than relation, subject, object may be missing

Names are kept with composed letters and plain spaces, without invisible characters, and compared whatever their marks
and spaces. Of several objects of a subject the first is the fact's object, the others are further right answers; two
objects of one name and different Wikidata ids are told apart in a column object_id. A row is dropped
as `duplicate` (the same relation, subject, object), `second object` (its object becomes a right answer of the first
row's fact), `namesake` (another subject with the name of one before), and for defects. OUT.account.json has the counts,
OUT.dropped.tsv every row dropped or mended.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator

from knapsack.common.arguments import parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import FileGroup
from knapsack.common.spelling import clean, fold
from knapsack.facts.account import Account
from knapsack.facts.formats.recognise import READERS, recognise
from knapsack.facts.relations import read_relations
from knapsack.facts.rows import (
    BEYOND_LIMIT,
    DUPLICATE,
    NAMESAKE,
    NO_OBJECT,
    NO_SUBJECT,
    SAME,
    SECOND_OBJECT,
    TOO_LONG,
    UNFIT_TEXT,
    UNKNOWN_RELATION,
    Row,
)
from knapsack.facts.table import BREAKS, LIMIT, SURROGATES, Fact, table_bytes

LONGEST_NAME = 200
ROLES = ("subject", "object", "relation", "subjectLabel", "objectLabel", "objectAltLabel", "sitelinks")


def defect(name: str) -> str | None:
    """Why a name without space at its ends does not fit a table."""
    if BREAKS.search(name) or SURROGATES.search(name):
        return UNFIT_TEXT
    return TOO_LONG if len(name) > LONGEST_NAME else None


def number(value: str | int | None) -> int | None:
    """None: not a number that a table can hold."""
    text = str(value)
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) < LIMIT else None


class Kept:
    """A fact in the making. There may be many millions: what most of them do not have takes no memory."""

    __slots__ = ("id", "row", "mended", "names", "objects", "popularity", "web_documents")

    def __init__(self, id: str, row: Row) -> None:
        self.id, self.row = id, row
        self.mended: tuple[tuple[str, Row], ...] = ()
        self.names: dict[str, bool] | None = None  # the other right answers; True: not a name of the first object
        self.objects: set[tuple[str, str]] | None = (
            None  # where there are several rows: ('id', 'Q64'), ('name', 'Berlin')
        )
        self.popularity = self.web_documents = None

    def mend(self, what: str, row: Row) -> None:
        if what not in dict(self.mended):
            self.mended += ((what, row),)

    def take(self, row: Row, as_also: bool) -> None:
        """Add what a row of this relation and subject says."""
        if row.cut_aliases:
            self.mend("further names joined by commas left out; try --alias-separator", row)
        self.add(row, (row.object, *row.aliases), as_also)
        self.add(row, row.also, True)
        if self.popularity is None and row.popularity is not None:
            self.popularity = number(row.popularity)
            if self.popularity is None:
                self.mend("popularity is not a number", row)

    def join(self, row: Row) -> str:
        """Take a further row of this relation and subject; says as what."""
        keys, first = object_keys(row), object_keys(self.row)
        self.objects = self.objects or first.copy()
        seen = not keys.isdisjoint(self.objects)
        self.objects |= keys
        self.take(row, as_also=keys.isdisjoint(first))
        return DUPLICATE if seen else SECOND_OBJECT

    def add(self, row: Row, names: tuple[str, ...], as_also: bool) -> None:
        for name in names:
            kept = clean(name.strip())
            if not kept or defect(kept):
                self.mend("an unfit answer left out", row)
            elif kept != self.row.object and kept not in (self.names or ()):
                self.names = self.names or {}
                self.names[kept] = as_also
                if kept != name:
                    self.mend(spelled(name), row)

    def fact(self) -> Fact:
        row, names = self.row, self.names or {}
        aliases, also = (tuple(name for name in names if names[name] is kind) for kind in (False, True))
        return Fact(
            self.id,
            row.relation,
            row.subject,
            row.object,
            aliases,
            also,
            self.popularity,
            self.web_documents,
            row.object_id,
        )


def object_keys(row: Row) -> set[tuple[str, str]]:
    return {("name", fold(row.object))} | ({("id", row.object_id)} if row.object_id else set())


def spelled(name: str) -> str:
    """What is mended in a name that clean() changes."""
    return (
        "space at the ends"
        if clean(name.strip()) == name.strip()
        else "invisible characters, spaces or letters composed"
    )


class Intake:
    """Rows in, facts out."""

    def __init__(self, account: Account, relations: dict) -> None:
        self.account, self.relations = account, relations
        self.facts: list[Kept] = []
        self.by_id: dict[str, Kept] = {}  # 'P36:Q183'
        self.by_name: dict[tuple[str, str], Kept] = {}  # relation, subject

    def take(self, row: Row) -> None:
        self.account.read[row.group] += 1
        given = row.subject, row.object
        subject, object_ = (clean(name.strip()) for name in given)
        reason = row.reason or self.unfit(row.relation, subject, object_)
        mended = next((spelled(name) for name in given if clean(name.strip()) != name), None)
        row.subject, row.object = subject, object_
        reason = reason or self.add(row, mended)
        if reason:
            self.account.drop(row, reason)

    def unfit(self, relation: str, subject: str, object_: str) -> str | None:
        if relation not in self.relations:
            return UNKNOWN_RELATION
        if not subject or not object_:
            return NO_OBJECT if subject else NO_SUBJECT
        return defect(subject) or defect(object_) or (SAME if fold(subject) == fold(object_) else None)

    def add(self, row: Row, mended: str | None) -> str | None:
        """Keeps a row as a fact, or joins it to the one of its subject and says so."""
        id = f"{row.relation}:{row.subject_id or row.subject}"
        name = fold(row.subject)
        named = self.by_name.get((row.relation, name))
        kept = self.by_id.get(f"{row.relation}:{row.subject_id or name}")
        if kept is None and named is not None:
            if row.subject_id and named.row.subject_id:
                return NAMESAKE
            kept = named
        if kept is not None:
            if kept is not named and not (row.subject_id and kept.row.subject_id):
                return NAMESAKE  # a name that reads like the id of another subject
            return kept.join(row)
        kept = Kept(id, row)
        kept.take(row, as_also=False)
        if row.web_documents is not None:
            kept.web_documents = number(row.web_documents)
            if kept.web_documents is None:
                kept.mend("web_documents is not a number", row)
        if mended:
            kept.mend(mended, row)
        self.by_id[f"{row.relation}:{row.subject_id or name}"] = self.by_name[row.relation, name] = kept
        self.facts.append(kept)
        return None

    def finish(self, limit: int | None, seed: int) -> list[Fact]:
        """The facts that stay, in order."""
        stay = chosen(self.facts, limit, seed) if limit else None
        facts = []
        for kept in self.facts:
            if stay is not None and kept.id not in stay:
                self.account.drop(kept.row, BEYOND_LIMIT)
                continue
            for what, row in kept.mended:
                self.account.mend(row, what)
            self.account.kept[kept.row.group] += 1
            facts.append(kept.fact())
        self.account.check()
        return facts


def chosen(facts: list[Kept], limit: int, seed: int) -> set[str]:
    """`limit` facts of each relation, by a hash of seed and id: which ones does not depend on the order of the rows."""
    ids = defaultdict(list)
    for kept in facts:
        ids[kept.row.relation].append(kept.id)

    def draw(id: str) -> bytes:
        return hashlib.blake2b(f"{seed}\t{id}".encode(), digest_size=16).digest()

    return {id for group in ids.values() for id in heapq.nsmallest(limit, group, key=draw)}


def rows_of(options: argparse.Namespace) -> Iterator[Row]:
    for path, name in options.formats.items():
        yield from READERS[name](path, options)


def parse_columns(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(role in ROLES and name for role, _, name in pairs):
        raise argparse.ArgumentTypeError(f"expected ROLE=VARIABLE,... with roles out of {', '.join(ROLES)}")
    return {role: name for role, _, name in pairs}


def parse_relation(text: str) -> list[str]:
    if not all(re.fullmatch("P[1-9][0-9]*", name) for name in text.split(",")):
        raise argparse.ArgumentTypeError(f"'{text}' is not a relation such as P36, or several with commas")
    return text.split(",")


def parse_languages(text: str) -> list[str]:
    if not all(re.fullmatch("[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name) for name in text.split(",")):
        raise argparse.ArgumentTypeError(f"'{text}' is not a language such as en or pt-br, or several with commas")
    return list(dict.fromkeys([*text.split(","), "mul"]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files or folders, read in order")
    parser.add_argument("--out", required=True, metavar="FACTS.tsv", help="the table")
    parser.add_argument("--format", choices=list(READERS), help="of all inputs (default: by name and content)")
    which = parser.add_argument_group("which facts")
    which.add_argument("--relations", metavar="FILE", help="your relations, instead of the built-in ones")
    which.add_argument("--limit-per-relation", type=parse_count, metavar="N", help="at most N facts of a relation")
    which.add_argument("--seed", type=int, default=1, help="which facts a limit leaves (1)")
    of_formats = parser.add_argument_group("of single formats")
    of_formats.add_argument(
        "--relation", type=parse_relation, metavar="P36", help="query: what it asked; dump: only these (P36,P19)"
    )
    of_formats.add_argument(
        "--columns", type=parse_columns, default={}, metavar="subject=item,...", help="query: its variables' names"
    )
    of_formats.add_argument("--question-templates", metavar="FILE", help="entityquestions: its templates")
    of_formats.add_argument(
        "--split", choices=["train", "dev", "test", "all"], default="all", help="entityquestions: which files (all)"
    )
    of_formats.add_argument(
        "--language",
        type=parse_languages,
        default=["en", "mul"],
        metavar="en,...",
        help="dump: of the names, in order of preference (en); names for all languages (mul) come last",
    )
    of_formats.add_argument(
        "--alias-separator",
        metavar="TEXT",
        help="query: what the list of alternative labels is joined by. Without it lists joined by ', ', as the label "
        "service makes them, are left out: a label may have a comma itself",
    )


def check(options: argparse.Namespace) -> None:
    if os.path.isdir(options.out):
        raise UsageError(
            f"--out {options.out}: a folder; expected a file such as {os.path.join(options.out, 'facts.tsv')}"
        )
    for path in options.inputs:
        if not os.path.exists(path):
            raise DataError(f"{path}: no such file or folder")
    if len(set(map(os.path.realpath, options.inputs))) != len(options.inputs):
        raise UsageError("an input is given twice")
    options.formats = {path: options.format or recognise(path) for path in options.inputs}
    formats = set(options.formats.values())
    if options.alias_separator == "":
        raise UsageError("--alias-separator: expected a text such as '|'")
    if options.relation and not formats & {"query", "dump"}:
        raise UsageError("--relation is for the formats query and dump")
    if "query" in formats and options.relation and len(options.relation) > 1:
        raise UsageError("--relation takes one relation for the format query")
    given = {
        "--columns": ("query", options.columns),
        "--language": ("dump", options.language != ["en", "mul"]),
        "--alias-separator": ("query", options.alias_separator),
        "--question-templates": ("entityquestions", options.question_templates),
        "--split": ("entityquestions", options.split != "all"),
    }
    for flag, (name, value) in given.items():
        if value and name not in formats:
            raise UsageError(f"{flag} is for the format {name}")
    options.relations = read_relations(options.relations)
    for name in options.relation or ():
        if name not in options.relations:
            raise UsageError(f"--relation {name}: no such relation has templates; see `knapsack facts relations`")


def main(options: argparse.Namespace) -> None:
    start = time.monotonic()
    check(options)
    stem = options.out.removesuffix(".tsv")
    with FileGroup() as files:
        table, account = files.open(options.out), Account(files.open(stem + ".dropped.tsv"))
        intake = Intake(account, options.relations)
        for row in rows_of(options):
            intake.take(row)
        facts = intake.finish(options.limit_per_relation, options.seed)
        print(account.table())
        print(account.examples(), flush=True)
        if not facts:
            raise DataError(f"{', '.join(options.inputs)}: expected at least one fact, found none that could be kept")
        seconds = time.monotonic() - start
        files.write(stem + ".account.json", account.as_json(seconds))
        table.write(table_bytes(facts))
        files.commit()
    relations = len({fact.relation for fact in facts})
    print(f"{options.out}: {len(facts):,} facts of {relations} relations, {seconds:.1f} s")
