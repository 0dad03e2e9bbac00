"""knapsack synbio: the built-in templates, worlds of one's own (--world), and what is refused."""

import hashlib
import os
import re
import unittest

import support
from synbio_reader import World, load_json

TEMPLATES = os.path.join(support.PACKAGE, "synbio", "templates")
FIRST = {  # of the first 8 seen, 2 held-out and 2 question templates: data sets made before must not change
    "birth_date": "f70cea9e45ad1636",
    "birth_city": "81d84316fee4ff19",
    "university": "2476549945d03b77",
    "major": "92650b90d04c750c",
    "employer": "b564e3cc22d73416",
}
KINDS = {"seen": (50, 8), "heldout": (5, 2), "question": (5, 2)}  # lines at least, lines in use from the beginning


def lines_of(attribute: str, kind: str) -> list[str]:
    with open(os.path.join(TEMPLATES, f"{attribute}.{kind}.txt"), encoding="utf-8") as file:
        return file.read().split("\n")


class TemplatesTest(support.FolderTest):
    def test_files(self) -> None:
        prompts: dict[str, str] = {}
        for attribute, expected in FIRST.items():
            digest = hashlib.sha256()
            for kind, (least, first) in KINDS.items():
                *lines, last = lines_of(attribute, kind)
                self.assertEqual(last, "")
                self.assertGreaterEqual(len(lines), least)
                digest.update("\n".join(lines[:first]).encode())
                for line in lines:
                    place = f"{attribute}.{kind}: {line}"
                    end = " Answer:" if kind == "question" else " {value}."
                    self.assertTrue(line.endswith(end) and line.count("{name}") == 1, place)
                    self.assertTrue(line.startswith("Question: " if kind == "question" else "{name}"), place)
                    self.assertNotRegex(line, r"(?i)\b(s?he|her|hers|him|his|it|its|an? \{value\}|{name}[^' ?])\b")
                    prompt = line.removesuffix(" {value}.")
                    self.assertNotIn(prompt, prompts, place)
                    prompts[prompt] = place
            self.assertEqual(digest.hexdigest()[:16], expected, attribute)

    @support.needs_tokenizers
    def test_every_one_renders(self) -> None:
        flags = ("--templates", 50, "--heldout-templates", 5, "--question-templates", 5, "--names", "both", "--qa", 0.5)
        prefix = self.path("w", "bio")
        self.run_ok("synbio", "--people", 6, "--tokenizer", support.small_vocabulary(), "--out", prefix, *flags)
        World(self, prefix).check()
        self.assertEqual(len(load_json(prefix + "_questions.questions.json")["templates"]), 5 * 60)


class SameAsEverTest(support.FolderTest):
    def test_the_default_people_facts_and_wordings_do_not_change(self) -> None:
        """The digest is that of the first release: data sets can be made again from their seed."""
        flags = ("--people", 60, "--seed", 3, "--groups", "uniform:4", "--text-only", 2)
        self.run_ok("synbio", *flags, "--out", self.path("t"))
        digest = hashlib.sha256(self.contents(".txt")["t.txt"]).hexdigest()
        self.assertEqual(digest[:16], "d6efc8df428c4eed")


