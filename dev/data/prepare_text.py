#!/usr/bin/env python3
"""Turns text into token shards: PREFIX.bin, PREFIX.idx, PREFIX.json and the tokenizer beside them.

prepare_text.py web.txt.zst more.jsonl.gz --tokenizer neox/ --out data/web --val-documents 500
prepare_text.py HuggingFaceFW/fineweb-edu:sample-10BT --tokenizer neox/ --out data/edu --max-tokens 5B
"""

from __future__ import annotations

import argparse
import glob
import heapq
import sys
from dataclasses import dataclass
from typing import Iterator

import numpy as np

import tokenization
from cli import DataError, Progress, UsageError, add_workers_flag, ordered_map, parse_count, run
from readers import Inputs, document_hash
from shards import Bundle, ShardWriter, token_dtype
from tokenization import Encoder

CHUNK_CHARACTERS = 1 << 19


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help=".txt (documents end at lines <|endoftext|>), .jsonl, either with .gz or .zst, .parquet, or a "
        "Hugging Face data set OWNER/NAME[:CONFIG][#SPLIT]",
    )
    parser.add_argument(
        "--tokenizer", required=True, help="tokenizer.json, or a folder with it or with GPT-2's two files"
    )
    parser.add_argument("--eot", metavar="TOKEN", help="token that ends a document (default: <|endoftext|>)")
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
    parser.add_argument("--max-tokens", type=parse_count, metavar="N", help="stop before training tokens exceed N")
    add_workers_flag(parser)
    options = parser.parse_args()
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
        return self.threshold > 0 and document_hash(text) < self.threshold


def make_split(inputs: Inputs, fraction: float, documents: int | None) -> Split:
    if documents is None:
        return Split(int(fraction * 2.0**64))
    hashes = [document_hash(text) for text in inputs.documents()]
    if len(hashes) <= documents:
        raise UsageError(f"--val-documents {documents}: the input has only {len(hashes)} documents")
    threshold = heapq.nsmallest(documents, hashes)[-1] + 1
    return Split(threshold, sum(value < threshold for value in hashes))


class TextShards:
    """The shards of one split. Opens the next one when the current is full; an unfinished one leaves nothing behind."""

    def __init__(self, prefix: str, encoder: Encoder, shard_tokens: int | None) -> None:
        self.prefix, self.encoder, self.limit = prefix, encoder, shard_tokens
        self.number = self.tokens = self.documents = self.bytes = 0
        self.bundle: Bundle | None = None
        self.writer: ShardWriter | None = None

    def append(self, tokens: np.ndarray, text_bytes: int) -> None:
        if self.writer and self.limit and self.writer.tokens + len(tokens) > self.limit:
            self.commit()
        if self.writer is None:
            name = f"{self.prefix}_{self.number:06d}" if self.limit else self.prefix
            self.bundle, self.number = Bundle(name), self.number + 1
            self.writer = ShardWriter(self.bundle, token_dtype(self.encoder.info.vocab_size), 1)
        self.writer.append(tokens, np.array([len(tokens)]), text_bytes)
        self.tokens += len(tokens)
        self.documents += 1
        self.bytes += text_bytes

    def commit(self) -> None:
        if self.bundle and self.writer:
            self.bundle.commit("text", self.encoder.info, self.writer)
        self.bundle = self.writer = None

    def leftovers(self) -> list[str]:
        """Shards of an earlier run that a glob over this run's files would also match."""
        if not self.limit:
            return []
        return [
            path
            for path in glob.glob(glob.escape(self.prefix) + "_" + 6 * "[0-9]" + ".bin")
            if int(path[-10:-4]) >= self.number
        ]

    def discard(self) -> None:
        if self.bundle:
            self.bundle.__exit__()


@dataclass
class Encoded:
    """A chunk of documents after tokenization: ids with EOT, one length, side and number of bytes a document."""

    tokens: np.ndarray
    lengths: list[int]
    val: list[bool]
    text_bytes: list[int]


_worker_encoder: Encoder


def _start_worker(encoder: Encoder) -> None:
    global _worker_encoder
    _worker_encoder = encoder


