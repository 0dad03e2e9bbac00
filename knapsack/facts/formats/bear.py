"""BEAR: P36.jsonl files with sub_label, obj_label and answer_idx."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from knapsack.common.errors import DataError
from knapsack.common.spelling import fold
from knapsack.facts.formats.reading import (
    JSONL,
    base,
    fill,
    json_rows,
    jsonl_files,
    names,
    read_whole,
    whole_text,
)
from knapsack.facts.rows import MALFORMED, OTHER_ANSWER, Row, item_id

SPACE = "metadata_relations.json"


def read_bear(path: str, options: Any) -> Iterator[Row]:
    spaces_in: dict[str, dict[str, list]] = {}  # by folder: BEAR and BEAR-big have one each
    for file in jsonl_files(path):
        if not JSONL.fullmatch(base(file)):
            raise DataError(f"{file}: expected a name such as P36.jsonl, which names the relation")
        folder = os.path.dirname(file)
        if folder not in spaces_in:
            space = os.path.join(folder, SPACE)
            spaces_in[folder] = answer_spaces(space) if os.path.isfile(space) else {}
        spaces = spaces_in[folder]
        for row, record in json_rows(path, file):
            if row.reason is None:
                fill(row, record.get("sub_label"), record.get("obj_label"))
                row.subject_id, row.object_id = item_id(record.get("sub_id")), item_id(record.get("obj_id"))
                aliases = names(record.get("obj_aliases"))
                row.aliases, row.reason = aliases or (), row.reason or (MALFORMED if aliases is None else None)
                space, index = spaces.get(row.relation), record.get("answer_idx")
                if row.reason is None and space and index is not None:
                    fits = isinstance(index, int) and 0 <= index < len(space) and same_name(space[index], row.object)
                    row.reason = None if fits else OTHER_ANSWER
            yield row


def same_name(one: object, other: str) -> bool:
    return isinstance(one, str) and fold(one) == fold(other)


def answer_spaces(path: str) -> dict[str, list]:
    try:
        value = json.loads(whole_text(path, read_whole(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: expected JSON: {error.msg}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}:1: expected JSON that can be read") from None
    if not isinstance(value, dict) or not all(isinstance(relation, dict) for relation in value.values()):
        raise DataError(f"{path}:1: expected an object of relations, found other JSON")
    spaces = {name: relation.get("answer_space_labels") for name, relation in value.items()}
    return {name: space for name, space in spaces.items() if isinstance(space, list)}
