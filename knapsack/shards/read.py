"""Reads shards, their columns and JSON files, and refuses what does not fit dev/formats.md."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.files import CHUNK, know_input, open_input, parse_json
from knapsack.common.tokenizer import is_tokenizer
from knapsack.shards.format import DTYPE_CODES, FORMAT_VERSION, IDX_HEADER, IDX_MAGIC, QUESTION_COLUMNS

HEADER = struct.Struct(IDX_HEADER)


def expect(condition: bool, path: str, message: str) -> None:
    if not condition:
        raise DataError(f"{path}: {message}")


def load_json(path: str) -> dict[str, Any]:
    try:
        with open_input(path) as file:
            value = parse_json(file.read(), path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    expect(isinstance(value, dict), path, "not a JSON object")
    version = value.get("format_version")
    expect(
        isinstance(version, int) and 1 <= version <= FORMAT_VERSION,
        path,
        f"format_version {version}, this program knows up to {FORMAT_VERSION}",
    )
    return value


def file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open_input(path) as file:
            while data := file.read(CHUNK):
                digest.update(data)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return digest.hexdigest()


@dataclass
class Shard:
    """A shard whose index has been checked: lengths and offsets of sequences, first sequences of documents, ids."""

    lengths: np.ndarray
    offsets: np.ndarray
    documents: np.ndarray
    tokens: np.ndarray

    def sequence(self, number: int) -> np.ndarray:
        first = int(self.offsets[number]) // self.tokens.itemsize
        return self.tokens[first : first + int(self.lengths[number])]


def open_shard(prefix: str) -> Shard:
    idx, bin_ = prefix + ".idx", prefix + ".bin"
    for path in (idx, bin_):
        expect(os.path.exists(path), path, "no such file")
        know_input(path)
    size = os.path.getsize(idx)
    expect(size >= HEADER.size, idx, f"{size} bytes, too short for a header")
    with open_input(idx) as file:
        magic, version, code, sequences, ends = HEADER.unpack(file.read(HEADER.size))
    expect(magic == IDX_MAGIC and version == 1, idx, "not a Megatron index of version 1")
    expect(code in DTYPE_CODES, idx, f"dtype code {code}, expected 8 (u16) or 4 (i32)")
    expected = HEADER.size + 12 * sequences + 8 * ends
    expect(
        size == expected, idx, f"{size} bytes, expected {expected} for {sequences} sequences and {ends} document ends"
    )
    raw = np.memmap(idx, np.uint8, "r")
    lengths, offsets, documents = (
        raw[first : first + count * width].view(f"<i{width}")
        for first, count, width in (
            (HEADER.size, sequences, 4),
            (HEADER.size + 4 * sequences, sequences, 8),
            (HEADER.size + 12 * sequences, ends, 8),
        )
    )
    width = DTYPE_CODES[code].itemsize
    check_index(idx, lengths, offsets, documents, width)
    total = int(lengths.sum(dtype=np.int64)) * width
    expect(os.path.getsize(bin_) == total, bin_, f"{os.path.getsize(bin_)} bytes, the index says {total}")
    tokens = np.memmap(bin_, DTYPE_CODES[code], "r") if total else np.zeros(0, DTYPE_CODES[code])
    return Shard(lengths, offsets, documents, tokens)


def check_index(idx: str, lengths: np.ndarray, offsets: np.ndarray, documents: np.ndarray, width: int) -> None:
    expect(
        len(documents) > 0 and documents[0] == 0 and documents[-1] == len(lengths),
        idx,
        "document ends do not run from 0 to the number of sequences",
    )
    expect(bool((np.diff(documents) >= 0).all()), idx, "document ends do not ascend")
    position = 0
    for first in range(0, len(lengths), CHUNK):
        block = lengths[first : first + CHUNK].astype(np.int64)
        expect(bool((block >= 0).all()), idx, "a sequence has a negative length")
        ends = position + np.cumsum(block) * width
        expect(
            bool((offsets[first : first + CHUNK] == ends - block * width).all()),
            idx,
            f"offsets from sequence {first} on do not follow from the lengths",
        )
        position = int(ends[-1])


def load_column(path: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        column = np.load(know_input(path), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    expect(
        column.dtype == np.dtype(dtype) and column.shape == shape,
        path,
        f"{column.dtype} {column.shape}, expected {np.dtype(dtype)} {shape}",
    )
    return column


def value_of(path: str, holder: dict[str, Any], key: str, kind: type, what: str) -> Any:
    if key not in holder:
        raise DataError(f"{path}: no key '{key}'")
    if type(holder[key]) is not kind:
        raise DataError(f"{path}: expected {what} at '{key}', found {json.dumps(holder[key])[:60]}")
    return holder[key]


def is_named_tokenizer(path: str, named: dict[str, Any]) -> bool:
    """Whether the file is the tokenizer that a sidecar's `tokenizer` names."""
    try:
        with open_input(path) as file:
            return is_tokenizer(file.read(), named["sha256"], named.get("content", ""))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def tokenizer_file(prefix: str, sidecar: dict[str, Any], given: str | None = None) -> str:
    """The path of the tokenizer that a sidecar names, checked by its hash; `given`: at another place than it says."""
    named = value_of(prefix + ".json", sidecar, "tokenizer", dict, "an object")
    for key in ("name", "file", "sha256"):
        value_of(prefix + ".json", named, key, str, "a text")
    value_of(prefix + ".json", sidecar, "eot_id", int, "a whole number")
    path = given or os.path.join(os.path.dirname(prefix), named["file"])
    if not is_named_tokenizer(path, named):
        hint = "; name the right file with --tokenizer" if given else ""
        raise DataError(
            f"{path}: expected the tokenizer '{named['name']}' of {prefix}.json, found another one (its SHA-256 "
            f"differs){hint}"
        )
    return path


