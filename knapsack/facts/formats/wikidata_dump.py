"""The truthy dump of Wikidata: N-triples, read twice. The first pass keeps the ids of the facts, the second the names
of these ids and how many wikis know the subjects, so that memory grows with the facts, not with the dump."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from typing import Any

from knapsack.common.errors import DataError
from knapsack.common.progress import Progress
from knapsack.facts.formats.reading import base, decode, numbered_lines
from knapsack.facts.rows import MALFORMED, NO_LABEL, NOT_AN_ITEM, NOT_UTF8, Row

DIRECT = b"<http://www.wikidata.org/prop/direct/"
ITEM = re.compile(rb"<https?://www\.wikidata\.org/(?:entity|wiki/Special:EntityData)/Q([1-9][0-9]{0,17})>")
LABEL = b"<http://www.w3.org/2000/01/rdf-schema#label>"
ALIAS = b"<http://www.w3.org/2004/02/skos/core#altLabel>"
SITELINKS = b"<http://wikiba.se/ontology#sitelinks>"
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"(?:@([A-Za-z0-9-]+)|\^\^<[^>]*>)?', re.DOTALL)
ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
PLAIN_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


class BadEscape(ValueError):
    pass


def unescape(text: str) -> str:
    def character(match: re.Match) -> str:
        code = match.group(1)
        if len(code) > 1 and int(code[1:], 16) < 0x110000:
            return chr(int(code[1:], 16))
        if code not in PLAIN_ESCAPES:
            raise BadEscape(code)
        return PLAIN_ESCAPES[code]

    return ESCAPE.sub(character, text)


def literal(data: bytes) -> tuple[str, str | None] | None:
    """Text and language; None: not a literal as N-triples write it."""
    try:
        found = LITERAL.fullmatch(data.decode())
        return (unescape(found.group(1)), found.group(2)) if found else None
    except (UnicodeDecodeError, BadEscape):
        return None


def triples(path: str) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Line number, line, and subject, predicate, object; an empty list: not a triple."""
    progress, size = Progress(f"{base(path)}:"), 0
    for number, line in numbered_lines(path):
        parts = line.split(None, 2)
        size += len(line) + 1
        if not number % (1 << 16):
            progress.update(0, f"{number} lines, {size / progress.seconds / 1e6:.0f} MB/s")
        end = parts[2].rstrip() if len(parts) == 3 else b""
        if end.endswith(b"."):
            parts[2] = end[:-1].rstrip()
            yield number, line, parts
        elif parts and not parts[0].startswith(b"#"):
            yield number, line, []
    progress.close()


class Kept:
    """The facts of the first pass: relation (by its number), subject, object, line."""

    def __init__(self) -> None:
        self.relations, self.subjects, self.objects, self.lines = array("H"), array("Q"), array("Q"), array("Q")

    def add(self, relation: int, subject: int, object_: int, line: int) -> None:
        self.relations.append(relation)
        self.subjects.append(subject)
        self.objects.append(object_)
        self.lines.append(line)


class Names:
    """Of the items in use, found by the second pass: labels in each of the languages, which come by preference."""

    def __init__(self, kept: Kept, languages: list[str]) -> None:
        self.languages = {b"@" + language.encode(): rank for rank, language in enumerate(languages)}
        self.labels: dict[int, str] = dict.fromkeys(kept.subjects, "")  # in the first language
        self.labels.update(dict.fromkeys(kept.objects, ""))
        self.other_labels: list[dict[int, str]] = [{} for _ in languages[1:]]
        self.objects = set(kept.objects)
        self.aliases: dict[int, list[str]] = {}  # of objects
        self.sitelinks: dict[int, int] = {}

    def read(self, path: str, group: str) -> Iterator[Row]:
        """Yields the lines about items in use that cannot be read."""
        for number, line, parts in triples(path):
            if not parts or parts[1] not in (LABEL, ALIAS, SITELINKS):
                continue
            found = ITEM.fullmatch(parts[0])
            item = int(found.group(1)) if found else -1
            named = parts[1] in (LABEL, ALIAS)
            rank = self.languages.get(parts[2][parts[2].rfind(b"@") :]) if named else None
            if item not in self.labels or (named and parts[2].startswith(b'"') and rank is None):
                continue
            value = literal(parts[2])
            if value is None or (not named and not re.fullmatch("[0-9]{1,9}", value[0])):
                reason = MALFORMED if decode(line, number) is not None else NOT_UTF8
                yield Row(group, path, number, line.decode(errors="backslashreplace"), reason=reason)
            elif parts[1] == LABEL:
                if rank:
                    self.other_labels[rank - 1].setdefault(item, value[0])
                else:
                    self.labels[item] = self.labels[item] or value[0]
            elif parts[1] == SITELINKS:
                self.sitelinks[item] = int(value[0])
            elif item in self.objects:
                self.aliases.setdefault(item, []).append(value[0])

    def label(self, item: int) -> str:
        found = (labels.get(item, "") for labels in (self.labels, *self.other_labels))
        return next((label for label in found if label.strip()), "")

    def name(self, row: Row, subject: int, object_: int) -> None:
        row.subject, row.object = self.label(subject), self.label(object_)
        row.subject_id, row.object_id = f"Q{subject}", f"Q{object_}"
        row.aliases = tuple(self.aliases.get(object_, ()))
        row.popularity = self.sitelinks.get(subject)
        row.reason = None if row.subject.strip() and row.object.strip() else NO_LABEL


def read_dump(path: str, options: Any) -> Iterator[Row]:
    """A row is a triple of a chosen relation, or a line that is no triple."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: expected a file, which can be read twice")
    group, relations = base(path), list(options.relation or options.relations)
    numbers = {DIRECT + name.encode() + b">": number for number, name in enumerate(relations)}
    kept = Kept()
    for number, line, parts in triples(path):
        if not parts:
            yield Row(group, path, number, line.decode(errors="backslashreplace"), reason=MALFORMED)
        elif parts[1] in numbers:
            subject, object_ = ITEM.fullmatch(parts[0]), ITEM.fullmatch(parts[2])
            relation = numbers[parts[1]]
            if subject and object_:
                kept.add(relation, int(subject.group(1)), int(object_.group(1)), number)
            else:
                reason = NOT_AN_ITEM if parts[2][:1] in (b"<", b'"', b"_") else MALFORMED
                text = line.decode(errors="backslashreplace")
                yield Row(group, path, number, text, relations[relation], reason=reason)
    names = Names(kept, options.language)
    yield from names.read(path, group)
    for relation, subject, object_, number in zip(kept.relations, kept.subjects, kept.objects, kept.lines):
        row = Row(group, path, number, f"Q{subject} {relations[relation]} Q{object_}", relations[relation])
        names.name(row, subject, object_)
        yield row
