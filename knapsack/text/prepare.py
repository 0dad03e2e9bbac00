"""Turns text into token shards: PREFIX.bin, PREFIX.idx, PREFIX.json and the tokenizer next to them.

  knapsack text web.txt.zst more.jsonl.gz --tokenizer neox/ --out data/web --val-documents 500
  knapsack text HuggingFaceFW/fineweb-edu:sample-10BT --tokenizer neox/ --out data/edu --max-tokens 5B

Where there is no corpus, `knapsack text prose` and `knapsack text docstrings` make one out of documentation.
"""

from __future__ import annotations

import argparse
import glob
import heapq
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from knapsack.common.arguments import add_tokenizer_flags, add_workers_flag, make_parser, parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.common.parallel import ordered_map
from knapsack.common.progress import Progress
from knapsack.common.tokenizer import Encoder, load_tokenizer
from knapsack.shards.format import token_dtype
from knapsack.shards.text_shards import TextShards
from knapsack.text.documents import Inputs, document_hash

CHUNK_CHARACTERS = 1 << 19


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
    parser.add_argument("--max-tokens", type=parse_count, metavar="N", help="stop before training tokens exceed N")
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
        return self.threshold > 0 and document_hash(text) < self.threshold


def make_split(inputs: Inputs, fraction: float, documents: int | None) -> Split:
    if documents is None:
        return Split(int(fraction * 2.0**64))
    hashes = [document_hash(text) for text in inputs.documents()]
    if len(hashes) <= documents:
        raise UsageError(f"--val-documents {documents}: the input has only {len(hashes)} documents")
    threshold = heapq.nsmallest(documents, hashes)[-1] + 1
    return Split(threshold, sum(value < threshold for value in hashes))


@dataclass
class Encoded:
    """A chunk of documents after tokenization: ids with EOT, one length, side and number of bytes a document."""

    tokens: np.ndarray
    lengths: list[int]
    val: list[bool]
    text_bytes: list[int]


def _encode_chunk(encoder: Encoder, chunk: list[tuple[str, bool]]) -> Encoded:
    eot = [encoder.eot_id]
    ids = [document + eot for document in encoder.encode_batch([text for text, _ in chunk])]
    tokens = np.concatenate([np.array(document, token_dtype(encoder.info.vocab_size)) for document in ids])
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
                raise DataError(
                    "no document for training: the input is empty, or --max-tokens is below its first document"
                )
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
    inputs = Inputs(options.inputs, options.key)
    encoder.install(options.out)
    split = make_split(inputs, options.val_fraction, options.val_documents)
    train = TextShards(options.out, encoder, options.shard_tokens)
    val = TextShards(options.out + "_val", encoder)
    progress = Preparation(inputs, split, train, val, options.max_tokens).run(encoder, options.workers)
    print(describe(train))
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
