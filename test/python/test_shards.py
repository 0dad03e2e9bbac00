"""shards.py: what it writes is what dev/formats.md says, and nothing half-written stays."""

import hashlib
import json
import os
import unittest

import numpy as np
import support

from knapsack.common.errors import DataError
from knapsack.common.tokenizer import TokenizerInfo
from knapsack.shards.format import token_dtype
from knapsack.shards.write import Bundle, ShardWriter

INFO = TokenizerInfo("toy", "0" * 64, "tokenizer.json", 1000, 0)


class ShardsTest(support.FolderTest):
    def write_shard(self, dtype: np.dtype, documents: list[list[list[int]]]) -> str:
        prefix = self.path("sub", "shard")
        with Bundle(prefix) as bundle:
            shard = ShardWriter(bundle, dtype, len(documents[0]) if documents else 1)
            for document in documents:
                flat = np.array([i for sequence in document for i in sequence], np.int64)
                shard.append(flat, np.array(list(map(len, document))), 7)
            bundle.commit("text", INFO, shard)
        return prefix

    def test_round_trip_through_an_independent_reader(self) -> None:
        rng = np.random.default_rng(0)
        for dtype, top in ((np.dtype("<u2"), 65535), (np.dtype("<i4"), 2**31 - 1)):
            documents = [
                [rng.integers(0, top, rng.integers(0, 9), endpoint=True).tolist() for _ in range(3)] for _ in range(50)
            ]
            with self.subTest(dtype=dtype):
                self.assertEqual(support.read_shard(self.write_shard(dtype, documents)), documents)

    def test_a_number_that_a_column_cannot_hold_is_refused(self) -> None:
        for rows in ([[70_000]], [[-1]]):
            with Bundle(self.path("x")) as bundle, self.assertRaisesRegex(DataError, "does not fit into uint16"):
                bundle.open_npy(".spans.npy", "<u2", (1, 1)).append(np.array(rows))
        with Bundle(self.path("x")) as bundle, self.assertRaisesRegex(DataError, "2,147,483,648 tokens"):
            ShardWriter(bundle, np.dtype("<u2"), 1).append(iter(()), np.array([2**31]), 1)
        self.assertEqual(self.contents(), {})

    def test_empty_shard(self) -> None:
        self.assertEqual(support.read_shard(self.write_shard(np.dtype("<u2"), [])), [])

    def test_sidecar_counts_and_checksums(self) -> None:
        prefix = self.write_shard(np.dtype("<u2"), [[[1, 2, 3]], [[4]]])
        with open(prefix + ".json", encoding="utf-8") as file:
            sidecar = json.load(file)
        self.assertEqual([sidecar[key] for key in ("format_version", "documents", "tokens", "bytes")], [1, 2, 4, 14])
        for name in ("shard.bin", "shard.idx"):
            with open(self.path("sub", name), "rb") as file:
                self.assertEqual(sidecar["checksums"][name], "sha256:" + hashlib.sha256(file.read()).hexdigest())

    def test_width_follows_the_vocabulary(self) -> None:
        self.assertEqual([token_dtype(v).itemsize for v in (65536, 65537)], [2, 4])

    def test_nothing_stays_without_commit(self) -> None:
        with self.assertRaises(KeyError):
            with Bundle(self.path("shard")) as bundle:
                ShardWriter(bundle, np.dtype("<u2"), 1).append(np.arange(5), np.array([5]), 5)
                raise KeyError
        self.assertEqual(os.listdir(self.folder), [])

    def test_npy_in_pieces(self) -> None:
        with Bundle(self.path("column")) as bundle:
            writer = bundle.open_npy(".npy", "<u4", (5, 2))
            writer.append(np.arange(6).reshape(3, 2))
            with self.assertRaises(ValueError):
                writer.close()
            writer.append(np.arange(6, 10).reshape(2, 2))
            writer.close()
            bundle.commit("text", INFO, ShardWriter(bundle, np.dtype("<u2"), 1))
        column = np.load(self.path("column.npy"))
        self.assertTrue(column.dtype == np.dtype("<u4") and column.flags.c_contiguous)
        self.assertEqual(column.tolist(), np.arange(10).reshape(5, 2).tolist())
        with open(self.path("column.npy"), "rb") as file:
            self.assertEqual(file.read(8), b"\x93NUMPY\x01\x00")


if __name__ == "__main__":
    unittest.main()
