"""Formats of facts: recognising them, and readers of BEAR, ParaRel, PopQA, query results and our own table."""

from __future__ import annotations

import csv
import json
import os
import re
from codecs import BOM_UTF8
from typing import Any, Callable, Iterator

from cli import DataError, UsageError
from facts import dump, questions
from facts.rows import COLUMN_COUNT, MALFORMED, NO_LABEL, NO_OBJECT, NO_SUBJECT, NOT_AN_ITEM, OTHER_ANSWER, Row
from facts.rows import base, decode, item_id, json_list, names, numbered_lines, property_id, read_whole, undecodable
from facts.rows import whole_text
from facts.table import COLUMNS, FIRST_LINE

TABLE_COLUMNS = ("relation", "subject", "object")
PARAREL_COLUMNS = ("prop", "subj", "obj")
POPQA_COLUMNS = ("subj", "prop", "obj", "s_pop", "possible_answers")
POPQA_RELATIONS = {
    "occupation": "P106",
    "place of birth": "P19",
    "genre": "P136",
    "father": "P22",
    "country": "P17",
    "producer": "P162",
    "director": "P57",
    "capital of": "P1376",
    "screenwriter": "P58",
    "composer": "P86",
    "color": "P462",
    "religion": "P140",
    "sport": "P641",
    "author": "P50",
    "mother": "P25",
    "capital": "P36",
}
JSONL = re.compile(r"(P[1-9][0-9]*)(?:\.[^.]*)*\.jsonl(?:\.gz|\.bz2|\.zst)?")
SPACE = "metadata_relations.json"
OWN_ID = re.compile("(.*):(Q[1-9][0-9]*)")


def jsonl_files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    found = [os.path.join(folder, name) for folder, _, inside in os.walk(path) for name in inside if JSONL.fullmatch(name)]
    if not found:
        raise DataError(f"{path}: expected files such as P36.jsonl, found none")
    return sorted(found, key=lambda file: (int(JSONL.fullmatch(base(file)).group(1)[1:]), file))


def json_rows(path: str, file: str) -> Iterator[tuple[Row, dict]]:
    """An object a line, with the relation that the file's name tells."""
    named = JSONL.fullmatch(base(file))
    relation = named.group(1) if named else ""
    for number, line in numbered_lines(file):
        if not line.strip():
            continue
        text = decode(line, number)
        row = undecodable(base(path), file, number, line) if text is None else Row(base(path), file, number, text)
        row.relation = relation
        record = None
        if text is not None:
            try:
                record = json.loads(text)
            except (ValueError, RecursionError):
                pass
            row.reason = None if isinstance(record, dict) else MALFORMED
        yield row, record if isinstance(record, dict) else {}


def fill(row: Row, subject: Any, object_: Any) -> None:
    """Subject and object, or the reason why there are none."""
    if not all(name is None or isinstance(name, str) for name in (subject, object_)):
        row.reason = MALFORMED
    elif not (subject or "").strip():
        row.reason = NO_SUBJECT
    elif not (object_ or "").strip():
        row.reason = NO_OBJECT
    else:
        row.subject, row.object = subject, object_


def read_bear(path: str, options: Any) -> Iterator[Row]:
    spaces_in: dict[str, dict[str, list]] = {}  # by folder: BEAR and BEAR-big have one each
    for file in jsonl_files(path):
        if not JSONL.fullmatch(base(file)):
            raise DataError(f"{file}: expected a name such as P36.jsonl, which tells the relation")
        folder = os.path.dirname(file)
        if folder not in spaces_in:
            beside = os.path.join(folder, SPACE)
            spaces_in[folder] = answer_spaces(beside) if os.path.isfile(beside) else {}
        spaces = spaces_in[folder]
        for row, record in json_rows(path, file):
            if row.reason is None:
                fill(row, record.get("sub_label"), record.get("obj_label"))
                row.subject_id, row.object_id = item_id(record.get("sub_id")), item_id(record.get("obj_id"))
                aliases = names(record.get("obj_aliases"))
                row.aliases, row.reason = aliases or (), row.reason or (MALFORMED if aliases is None else None)
                space, index = spaces.get(row.relation), record.get("answer_idx")
                if row.reason is None and space and index is not None:
                    fits = isinstance(index, int) and 0 <= index < len(space) and space[index] == row.object
                    row.reason = None if fits else OTHER_ANSWER
            yield row


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


def read_pararel(path: str, options: Any) -> Iterator[Row]:
    if os.path.isdir(path) or ".jsonl" in base(path).lower():
        for file in jsonl_files(path):
            for row, record in json_rows(path, file):
                if row.reason is None:
                    row.relation = property_id(record.get("predicate_id")) or row.relation
                    fill(row, record.get("sub_label"), record.get("obj_label"))
                    row.subject_id, row.object_id = item_id(record.get("sub_uri")), item_id(record.get("obj_uri"))
                yield row
        return
    for row, fields in tsv_rows(path, PARAREL_COLUMNS):
        if row.reason is None:
            row.relation = fields["prop"]
            fill(row, fields["subj"], fields["obj"])
        yield row


def header_of(path: str, lines: Iterator[tuple[int, bytes]], needed: tuple[str, ...]) -> list[str]:
    number, line = next(lines, (1, b""))
    if line.removeprefix(BOM_UTF8) == FIRST_LINE.encode():
        number, line = next(lines, (2, b""))
    text = decode(line, number)
    columns = text.split("\t") if text is not None else []
    columns = [name.strip('"') for name in columns]
    if not set(needed) <= set(columns) or len(set(columns)) != len(columns):
        found = "bytes that are not UTF-8" if text is None else repr(text[:200])
        raise DataError(f"{path}:{number}: expected the columns {', '.join(needed)} between tabs, found {found}")
    return columns


