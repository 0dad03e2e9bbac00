"""What the readers of all formats share: the rows that they yield, why a row is dropped, lines and JSON lists with line
numbers."""

from __future__ import annotations

import bz2
import json
import os
import re
from dataclasses import dataclass
from typing import Any, BinaryIO, Iterator

from cli import DataError
from readers import split_lines, unpack

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
    text: str  # as it stands there
    relation: str = ""
    subject: str = ""
    object: str = ""
    aliases: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    subject_id: str | None = None
    object_id: str | None = None
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


def base(path: str) -> str:
    return os.path.basename(os.path.normpath(path))


def numbered_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Of a plain, .gz, .bz2 or .zst file, without their ends."""
    number = 0
    try:
        with open(path, "rb") as raw:
            if path.lower().endswith(".bz2"):
                lines: Iterator[tuple[int, bytes]] = enumerate(split_lines(Bz2Stream(raw)), 1)
            else:
                lines = unpack(path, raw)
            for number, line in lines:
                yield number, line[:-1] if line.endswith(b"\r") else line
    except EOFError as error:
        raise DataError(f"{path}:{number + 1}: packed data are broken or cut off ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


class Bz2Stream:
    """read() over one or more streams, as dumps have them; a cut-off file is an error."""

    def __init__(self, raw: BinaryIO) -> None:
        self.raw, self.unpacker, self.begun = raw, bz2.BZ2Decompressor(), False

    def read(self, size: int) -> bytes:
        while True:
            if self.unpacker.eof:
                rest = self.unpacker.unused_data or self.raw.read(size)
                if not rest:
                    return b""
                self.unpacker = bz2.BZ2Decompressor()
            else:
                rest = self.raw.read(size) if self.unpacker.needs_input else b""
                if not rest and self.unpacker.needs_input:
                    if not self.begun:
                        return b""  # an empty file
                    raise EOFError("the last stream does not end")
            self.begun = True
            try:
                out = self.unpacker.decompress(rest, 4 * size)
            except OSError as error:
                raise EOFError(error) from None
            if out:
                return out


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
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def json_list(file: str, text: str, start: int = 0) -> Iterator[tuple[int, str, Any]]:
    """Line number, text and value of every item of the JSON list that begins at `start`; then returns where it ended."""

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
        raise DataError(f"{file}:{line}: expected the end of the file behind the list, found {text[end : end + 20]!r}")


def names(value: Any) -> tuple[str, ...] | None:
    """A list of texts; None: something else."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else None
