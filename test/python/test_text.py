"""knapsack text and tokenizer, through their command lines."""

import gzip
import json
import os
import resource
import unittest

import support

from knapsack.common.tokenizer import load_tokenizer
from knapsack.text.documents import Inputs

SEPARATOR = "\n<|endoftext|>\n"


@support.needs_tokenizers
class PrepareTextTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        self.documents = support.documents(300)
        self.text = self.write("in.txt", SEPARATOR.join(self.documents) + SEPARATOR)
        self.encoder = load_tokenizer(support.small_vocabulary())

    def prepare(self, *arguments: object) -> str:
        return self.run_ok("text", "--tokenizer", support.small_vocabulary(), *arguments)

    def refuse(self, code: int, pattern: str, *arguments: object, **options: object) -> None:
        self.run_bad(
            code,
            pattern,
            "text",
            "--tokenizer",
            support.small_vocabulary(),
            "--out",
            self.path("out"),
            *arguments,
            **options,
        )

    def texts(self, prefix: str) -> list[str]:
        """The documents of a shard as text; each must be one sequence and end with EOT."""
        found = []
        for sequences in support.read_shard(prefix):
            self.assertEqual((len(sequences), sequences[0][-1]), (1, self.encoder.eot_id))
            found.append(self.encoder.tokenizer.decode(sequences[0][:-1], skip_special_tokens=False))
        return found

    def test_documents_come_back(self) -> None:
        self.prepare(self.text, "--out", self.path("out"))
        self.assertEqual(self.texts(self.path("out")), self.documents)
        with open(self.path("out.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["bytes"], sum(len(text.encode()) for text in self.documents))
        self.run_ok("verify", self.path("out"), "--samples", 2)

    def test_all_packings_hold_the_same_documents(self) -> None:
        lines = "".join(json.dumps({"content": text}) + "\n" for text in self.documents).encode()
        with open(self.text, "rb") as file:
            plain = file.read()
        names = [
            self.text,
            self.write("a.jsonl", lines),
            self.write("b.jsonl.gz", gzip.compress(lines)),
            self.write("c.txt.gz", gzip.compress(plain)),
            self.write("crlf.txt", plain.replace(b"\n", b"\r\n")),
        ]
        try:
            import zstandard

            pack = zstandard.ZstdCompressor().compress
            half = len(lines) // 2
            names += [
                self.write("d.txt.zst", pack(plain)),
                self.write("e.jsonl.zst", pack(lines[:half]) + pack(lines[half:])),
            ]
        except ImportError:
            print("skipped .zst: the Python package 'zstandard' is not installed")
        for name in names:
            with self.subTest(name=os.path.basename(name)):
                found = [text.replace("\r", "") for text in Inputs([name]).documents()]
                self.assertEqual(found, self.documents)

    def test_any_number_of_workers_writes_the_same_bytes(self) -> None:
        big = self.write("big.txt", SEPARATOR.join(support.documents(5000)))
        for workers in (1, 2, 3):
            self.prepare(
                big,
                "--out",
                self.path(f"w{workers}", "out"),
                "--workers",
                workers,
                "--val-fraction",
                0.1,
                "--max-tokens",
                150000,
                "--shard-tokens",
                40000,
            )
        files = self.contents()
        expected = {os.path.basename(name): data for name, data in files.items() if name.startswith("w1")}
        self.assertIn("out_000003.bin", expected)
        for workers in (2, 3):
            found = {os.path.basename(name): data for name, data in files.items() if name.startswith(f"w{workers}")}
            self.assertEqual(found, expected)

    def test_split_is_by_document(self) -> None:
        repeated = self.write("repeated.txt", SEPARATOR.join(self.documents * 2))
        self.prepare(repeated, "--out", self.path("n"), "--val-documents", 20)
        train, val = self.texts(self.path("n")), self.texts(self.path("n_val"))
        self.assertEqual((len(val), len(train)), (20, 580))
        self.assertFalse(set(train) & set(val))
        self.prepare(self.text, "--out", self.path("limited"), "--val-documents", 20, "--max-tokens", 500)
        self.assertEqual(len(self.texts(self.path("limited_val"))), 20)
        self.assertLessEqual(sum(len(d[0]) for d in support.read_shard(self.path("limited"))), 500)

    def test_end_of_text_inside_a_document_is_text(self) -> None:
        line = json.dumps({"text": "before <|endoftext|> after"})
        self.prepare(self.write("in.jsonl", line + "\n" + json.dumps({"text": " \n"})), "--out", self.path("out"))
        self.assertEqual(self.texts(self.path("out")), ["before <|endoftext|> after"])

    def test_empty_documents_are_counted(self) -> None:
        said = self.prepare(
            self.write("e.txt", f"one{SEPARATOR}{SEPARATOR} \n{SEPARATOR}two{SEPARATOR}"), "--out", self.path("out")
        )
        self.assertIn("2 empty documents skipped", said)
        self.assertEqual(self.texts(self.path("out")), ["one", "two"])

    def test_bad_data_names_file_and_line(self) -> None:
        good = json.dumps({"text": "fine"}) + "\n"
        self.refuse(3, r"bad\.jsonl:2: not JSON", self.write("bad.jsonl", good + "{oops\n"))
        self.refuse(3, r"key\.jsonl:2: expected an object", self.write("key.jsonl", good + '{"body": "x"}\n'))
        self.refuse(3, r"utf\.txt:3: not UTF-8", self.write("utf.txt", b"one\ntwo\n\xff\xfe\n"))
        self.refuse(
            3, r"cut\.txt\.gz:\d+: packed data", self.write("cut.txt.gz", gzip.compress(os.urandom(9999))[:5000])
        )
        self.refuse(3, r"missing\.txt: no such file", self.path("missing.txt"))
        self.refuse(3, "no document for training", self.write("empty.txt", ""))
        self.assertEqual(self.contents(".bin", ".idx", ".tmp"), {})

    def test_usage_errors(self) -> None:
        self.refuse(2, "unknown ending", self.write("a.pdf", "x"))
        self.refuse(2, "not a count", self.text, "--max-tokens", "many")
        self.refuse(2, "only 300 documents", self.text, "--val-documents", 300)
        self.refuse(2, "no token <end>", self.text, "--eot", "<end>")
        self.write("out/tokenizer.json", "{}")
        self.run_bad(
            2,
            "is another tokenizer",
            "text",
            self.text,
            "--tokenizer",
            support.small_vocabulary(),
            "--out",
            self.path("out", "x"),
        )
        self.run_bad(3, "not a tokenizer.json", "text", self.text, "--tokenizer", self.path("out"), "--out", "x")

    def test_full_disk_leaves_no_file(self) -> None:
        big = self.write("big.txt", SEPARATOR.join(support.documents(5000)))
        self.refuse(
            1,
            "File too large|No space",
            big,
            "--workers",
            1,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        )
        self.assertEqual(self.contents(".bin", ".idx", ".tmp"), {})

    def test_data_set_names_need_their_package(self) -> None:
        try:
            import datasets  # noqa: F401

            self.skipTest("the Python package 'datasets' is installed; its network is not tested")
        except ImportError:
            self.refuse(1, "pip install datasets", "HuggingFaceFW/fineweb-edu")


@support.needs_tokenizers
class TrainTokenizerTest(support.FolderTest):
    def test_small_vocabulary(self) -> None:
        encoder = load_tokenizer(support.small_vocabulary())
        self.assertEqual((encoder.eot_id, encoder.info.vocab_size), (0, 1024))
        for text in [*support.PARAGRAPHS, " leading", "tabs\tand\n\nlines  ", "日本語 🙂", "<|endoftext|>"]:
            ids = encoder.encode_batch([text])[0]
            self.assertNotIn(0, ids)
            self.assertEqual(encoder.tokenizer.decode(ids, skip_special_tokens=False), text)

    def test_training_is_reproducible(self) -> None:
        text = self.write("in.txt", SEPARATOR.join(support.documents(300)))
        for out in ("a", "b"):
            self.run_ok("tokenizer", text + "@0.5", "--vocab-size", 400, "--out", self.path(out))
        files = self.contents("tokenizer.json")
        self.assertEqual(files["a/tokenizer.json"], files["b/tokenizer.json"])

    def test_errors(self) -> None:
        text = self.write("in.txt", "some words")
        self.run_bad(2, "at least 257", "tokenizer", text, "--vocab-size", 100, "--out", self.path("out"))
        self.run_bad(2, "after '@'", "tokenizer", text + "@lots", "--vocab-size", 300, "--out", self.path("out"))
        self.run_bad(3, "no such file", "tokenizer", "no.txt", "--vocab-size", 300, "--out", self.path("out"))


if __name__ == "__main__":
    unittest.main()