@support.needs_tokenizers
class OwnWorldTest(support.FolderTest):
    def run_synbio(self, *flags: object) -> tuple:
        return ("synbio", "--people", 20, "--world", self.path("w"), "--out", self.path("o", "bio"), *flags)

    def test_files_take_the_place_of_the_built_in_ones(self) -> None:
        self.write("w/pools/major.txt", "Magic\nSword Fighting\nLúthien's Songs\n")
        self.write("w/pools/first.txt", "Zoë\nTorvald\n")
        self.write("w/templates/major.seen.txt", "{name} lives for {value}.\n{name}'s passion is {value}.\n")
        flags = ("--templates", 2, "--tokenizer", support.small_vocabulary(), "--names", "both", "--candidates", 2)
        self.run_ok(*self.run_synbio(*flags, "--compact"))
        facts = load_json(self.path("o", "bio.facts.json"))
        own = ["{name} lives for {value}.", "{name}'s passion is {value}."]
        self.assertEqual(facts["template_texts"]["major"], own)
        self.assertEqual(facts["pools"]["major"], {"size": 3, "kind": "own"})
        self.assertEqual(facts["pools"]["employer"], {"size": 263, "kind": "plausible"})
        self.assertEqual(facts["name_pool_size"], 2 * 400 * 1000)
        with open(self.path("o", "bio.names.txt"), encoding="utf-8") as file:
            self.assertEqual({name.split()[0] for name in file.read().splitlines()}, {"Zoë", "Torvald"})
        self.run_ok("verify", self.path("o", "bio"), self.path("o", "bio_questions"), self.path("o", "bio_compact"))

    def test_dates_of_ones_own(self) -> None:
        for name, size in (("month", 2 * 28 * 200), ("birth_date", 2)):
            with self.subTest(pool=name):
                self.write(f"w/pools/{name}.txt", "Frostmoon\nHaymoon\n")
                self.run_ok(*self.run_synbio("--tokenizer", support.small_vocabulary(), "--attributes", "birth_date"))
                slot = load_json(self.path("o", "bio.facts.json"))["slots"][0]
                self.assertEqual(slot["pool_size"], size)

    def test_bad_files_are_named_with_their_line(self) -> None:
        for path, data, pattern in (
            ("templates/major.seen.txt", "{name} reads {value}.\n{name} reads.\n", r"seen.txt:2: .* \{value\} once"),
            ("templates/major.seen.txt", "{name} reads {value}.\nShe reads {value}.\n", r"seen.txt:2: .*\{name\} once"),
            ("templates/major.seen.txt", "{name} reads {value}.\n\n", "seen.txt:2: blank line"),
            ("templates/major.seen.txt", "{name} reads {value}.\n{name} reads {value}.\n", "seen.txt:2: .*in line 1"),
            ("templates/major.seen.txt", "{name} reads {value}\n", "seen.txt:1: .*full stop"),
            ("templates/major.seen.txt", "Our {name} reads {value}.\n", r"seen.txt:1: .*begin with \{name\}"),
            ("templates/major.seen.txt", "{name} reads {value}, {yes}.\n", "seen.txt:1: .*no braces"),
            ("templates/major.heldout.txt", "{name} majored in {value}.\n", "heldout.txt:1: the prompt .*seen.txt:1"),
            ("templates/major.heldout.txt", "{name} was born in {value}.\n{name} b {value}.\n", "two attributes"),
            ("templates/major.question.txt", b"What of {name}?\n{name} \xff?\n", "question.txt:2: byte 0xff is not"),
            ("templates/major.txt", "{name} reads {value}.\n", "major.txt: nothing uses .*major.seen.txt"),
            ("pools/major.txt", "Law\nArt.\n", "major.txt:2: .*punctuation"),
            ("pools/major.txt", "Law\n\nArt\n", "major.txt:2: blank line"),
            ("pools/major.txt", "Law\nArt\nLaw\n", "major.txt:3: 'Law' is already in line 1"),
            ("pools/major.txt", b"Law\nCaf\xe9\n", "major.txt:2: byte 0xe9 is not UTF-8"),
            ("pools/major.txt", "", "major.txt: empty"),
            ("pools/first.txt", "Ann\nMary Ann\n", "first.txt:2: .*not one word"),
            ("pools/majors.txt", "Law\n", "majors.txt: nothing uses a file of this name; .*major.txt"),
        ):
            with self.subTest(path=path, data=data):
                made = self.write(f"w/{path}", data)
                self.run_bad(3, pattern, *self.run_synbio("--text-only", 1, "--templates", 1))
                os.unlink(made)
        self.write("w/templates/major.seen.txt", "{name}, a scholar, read {value}.\n")
        flags = ("--text-only", 1, "--templates", 1)
        self.run_bad(3, "seen.txt:1: .*pronouns", *self.run_synbio(*flags, "--names", "both"))
        self.run_ok(*self.run_synbio(*flags))

    def test_world_too_small_or_missing(self) -> None:
        self.run_bad(2, "--world .*found neither", *self.run_synbio("--text-only", 1))
        self.write("w/templates/major.heldout.txt", "{name} is into {value}.\n")
        self.run_bad(2, "--heldout-templates 2: .*heldout.txt has 1", *self.run_synbio("--text-only", 1))
        self.run_ok(*self.run_synbio("--text-only", 1, "--heldout-templates", 1))


