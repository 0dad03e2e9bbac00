"""knapsack facts scan: documents that have subject and object, counted again by plain search with no code of the
scripts; text, JSONL and token shards give the same counts."""

import json
import random
import re
import unittest

import support

HEADER = "# facts, format_version 1\nid\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents\n"
FACTS = [  # subject, object, aliases, also
    ("Norwood", "Elm Bay", ["Elmbay", "E. Bay"], []),
    ("Norwood Hill", "Elm Bay", ["Elmbay", "E. Bay"], []),
    ("St. Ives!", "Oak", [], ["Ash"]),
    ("Zürich", "42", [], []),
    ("!!!", "¿Qué?", [], []),
    ("Nowhere", "Nobody", [], []),
    ("Oak", "Norwood", [], []),
]
WORDS = [
    "Norwood",
    "Hill",
    "Elm",
    "Bay",
    "Elmbay",
    "E.",
    "Elm Bay",
    "Norwood Hill",
    "St.",
    "Ives!",
    "St. Ives!",
    "Oak",
    "Ash",
    "Oaks",
    "Zürich",
]
WORDS += [
    "Zürichs",
    "42",
    "421",
    "!!!",
    "x!!!",
    "¿Qué?",
    "and",
    "the",
    "norwood",
    "elm bay",
    "(Elm Bay)",
    "Oak,",
    "Norwood's",
]


def table() -> str:
    rows = []
    for subject, object, aliases, also in FACTS:
        lists = [json.dumps(names, ensure_ascii=False) if names else "" for names in (aliases, also)]
        rows.append("\t".join([f"P1:{subject}", "P1", subject, object, *lists, "", ""]))
    return HEADER + "\n".join(rows) + "\n"


def corpus(count: int = 400) -> list[str]:
    draw = random.Random(7)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(1, 12))) for _ in range(count)]


