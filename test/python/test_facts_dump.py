"""knapsack facts table: a truthy dump, plain or packed, read as a stream; its table, its account, and the memory it
takes."""

from __future__ import annotations

import bz2
import gzip
import itertools
import tracemalloc
import types
import unittest

from facts_reader import IntakeTest

from knapsack.facts.formats.wikidata_dump import read_dump
from knapsack.facts.relations import read_relations

try:
    import zstandard
except ImportError:
    zstandard = None

WIKIDATA = "http://www.wikidata.org/"
LABEL, ALIAS = "http://www.w3.org/2000/01/rdf-schema#label", "http://www.w3.org/2004/02/skos/core#altLabel"
INTEGER = "http://www.w3.org/2001/XMLSchema#integer"


def fact(subject: int, relation: str, object_: int | str) -> str:
    object_ = f"<{WIKIDATA}entity/Q{object_}>" if isinstance(object_, int) else object_
    return f"<{WIKIDATA}entity/Q{subject}> <{WIKIDATA}prop/direct/{relation}> {object_} ."


def name(item: int, text: str, language: str = "en", kind: str = LABEL) -> str:
    return f'<{WIKIDATA}entity/Q{item}> <{kind}> "{text}"@{language} .'


def wikis(item: int, count: int | str) -> str:
    page = f"<{WIKIDATA}wiki/Special:EntityData/Q{item}>".replace("http:", "https:")
    return f'{page} <http://wikiba.se/ontology#sitelinks> "{count}"^^<{INTEGER}> .'


# The lines of a dump, each with the reason for which it is dropped: '' where it is a fact, None where it is no row.
LINES = [
    ("# a comment", None),
    (fact(142, "P36", 90), ""),
    (name(142, "France"), None),
    (name(142, "Frankreich", "de"), None),
    (name(142, "la France", "fr"), None),
    (wikis(142, 250), None),
    (name(90, "the City", kind=ALIAS), None),
    (name(90, "Paris"), None),
    (name(90, 'Lut\\u00E8ce \\U0001F600 \\"L\\"', kind=ALIAS), None),
    (name(90, "Paname", "fr", ALIAS), None),
    (name(142, "Hexagon", kind=ALIAS), None),  # of a subject: nothing asks for it
    (fact(142, "P36", 91), "second object"),
    (name(91, "Vichy"), None),
    (name(91, "Vichy-les-Bains", kind=ALIAS), None),
    (fact(7, "P50", 8), ""),
    (fact(7, "P50", 8) + " ", "duplicate"),
    (name(7, "Émile"), None),
    (name(8, "Rousseau"), None),
    (name(9, "Émile"), None),
    (fact(9, "P50", 8), "namesake"),
    (fact(10, "P36", 90), "no label in the language"),
    (name(10, "Nirgendwo", "de"), None),
    (name(10, "Nowhere", "en-gb"), None),
    (fact(142, "P36", f"<{WIKIDATA}.well-known/genid/0a>"), "subject or object is not an item"),
    (fact(142, "P36", "_:b0"), "subject or object is not an item"),
    (fact(142, "P36", '"Paris"@en'), "subject or object is not an item"),
    (f"<{WIKIDATA}entity/P5> <{WIKIDATA}prop/direct/P36> <{WIKIDATA}entity/Q90> .", "subject or object is not an item"),
    (fact(142, "P36", "Paris"), "malformed row"),
    (f"<{WIKIDATA}entity/Q142> <{WIKIDATA}prop/direct/P36> .", "malformed row"),
    (fact(142, "P36", 90)[:-2], "malformed row"),  # no full stop
    ("two words", "malformed row"),
    ("", None),
    (fact(142, "P99999", 90), None),
    (fact(142, "P569", '"1950-01-01"'), None),
    (f'<{WIKIDATA}entity/Q8> <http://schema.org/description> "writer, \\n and more"@en .', None),
    (fact(11, "P50", 12), "tab, line break or control character in a name"),
    (name(11, "A\\tBook"), None),
    (name(12, "Somebody"), None),
    (name(8, "broken \\q", kind=ALIAS), "malformed row"),
    (name(8, "not closed")[:-7] + "@en .", "malformed row"),
    (wikis(7, "many"), "malformed row"),
    (name(8, "R\udcffousseau", kind=ALIAS), "not UTF-8"),
    (name(999, "broken \\q"), None),  # of an item that nobody asks for
]
FACTS = [
    ["P36:Q142", "P36", "France", "Paris", ["the City", 'Lutèce 😀 "L"'], ["Vichy", "Vichy-les-Bains"], "250", ""],
    ["P50:Q7", "P50", "Émile", "Rousseau", [], [], "", ""],
]
PLAIN = "".join(line + "\n" for line, _ in LINES).encode(errors="surrogateescape")


