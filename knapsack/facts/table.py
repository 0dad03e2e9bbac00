"""A table of facts: a TSV, a fact a line; dev/formats.md, 10.1, says what is where."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from knapsack.common.errors import DataError
from knapsack.common.files import open_input
from knapsack.common.spelling import fold

FIRST_LINE = "# facts, format_version 1"
OBJECT_ID = "object_id"  # a ninth column, where two objects of a relation have one name
COLUMNS = ("id", "relation", "subject", "object", "aliases", "also", "popularity", "web_documents")
LIMIT = 2**32 - 1  # numbers are below it; question sets write it where a popularity is not known
BREAKS = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")  # tab, line breaks, other control characters
SURROGATES = re.compile("[\\ud800-\\udfff]")  # halves of a pair, which UTF-8 cannot hold


@dataclass(frozen=True)
class Fact:
    id: str  # 'P36:Q183' where the subject's Wikidata id is known, else 'P36:Germany'; unique in a table
    relation: str  # 'P36'
    subject: str
    object: str
    aliases: tuple[str, ...] = ()  # other names of this object
    also: tuple[str, ...] = ()  # other right answers: further objects of the same subject and relation, and their names
    popularity: int | None = None  # of the subject
    web_documents: int | None = None  # documents of the scanned text that have subject and object; None: not scanned
    object_id: str | None = None  # 'Q64'; tells apart objects of one name


def defect(text: str) -> str | None:
    """Why a text does not fit a table."""
    if not text:
        return "an empty text"
    if BREAKS.search(text):
        return "a text with a tab, line break or control character"
    if SURROGATES.search(text):
        return "a text with half of a surrogate pair"
    return "a text with space at its ends" if text != text.strip() else None


def check(text: str, place: str) -> str:
    if found := defect(text):
        raise DataError(f"{place}: expected a name, found {found}, {text!r}")
    return text


def parse_list(text: str, place: str) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise DataError(f"{place}: expected a JSON list of names, or nothing, found {text!r}")
    return tuple(check(name, place) for name in value)


def parse_number(text: str, place: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= LIMIT:
        raise DataError(f"{place}: expected a whole number below {LIMIT}, or nothing, found {text!r}")
    return int(text)


def parse_row(line: str, place: str, columns: tuple[str, ...]) -> Fact:
    fields = line.split("\t")
    if len(fields) != len(columns):
        raise DataError(f"{place}: expected {len(columns)} fields between tabs, found {len(fields)}")
    row = dict(zip(columns, fields))
    for name in COLUMNS[:4]:
        check(row[name], f"{place}: {name}")
    if re.search(r"[\s:]", row["relation"]):
        raise DataError(f"{place}: expected a relation such as P36, found {row['relation']!r}")
    if not row["id"].startswith(row["relation"] + ":"):
        raise DataError(f"{place}: expected an id that begins with '{row['relation']}:', found {row['id']!r}")
    aliases, also = (parse_list(row[name], f"{place}: {name}") for name in ("aliases", "also"))
    answers = (row["object"], *aliases, *also)
    if len(set(answers)) != len(answers):
        twice = next(name for name in answers if answers.count(name) > 1)
        raise DataError(f"{place}: expected different names in object, aliases and also, found {twice!r} twice")
    popularity, documents = (parse_number(row[name], f"{place}: {name}") for name in COLUMNS[6:])
    object_id = row.get(OBJECT_ID) or None
    if object_id and not re.fullmatch("Q[1-9][0-9]*", object_id):
        raise DataError(f"{place}: {OBJECT_ID}: expected an id such as Q64, or nothing, found {object_id!r}")
    names = (row["id"], row["relation"], row["subject"], row["object"])
    return Fact(*names, aliases, also, popularity, documents, object_id)


def read_table(path: str) -> list[Fact]:
    """Strict: whatever does not fit is a DataError with file and line."""
    try:
        with open_input(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    lines = data.removesuffix(b"\n").split(b"\n")
    columns = COLUMNS
    if len(lines) > 1 and lines[1] == "\t".join((*COLUMNS, OBJECT_ID)).encode():
        columns = (*COLUMNS, OBJECT_ID)
    for number, expected in enumerate((FIRST_LINE, "\t".join(columns)), 1):
        found = lines[number - 1] if len(lines) >= number else b"the end of the file"
        if found != expected.encode():
            raise DataError(f"{path}:{number}: expected {expected!r}, found {found[:100].decode(errors='replace')!r}")
    facts: list[Fact] = []
    ids: dict[str, int] = {}
    subjects: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines[2:], 3):
        place = f"{path}:{number}"
        try:
            fact = parse_row(line.decode(), place, columns)
        except UnicodeDecodeError as error:
            raise DataError(f"{place}: not UTF-8 (byte {error.start} of the line)") from None
        if ids.setdefault(fact.id, number) != number:
            raise DataError(f"{place}: expected ids that differ, found '{fact.id}' as in line {ids[fact.id]}")
        first = subjects.setdefault((fact.relation, fold(fact.subject)), number)
        if first != number:
            raise DataError(
                f"{place}: expected one fact of a relation and subject, found {fact.relation} of '{fact.subject}' "
                f"as in line {first} (perhaps in another spelling); its other objects belong to the column also"
            )
        facts.append(fact)
    if not facts:
        raise DataError(f"{path}:3: expected a fact, found the end of the file")
    return facts


def row_text(fact: Fact, with_object_id: bool) -> str:
    lists = [json.dumps(names, ensure_ascii=False) if names else "" for names in (fact.aliases, fact.also)]
    numbers = ["" if number is None else str(number) for number in (fact.popularity, fact.web_documents)]
    ids = [fact.object_id or ""] if with_object_id else []
    return "\t".join([fact.id, fact.relation, fact.subject, fact.object, *lists, *numbers, *ids])


def table_bytes(facts: list[Fact]) -> bytes:
    ids: dict[tuple[str, str], set[str]] = {}
    for fact in facts:
        if fact.object_id:
            ids.setdefault((fact.relation, fold(fact.object)), set()).add(fact.object_id)
    known = any(len(items) > 1 for items in ids.values())
    header = "\t".join((*COLUMNS, OBJECT_ID) if known else COLUMNS)
    return ("\n".join([FIRST_LINE, header, *(row_text(fact, known) for fact in facts)]) + "\n").encode()