def split_row(text: str, columns: int) -> list[str]:
    """Between tabs. Fields in quotation marks, as spreadsheets and pandas write them, are recognised where the whole
    line can be read so: a name may begin with one too."""
    if '"' in text:
        try:
            fields = next(csv.reader([text], delimiter="\t", strict=True))
        except (csv.Error, StopIteration):
            fields = []
        if len(fields) == columns:
            return fields
    return text.split("\t")


def tsv_rows(path: str, needed: tuple[str, ...], quoted: bool = True) -> Iterator[tuple[Row, dict[str, str]]]:
    lines = numbered_lines(path)
    columns = header_of(path, lines, needed)
    for number, line in lines:
        text = decode(line, number)
        if text is None:
            yield undecodable(base(path), path, number, line), {}
            continue
        fields = split_row(text, len(columns)) if quoted else text.split("\t")
        reason = None if len(fields) == len(columns) else COLUMN_COUNT
        yield Row(base(path), path, number, text, reason=reason), dict(zip(columns, fields))


def json_names(text: str) -> tuple[str, ...] | None:
    """Of a field that holds a JSON list, or nothing."""
    try:
        return names(json.loads(text)) if text else ()
    except (ValueError, RecursionError):
        return None


def read_popqa(path: str, options: Any) -> Iterator[Row]:
    for row, fields in tsv_rows(path, POPQA_COLUMNS):
        if row.reason is None:
            name = fields["prop"]
            row.relation = POPQA_RELATIONS.get(name.lower(), property_id(name) or name)
            answers, aliases = json_names(fields["possible_answers"]), json_names(fields.get("o_aliases", ""))
            if answers is None or aliases is None:
                row.reason = MALFORMED
            else:
                fill(row, fields["subj"], fields["obj"])
                row.aliases = aliases
                row.also = tuple(answer for answer in answers if answer not in (row.object, *aliases))
                row.popularity = fields["s_pop"]
                for side, letter in (("subject", "s"), ("object", "o")):
                    plain = fields.get({"s": "subj_id", "o": "obj_id"}[letter])
                    setattr(row, f"{side}_id", item_id(fields.get(f"{letter}_uri")) or item_id(plain))
        yield row


def read_own(path: str, options: Any) -> Iterator[Row]:
    """Lenient: what does not fit is dropped row by row. Columns other than relation, subject, object may be missing."""
    for row, fields in tsv_rows(path, TABLE_COLUMNS, quoted=False):
        if row.reason is None:
            aliases, also = json_names(fields.get("aliases", "")), json_names(fields.get("also", ""))
            if aliases is None or also is None:
                row.reason = MALFORMED
            else:
                row.relation = fields["relation"]
                fill(row, fields["subject"], fields["object"])
                found = OWN_ID.fullmatch(fields.get("id", ""))
                row.subject_id = found.group(2) if found and found.group(1) == row.relation else None
                row.aliases, row.also = aliases, also
                row.popularity = fields.get("popularity") or None
                row.web_documents = fields.get("web_documents") or None
        yield row


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
        raise DataError(f"{path}:1: expected a result of the query service (head.vars, results.bindings), found other JSON")
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
                "try --columns, and --relation where no variable tells it"
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
            row.aliases = tuple(name for name in (value["objectAltLabel"] or "").split(", ") if name)
            row.popularity = value["sitelinks"]
            kinds = [(binding.get(columns[name]) or {}).get("type") for name in ("subject", "object")]
            unknown = [kind in ("uri", "bnode") and not found for kind, found in zip(kinds, (row.subject_id, row.object_id))]
            if row.reason is None and any(unknown):  # 'some value' is a node without a name
                row.reason = NOT_AN_ITEM
            unlabelled = row.subject == row.subject_id or row.object == row.object_id
            if row.reason is None and unlabelled:  # the label service gives the id where it knows no name
                row.reason = NO_LABEL
        yield row


def binding_values(binding: Any, columns: dict[str, str]) -> dict[str, str | None] | None:
    if not isinstance(binding, dict):
        return None
    values = {name: binding.get(variable) for name, variable in columns.items()}
    for name, value in values.items():
        if value is not None and not (isinstance(value, dict) and isinstance(value.get("value"), str)):
            return None
        values[name] = value["value"] if value is not None else None
    return values


READERS: dict[str, Callable[[str, Any], Iterator[Row]]] = {
    "entityquestions": questions.read_entityquestions,
    "bear": read_bear,
    "pararel": read_pararel,
    "popqa": read_popqa,
    "query": read_query,
    "dump": dump.read_dump,
    "table": read_own,
}


def recognise(path: str) -> str:
    """The format, from the name and the first line."""
    name = base(path).lower()
    if os.path.isdir(path):
        inside = [file for _, _, files in os.walk(path) for file in files]
        if any(questions.FILE.fullmatch(file) for file in inside):
            return "entityquestions"
        if SPACE in inside:
            return "bear"
        return recognise(jsonl_files(path)[0])
    if questions.ARCHIVE.search(name):
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
    raise UsageError(f"{path}: the format cannot be told from the name and the first line; try --format")
