"""What the readers of all formats share: lines and JSON lists with line numbers, JSON and tab-separated rows."""

from __future__ import annotations

import csv
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from knapsack.common.compressed import unpack
from knapsack.common.errors import DataError
from knapsack.common.files import open_input
from knapsack.facts.rows import COLUMN_COUNT, MALFORMED, NO_OBJECT, NO_SUBJECT, NOT_UTF8, Row
from knapsack.facts.table import FIRST_LINE

JSONL = re.compile(r"(P[1-9][0-9]*)(?:\.[^.]*)*\.jsonl(?:\.gz|\.bz2|\.zst)?")


def base(path: str) -> str:
    return os.path.basename(os.path.normpath(path))


def numbered_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Of a plain, .gz, .bz2 or .zst file, without their ends."""
    try:
        with open_input(path) as raw:
            for number, line in unpack(path, raw):
                yield number, line.removesuffix(b"\r")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def decode(line: bytes, number: int) -> str | None:
    """None: not UTF-8."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        return None


def undecodable(group: str, file: str, number: int, line: bytes) -> Row:
    return Row(group, file, number, line.decode(errors="backslashreplace"), reason=NOT_UTF8)


def whole_text(file: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}: expected UTF-8, found byte {data[error.start]:#04x}") from None


def read_whole(path: str) -> bytes:
    try:
        with open_input(path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def json_list(file: str, text: str, start: int = 0) -> Iterator[tuple[int, str, Any]]:
    """Line number, text and value of every item of the JSON list that begins at `start`; then returns where it
    ended."""

    def broken(position: int, expected: str) -> DataError:
        found = repr(text[position : position + 20]) if position < len(text) else "the end of the file"
        return DataError(f"{file}:{text.count(chr(10), 0, position) + 1}: expected {expected}, found {found}")

    position = SPACE.match(text, start).end()
    if not text.startswith("[", position):
        raise broken(position, "a JSON list")
    position = SPACE.match(text, position + 1).end()
    line, counted = 1, 0
    closed = text.startswith("]", position)
    while not closed:
        try:
            value, end = DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise broken(max(error.pos, position), "a JSON value") from None
        except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists
            raise broken(position, "a JSON value that can be read") from None
        line, counted = line + text.count("\n", counted, position), position
        yield line, text[position:end], value
        position = SPACE.match(text, end).end()
        if text.startswith(",", position):
            position = SPACE.match(text, position + 1).end()
        elif text.startswith("]", position):
            closed = True
        else:
            raise broken(position, "a comma or the end of the list")
    return position + 1


def only_space_follows(file: str, text: str, position: int) -> None:
    end = SPACE.match(text, position).end()
    if end < len(text):
        line = text.count("\n", 0, end) + 1
        raise DataError(f"{file}:{line}: expected the end of the file after the list, found {text[end : end + 20]!r}")


def names(value: Any) -> tuple[str, ...] | None:
    """A list of texts; None: something else."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else None


def jsonl_files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    found = [
        os.path.join(folder, name) for folder, _, inside in os.walk(path) for name in inside if JSONL.fullmatch(name)
    ]
    if not found:
        raise DataError(f"{path}: expected files such as P36.jsonl, found none")
    return sorted(found, key=lambda file: (int(JSONL.fullmatch(base(file)).group(1)[1:]), file))


def json_rows(path: str, file: str) -> Iterator[tuple[Row, dict]]:
    """An object a line, with the relation that the file is named after."""
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