def packings(plain: bytes) -> dict[str, bytes]:
    """bzip2 in many streams, as the real dump has them; gzip and zstandard in two."""
    cuts = [plain[i : i + 700] for i in range(0, len(plain), 700)]
    half = len(plain) // 2
    packed = {
        ".bz2": b"".join(map(bz2.compress, cuts)),
        ".gz": gzip.compress(plain[:half]) + gzip.compress(plain[half:]),
    }
    if zstandard:
        compress = zstandard.ZstdCompressor().compress
        packed[".zst"] = compress(plain[:half]) + compress(plain[half:])
    return packed


class DumpTest(IntakeTest):
    def test_table_and_account_are_the_same_however_it_is_packed(self) -> None:
        expected = sorted((number, reason) for number, (_, reason) in enumerate(LINES, 1) if reason)
        for ending, data in {"": PLAIN, **packings(PLAIN)}.items():
            with self.subTest(ending):
                taken = self.intake(self.write("truthy.nt" + ending, data))
                self.assertEqual(taken.rows, FACTS)
                self.assertEqual(sorted((line, reason) for _, line, reason in taken.reasons()), expected)
                self.assertEqual(taken.counts("truthy.nt" + ending)[:2], (len(expected) + 2, 2))
                for row in taken.dropped:
                    line = (
                        LINES[int(row.line) - 1][0].encode(errors="surrogateescape").decode(errors="backslashreplace")
                    )
                    if row.reason in ("malformed row", "not UTF-8", "subject or object is not an item"):
                        self.assertEqual(row.text, line)
                    else:  # a fact that was read, in short
                        subject, relation, object_ = row.text.split(" ")
                        self.assertEqual(fact(int(subject[1:]), relation, int(object_[1:])), line.strip())

    def test_relations_and_languages_by_flag(self) -> None:
        path = self.write("truthy.nt", PLAIN)
        german = "\n".join([name(90, "Paris", "de"), ""]).encode()
        taken = self.intake(self.write("de.nt", PLAIN + german), "--language", "de", "--relation", "P36")
        self.assertEqual(taken.facts(), [("P36", "Frankreich", "Paris"), ("P36", "Nirgendwo", "Paris")])
        taken = self.intake(path, "--relation", "P50,P19")
        self.assertEqual(taken.facts(), [("P50", "Émile", "Rousseau")])
        self.assertNotIn("P36", {row.relation for row in taken.dropped})
        self.refused(2, "--relation P99999: no such relation has templates", path, "--relation", "P36,P99999")

    def test_streams_that_are_cut_off_or_broken(self) -> None:
        for ending, data in packings(PLAIN).items():
            for broken in (
                data[:-3],
                data[:-20],
                data + b"no stream",
                data[: len(data) // 2] + b"\0" * 9 + data[len(data) // 2 :],
            ):
                with self.subTest(ending):
                    path = self.write("cut.nt" + ending, broken)
                    self.refused(3, rf"cut.nt{ending}:\d+: packed data are broken or cut off", path)
        self.refused(3, "empty.nt: expected at least one fact", self.write("empty.nt", b""))
        self.refused(3, "empty.nt.bz2: expected at least one fact", self.write("empty.nt.bz2", b""))
        self.refused(3, "other.nt: expected at least one fact", self.write("other.nt", fact(1, "P99999", 2)))

    def test_a_pipe_cannot_be_read_twice(self) -> None:
        arguments = "facts", "table", "/dev/stdin", "--format", "dump", "--out", self.path("x.tsv")
        self.run_bad(
            3, "/dev/stdin: expected a file, which can be read twice", *arguments, input=PLAIN.decode(errors="replace")
        )
        self.assertEqual(self.contents(), {})

    def test_memory_does_not_grow_with_the_dump(self) -> None:
        """Five times the lines about other things, the same facts: the same peak, a small part of what the lines
        take."""
        facts = [
            line for i in range(200) for line in (fact(i + 1, "P50", 1000), name(i + 1, f"Book {i}"), wikis(i + 1, i))
        ]
        facts.append(name(1000, "Somebody"))
        options = types.SimpleNamespace(relation=None, relations=read_relations(), language=["en", "mul"])
        peaks, sizes = [], []
        for number in (20_000, 100_000):
            others = (
                name(10**6 + i, f"Another thing {i}") + "\n" + fact(10**6 + i, "P31", i + 5) for i in range(number // 2)
            )
            path = self.path(f"{number}.nt.bz2")
            with bz2.open(path, "wt", compresslevel=1) as file:
                for line in itertools.chain(facts, others):
                    file.write(line + "\n")
            tracemalloc.start()
            rows = sum(row.reason is None for row in read_dump(path, options))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            self.assertEqual(rows, 200)
            with bz2.open(path) as file:
                sizes.append(sum(map(len, file)))
        self.assertGreater(sizes[1] - sizes[0], 8_000_000)
        self.assertLess(peaks[1] - peaks[0], 1_000_000)
        self.assertLess(peaks[1], 8_000_000)


if __name__ == "__main__":
    unittest.main()
