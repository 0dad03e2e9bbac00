"""Reads documents from text, JSONL and parquet files, packed or not, and from Hugging Face data sets.

Errors name the file and the line. A long document comes in pieces, so that memory does not grow with it: those of text
files as they are read; a line of JSON and a row of parquet are read whole.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, BinaryIO, NamedTuple

from knapsack.common.compressed import decode, unpack, unpack_parts
from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.common.files import know_input, open_input, parse_json
from knapsack.common.tokenizer import END_OF_TEXT

TEXT_ENDINGS = (".txt", ".text", ".md")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
KNOWN_ENDING = re.compile(r"\.(txt|text|md|jsonl|ndjson|json|parquet|gz|zst)$", re.IGNORECASE)
DATASET_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?(#[\w.-]+)?")
PIECE = 1 << 18  # characters, at least; documents of up to twice as many are whole
CONTEXT = 400  # characters before a piece, of which its tokens may depend
SHOWN_BAD = 3


class Piece(NamedTuple):
    """A document, or a part of a long one: what comes before it (nothing: the document begins here), and whether the
    document ends with it."""

    text: str
    before: str = ""
    ends: bool = True

    @property
    def is_whole(self) -> bool:
        return self.ends and not self.before


def document_hash(text: str) -> int:
    """64 bits that depend on the text only: the same document falls on the same side of every split."""
    hasher = DocumentHash()
    hasher.add(text)
    return hasher.value()


class DocumentHash:
    """document_hash() of what comes in pieces."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=8)

    def add(self, text: str) -> None:
        self.digest.update(text.encode())

    def value(self) -> int:
        return int.from_bytes(self.digest.digest(), "little")


def cut_place(text: str, least: int, most: int) -> int:
    """Where tokenizers cut: before a single space between words, else before a line break, else before any white space.
    Where there is none, the caller learns from the tokens whether a cut mattered."""
    for mark in (" ", "\n"):
        place = text.find(mark, least, most)
        while place >= 0:
            if text[place - 1].isalnum() and text[place + 1 : place + 2].isalnum():
                return place
            place = text.find(mark, place + 1, most)
    found = re.compile(r"(?<=\S)\s").search(text, least, most)
    return found.start() if found else least


def context_of(text: str) -> str:
    return text[cut_place(text, len(text) - CONTEXT, len(text) - 1) :] if len(text) > CONTEXT else text


class Cutter:
    """Pieces of one document that comes bit by bit."""

    def __init__(self) -> None:
        self.before = ""

    def cut(self, text: str) -> tuple[list[Piece], str]:
        """Pieces of the beginning, and the rest, which is not longer than two of them."""
        pieces, start = [], 0
        while len(text) - start > 2 * PIECE:
            place = cut_place(text, start + PIECE, start + 2 * PIECE)
            pieces.append(Piece(text[start:place], self.before, False))
            self.before, start = context_of(text[place - 2 * CONTEXT : place]), place
        return pieces, text[start:]

    def finish(self, text: str) -> list[Piece]:
        pieces, rest = self.cut(text)
        return [*pieces, Piece(rest, self.before)]