@support.needs_tokenizers
class RefusalsTest(support.FolderTest):
    def refuse(self, pattern: str, *flags: object, people: int = 20) -> None:
        with self.subTest(flags=flags):
            tokenizer = ("--tokenizer", support.small_vocabulary())
            self.run_bad(2, pattern, "synbio", "--people", people, *tokenizer, "--out", self.path("x", "b"), *flags)
            self.assertEqual(sorted(self.contents(".bin", ".tmp")), [])

    def test_renderings(self) -> None:
        for name in ("multi", "single5", "multi0", "permute", "multi5+", "multi5+shuffle", "+fullname", "", "fullname"):
            self.refuse("--variant .*expected single", "--variant", name)
        self.refuse("--variant single and --names: ", "--variant", "single", "--names", "full")
        self.refuse("--variant single and --orders: ", "--variant", "single", "--orders", 1)
        self.refuse("--wordings 0: expected redrawn or a number", "--wordings", 0)
        self.refuse("--wordings listed: expected", "--wordings", "listed")
        self.refuse("--orders -1: expected redrawn, listed or", "--orders=-1")
        self.refuse("--heldout-templates 9: .* has 5", "--heldout-templates", 9)
        self.refuse("--question-templates 9: .* has 5", "--question-templates", 9)

    def test_companions(self) -> None:
        self.refuse("--qa 1.5: expected", "--qa", 1.5)
        self.refuse("--qa nan: expected", "--qa", "nan")
        self.refuse("--qa 0.01: 0 of the 20 people of group 'all'", "--qa", 0.01)
        self.refuse("--qa 0.5: .*'group_001'", "--qa", 0.5, "--groups", "uniform:20")
        self.refuse("--shuffled with --qa, --compact", "--shuffled", "--qa", 0.5, "--compact")
        self.refuse("--shuffled with fixed wordings", "--shuffled", "--variant", "multi5")
        for flags in (("--compact",), ("--qa", 0.5), ("--tag", "x"), ("--candidates", 3)):
            self.refuse("--text-only writes", "--text-only", 1, *flags)

    def test_candidates_and_tags(self) -> None:
        self.refuse("--candidates 100: major has 100 values, so at most 99", "--candidates", 100)
        self.refuse("--candidates -1: expected", "--candidates=-1")
        self.refuse("--tag .* ends documents", "--tag", "<|endoftext|>")
        self.refuse("--tag .* ends documents", "--tag", "a<|endoftext|>")
        for tag in ("", " bio", "a\nb"):
            self.refuse("--tag .*expected a word", "--tag", tag)

    def test_groups_and_counts(self) -> None:
        self.refuse("--groups powerlaw:1e6:2: the weights", "--groups", "powerlaw:1e6:2")
        self.refuse("--groups powerlaw:-1e6:2: the weights", "--groups", "powerlaw:-1e6:2")
        self.refuse("not a count", "--templates", "1e30")

    def test_output(self) -> None:
        flags = ("synbio", "--people", 20, "--tokenizer", support.small_vocabulary(), "--attributes", "major")
        self.run_bad(2, "a folder; expected the beginning", *flags, "--out", self.path("y") + "/")
        out = ("--out", self.path("y", "b"))
        self.run_ok(*flags, *out, "--compact")
        before = self.contents(".bin")
        self.run_bad(2, "b_compact.* of an earlier run", *flags, *out)
        self.assertEqual(self.contents(".bin"), before)

    def test_tokenizer_specials(self) -> None:
        text = self.write("t.txt", "Some words to train on, some words to train on.\n")
        for flags, pattern in (
            (("--special", "<|endoftext|>"), "--special '<|endoftext|>': .*each once"),
            (("--special", "<a>", "--special", "<a>"), "--special '<a>': .*each once"),
            (("--special", "x"), "--special 'x'"),
            (("--special", "<a>", "--vocab-size", 257), "at least 258: all bytes and <|endoftext|>, <a>"),
        ):
            with self.subTest(flags=flags):
                arguments = ("--vocab-size", 300, "--out", self.path("bpe"), *flags)
                self.run_bad(2, re.escape(pattern).replace(r"\.\*", ".*"), "tokenizer", text, *arguments)


if __name__ == "__main__":
    unittest.main()
