"""Checks shards, knowledge sources and question sets: checksums, sizes, indices, columns. Prints decoded samples.

  knapsack verify data/web data/synbio data/synbio_questions --samples 2

An argument is a PREFIX or its sidecar PREFIX.json. Exit code 0 if all is well, 3 if not; the message names the file.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from knapsack.common.arguments import make_parser, parse_count
from knapsack.common.errors import DataError
from knapsack.common.files import CHUNK, open_input
from knapsack.common.tokenizer import decode_batch, hugging_face
from knapsack.shards.read import (
    Shard,
    expect,
    file_sha256,
    is_named_tokenizer,
    load_column,
    load_json,
    load_question_rows,
    open_shard,
)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("verify", __doc__)
    parser.add_argument("prefixes", nargs="+", metavar="PREFIX")
    parser.add_argument("--samples", type=parse_count, metavar="K", help="decode K documents, evenly spaced")
    return parser.parse_args(argv)


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
    with open_input(prefix + ".names.txt") as file:
        try:
            names = file.read().decode().split("\n")[:-1]
        except UnicodeDecodeError as error:
            raise DataError(f"{prefix}.names.txt: not UTF-8 (byte {error.start})") from None
    # where groups are relations an entity is a fact, its name the subject's, of which there may be other facts
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
    q = load_question_rows(prefix, about["questions"])
    limits = [len(about[name]) for name in ("relations", "attributes", "templates", "kinds")]
    limits += [about["entities"], len(about["groups"])]
    expect(bool((q[:, :6] < limits).all()), prefix + ".q.npy", "an index is outside of its list in questions.json")
    per_document = np.diff(shard.documents)
    expect(
        bool((per_document >= 2).all() and (q[:, 6:] < per_document[:, None]).all()),
        prefix + ".q.npy",
        "a question lacks prompt or answer, or its candidates",
    )
    empty = shard.lengths == 0  # a prompt may be: the question is then asked after EOT alone
    empty[shard.documents[:-1]] = False
    expect(not empty.any(), prefix + ".idx", "an answer or a candidate is empty")


def show_samples(prefix: str, sidecar: dict[str, Any], shard: Shard, samples: int) -> None:
    path = os.path.join(os.path.dirname(prefix), sidecar["tokenizer"]["file"])
    tokenizer = hugging_face().Tokenizer.from_file(path)
    documents = len(shard.documents) - 1
    for document in np.linspace(0, documents - 1, min(samples, documents)).astype(int):
        first, last = shard.documents[document], shard.documents[document + 1]
        shown = [shard.sequence(number)[:200].tolist() for number in range(first, min(last, first + 4))]
        texts = decode_batch(tokenizer, shown)
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
    expect(is_named_tokenizer(tokenizer, sidecar["tokenizer"]), tokenizer, "not the tokenizer that the sidecar names")
    shard = open_shard(prefix)
    check_tokens(prefix, shard, sidecar)
    if sidecar["kind"] == "knowledge":
        check_knowledge(prefix, shard)
    if sidecar["kind"] == "questions":
        check_questions(prefix, shard)
    print(f"{prefix}: ok ({sidecar['kind']}, {sidecar['documents']:,} documents, {sidecar['tokens']:,} tokens)")
    if samples:
        show_samples(prefix, sidecar, shard, samples)


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    for argument in options.prefixes:
        prefix = argument.removesuffix(".json").removesuffix(".bin")
        try:
            verify(prefix, options.samples)
        except (KeyError, TypeError) as error:
            raise DataError(f"{prefix}: a JSON file lacks a field or has one of another type ({error})") from None
