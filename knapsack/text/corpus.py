"""The documents of a text to scan, in chunks that workers can take: text files as they are read, token shards by
document numbers, so that every worker decodes its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from knapsack.common.tokenizer import decode_batch, hugging_face
from knapsack.shards.read import Shard, load_json, open_shard, tokenizer_file
from knapsack.text.documents import Inputs

CHUNK_CHARACTERS = 1 << 19
CHUNK_TOKENS = 1 << 17


class Chunk(NamedTuple):
    """Documents as text, or those numbered first .. last - 1 of a shard; or a piece of a long document, after the end
    of the piece before, so that no name is cut."""

    texts: list[str]
    shard: int = -1
    first: int = 0
    last: int = 0
    is_piece: bool = False
    ends: bool = True


class TokenShard:
    """A shard with a sidecar, decoded with the tokenizer that the sidecar names."""

    def __init__(self, prefix: str) -> None:
        sidecar = load_json(prefix + ".json")
        self.shard: Shard = open_shard(prefix)
        self.path, self.eot_id = tokenizer_file(prefix, sidecar), sidecar["eot_id"]
        self.tokenizer: Any = None  # loaded by the process that decodes

    def ranges(self) -> Iterator[tuple[int, int]]:
        """First document and the one after the last, of stretches of about CHUNK_TOKENS."""
        ends = np.concatenate([[0], np.cumsum(self.shard.lengths, dtype=np.int64)])[self.shard.documents]
        first, documents = 0, len(ends) - 1
        while first < documents:
            last = max(first + 1, int(np.searchsorted(ends, ends[first] + CHUNK_TOKENS, side="right")) - 1)
            yield first, min(last, documents)
            first = last

    def texts(self, first: int, last: int) -> list[str]:
        if self.tokenizer is None:
            self.tokenizer = hugging_face().Tokenizer.from_file(self.path)
        sequences, documents = self.shard.documents[first : last + 1].tolist(), []
        for begin, end in zip(sequences, sequences[1:]):
            parts = [self.shard.sequence(number) for number in range(begin, end)]
            ids = np.concatenate(parts) if parts else np.zeros(0, np.int64)
            documents.append(ids[ids != self.eot_id].tolist())
        return decode_batch(self.tokenizer, documents)


class Corpus:
    """Names are prefixes of token shards (PREFIX or PREFIX.bin) or files that knapsack text reads."""

    def __init__(self, names: list[str], key: str | None, skip_bad: bool = False) -> None:
        self.shards: list[TokenShard] = []
        self.parts: list[int | Inputs] = []  # a shard's number, or files of text
        for name in names:
            prefix = name.removesuffix(".bin")
            if os.path.exists(prefix + ".bin"):
                self.parts.append(len(self.shards))
                self.shards.append(TokenShard(prefix))
            else:
                self.parts.append(Inputs([name], key, skip_bad))

    def chunks(self) -> Iterator[Chunk]:
        for part in self.parts:
            if isinstance(part, int):
                yield from (Chunk([], part, *stretch) for stretch in self.shards[part].ranges())
                continue
            texts, size = [], 0
            for piece in part.pieces():
                if not piece.is_whole:
                    yield Chunk([piece.before + piece.text], is_piece=True, ends=piece.ends)
                    continue
                texts.append(piece.text)
                size += len(piece.text)
                if size >= CHUNK_CHARACTERS:
                    yield Chunk(texts)
                    texts, size = [], 0
            if texts:
                yield Chunk(texts)

    def warnings(self) -> list[str]:
        return [said for part in self.parts if isinstance(part, Inputs) for said in part.warnings()]

    def texts(self, chunk: Chunk) -> list[str]:
        return chunk.texts if chunk.shard < 0 else self.shards[chunk.shard].texts(chunk.first, chunk.last)
