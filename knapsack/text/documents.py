"""Reads documents from text, JSONL and parquet files, packed or not, and from Hugging Face data sets.

Errors name the file and the line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from knapsack.common.compressed import decode, unpack
from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.common.tokenizer import END_OF_TEXT

TEXT_ENDINGS = (".txt", ".text", ".md")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
KNOWN_ENDING = re.compile(r"\.(txt|text|md|jsonl|ndjson|json|parquet|gz|zst)$", re.IGNORECASE)
DATASET_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?(#[\w.-]+)?")


def document_hash(text: str) -> int:
    """64 bits that depend on the text only: the same document falls on the same side of every split."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass
class Inputs:
    """A list of inputs, read in order, document by document; `empty` counts the documents without text."""

    names: list[str]
    key: str | None = None
    empty: int = 0
    done_bytes: int = 0
    raw: BinaryIO | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            is_file = os.path.exists(name)
            if not is_file and (KNOWN_ENDING.search(name) or not DATASET_NAME.fullmatch(name)):
                raise DataError(f"{name}: no such file")
            if is_file:
                file_format(name)

    @property
    def total_bytes(self) -> int:
        return sum(os.path.getsize(name) for name in self.names if os.path.exists(name))

    @property
    def bytes_read(self) -> int:
        return self.done_bytes + (self.raw.tell() if self.raw and not self.raw.closed else 0)

    def documents(self) -> Iterator[str]:
        self.empty = self.done_bytes = 0
        for name in self.names:
            for text in self._read(name):
                if text.isspace() or not text:
                    self.empty += 1
                else:
                    yield text
            self.done_bytes += os.path.getsize(name) if os.path.exists(name) else 0
            self.raw = None

    def _read(self, name: str) -> Iterator[str]:
        if not os.path.exists(name):
            yield from read_dataset(name, self.key)
        elif file_format(name) == "parquet":
            yield from read_parquet(name, self.key)
        else:
            try:
                with open(name, "rb") as self.raw:
                    lines = unpack(name, self.raw)
                    is_json = file_format(name) == "json"
                    yield from read_json_lines(name, lines, self.key) if is_json else read_text(name, lines)
            except OSError as error:
                raise DataError(f"{name}: {error.strerror or error}") from None


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


def read_text(name: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[str]:
    """Documents are what is between lines that hold only <|endoftext|>; blank lines at their ends are dropped."""
    separator = END_OF_TEXT.encode()
    document: list[str] = []
    ended = False
    for number, line in lines:
        ended = line.strip() == separator
        if ended:
            yield "\n".join(document).strip("\r\n")
            document = []
        else:
            document.append(decode(name, number, line))
    if not ended:
        yield "\n".join(document).strip("\r\n")


def read_json_lines(name: str, lines: Iterator[tuple[int, bytes]], key: str | None) -> Iterator[str]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(decode(name, number, line))
        except json.JSONDecodeError as error:
            raise DataError(f"{name}:{number}: not JSON ({error.msg}, column {error.colno})") from None
        yield field(record, key, f"{name}:{number}")


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


def read_parquet(name: str, key: str | None) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ScriptError(f"{name}: reading parquet needs the Python package 'pyarrow' (pip install pyarrow)") from None
    try:
        table = parquet.ParquetFile(name)
        column = key or next((k for k in ("text", "content") if k in table.schema_arrow.names), "text")
        row = 0
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            for record in batch.to_pylist():
                row += 1
                yield field(record, column, f"{name}: row {row}")
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{name}: not a readable parquet file ({error})") from None


def read_dataset(name: str, key: str | None) -> Iterator[str]:
    """OWNER/NAME[:CONFIG][#SPLIT] of the Hugging Face hub, streamed."""
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
            yield field(record, key, f"{name}: record {row}")
    except ScriptError:
        raise
    except Exception as error:  # the library's errors have no common class
        raise ScriptError(
            f"{name}: cannot be read from the Hugging Face hub ({type(error).__name__}: {error})"
        ) from None
