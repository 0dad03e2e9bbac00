"""Turns text into token shards: PREFIX.bin, PREFIX.idx, PREFIX.json and the tokenizer next to them.

  knapsack text web.txt.zst more.jsonl.gz --tokenizer neox/ --out data/web --val-documents 500
  knapsack text HuggingFaceFW/fineweb-edu:sample-10BT --tokenizer neox/ --out data/edu --max-tokens 5B

Where there is no corpus, `knapsack text prose` and `knapsack text docstrings` make one out of documentation.
"""

from __future__ import annotations

import argparse
import glob
import heapq
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from knapsack.common.arguments import add_tokenizer_flags, add_workers_flag, make_parser, parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import CHUNK, naming
from knapsack.common.parallel import ordered_map
from knapsack.common.progress import Progress
from knapsack.common.survival import Survival, warn
from knapsack.common.tokenizer import Encoder, load_tokenizer
from knapsack.shards.format import token_dtype
from knapsack.shards.text_shards import TextShards
from knapsack.text.documents import DocumentHash, Inputs, Piece, document_hash

CHUNK_CHARACTERS = 1 << 19
CHECKED_CHARACTERS = 1 << 14  # of a chunk are decoded again
MOST_MISFITS = 1000  # documents in a row that do not fit into --max-tokens


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("text", __doc__)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help=".txt (documents end at lines <|endoftext|>), .jsonl, either with .gz or .zst, .parquet, or a "
        "Hugging Face data set OWNER/NAME[:CONFIG][#SPLIT]",
    )
    add_tokenizer_flags(parser)
    parser.add_argument("--out", required=True, metavar="PREFIX")
    parser.add_argument("--key", help="JSON key or column of the text (default: text, else content)")
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--val-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="share of the documents, chosen by their hash, that goes to PREFIX_val",
    )
    split.add_argument(
        "--val-documents",
        type=parse_count,
        metavar="N",
        help="the N documents of smallest hash go to PREFIX_val (reads the input twice)",
    )
    parser.add_argument(
        "--shard-tokens",
        type=parse_count,
        metavar="N",
        help="begin a new shard PREFIX_000000, PREFIX_000001, ... before N tokens are exceeded",
    )
    parser.add_argument(
        "--max-tokens",
        type=parse_count,
        metavar="N",
        help="training tokens, at most; a document that does not fit is left out, and reading ends near N",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip lines and records that cannot be read (JSON, UTF-8, no text) and say how many; else they end it",
    )
    add_workers_flag(parser)
    options = parser.parse_args(argv)
    if not 0.0 <= options.val_fraction < 1.0:
        parser.error("--val-fraction must be in [0, 1)")
    return options


@dataclass
class Split:
    """Documents whose hash is below `threshold` are for validation; `wanted` of them are waited for after training is
    full."""

    threshold: int
    wanted: int = 0

    def is_val(self, text: str) -> bool:
        return self.threshold > 0 and self.takes(document_hash(text))

    def takes(self, hash: int) -> bool:
        return hash < self.threshold


def all_hashes(inputs: Inputs) -> Iterator[int]:
    hasher = DocumentHash()
    for piece in inputs.pieces():
        hasher.add(piece.text)
        if piece.ends:
            yield hasher.value()
            hasher = DocumentHash()


def make_split(inputs: Inputs, fraction: float, documents: int | None) -> Split:
    if documents is None:
        return Split(int(fraction * 2.0**64))
    hashes = list(all_hashes(inputs))
    if len(hashes) <= documents:
        raise UsageError(f"--val-documents {documents}: the input has only {len(hashes)} documents")
    threshold = heapq.nsmallest(documents, hashes)[-1] + 1
    return Split(threshold, sum(value < threshold for value in hashes))


class Part(NamedTuple):
    """A piece on its way; `val` is its document's side, known where the document ends."""

    piece: Piece
    val: bool | None


@dataclass
class Encoded:
    """A chunk after tokenization: ids, with EOT where a document ends; a length, side and number of bytes a part."""

    tokens: np.ndarray
    lengths: list[int]
    val: list[bool | None]
    text_bytes: list[int]
    cuts: int  # inside of a document where the tokenizer would not cut
    survival: Survival


def _encode_chunk(encoder: Encoder, chunk: list[Part]) -> Encoded:
    whole = iter(encoder.encode_batch([part.piece.text for part in chunk if not part.piece.before]))
    ids, cuts, survival, to_check = [], 0, Survival(), CHECKED_CHARACTERS
    for piece, _ in chunk:
        run, clean = encoder.encode_after(piece.before, piece.text) if piece.before else (next(whole), True)
        cuts += not clean
        survival.unknown += encoder.unknown_in(run)
        if piece.is_whole and to_check > 0:
            survival.check(piece.text, encoder.decode(run))
            to_check -= len(piece.text)
        ids.append(np.array(run + [encoder.eot_id] if piece.ends else run, token_dtype(encoder.info.vocab_size)))
    return Encoded(
        np.concatenate(ids),
        [len(run) for run in ids],
        [part.val for part in chunk],
        [len(part.piece.text.encode()) for part in chunk],
        cuts,
        survival,
    )


class LongDocument:
    """The ids of a document in parts, until its side is known: in a file without a name."""

    def __init__(self, folder: str, dtype: np.dtype) -> None:
        self.file, self.dtype = tempfile.TemporaryFile(dir=folder), dtype
        self.length = self.text_bytes = 0

    def add(self, tokens: np.ndarray, text_bytes: int) -> None:
        self.file.write(memoryview(tokens).cast("B"))
        self.length += len(tokens)
        self.text_bytes += text_bytes

    def blocks(self) -> Iterator[np.ndarray]:
        self.file.seek(0)
        while data := self.file.read(CHUNK):
            yield np.frombuffer(data, self.dtype)


