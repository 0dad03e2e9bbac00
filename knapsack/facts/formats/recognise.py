"""Formats of facts: recognising them, and the table of their readers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from knapsack.common.errors import DataError, UsageError
from knapsack.facts.formats import entity_questions
from knapsack.facts.formats.bear import SPACE, read_bear
from knapsack.facts.formats.entity_questions import read_entityquestions
from knapsack.facts.formats.own_table import TABLE_COLUMNS, read_own
from knapsack.facts.formats.pararel import PARAREL_COLUMNS, read_pararel
from knapsack.facts.formats.popqa import POPQA_COLUMNS, read_popqa
from knapsack.facts.formats.reading import base, jsonl_files, numbered_lines
from knapsack.facts.formats.wikidata_dump import read_dump
from knapsack.facts.formats.wikidata_query import read_query
from knapsack.facts.rows import Row
from knapsack.facts.table import FIRST_LINE

READERS: dict[str, Callable[[str, Any], Iterator[Row]]] = {
    "entityquestions": read_entityquestions,
    "bear": read_bear,
    "pararel": read_pararel,
    "popqa": read_popqa,
    "query": read_query,
    "dump": read_dump,
    "table": read_own,
}


def recognise(path: str) -> str:
    """The format, from the name and the first line."""
    name = base(path).lower()
    if os.path.isdir(path):
        inside = [file for _, _, files in os.walk(path) for file in files]
        if any(entity_questions.FILE.fullmatch(file) for file in inside):
            return "entityquestions"
        if SPACE in inside:
            return "bear"
        return recognise(jsonl_files(path)[0])
    if entity_questions.ARCHIVE.search(name):
        return "entityquestions"
    if re.search(r"\.nt(\.gz|\.bz2|\.zst)?$", name):
        return "dump"
    first = next(numbered_lines(path), (1, b""))[1]
    if name.endswith(".json"):
        return "query" if first.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") else "entityquestions"
    if re.search(r"\.jsonl(\.gz|\.bz2|\.zst)?$", name):
        return "bear" if b'"answer_idx"' in first else "pararel"
    columns = [column.strip('"') for column in first.decode(errors="replace").removeprefix("\ufeff").split("\t")]
    if columns == [FIRST_LINE] or set(TABLE_COLUMNS) <= set(columns):
        return "table"
    if set(POPQA_COLUMNS) <= set(columns):
        return "popqa"
    if set(PARAREL_COLUMNS) <= set(columns):
        return "pararel"
    if re.search(r"\.tsv(\.gz|\.bz2|\.zst)?$", name):
        own, popqa = "relation, subject, object (a table of facts)", ", ".join(POPQA_COLUMNS) + " (PopQA)"
        raise DataError(
            f"{path}:1: expected the columns {own}, {popqa} or {', '.join(PARAREL_COLUMNS)} (ParaRel), "
            f"found {first[:100].decode(errors='replace')!r}"
        )
    raise UsageError(f"{path}: the format cannot be recognised from the name and the first line; try --format")