def has(text: str, names: list[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def counted(texts: list[str]) -> list[tuple[int, int, int]]:
    """Documents with subject, with object, with both, by fact."""
    rows = []
    for subject, object, aliases, also in FACTS:
        found = [(has(text, [subject]), has(text, [object, *aliases, *also])) for text in texts]
        rows.append((sum(s for s, _ in found), sum(o for _, o in found), sum(s and o for s, o in found)))
    return rows


@support.needs_tokenizers
class ScanTest(support.FolderTest):
    def scan(self, *texts: object, name: str = "scanned", workers: int = 1) -> list[tuple[int, int, int]]:
        out = self.path(name + ".tsv")
        facts = self.write("facts.tsv", table())
        self.said = self.run_ok("facts", "scan", facts, "--text", *texts, "--out", out, "--workers", workers)
        with open(out, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertEqual("\n".join(lines[:2]) + "\n", HEADER)
        with open(self.path(name + ".scan.json"), encoding="utf-8") as file:
            told = json.load(file)
        self.documents, rows = told["documents"], []
        for line, before, counts in zip(lines[2:], table().splitlines()[2:], told["facts"].items()):
            self.assertEqual(line.split("\t")[:7], before.split("\t")[:7])  # nothing else changes
            self.assertEqual((line.split("\t")[0], line.split("\t")[7]), (counts[0], str(counts[1]["both"])))
            rows.append(tuple(counts[1][name] for name in ("subject", "object", "both")))
        self.assertEqual(len(rows), len(FACTS))
        return rows

    def test_counts(self) -> None:
        texts = corpus()
        expected = counted(texts)
        self.assertTrue(all(any(row) for row in expected[:5]) and sum(both for *_, both in expected) > 50)
        text = self.write("web.txt", "\n<|endoftext|>\n".join(texts) + "\n")
        lines = self.write("web.jsonl", "".join(json.dumps({"body": text}) + "\n" for text in texts))
        self.assertEqual(self.scan(text), expected)
        self.assertEqual(self.documents, len(texts))
        with_both = sum(both > 0 for *_, both in expected)
        none = next(line for line in self.said.splitlines() if "in no documents" in line)
        self.assertEqual(int(none.split()[0]), len(FACTS) - with_both)
        self.run_ok(
            "facts", "scan", self.path("facts.tsv"), "--text", lines, "--key", "body", "--out", self.path("json.tsv")
        )
        files = self.contents(".tsv", ".scan.json")
        self.assertEqual(files["json.tsv"], files["scanned.tsv"])

    def test_an_object_has_all_names_that_any_fact_gives_it(self) -> None:
        """As in `write`, where they are right answers."""
        rows = [
            'P1:a\tP1\tAtown\tUSA\t["United States"]\t\t\t',
            "P1:b\tP1\tBtown\tUSA\t\t\t\t",
            "P2:b\tP2\tBtown\tUSA\t\t\t\t",
        ]
        facts, text = (
            self.write("f.tsv", HEADER + "\n".join(rows) + "\n"),
            self.write("t.txt", "Btown lies in the United States.\n"),
        )
        self.run_ok("facts", "scan", facts, "--text", text, "--out", self.path("out.tsv"), "--workers", 1)
        with open(self.path("out.tsv"), encoding="utf-8") as file:
            counts = [line.split("\t")[7].strip() for line in file.readlines()[2:]]
        self.assertEqual(counts, ["0", "1", "0"])  # another relation's USA has other names

    def test_shards_are_decoded(self) -> None:
        texts = corpus()
        text = self.write("web.txt", "\n<|endoftext|>\n".join(texts) + "\n")
        self.run_ok("text", text, "--tokenizer", support.small_vocabulary(), "--out", self.path("shards", "web"))
        for name in (self.path("shards", "web"), self.path("shards", "web.bin")):
            self.assertEqual(self.scan(name), counted(texts))
        # two inputs add up, whatever the number of processes
        twice = [tuple(2 * count for count in row) for row in counted(texts)]
        self.assertEqual(self.scan(text, self.path("shards", "web"), workers=2), twice)
        self.assertEqual(self.documents, 2 * len(texts))

    def test_the_table_can_be_written_from(self) -> None:
        """`write --max-web-documents` takes what the scan counted."""
        self.write(
            "relations.tsv",
            "\n".join(
                [
                    "# relations, format_version 1",
                    "relation\tkind\ttext",
                    "P1\tlabel\tof",
                    "P1\tseen\t[X] has [Y].",
                    "P1\theldout\t[X] owns [Y].",
                    "P1\tquestion\tWhat has [X]?",
                ]
            )
            + "\n",
        )
        self.scan(self.write("web.txt", "Norwood, Elm Bay\n<|endoftext|>\nNorwood\n"))
        said = self.run_ok(
            *("facts", "write", self.path("scanned.tsv"), "--relations", self.path("relations.tsv"), "--templates", 1),
            *("--max-web-documents", 0, "--control", 0, "--text-only", "--out", self.path("wd")),
        )
        self.assertIn("1 in the web text left out", said)

    def test_refusals(self) -> None:
        facts, out = self.write("facts.tsv", table()), self.path("out.tsv")

        def refuse(code: int, pattern: str, *texts: str) -> None:
            self.run_bad(code, pattern, "facts", "scan", facts, "--text", *texts, "--out", out, "--workers", 1)

        refuse(3, "nothing.txt: no such file", self.path("nothing.txt"))
        refuse(3, "expected a document, found none", self.write("empty.txt", ""))
        refuse(3, r"latin.txt:2: not UTF-8", self.write("latin.txt", b"fine\nZ\xfcrich\n"))
        refuse(2, "is given twice", self.write("a.txt", "a"), self.path("a.txt"))
        self.run_ok(
            "text", self.path("a.txt"), "--tokenizer", support.small_vocabulary(), "--out", self.path("s", "web")
        )
        self.write("s/tokenizer.json", "{}")
        refuse(3, "expected the tokenizer .* of .*web.json, found another one", self.path("s", "web"))
        self.write("bare.bin", b"\0\0")
        refuse(3, "bare.json: No such file", self.path("bare.bin"))
        self.assertEqual([name for name in self.contents() if name.startswith("out")], [])


if __name__ == "__main__":
    unittest.main()
