"""Text shards: documents one after another, a new shard where one is full."""

from __future__ import annotations

import glob
from collections.abc import Iterable

import numpy as np

from knapsack.common.tokenizer import Encoder
from knapsack.shards.format import token_dtype
from knapsack.shards.write import Bundle, ShardWriter


class TextShards:
    """The shards of one split. Opens the next one when the current is full; an unfinished one leaves no file."""

    def __init__(self, prefix: str, encoder: Encoder, shard_tokens: int | None = None) -> None:
        self.prefix, self.encoder, self.limit = prefix, encoder, shard_tokens
        self.number = self.tokens = self.documents = self.bytes = 0
        self.bundle: Bundle | None = None
        self.writer: ShardWriter | None = None

    def __enter__(self) -> TextShards:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def append(self, blocks: Iterable[np.ndarray], length: int, text_bytes: int) -> None:
        """A document of `length` tokens, which come in blocks."""
        if self.writer and self.limit and self.writer.tokens + length > self.limit:
            self.commit()
        if self.writer is None:
            name = f"{self.prefix}_{self.number:06d}" if self.limit else self.prefix
            self.bundle, self.number = Bundle(name), self.number + 1
            self.writer = ShardWriter(self.bundle, token_dtype(self.encoder.info.vocab_size), 1)
        self.writer.append(blocks, np.array([length]), text_bytes)
        self.tokens += length
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
            self.bundle.discard()
