"""shards.py: what it writes is what dev/formats.md says, and nothing half-written stays."""

import hashlib
import json
import os
import unittest

import numpy as np
import support

from knapsack.common.errors import DataError
from knapsack.common.tokenizer import TokenizerInfo, is_tokenizer, tokenizer_content
from knapsack.shards.format import token_dtype
from knapsack.shards.write import Bundle, ShardWriter

INFO = TokenizerInfo("toy", "0" * 64, "tokenizer.json", 1000, 0)

# test/test_formats.cpp has the same texts and the same digits.
OLD = """{"version": "1.0", "truncation": null, "added_tokens": [{"id": 6, "content": "<|endoftext|>", "special": true,
    "lstrip": false}], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
    "trim_offsets": true}, "model": {"type": "BPE", "dropout": null, "vocab": {"a": 0, "b": 1, "\\u0120c": 2, "ab": 3},
    "merges": ["a b"]}}"""
NEWER = """{"model": {"ignore_merges": false, "merges": [["a", "b"]], "vocab": {"ab": 3, "\\u0120c": 2, "b": 1, "a": 0},
    "continuing_subword_prefix": "", "type": "BPE"}, "decoder": {"type": "ByteLevel"}, "pre_tokenizer": {"type":
    "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true}, "added_tokens": [{"content":
    "<|endoftext|>", "id": 6, "special": true}]}"""
CONTENT = "d90099e7986530e966623c16a0fb521d8266d9ce83d6afe9b73c20b665da9cd3"


class TokenizerTest(unittest.TestCase):
    def test_written_by_another_library_version_it_is_the_same(self) -> None:
        for text in (OLD, NEWER):
            self.assertEqual(tokenizer_content(text.encode()), CONTENT)
            self.assertTrue(is_tokenizer(text.encode(), "0" * 64, CONTENT))
        other = NEWER.replace('"ab": 3', '"ab": 4')
        self.assertFalse(is_tokenizer(other.encode(), "0" * 64, CONTENT))
        self.assertTrue(is_tokenizer(OLD.encode(), hashlib.sha256(OLD.encode()).hexdigest()))  # an old sidecar
        self.assertFalse(is_tokenizer(NEWER.encode(), hashlib.sha256(OLD.encode()).hexdigest()))
        self.assertFalse(is_tokenizer(b"{", "0" * 64, CONTENT))


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