def _encode_chunk(chunk: list[tuple[str, bool]]) -> Encoded:
    eot = [_worker_encoder.eot_id]
    ids = [document + eot for document in _worker_encoder.encode_batch([text for text, _ in chunk])]
    tokens = np.concatenate([np.array(document, token_dtype(_worker_encoder.info.vocab_size)) for document in ids])
    return Encoded(
        tokens,
        [len(document) for document in ids],
        [val for _, val in chunk],
        [len(text.encode()) for text, _ in chunk],
    )


@dataclass
class Preparation:
    inputs: Inputs
    split: Split
    train: TextShards
    val: TextShards
    max_tokens: int | None
    train_full: bool = False

    def chunks(self) -> Iterator[list[tuple[str, bool]]]:
        """Documents with their side, about half a megabyte at a time, in the order of the input."""
        chunk, size = [], 0
        for text in self.inputs.documents():
            val = self.split.is_val(text)
            if self.train_full and not val:
                continue
            chunk.append((text, val))
            size += len(text)
            if size >= CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def write(self, encoded: Encoded) -> bool:
        """Put the documents where they belong; False when no more are needed. What is written depends on the order of
        the documents only, never on how far the workers have read ahead."""
        end = 0
        for length, val, text_bytes in zip(encoded.lengths, encoded.val, encoded.text_bytes):
            begin, end = end, end + length
            if val:
                self.val.append(encoded.tokens[begin:end], text_bytes)
            elif not self.train_full:
                self.train_full = self.max_tokens is not None and self.train.tokens + length > self.max_tokens
                if not self.train_full:
                    self.train.append(encoded.tokens[begin:end], text_bytes)
            if self.train_full and self.val.documents >= self.split.wanted:
                return False
        return True

    def run(self, encoder: Encoder, workers: int) -> Progress:
        progress = Progress(self.train.prefix, self.inputs.total_bytes)
        try:
            results = ordered_map(_encode_chunk, self.chunks(), workers, _start_worker, (encoder,))
            for encoded in results:
                if not self.write(encoded):
                    results.close()
                    break
                tokens = self.train.tokens + self.val.tokens
                rate = tokens / progress.seconds
                progress.update(self.inputs.bytes_read, f"{tokens / 1e6:.1f}M tokens, {rate / 1e6:.2f}M tokens/s")
            if not self.train.documents:
                raise DataError(
                    "no document for training: the input is empty, or --max-tokens is below its first document"
                )
            self.train.commit()
            self.val.commit()
        finally:
            self.train.discard()
            self.val.discard()
            progress.close()
        return progress


def describe(shards: TextShards) -> str:
    where = f"{shards.prefix} ({shards.number} shards)" if shards.number > 1 else shards.prefix
    return (
        f"{where}: {shards.documents:,} documents, {shards.tokens:,} tokens, "
        f"{shards.bytes / max(shards.tokens, 1):.3f} bytes a token"
    )


def main() -> None:
    options = parse_arguments()
    encoder = tokenization.load(options.tokenizer, options.eot)
    inputs = Inputs(options.inputs, options.key)
    encoder.install(options.out)
    split = make_split(inputs, options.val_fraction, options.val_documents)
    train = TextShards(options.out, encoder, options.shard_tokens)
    val = TextShards(options.out + "_val", encoder, None)
    progress = Preparation(inputs, split, train, val, options.max_tokens).run(encoder, options.workers)
    print(describe(train))
    for path in train.leftovers():
        print(f"warning: {path} is left from an earlier run", file=sys.stderr)
    if val.documents:
        print(describe(val))
    elif options.val_fraction or options.val_documents:
        print("warning: no document fell into the validation part; use --val-documents N", file=sys.stderr)
    elif glob.glob(glob.escape(options.out) + "_val.*"):
        print(f"warning: {options.out}_val is left from an earlier run; its text is in {options.out} too", file=sys.stderr)
    tokens = train.tokens + val.tokens
    print(
        f"{inputs.empty} empty documents skipped; {progress.seconds:.1f} s, {tokens / progress.seconds:,.0f} tokens/s"
    )


if __name__ == "__main__":
    run(main)