@dataclass
class Inputs:
    """A list of inputs, read in order, document by document. `empty` counts the documents without text, `bad` the lines
    that were skipped because --skip-bad said so, `separators` the documents with a separator inside a line."""

    names: list[str]
    key: str | None = None
    skip_bad: bool = False
    empty: int = 0
    bad: int = 0
    separators: int = 0
    first_bad: list[str] = dataclass_field(default_factory=list)
    done_bytes: int = 0
    raw: BinaryIO | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            is_file = os.path.exists(name)
            if not is_file and (KNOWN_ENDING.search(name) or not DATASET_NAME.fullmatch(name)):
                raise DataError(f"{name}: no such file")
            if is_file:
                file_format(name)
                know_input(name)

    @property
    def total_bytes(self) -> int:
        return sum(os.path.getsize(name) for name in self.names if os.path.exists(name))

    @property
    def bytes_read(self) -> int:
        return self.done_bytes + (self.raw.tell() if self.raw and not self.raw.closed else 0)

    def documents(self) -> Iterator[str]:
        parts: list[str] = []
        for piece in self.pieces():
            parts.append(piece.text)
            if piece.ends:
                yield "".join(parts)
                parts = []

    def pieces(self) -> Iterator[Piece]:
        """Whole documents one after another, long ones in pieces."""
        self.empty = self.bad = self.separators = self.done_bytes = 0
        self.first_bad = []
        for name in self.names:
            held = False
            for piece in self._read(name):
                if piece.is_whole and (piece.text.isspace() or not piece.text):
                    self.empty += 1
                    continue
                held = held or END_OF_TEXT in piece.text
                if piece.ends:
                    self.separators += held
                    held = False
                yield piece
            self.done_bytes += os.path.getsize(name) if os.path.exists(name) else 0
            self.raw = None

    def warnings(self) -> list[str]:
        """What of the input was dropped, or is doubtful."""
        said = []
        if self.bad:
            said.append(f"{self.bad:,} bad lines or records skipped, the first: {'; '.join(self.first_bad)}")
        if self.separators:
            said.append(
                f"{self.separators:,} documents hold {END_OF_TEXT} inside a line, which is text there; a separator is "
                "a line of its own"
            )
        return said

    def _skip(self, error: DataError) -> None:
        """Goes on after a bad line, or raises."""
        if not self.skip_bad:
            raise error
        self.bad += 1
        if len(self.first_bad) < SHOWN_BAD:
            self.first_bad.append(str(error))

    def _read(self, name: str) -> Iterator[Piece]:
        if not os.path.exists(name):
            yield from self._from_records(read_dataset(name), self.key)
        elif file_format(name) == "parquet":
            yield from self._read_parquet(name)
        else:
            try:
                with open_input(name) as self.raw:
                    if file_format(name) == "json":
                        yield from self._read_json_lines(name, unpack(name, self.raw))
                    else:
                        yield from self._read_text(name, unpack_parts(name, self.raw, PIECE))
            except OSError as error:
                raise DataError(f"{name}: {error.strerror or error}") from None

    def _read_text(self, name: str, lines: Iterator[tuple[int, bytes, bool]]) -> Iterator[Piece]:
        """Documents are what is between lines that hold only <|endoftext|>; blank lines at their ends are dropped."""
        separator = END_OF_TEXT.encode()
        document: list[str] = []
        size, ended, cutter = 0, False, Cutter()
        decoder, position = None, 0  # inside a long line

        def text() -> str:
            whole = "\n".join(document)
            return whole if cutter.before else whole.lstrip("\r\n")

        for number, line, line_ends in lines:
            inside = decoder is not None
            ended = line_ends and not inside and line.strip() == separator
            if ended:
                yield from cutter.finish(text().rstrip("\r\n"))
                document, size, cutter = [], 0, Cutter()
                continue
            try:
                if line_ends and not inside:
                    part = decode(name, number, line)
                else:
                    decoder = decoder or codecs.getincrementaldecoder("utf-8-sig" if number == 1 else "utf-8")()
                    part = decode_part(name, number, position, decoder, line, line_ends)
            except DataError as error:
                self._skip(error)
                part = ""
            if inside:
                document[-1] += part
            else:
                document.append(part)
            decoder, position = (None, 0) if line_ends else (decoder, position + len(line))
            size += len(part) + 1
            if size > 2 * PIECE:
                pieces, rest = cutter.cut(text())
                yield from pieces
                document, size = [rest], len(rest)
        if not ended:
            yield from cutter.finish(text().rstrip("\r\n"))

    def _read_json_lines(self, name: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[Piece]:
        for number, line in lines:
            if not line.strip():
                continue
            place = f"{name}:{number}"
            try:
                text = field(parse_json(decode(name, number, line), place), self.key, place)
            except DataError as error:
                self._skip(error)
                continue
            yield from Cutter().finish(text)

    def _read_parquet(self, name: str) -> Iterator[Piece]:
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError:
            raise ScriptError(
                f"{name}: reading parquet needs the Python package 'pyarrow' (pip install pyarrow)"
            ) from None
        try:
            table = parquet.ParquetFile(know_input(name))
            column = self.key or next((k for k in ("text", "content") if k in table.schema_arrow.names), "text")
            rows = (
                record
                for batch in table.iter_batches(batch_size=1024, columns=[column])
                for record in batch.to_pylist()
            )
            yield from self._from_records(((f"{name}: row {n}", row) for n, row in enumerate(rows, 1)), column)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{name}: not a readable parquet file ({error})") from None

    def _from_records(self, records: Iterator[tuple[str, Any]], key: str | None) -> Iterator[Piece]:
        for place, record in records:
            try:
                text = field(record, key, place)
            except DataError as error:
                self._skip(error)
                continue
            yield from Cutter().finish(text)


def decode_part(name: str, number: int, position: int, decoder: Any, line: bytes, ends: bool) -> str:
    """The next part of a long line."""
    try:
        return decoder.decode(line, ends)
    except UnicodeDecodeError as error:
        decoder.reset()
        raise DataError(f"{name}:{number}: not UTF-8 (byte {position + error.start} of the line)") from None


def file_format(name: str) -> str:
    stem = re.sub(r"\.(gz|zst)$", "", name.lower())
    if stem.endswith(TEXT_ENDINGS):
        return "text"
    if stem.endswith(JSON_ENDINGS):
        return "json"
    if name.lower().endswith(".parquet"):
        return "parquet"
    raise UsageError(
        f"{name}: unknown ending; expected {', '.join(TEXT_ENDINGS + JSON_ENDINGS)} (also .gz, .zst) or .parquet"
    )


def field(record: Any, key: str | None, place: str) -> str:
    """The document in a record: at `key`, else at 'text', else at 'content'."""
    keys = [key] if key else ["text", "content"]
    text = next((record[k] for k in keys if k in record), None) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise DataError(
            f"{place}: expected an object with a string at key {' or '.join(repr(k) for k in keys)}; try --key"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{place}: the text holds half of a surrogate pair, which is no character") from None
    return text


def read_dataset(name: str) -> Iterator[tuple[str, Any]]:
    """OWNER/NAME[:CONFIG][#SPLIT] of the Hugging Face hub, streamed: places and records."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise ScriptError(
            f"{name}: no such file; were it a data set of the Hugging Face hub, reading it would need the "
            "Python package 'datasets' (pip install datasets)"
        ) from None
    path, _, split = name.partition("#")
    path, _, config = path.partition(":")
    try:
        records = load_dataset(path, config or None, split=split or "train", streaming=True)
        for row, record in enumerate(records):
            yield f"{name}: record {row}", record
    except ScriptError:
        raise
    except Exception as error:  # the library's errors have no common class
        raise ScriptError(
            f"{name}: cannot be read from the Hugging Face hub ({type(error).__name__}: {error})"
        ) from None
