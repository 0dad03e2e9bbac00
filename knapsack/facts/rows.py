"""The rows that the readers of all formats yield, and why a row is dropped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MALFORMED = "malformed row"
COLUMN_COUNT = "wrong number of columns"
NOT_UTF8 = "not UTF-8"
UNKNOWN_RELATION = "unknown relation"
NO_SUBJECT = "subject missing"
NO_OBJECT = "object missing"
NO_LABEL = "no label in the language"
NOT_AN_ITEM = "subject or object is not an item"
NOT_THE_TEMPLATE = "question does not fit the template"
OTHER_ANSWER = "object differs from the answer space"
UNFIT_TEXT = "tab, line break or control character in a name"
TOO_LONG = "name over 200 characters"
SAME = "object is the subject"
DUPLICATE = "duplicate"
SECOND_OBJECT = "second object"
NAMESAKE = "namesake"
BEYOND_LIMIT = "beyond --limit-per-relation"

ITEM = re.compile(r"(?:.*/)?(Q[1-9][0-9]*)")
PROPERTY = re.compile(r"(?:.*/)?(P[1-9][0-9]*)")


@dataclass
class Row:
    """A row of an input. Where `reason` is set the reader could make no fact of it."""

    group: str  # by which rows are counted: a file, a folder, a split
    file: str
    line: int
    text: str  # as it is there
    relation: str = ""
    subject: str = ""
    object: str = ""
    aliases: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    subject_id: str | None = None
    object_id: str | None = None
    cut_aliases: int = 0  # further names that were left out, since where they end is not known
    popularity: str | int | None = None
    web_documents: str | int | None = None
    reason: str | None = None


def item_id(value: Any) -> str | None:
    """Q183 out of 'Q183' or 'http://www.wikidata.org/entity/Q183'."""
    found = ITEM.fullmatch(value) if isinstance(value, str) else None
    return found.group(1) if found else None


def property_id(value: Any) -> str | None:
    found = PROPERTY.fullmatch(value) if isinstance(value, str) else None
    return found.group(1) if found else None
