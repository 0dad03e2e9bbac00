#!/usr/bin/env python3
"""Checks shards, knowledge sources and question sets: checksums, sizes, indices, columns. Prints decoded samples.

  verify.py data/web data/synbio data/synbio_questions --samples 2

An argument is a PREFIX or its sidecar PREFIX.json. Exit code 0 if all is well, 3 if not; the message names the file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from cli import DataError, parse_count, run
from shards import CHUNK, DTYPE_CODES, FORMAT_VERSION, IDX_MAGIC
from tokenization import hugging_face

HEADER = struct.Struct("<9sQBQQ")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="+", metavar="PREFIX")
    parser.add_argument("--samples", type=parse_count, metavar="K", help="decode K documents, evenly spaced")
    return parser.parse_args()


def expect(condition: bool, path: str, message: str) -> None:
    if not condition:
        raise DataError(f"{path}: {message}")


def load_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
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
        with open(path, "rb") as file:
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
    size = os.path.getsize(idx)
    expect(size >= HEADER.size, idx, f"{size} bytes, too short for a header")
    with open(idx, "rb") as file:
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


def check_tokens(prefix: str, shard: Shard, sidecar: dict[str, Any]) -> None:
    for name, found in (("tokens", len(shard.tokens)), ("documents", len(shard.documents) - 1)):
        expect(sidecar.get(name) == found, prefix + ".json", f"{name} is {sidecar.get(name)}, the shard has {found}")
    eot, is_text = sidecar.get("eot_id"), sidecar.get("kind") == "text"
    ends_seen = 0
    for first in range(0, len(shard.tokens), CHUNK):
        block = shard.tokens[first : first + CHUNK]
        bad = np.flatnonzero((block < 0) | (block >= sidecar["vocab_size"]))
        if len(bad):
            raise DataError(
                f"{prefix}.bin: id {block[bad[0]]} at token {first + int(bad[0])} is outside of the vocabulary of "
                f"{sidecar['vocab_size']}"
            )
        ends_seen += int((block == eot).sum())
    expected = len(shard.documents) - 1 if is_text else 0
    expect(ends_seen == expected, prefix + ".bin", f"{ends_seen} EOT ids, expected {expected}")


def load_column(path: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        column = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    expect(
        column.dtype == np.dtype(dtype) and column.shape == shape,
        path,
        f"{column.dtype} {column.shape}, expected {np.dtype(dtype)} {shape}",
    )
    return column


def check_knowledge(prefix: str, shard: Shard) -> None:
    facts = load_json(prefix + ".facts.json")
    people, slots = facts["entities"], facts["slots"]
    each = len(slots) * facts["templates"] * len(facts["forms"])
    expect(
        len(shard.documents) == people + 1 and bool((np.diff(shard.documents) == each).all()),
        prefix + ".idx",
        f"expected {people} documents of {each} sequences",
    )
    spans = load_column(prefix + ".spans.npy", "<u2", (len(shard.lengths), 2))
    for first in range(0, len(spans), CHUNK):
        begin, end = spans[first : first + CHUNK].T.astype(np.int64)
        expect(
            bool(((begin < end) & (end <= shard.lengths[first : first + CHUNK])).all()),
            prefix + ".spans.npy",
            f"a value's span from sequence {first} on is empty or leaves its sequence",
        )
    values = load_column(prefix + ".values.npy", "<u4", (people, len(slots)))
    expect(
        bool((values < [slot["pool_size"] for slot in slots]).all()),
        prefix + ".values.npy",
        "a value is not in its pool",
    )
    groups = load_column(prefix + ".group.npy", "<u4", (people,))
    expect(bool((groups < len(facts["groups"])).all()), prefix + ".group.npy", "a group has no name")
    with open(prefix + ".names.txt", encoding="utf-8") as file:
        names = file.read().splitlines()
    # where groups are relations an entity is a fact, and its name that of the subject, of which there may be other facts
    of_relation = facts["groups"] == facts["relations"]
    different = set(zip(names, groups.tolist())) if of_relation else set(names)
    expect(
        len(names) == people and len(different) == people,
        prefix + ".names.txt",
        f"expected {people} different names{' in each relation' if of_relation else ''}",
    )


def check_questions(prefix: str, shard: Shard) -> None:
    about = load_json(prefix + ".questions.json")
    expect(
        about["questions"] == len(shard.documents) - 1,
        prefix + ".questions.json",
        f"questions is {about['questions']}, the shard has {len(shard.documents) - 1} documents",
    )
    q = load_column(prefix + ".q.npy", "<u4", (about["questions"], 8))
    limits = [len(about[name]) for name in ("relations", "attributes", "templates", "kinds")]
    limits += [about["entities"], len(about["groups"])]
    expect(bool((q[:, :6] < limits).all()), prefix + ".q.npy", "an index is outside of its list in questions.json")
    per_document = np.diff(shard.documents)
    expect(
        bool((per_document >= 2).all() and (q[:, 6:] < per_document[:, None]).all()),
        prefix + ".q.npy",
        "a question lacks prompt or answer, or its candidates",
    )
    empty = shard.lengths == 0  # a prompt may be: the question is then asked behind EOT alone
    empty[shard.documents[:-1]] = False
    expect(not empty.any(), prefix + ".idx", "an answer or a candidate is empty")


def show_samples(prefix: str, sidecar: dict[str, Any], shard: Shard, samples: int) -> None:
    path = os.path.join(os.path.dirname(prefix), sidecar["tokenizer"]["file"])
    tokenizer = hugging_face().Tokenizer.from_file(path)
    documents = len(shard.documents) - 1
    for document in np.linspace(0, documents - 1, min(samples, documents)).astype(int):
        first, last = shard.documents[document], shard.documents[document + 1]
        shown = [shard.sequence(number)[:200].tolist() for number in range(first, min(last, first + 4))]
        texts = [tokenizer.decode(ids, skip_special_tokens=False) for ids in shown]
        print(f"  document {document}: {' | '.join(texts)}{' ...' if last - first > 4 else ''}")


def verify(prefix: str, samples: int | None) -> None:
    sidecar = load_json(prefix + ".json")
    folder = os.path.dirname(prefix)
    missing = {"kind", "tokenizer", "vocab_size", "eot_id", "documents", "tokens", "checksums"} - sidecar.keys()
    expect(not missing, prefix + ".json", f"lacks {', '.join(sorted(missing))}")
    for name, checksum in sidecar["checksums"].items():
        path = os.path.join(folder, name)
        expect("sha256:" + file_sha256(path) == checksum, path, "the checksum differs from the sidecar's")
    tokenizer = os.path.join(folder, sidecar["tokenizer"]["file"])
    expect(
        file_sha256(tokenizer) == sidecar["tokenizer"]["sha256"], tokenizer, "not the tokenizer that the sidecar names"
    )
    shard = open_shard(prefix)
    check_tokens(prefix, shard, sidecar)
    if sidecar["kind"] == "knowledge":
        check_knowledge(prefix, shard)
    if sidecar["kind"] == "questions":
        check_questions(prefix, shard)
    print(f"{prefix}: ok ({sidecar['kind']}, {sidecar['documents']:,} documents, {sidecar['tokens']:,} tokens)")
    if samples:
        show_samples(prefix, sidecar, shard, samples)


def main() -> None:
    options = parse_arguments()
    for argument in options.prefixes:
        prefix = argument.removesuffix(".json").removesuffix(".bin")
        try:
            verify(prefix, options.samples)
        except (KeyError, TypeError) as error:
            raise DataError(f"{prefix}: a JSON file lacks a field or has one of another type ({error})") from None


if __name__ == "__main__":
    run(main)