class StoredQuestion(NamedTuple):
    """A question with its names and ids."""

    number: int
    entity: int
    relation: str
    attribute: str
    kind: str
    group: str
    prompt: np.ndarray
    answers: list[np.ndarray]  # the right one, then the wrong ones
    aliases: list[np.ndarray]  # other right ones


NAMED_BY = {"relation": "relations", "attribute": "attributes", "kind": "kinds", "group": "groups"}


class QuestionSet:
    """A question set whose names and indices have been checked."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.sidecar = prefix, load_json(prefix + ".json")
        if self.sidecar.get("kind") != "questions":
            raise DataError(
                f"{prefix}.json: expected the kind 'questions', found '{self.sidecar.get('kind')}'; the set of a "
                "source is usually SOURCE_questions"
            )
        self.path = prefix + ".questions.json"
        self.about = load_json(self.path)
        self.shard = open_shard(prefix)
        self.rows = load_question_rows(prefix, len(self.shard.documents) - 1)
        self.names = {column: self.names_of(column) for column in NAMED_BY}

    @property
    def name(self) -> str:
        return value_of(self.path, self.about, "name", str, "a name")

    def column(self, name: str) -> np.ndarray:
        return self.rows[:, QUESTION_COLUMNS.index(name)]

    def names_of(self, column: str) -> list[str]:
        key, numbers = NAMED_BY[column], self.column(column)
        names = value_of(self.path, self.about, key, list, "a list of names")
        wrong = [name for name in names if type(name) is not str]
        if wrong:
            raise DataError(
                f"{self.path}: expected a list of names at '{key}', in which is {json.dumps(wrong[0])[:60]}"
            )
        bad = np.flatnonzero(numbers >= len(names))
        if len(bad):
            raise DataError(
                f"{self.path}: {len(names)} names at '{key}', but question {bad[0]} (q.npy) is of number "
                f"{numbers[bad[0]]}, counted from 0"
            )
        return names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> StoredQuestion:
        row = dict(zip(QUESTION_COLUMNS, self.rows[number].tolist()))
        first, last = (int(end) for end in self.shard.documents[number : number + 2])
        sequences = [np.asarray(self.shard.sequence(place), np.int64) for place in range(first, last)]
        candidates, aliases = row["candidates"] or len(sequences), row["aliases"] or len(sequences)
        names = {column: names[row[column]] for column, names in self.names.items()}
        answers = [sequences[1], *sequences[candidates:aliases]]
        return StoredQuestion(
            number, row["entity"], **names, prompt=sequences[0], answers=answers, aliases=sequences[aliases:]
        )


def load_question_rows(prefix: str, questions: int) -> np.ndarray:
    """(questions, 8), u32: QUESTION_COLUMNS."""
    return load_column(prefix + ".q.npy", "<u4", (questions, len(QUESTION_COLUMNS)))
