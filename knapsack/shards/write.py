"""Writes Megatron .bin/.idx shards, .npy columns and the sidecar; dev/formats.md, 1 and 2, says what is where.

A Bundle is all files of one PREFIX. They are written under temporary names, hashed on the way, and renamed together
when everything is on the disk; the sidecar comes last, so that a sidecar whose files are missing cannot exist.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.files import CHUNK, AtomicFile, check_output, dump_json, make_folder, naming, write_file
from knapsack.common.tokenizer import TokenizerInfo
from knapsack.shards.format import DTYPE_CODES, FORMAT_VERSION, IDX_HEADER, IDX_MAGIC

LONGEST = 2**31 - 1  # tokens of a sequence, in .idx


class NpyWriter:
    """A .npy file (version 1.0, C order) written in pieces of whole rows."""

    def __init__(self, file: AtomicFile, dtype: str, shape: tuple[int, ...]) -> None:
        self.file, self.dtype, self.shape = file, np.dtype(dtype), shape
        self.rows = 0
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, rows: np.ndarray) -> None:
        if rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"{self.file.path}: rows of shape {rows.shape[1:]}, expected {self.shape[1:]}")
        if rows.size and (rows.max() > np.iinfo(self.dtype).max or rows.min() < 0):
            raise DataError(f"{self.file.path}: {rows.max()} does not fit into {self.dtype}; shorter texts do")
        self.file.write(rows.astype(self.dtype, copy=False))
        self.rows += len(rows)

    def close(self) -> None:
        if self.rows != self.shape[0]:
            raise ValueError(f"{self.file.path}: {self.rows} rows written, {self.shape[0]} announced")


class ShardWriter:
    """.bin and .idx. Lengths of sequences and sizes of documents wait in unnamed files, because .idx begins with their
    number, so that memory does not grow with the shard."""

    def __init__(self, bundle: Bundle, dtype: np.dtype, sequences_per_document: int = 0) -> None:
        """0: documents of different numbers of sequences; append() takes how many."""
        self.bundle, self.dtype, self.per_document = bundle, dtype, sequences_per_document
        self.bin = bundle.open(".bin")
        self.lengths, self.sizes = bundle.open_unnamed(), bundle.open_unnamed()
        self.documents = self.sequences = self.tokens = self.bytes = 0

    def append(
        self,
        tokens: np.ndarray | Iterable[np.ndarray],
        lengths: np.ndarray,
        text_bytes: int,
        sizes: np.ndarray | None = None,
    ) -> None:
        """Whole documents: their tokens one after another, perhaps in blocks, a length per sequence, the bytes of the
        text, and the sequences of each document where they differ."""
        if sizes is None:
            sizes = np.full(len(lengths) // self.per_document, self.per_document)
        if len(lengths) and lengths.max() > LONGEST:
            raise DataError(f"{self.bundle.prefix}: a document of {lengths.max():,} tokens; at most {LONGEST:,} fit")
        if sizes.sum() != len(lengths):
            raise ValueError(f"{self.bundle.prefix}: {len(lengths)} sequences are not whole documents")
        for block in [tokens] if isinstance(tokens, np.ndarray) else tokens:
            self.bin.write(block.astype(self.dtype, copy=False))
            self.tokens += len(block)
        with naming(self.bundle.prefix):
            for spool, numbers in ((self.lengths, lengths), (self.sizes, sizes)):
                spool.write(memoryview(np.ascontiguousarray(numbers, dtype="<i4")).cast("B"))
        self.documents += len(sizes)
        self.sequences += len(lengths)
        self.bytes += text_bytes

    def close(self) -> None:
        """Write .idx: header, lengths, byte offsets, first sequence of each document."""
        idx = self.bundle.open(".idx")
        code = next(code for code, dtype in DTYPE_CODES.items() if dtype == self.dtype)
        idx.write(struct.pack(IDX_HEADER, IDX_MAGIC, 1, code, self.sequences, self.documents + 1))
        for lengths in self._spooled(self.lengths):
            idx.write(lengths)
        position = 0
        for lengths in self._spooled(self.lengths):
            ends = position + np.cumsum(lengths, dtype="<i8") * self.dtype.itemsize
            idx.write(ends - lengths.astype("<i8") * self.dtype.itemsize)
            position = int(ends[-1])
        first = 0
        idx.write(np.zeros(1, "<i8"))
        for sizes in self._spooled(self.sizes):
            ends = first + np.cumsum(sizes, dtype="<i8")
            idx.write(ends)
            first = int(ends[-1])

    def _spooled(self, spool: BinaryIO) -> Any:
        with naming(self.bundle.prefix):
            spool.seek(0)
        while data := spool.read(4 * CHUNK):
            yield np.frombuffer(data, dtype="<i4")


class Bundle:
    """All files of one PREFIX; `with Bundle(...) as bundle:` then open files, then commit(). Leaving without a commit
    removes everything that was begun."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.files: list[AtomicFile] = []
        self.columns: list[NpyWriter] = []
        self.unnamed: list[BinaryIO] = []
        check_output(prefix + ".json")  # the sidecar, which is written last
        make_folder(os.path.dirname(prefix))

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        for file in self.files:
            file.discard()
        for unnamed in self.unnamed:
            with contextlib.suppress(OSError):
                unnamed.close()

    def open(self, suffix: str) -> AtomicFile:
        self.files.append(AtomicFile(self.prefix + suffix))
        return self.files[-1]

    def open_unnamed(self) -> BinaryIO:
        """A file without a name for what waits until the end, on the disk that will hold the shard."""
        self.unnamed.append(tempfile.TemporaryFile(dir=os.path.dirname(self.prefix) or "."))
        return self.unnamed[-1]

    def open_npy(self, suffix: str, dtype: str, shape: tuple[int, ...]) -> NpyWriter:
        self.columns.append(NpyWriter(self.open(suffix), dtype, shape))
        return self.columns[-1]

    def commit(self, kind: str, tokenizer: TokenizerInfo, shard: ShardWriter) -> None:
        shard.close()
        for column in self.columns:
            column.close()
        for file in self.files:
            file.sync()
        sidecar = {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "tokenizer": {"name": tokenizer.name, "sha256": tokenizer.sha256, "file": tokenizer.file}
            | ({"content": tokenizer.content} if tokenizer.content else {}),
            "vocab_size": tokenizer.vocab_size,
            "eot_id": tokenizer.eot_id,
            "documents": shard.documents,
            "tokens": shard.tokens,
            "bytes": shard.bytes,
            "checksums": {os.path.basename(file.path): "sha256:" + file.hash.hexdigest() for file in self.files},
        }
        check_output(self.prefix + ".json")
        with contextlib.suppress(FileNotFoundError):  # an old sidecar must not vouch for a mixture of old and new files
            os.unlink(os.path.realpath(self.prefix + ".json"))
        for file in self.files:
            file.rename()
        write_file(self.prefix + ".json", dump_json(sidecar))
        self.files = []
        self.discard()
