"""What the Wikidata query service answers: JSON with head.vars and results.bindings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from knapsack.common.errors import DataError
from knapsack.facts.formats.reading import (
    base,
    fill,
    json_list,
    read_whole,
    whole_text,
)
from knapsack.facts.rows import MALFORMED, NO_LABEL, NOT_AN_ITEM, Row, item_id, property_id


def bindings_start(path: str, text: str) -> int:
    """Where the list results.bindings begins, after a look at the whole."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: expected JSON: {error.msg}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}:1: expected JSON that can be read") from None
    head, results = (value.get(key) if isinstance(value, dict) else None for key in ("head", "results"))
    fits = isinstance(head, dict) and isinstance(head.get("vars"), list)
    fits = fits and isinstance(results, dict) and isinstance(results.get("bindings"), list)
    found = list(re.finditer(r'"bindings"\s*:\s*(?=\[)', text))
    if not fits or len(found) != 1:
        raise DataError(
            f"{path}:1: expected a result of the query service (head.vars, results.bindings), found other JSON"
        )
    return found[0].end()


def read_query(path: str, options: Any) -> Iterator[Row]:
    text = whole_text(path, read_whole(path))
    start = bindings_start(path, text)
    columns = {name: options.columns.get(name, name) for name in ("subject", "object", "relation", "sitelinks")}
    for name in ("subject", "object"):
        columns[name + "Label"] = options.columns.get(name + "Label", columns[name] + "Label")
    columns["objectAltLabel"] = options.columns.get("objectAltLabel", columns["object"] + "AltLabel")
    variables = json.loads(text)["head"]["vars"]
    needed = [columns["subjectLabel"], columns["objectLabel"]] + ([] if options.relation else [columns["relation"]])
    for name in needed:
        if name not in variables:
            raise DataError(
                f"{path}:1: expected the variable {name}, found {', '.join(map(str, variables))}; "
                "try --columns, and --relation where no variable has it"
            )
    for line, raw, binding in json_list(path, text, start):
        row = Row(base(path), path, line, raw)
        value = binding_values(binding, columns)
        if value is None:
            row.reason = MALFORMED
        else:
            row.relation = options.relation[0] if options.relation else property_id(value["relation"]) or ""
            fill(row, value["subjectLabel"], value["objectLabel"])
            row.subject_id, row.object_id = item_id(value["subject"]), item_id(value["object"])
            row.aliases, row.cut_aliases = further_names(value["objectAltLabel"] or "", options.alias_separator)
            row.popularity = value["sitelinks"]
            kinds = [(binding.get(columns[name]) or {}).get("type") for name in ("subject", "object")]
            unknown = [
                kind in ("uri", "bnode") and not found for kind, found in zip(kinds, (row.subject_id, row.object_id))
            ]
            if row.reason is None and any(unknown):  # 'some value' is a node without a name
                row.reason = NOT_AN_ITEM
            unlabelled = row.subject == row.subject_id or row.object == row.object_id
            if row.reason is None and unlabelled:  # the label service gives the id where it knows no name
                row.reason = NO_LABEL
        yield row


def further_names(joined: str, separator: str | None) -> tuple[tuple[str, ...], int]:
    """Alternative labels out of their list, and how many were left out. The label service joins them by ', ', which a
    label may have itself: half of one would be a wrong answer that counts as right."""
    if separator is not None:
        return tuple(name for name in joined.split(separator) if name.strip()), 0
    found = [name for name in joined.split(", ") if name.strip()]
    return (tuple(found), 0) if len(found) < 2 else ((), len(found))


def binding_values(binding: Any, columns: dict[str, str]) -> dict[str, str | None] | None:
    if not isinstance(binding, dict):
        return None
    values = {name: binding.get(variable) for name, variable in columns.items()}
    for name, value in values.items():
        if value is not None and not (isinstance(value, dict) and isinstance(value.get("value"), str)):
            return None
        values[name] = value["value"] if value is not None else None
    return values