@dataclass
class Preparation:
    inputs: Inputs
    split: Split
    train: TextShards
    val: TextShards
    max_tokens: int | None
    train_full: bool = False
    left_out: int = 0  # documents that did not fit into --max-tokens
    in_a_row: int = 0
    cuts: int = 0
    survival: Survival = field(default_factory=Survival)
    long: LongDocument | None = None

    def parts(self) -> Iterator[Part]:
        """Pieces with their side where their document ends."""
        hasher: DocumentHash | None = None
        for piece in self.inputs.pieces():
            if piece.is_whole:
                yield Part(piece, self.split.is_val(piece.text))
                continue
            hasher = hasher or DocumentHash()
            hasher.add(piece.text)
            val = None
            if piece.ends:
                val, hasher = self.split.takes(hasher.value()), None
            yield Part(piece, val)

    def chunks(self) -> Iterator[list[Part]]:
        """About half a megabyte at a time, in the order of the input."""
        chunk, size = [], 0
        for part in self.parts():
            if self.train_full and part.piece.is_whole and not part.val:
                continue
            chunk.append(part)
            size += len(part.piece.text)
            if size >= CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def write(self, encoded: Encoded) -> bool:
        """Put the documents where they belong; False when no more are needed. What is written depends on the order of
        the documents only, never on how far the workers have read ahead."""
        end = 0
        self.cuts += encoded.cuts
        self.survival.add(encoded.survival)
        for length, val, text_bytes in zip(encoded.lengths, encoded.val, encoded.text_bytes):
            begin, end = end, end + length
            if val is None or self.long:
                folder = os.path.dirname(self.train.prefix) or "."
                self.long = self.long or LongDocument(folder, encoded.tokens.dtype)
                with naming(self.train.prefix):
                    self.long.add(encoded.tokens[begin:end], text_bytes)
                if val is None:
                    continue
                blocks, length, text_bytes = self.long.blocks(), self.long.length, self.long.text_bytes
                self.long = None
            else:
                blocks = iter([encoded.tokens[begin:end]])
            if val:
                self.val.append(blocks, length, text_bytes)
            elif not self.train_full:
                self.take(blocks, length, text_bytes)
            if self.train_full and self.val.documents >= self.split.wanted:
                return False
        return True

    def take(self, blocks: Iterator[np.ndarray], length: int, text_bytes: int) -> None:
        """A document for training, unless it does not fit. One long document must not end it all: full is what has
        99 % of --max-tokens when a document does not fit, or sees so many in a row that do not."""
        if self.max_tokens is None or self.train.tokens + length <= self.max_tokens:
            self.train.append(blocks, length, text_bytes)
            self.in_a_row = 0
            return
        self.left_out += 1
        self.in_a_row += 1
        self.train_full = self.train.tokens >= 0.99 * self.max_tokens or self.in_a_row >= MOST_MISFITS

    def warnings(self) -> list[str]:
        said = []
        if self.left_out > 1 or (self.left_out and not self.train_full):
            said.append(f"{self.left_out:,} documents that did not fit into --max-tokens are left out")
        if self.cuts:
            said.append(
                f"long documents were cut at {self.cuts:,} places where this tokenizer would not: a token or two "
                "differ at each"
            )
        return said

    def run(self, encoder: Encoder, workers: int) -> Progress:
        with self.train, self.val, Progress(self.train.prefix, self.inputs.total_bytes) as progress:
            results = ordered_map(_encode_chunk, self.chunks(), workers, encoder)
            for encoded in results:
                if not self.write(encoded):
                    results.close()
                    break
                tokens = self.train.tokens + self.val.tokens
                rate = tokens / progress.seconds
                progress.update(self.inputs.bytes_read, f"{tokens / 1e6:.1f}M tokens, {rate / 1e6:.2f}M tokens/s")
            if not self.train.documents:
                raise DataError("no document for training: the input is empty, or no document fits into --max-tokens")
            self.train.commit()
            self.val.commit()
        return progress


def describe(shards: TextShards) -> str:
    where = f"{shards.prefix} ({shards.number} shards)" if shards.number > 1 else shards.prefix
    return (
        f"{where}: {shards.documents:,} documents, {shards.tokens:,} tokens, "
        f"{shards.bytes / max(shards.tokens, 1):.3f} bytes a token"
    )


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    encoder = load_tokenizer(options.tokenizer, options.eot)
    inputs = Inputs(options.inputs, options.key, options.skip_bad)
    encoder.install(options.out)
    split = make_split(inputs, options.val_fraction, options.val_documents)
    train = TextShards(options.out, encoder, options.shard_tokens)
    val = TextShards(options.out + "_val", encoder)
    preparation = Preparation(inputs, split, train, val, options.max_tokens)
    progress = preparation.run(encoder, options.workers)
    print(describe(train))
    warn(inputs.warnings() + preparation.survival.warnings("documents") + preparation.warnings())
    for path in train.leftovers():
        print(f"warning: {path} is left from an earlier run", file=sys.stderr)
    if val.documents:
        print(describe(val))
    elif options.val_fraction or options.val_documents:
        print("warning: no document fell into the validation part; use --val-documents N", file=sys.stderr)
    elif glob.glob(glob.escape(options.out) + "_val.*"):
        print(
            f"warning: {options.out}_val is left from an earlier run; its text is in {options.out} too", file=sys.stderr
        )
    tokens = train.tokens + val.tokens
    print(
        f"{inputs.empty} empty documents skipped; {progress.seconds:.1f} s, {tokens / progress.seconds:,.0f} tokens/s"
    )
