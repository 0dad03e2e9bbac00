"""Text survives the way in, or it is said: tokenizers that lose letters, one name under two spellings, long documents,
bad lines, separators inside lines."""

import json
import os
import random
import subprocess
import sys
import unicodedata
import unittest

import support

from knapsack.common.spelling import clean, fold, fold_case, skeleton
from knapsack.common.survival import CHANGED, LOST, SAME, check_answers, fate
from knapsack.common.tokenizer import load_tokenizer
from knapsack.shards.read import QuestionSet
from knapsack.text.documents import PIECE, Inputs, document_hash
from knapsack.text.phrases import Finder

SEPARATOR = "\n<|endoftext|>\n"
HEADER = "# facts, format_version 1\nid\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents\n"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz '?,."


def save(tokenizer, trainer, folder: str) -> str:
    """Trained on a little text."""
    tokenizer.train_from_iterator([LETTERS, *support.documents(20)], trainer)
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    return folder


def llama(folder: str) -> str:
    """Spaces as U+2581, bytes as <0x..> where there is no token."""
    hf = support.tokenizers
    tokenizer = hf.Tokenizer(hf.models.BPE(byte_fallback=True, unk_token="<unk>"))
    pre, back = hf.pre_tokenizers, hf.decoders
    tokenizer.pre_tokenizer = pre.Sequence(
        [pre.Metaspace(prepend_scheme="first", split=True), pre.Punctuation("isolated"), pre.Digits(True)]
    )
    tokenizer.decoder = back.Sequence(
        [back.Replace("\u2581", " "), back.ByteFallback(), back.Fuse(), back.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = hf.trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    return save(tokenizer, trainer, folder)


class SpellingTest(unittest.TestCase):
    def test_one_name_in_two_spellings(self) -> None:
        for one, other in (
            ("São Tomé", unicodedata.normalize("NFD", "São Tomé")),
            ("Ville", "Ville\u200e"),
            ("Ville", "\ufeffVil\u00adle"),
            ("L'Estrange", "L\u2019Estrange"),
            ("Port Grey", "Port\u00a0\u2009Grey"),
            ("Stratford-upon-Avon", "Stratford\u2010upon\u2013Avon"),
            ("Tokyo 1", "Ｔｏｋｙｏ １"),
            ("Upper Freedonia", "Upper\nFreedonia"),
            ("می‌خواهم", "میخواهم"),
        ):
            with self.subTest(one):
                self.assertNotEqual(one, other)
                self.assertEqual(fold(one), fold(other))
                self.assertEqual(fold(fold(other)), fold(other))
        for one, other in (("Sao", "São"), ("Polish", "polish"), ("A B", "AB"), ("A", "A.")):
            self.assertNotEqual(fold(one), fold(other))
        self.assertEqual(fold_case("Straße"), fold_case("STRASSE"))
        self.assertEqual(skeleton("Zürich X"), skeleton("zurichx"))

    def test_the_spelling_that_is_kept(self) -> None:
        self.assertEqual(clean("Sa\u0303o\u00a0 Tome\u0301\u200e"), "São Tomé")
        self.assertEqual(clean("L\u2019Estrange \u2014 ½"), "L\u2019Estrange \u2014 ½")  # typography is the author's
        self.assertEqual(clean("a\tb"), "a\tb")  # for the table to refuse

    def test_search_finds_every_spelling_and_no_part_of_a_word(self) -> None:
        names = ["Upper Freedonia", "L'Estrange", "São Felipe", "東国", "新都", "Nova Land", "हिन", "กรุงเทพ", "Bay"]
        finder = Finder(names)
        for text, found in (
            ("of Upper\nFreedonia is", ["Upper Freedonia"]),
            ("of L\u2019Estrange.", ["L'Estrange"]),
            ("Sa\u0303o Felipe", ["São Felipe"]),
            ("Nova\u00a0Land", ["Nova Land"]),
            ("東国の首都は新都です。", ["東国", "新都"]),
            ("เมืองกรุงเทพมหานคร", ["กรุงเทพ"]),
            ("BayはBaykal, baysかBay", ["Bay", "Bay"]),
            ("हिन्दी", []),
            ("Novaland, Nova Lands, upper freedonia", []),
        ):
            self.assertEqual(list(finder.find(text)), found, text)


@support.needs_tokenizers
class LossTest(support.FolderTest):
    def holes(self) -> str:
        """A byte-level BPE that has no token for bytes that it has not seen."""
        hf = support.tokenizers
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = hf.decoders.ByteLevel()
        trainer = hf.trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
        return save(tokenizer, trainer, self.path("holes"))

    def unknown(self) -> str:
        hf = support.tokenizers
        tokenizer = hf.Tokenizer(hf.models.WordLevel(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = hf.pre_tokenizers.Whitespace()
        special = ["<|endoftext|>", "[UNK]"]
        return save(
            tokenizer,
            hf.trainers.WordLevelTrainer(vocab_size=200, special_tokens=special, show_progress=False),
            self.path("unk"),
        )

    def lower(self) -> str:
        hf = support.tokenizers
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.normalizer = hf.normalizers.Lowercase()
        tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = hf.decoders.ByteLevel()
        alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
        trainer = hf.trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        )
        return save(tokenizer, trainer, self.path("lower"))

    def test_fates(self) -> None:
        self.assertEqual(fate("a b", " a b "), SAME)
        self.assertEqual(fate("Cafe\u0301", "Café"), SAME)  # composed by the tokenizer
        self.assertEqual(fate("Zürich 1", "zurich  1"), CHANGED)
        self.assertEqual(fate("Café", "Caf"), LOST)
        self.assertEqual(fate("中", "[UNK]"), LOST)

    def test_an_answer_that_loses_letters_is_refused_everywhere(self) -> None:
        facts = self.write(
            "facts.tsv", HEADER + "P36:a\tP36\tAland\tMünchen\t\t\t\t\nP36:b\tP36\tBland\tRome\t\t\t\t\n"
        )
        alias = self.write("alias.tsv", HEADER + 'P36:a\tP36\tAland\tRome\t["Rom §"]\t\t\t\n')
        for tokenizer in (self.holes(), self.unknown()):
            flags = "--tokenizer", tokenizer, "--out", self.path("o", "x")
            for table in (facts, alias):
                self.run_bad(3, "answers lose letters", "facts", "write", table, *flags, "--control", 0)
        self.run_bad(3, "lose letters", "synbio", "--people", 5, *flags, "--workers", 1)
        flags = "--tokenizer", self.unknown(), "--out", self.path("o", "x")
        self.run_bad(3, "lose letters", "reasoning", "slope", "--documents", 5, "--heldout", 3, *flags)
        self.assertFalse(os.path.exists(self.path("o")))

    def test_what_text_loses_is_counted_and_said(self) -> None:
        text = self.write("u.txt", "Cafe: 12 §, Ünïcode, 中文.\n")
        for tokenizer, pattern in (
            (self.holes(), "1 of 1 documents that were decoded again lose letters"),
            (self.unknown(), r"\d+ tokens of documents are the tokenizer's unknown token"),
            (self.lower(), "1 of 1 documents that were decoded again come back otherwise"),
        ):
            self.assertRegex(self.run_ok("text", text, "--tokenizer", tokenizer, "--out", tokenizer + "-o/u"), pattern)
        said = self.run_ok("text", text, "--tokenizer", support.small_vocabulary(), "--out", self.path("good", "u"))
        self.assertNotIn("warning", said)

    def test_subjects_and_templates_are_counted(self) -> None:
        facts = self.write("facts.tsv", HEADER + "P36:a\tP36\tÅland ™\tRome\t\t\t\t\nP36:b\tP36\tBland\tOslo\t\t\t\t\n")
        said = self.run_ok(
            "facts", "write", facts, "--tokenizer", self.holes(), "--out", self.path("o", "x"), "--control", 0
        )
        self.assertRegex(said, "1 of 2 subjects .* lose letters")

    def test_answers_of_the_same_tokens_are_said(self) -> None:
        encoder = load_tokenizer(self.lower())
        with support.contextlib.redirect_stderr(support.io.StringIO()) as said:
            check_answers(encoder, ["Polish", "polish", "Rome"])
        self.assertIn("1 answers have the tokens of another one", said.getvalue())

    def test_a_llama_like_tokenizer(self) -> None:
        flags = "--tokenizer", llama(self.path("llama")), "--eot", "</s>"
        sample = os.path.join(support.PACKAGE, "facts", "sample.tsv")
        out = self.path("d", "wd")
        self.run_ok("facts", "write", sample, *flags, "--out", out, "--relation", "P36", "--workers", 1)
        tokenizer = load_tokenizer(self.path("llama"), "</s>").tokenizer
        questions = QuestionSet(out + "_questions")
        for number in range(0, len(questions), 7):
            asked = questions[number]
            text = tokenizer.decode([*asked.prompt, *asked.answers[0]], skip_special_tokens=False)
            self.assertEqual(tokenizer.encode(text, add_special_tokens=False).ids, [*asked.prompt, *asked.answers[0]])
        said = self.run_ok("lm-eval", out + "_questions", "--out", self.path("tasks"), "--name", "wd")
        self.assertRegex(said, r"\n0 of [\d,]+ questions are tokenized otherwise")
        with open(self.path("tasks", "wd.yaml"), encoding="utf-8") as file:
            self.assertIn('doc_to_text: "</s> {{prompt}}"', file.read())


class OneFactTest(support.FolderTest):
    def table(self, *rows: str) -> list[list[str]]:
        data = self.write("in.tsv", "relation\tsubject\tobject\n" + "".join(row + "\n" for row in rows))
        self.said = self.run_ok("facts", "table", data, "--out", self.path("f.tsv"))
        with open(self.path("f.tsv"), encoding="utf-8") as file:
            return [line.rstrip("\n").split("\t") for line in file.readlines()[2:]]

    def test_two_spellings_are_one_fact(self) -> None:
        rows = self.table(
            "P36\tSéléné\tVil\u00adle",
            f"P36\t{unicodedata.normalize('NFD', 'Séléné')}\tVille\u200e",
            "P36\tSéléné\u200b\tBourg\u00a0Neuf",
            "P36\tL'Estrange\tRiverton",
            "P36\tL\u2019Estrange\tRiverton",
        )
        self.assertEqual([row[2:4] for row in rows], [["Séléné", "Ville"], ["L'Estrange", "Riverton"]])
        self.assertEqual(json.loads(rows[0][5]), ["Bourg Neuf"])
        self.assertRegex(self.said, r"2 duplicate")
        self.assertRegex(self.said, r"mended: invisible characters, spaces or letters composed")

    def test_a_table_with_one_subject_in_two_spellings_is_refused(self) -> None:
        rows = "P36:L'E\tP36\tL'E\ta\t\t\t\t\nP36:L\u2019E\tP36\tL\u2019E\tb\t\t\t\t\n"
        table = self.write("f.tsv", HEADER + rows)
        self.run_bad(3, "perhaps in another spelling", "facts", "write", table, "--text-only", "--out", self.path("x"))

    def test_a_pool_with_one_value_in_two_spellings_is_refused(self) -> None:
        self.write("w/pools/birth_city.txt", "Sa\u0303o Tome\nOslo\nSão Tome\n")
        self.run_bad(
            *(3, "birth_city.txt:3: .* already in line 1", "synbio", "--people", 3, "--text-only", 1),
            *("--world", self.path("w"), "--out", self.path("x")),
        )

    def test_objects_of_one_name_keep_their_own_aliases(self) -> None:
        columns = "subj\tprop\tobj\ts_pop\tpossible_answers\ts_uri\to_uri\to_aliases"
        item = "http://www.wikidata.org/entity/Q"
        rows = [
            f'Ann\tplace of birth\tAthens\t1\t["Athens"]\t{item}1\t{item}11\t["Athina"]',
            f'Bob\tplace of birth\tAthens\t1\t["Athens"]\t{item}2\t{item}12\t["Athens, Texas"]',
            f'Cyd\tplace of birth\tAthens\t1\t["Athens"]\t{item}3\t{item}11\t[]',
            f'Dan\tplace of birth\tOslo\t1\t["Oslo"]\t{item}4\t{item}13\t["Christiania"]',
        ]
        data = self.write("popqa.tsv", "\n".join([columns, *rows]) + "\n")
        self.run_ok("facts", "table", data, "--out", self.path("f.tsv"))
        text = self.write("t.txt", SEPARATOR.join(f"{who} of Athens, Texas" for who in ("Ann", "Bob", "Cyd")))
        self.run_ok("facts", "scan", self.path("f.tsv"), "--text", text, "--out", self.path("s.tsv"), "--workers", 1)
        with open(self.path("s.tsv"), encoding="utf-8") as file:
            self.assertEqual(file.readlines()[1].split("\t")[8], "object_id\n")
        tokenizer = support.small_vocabulary()
        said = self.run_ok(
            "facts",
            "write",
            self.path("s.tsv"),
            "--tokenizer",
            tokenizer,
            "--out",
            self.path("d", "wd"),
            "--control",
            0,
        )
        self.assertIn("3 facts have an object with the name of another one", said)
        questions, decode = QuestionSet(self.path("d", "wd_questions")), load_tokenizer(tokenizer).tokenizer.decode
        right = {}
        for number in range(len(questions)):
            asked = questions[number]
            who = next(name for name in ("Ann", "Bob", "Cyd", "Dan") if name in decode(asked.prompt.tolist()))
            right[who] = [decode(run.tolist()) for run in (asked.answers[0], *asked.aliases)]
        self.assertEqual(
            right,
            {
                "Ann": [" Athens", " Athina"],
                "Bob": [" Athens", " Athens, Texas"],
                "Cyd": [" Athens", " Athina"],
                "Dan": [" Oslo", " Christiania"],
            },
        )

    def test_further_names_are_not_cut_at_commas(self) -> None:
        def value(text: str) -> dict:
            return {"type": "literal", "value": text}

        row = {
            "subjectLabel": value("Freedonia"),
            "objectLabel": value("Springfield"),
            "objectAltLabel": value("Springfield, Sylvania, Old Fort"),
        }
        one = row | {"subjectLabel": value("Osterlich"), "objectAltLabel": value("The Fort")}
        query = {"head": {"vars": list(row)}, "results": {"bindings": [row, one]}}
        data = self.write("q.json", json.dumps(query))

        def aliases(*flags: str) -> list[str]:
            self.said = self.run_ok("facts", "table", data, "--relation", "P36", "--out", self.path("f.tsv"), *flags)
            with open(self.path("f.tsv"), encoding="utf-8") as file:
                return [line.split("\t")[4] for line in file.readlines()[2:]]

        self.assertEqual(aliases(), ["", '["The Fort"]'])
        self.assertIn("mended: further names joined by commas left out; try --alias-separator: 1", self.said)
        self.assertEqual(aliases("--alias-separator", ", "), ['["Sylvania", "Old Fort"]', '["The Fort"]'])
        row["objectAltLabel"] = value("Springfield, Sylvania|Old Fort")
        data = self.write("q.json", json.dumps(query))
        self.assertEqual(aliases("--alias-separator", "|")[0], '["Springfield, Sylvania", "Old Fort"]')

    def test_labels_for_all_languages(self) -> None:
        item, label = "<http://www.wikidata.org/entity/Q{}>", "<http://www.w3.org/2000/01/rdf-schema#label>"
        alias = "<http://www.w3.org/2004/02/skos/core#altLabel>"
        lines = []
        for i, names in enumerate(('"A"@mul', '"A"@mul\n"B"@en', '"B"@en\n"C"@de', '"C"@de'), 1):
            lines += [f"{item.format(i)} <http://www.wikidata.org/prop/direct/P50> {item.format(90 + i)} ."]
            lines += [f'{item.format(i)} {label} "Book {i}"@en .']
            lines += [f"{item.format(90 + i)} {label} {name} ." for name in names.split("\n")]
        lines += [f'{item.format(92)} {alias} "Bee"@mul .']
        data = self.write("d.nt", "\n".join(lines) + "\n")

        def objects(*flags: str) -> list[list[str]]:
            self.run_ok("facts", "table", data, "--out", self.path("f.tsv"), *flags)
            with open(self.path("f.tsv"), encoding="utf-8") as file:
                return [line.split("\t")[3] + line.split("\t")[4] for line in file.readlines()[2:]]

        self.assertEqual(objects(), ["A", 'B["Bee"]', "B"])
        self.assertEqual(objects("--language", "de,en"), ["A", 'B["Bee"]', "C", "C"])


@support.needs_tokenizers
class LongTextTest(support.FolderTest):
    def prepare(self, *arguments: object) -> str:
        return self.run_ok("text", "--tokenizer", support.small_vocabulary(), "--workers", 1, *arguments)

    def ids(self, prefix: str) -> list[list[int]]:
        return [sequences[0] for sequences in support.read_shard(prefix)]

    def words(self, characters: int) -> str:
        draw, out = random.Random(3), []
        while sum(map(len, out)) < characters:
            out.append(" ".join(draw.choices(support.PARAGRAPHS, k=100)) + draw.choice(["\n", "\n\n", " "]))
        return "".join(out).strip()

    def test_a_long_document_has_the_tokens_of_its_whole(self) -> None:
        long = self.words(2 * PIECE + 1000)
        encoder = load_tokenizer(support.small_vocabulary())
        whole = [*encoder.encode_batch([long])[0], encoder.eot_id]
        text = self.write("long.txt", f"\n\nbefore{SEPARATOR}\n{long}\n\n{SEPARATOR}after\n")
        lines = self.write("long.jsonl", json.dumps({"text": long}) + "\n")
        said = self.prepare(text, "--out", self.path("a"))
        self.assertNotIn("warning", said)
        self.assertEqual(self.ids(self.path("a"))[1], whole)
        self.prepare(lines, "--out", self.path("b"))
        self.assertEqual(self.ids(self.path("b")), [whole])
        with open(self.path("b.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["bytes"], len(long.encode()))
        self.assertEqual(list(Inputs([text]).documents()), ["before", long, "after"])

    def test_a_long_document_and_a_llama_like_tokenizer(self) -> None:
        """Which puts a space before a text, but not before what goes on one."""
        long = self.words(2 * PIECE + 1000)
        encoder = load_tokenizer(llama(self.path("llama")), "</s>")
        text = self.write("long.txt", long)
        flags = "--tokenizer", self.path("llama"), "--eot", "</s>", "--out", self.path("o", "a"), "--workers", 1
        self.run_ok("text", text, *flags)
        self.assertEqual(self.ids(self.path("o", "a")), [[*encoder.encode_batch([long])[0], encoder.eot_id]])

    def test_it_falls_on_the_same_side_of_a_split(self) -> None:
        long = self.words(2 * PIECE + 1000)
        text = self.write("t.txt", SEPARATOR.join([*support.documents(9), long]))
        place = sorted(map(document_hash, [*support.documents(9), long])).index(document_hash(long))
        for wanted in (place, place + 1):
            if 0 < wanted < 10:
                out = self.path(f"w{wanted}", "t")
                self.prepare(text, "--out", out, "--val-documents", wanted)
                longest = max(len(ids) for ids in self.ids(out + "_val"))
                self.assertEqual(longest > PIECE // 10, place < wanted)

    def test_memory_does_not_grow_with_a_document(self) -> None:
        """A line and a document of one million bytes, and of four; a document tokenized at once takes 130 for one."""
        text = self.write("one.txt", "")
        peaks = []
        for megabytes in (1, 4):
            with open(text, "w") as file:
                for _ in range(megabytes * 10):
                    file.write("the harbour of the old town " * 3571)
            call = "text", text, "--tokenizer", support.small_vocabulary(), "--out", self.path("o"), "--workers", "1"
            child = subprocess.Popen(
                [sys.executable, "-m", "knapsack", *call],
                env=dict(os.environ, PYTHONPATH=support.REPOSITORY),
                stdout=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(child.returncode, 0)
            peaks.append(usage.ru_maxrss / 1024)
        self.assertLess(peaks[1] - peaks[0], 40, peaks)

    def test_a_cut_inside_of_a_word_is_said(self) -> None:
        text = self.write("one.txt", "ab" * (PIECE + 1000))
        self.assertRegex(self.prepare(text, "--out", self.path("o")), r"cut at \d+ places|1 documents, ")
        encoder = load_tokenizer(support.small_vocabulary())
        decoded = encoder.decode(self.ids(self.path("o"))[0][:-1])
        self.assertEqual(decoded, "ab" * (PIECE + 1000))

    def test_time_to_read_a_line_is_linear(self) -> None:
        line = self.write("one.txt", b"a" * 8_000_000)
        self.assertEqual(sum(len(piece.text) for piece in Inputs([line]).pieces()), 8_000_000)
        self.assertLess(max(len(piece.text) for piece in Inputs([line]).pieces()), 3 * PIECE)

    def test_every_zstd_window_is_read(self) -> None:
        try:
            import zstandard
        except ImportError:
            self.skipTest("the Python package 'zstandard' is not installed")
        parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True, compression_level=1)
        packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        data = packed.compress(b"some text\n") + packed.flush()
        skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
        plain = zstandard.ZstdCompressor().compress(b"more\n")
        for number, frames in enumerate((data, data + skippable + plain, skippable + plain)):
            name = self.write(f"{number}.txt.zst", frames)
            self.assertEqual(len("".join(Inputs([name]).documents())) > 3, True)

    def test_one_long_document_does_not_end_max_tokens(self) -> None:
        documents = support.documents(100)
        long = self.words(20_000)
        plain = self.write("plain.txt", SEPARATOR.join(documents))
        mixed = self.write("mixed.txt", SEPARATOR.join([*documents[:2], long, *documents[2:]]))
        for name, path in (("plain", plain), ("mixed", mixed)):
            said = self.prepare(path, "--out", self.path(name), "--max-tokens", 3000)
        self.assertIn("documents that did not fit into --max-tokens are left out", said)
        self.assertEqual(self.ids(self.path("plain")), self.ids(self.path("mixed")))
        self.assertGreater(sum(map(len, self.ids(self.path("mixed")))), 2800)

    def test_bad_lines_can_be_skipped_with_a_count(self) -> None:
        good = [json.dumps({"text": text}) for text in support.documents(3)]
        bad = ["{oops", '{"body": 1}', "[" * 10**5, '{"text": "\\ud800"}', '{"text": ' + "9" * 5000 + "}"]
        data = "\n".join([good[0], *bad, good[1], good[2][:9]]).encode() + b"\n\xff\xfe\n" + good[2].encode()
        name = self.write("in.jsonl", data)
        self.run_bad(
            3,
            r"in\.jsonl:2: not JSON",
            "text",
            name,
            "--tokenizer",
            support.small_vocabulary(),
            "--out",
            self.path("x"),
        )
        said = self.prepare(name, "--skip-bad", "--out", self.path("o"))
        self.assertRegex(said, r"warning: 7 bad lines or records skipped, the first: .*in\.jsonl:2: not JSON")
        self.assertEqual(len(self.ids(self.path("o"))), 3)
        self.assertRegex(
            self.run_ok("tokenizer", name, "--skip-bad", "--vocab-size", 300, "--out", self.path("t")), "7 bad"
        )
        facts = self.write("f.tsv", HEADER + "P36:a\tP36\tharbour\ttown\t\t\t\t\n")
        scanned = "facts", "scan", facts, "--text", name, "--out", self.path("s.tsv"), "--skip-bad"
        self.assertRegex(self.run_ok(*scanned), "7 bad lines")
        text = self.write("in.txt", b"one\n\xff\xfe\ntwo\n")
        self.assertRegex(
            self.prepare(text, "--skip-bad", "--out", self.path("p")), r"1 bad lines .*in\.txt:2: not UTF-8"
        )

    def test_a_long_document_is_scanned_as_one(self) -> None:
        words = self.words(2 * PIECE + 1000)
        facts = self.write("f.tsv", HEADER + "P36:a\tP36\tNova Land\tPort Grey\t\t\t\t\n")
        text = self.write("t.txt", f"a{SEPARATOR}Port Grey {words} Nova\nLand{SEPARATOR}Nova Land")
        self.run_ok("facts", "scan", facts, "--text", text, "--out", self.path("s.tsv"), "--workers", 1)
        with open(self.path("s.scan.json"), encoding="utf-8") as file:
            counted = json.load(file)
        self.assertEqual(counted["documents"], 3)
        self.assertEqual(counted["facts"]["P36:a"], {"subject": 2, "object": 1, "both": 1})

    def test_a_name_over_a_cut_is_found(self) -> None:
        name = "Upper Freedonia " * 8
        text = self.write("t.txt", ("x" + name) * (2 * PIECE // len(name) + 99))
        pieces = list(Inputs([text]).pieces())
        self.assertGreater(len(pieces), 1)
        self.assertEqual("".join(piece.text for piece in pieces), ("x" + name) * (2 * PIECE // len(name) + 99))
        for before, after in zip(pieces, pieces[1:]):
            self.assertTrue(before.text.endswith(after.before))
            self.assertGreaterEqual(len(after.before), 200)  # no name is longer

    def test_a_tokenizer_without_a_decoder_is_read_all_the_same(self) -> None:
        with open(os.path.join(support.small_vocabulary(), "tokenizer.json"), encoding="utf-8") as file:
            value = json.load(file) | {"decoder": None}
        self.write("tok/tokenizer.json", json.dumps(value))
        text = self.write("t.txt", "The capital of Nova Land is Port Grey.\n")
        said = self.run_ok("text", text, "--tokenizer", self.path("tok"), "--out", self.path("d", "t"))
        self.assertNotIn("warning", said)
        facts = self.write("f.tsv", HEADER + "P36:a\tP36\tNova Land\tPort Grey\t\t\t\t\n")
        scanned = "facts", "scan", facts, "--text", self.path("d", "t"), "--out", self.path("s.tsv"), "--workers", 1
        self.assertIn("1 facts with subject and object in 1 to 9 documents", self.run_ok(*scanned))
        self.assertIn("Nova Land is Port Grey", self.run_ok("verify", self.path("d", "t"), "--samples", 1))

    def test_a_separator_inside_of_a_line_is_text_and_said(self) -> None:
        text = self.write("in.txt", "one<|endoftext|>two\n<|endoftext|>\nthree\n")
        said = self.prepare(text, "--out", self.path("o"))
        self.assertRegex(said, r"warning: 1 documents hold <\|endoftext\|> inside a line")
        self.assertEqual(len(self.ids(self.path("o"))), 2)


@support.needs_tokenizers
class SameTokenizerTest(support.FolderTest):
    def test_the_same_tokenizer_in_another_layout_is_the_same(self) -> None:
        with open(os.path.join(support.small_vocabulary(), "tokenizer.json"), encoding="utf-8") as file:
            value = json.load(file)
        self.write("d/tokenizer.json", json.dumps(value))
        self.run_ok("synbio", "--people", 3, "--tokenizer", support.small_vocabulary(), "--out", self.path("d", "bio"))
        self.run_ok("verify", self.path("d", "bio"))  # the sidecar names the file that is there


if __name__ == "__main__":
    unittest.main()
