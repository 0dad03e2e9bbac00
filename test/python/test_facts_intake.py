"""knapsack facts table: which rows become facts, whatever their format; the account of the others; what is refused as a
whole."""

from __future__ import annotations

import bz2
import collections
import gzip
import os
import random
import unittest

import support
from facts_reader import TABLE, IntakeTest, Taken

from knapsack.facts.table import read_table

HEAD = "relation\tsubject\tobject\n"
IDS = "id\t" + HEAD

# A line of a table with the columns relation, subject, object, and why it is dropped.
BAD_ROWS = [
    ("P36\tItaly", "wrong number of columns"),
    ("P36\tItaly\tRome\tEurope", "wrong number of columns"),
    ("", "wrong number of columns"),
    ("P99999\tItaly\tRome", "unknown relation"),
    ("capital\tItaly\tRome", "unknown relation"),
    ("\tItaly\tRome", "unknown relation"),
    ("P36\t\tRome", "subject missing"),
    ("P36\t  \tRome", "subject missing"),
    ("P36\tItaly\t", "object missing"),
    ("P36\tItaly\t\u00a0", "object missing"),
    ("P36\tLuxembourg\tLuxembourg", "object is the subject"),
    ("P36\tLuxembourg \tLuxembourg", "object is the subject"),
    ("P36\t" + "x" * 201 + "\tRome", "name over 200 characters"),
    ("P36\tItaly\t" + "x" * 201, "name over 200 characters"),
    ("P36\tIta\x07ly\tRome", "tab, line break or control character in a name"),
    ("P36\tItaly\tRo\u2028me", "tab, line break or control character in a name"),
    (b"P36\tIt\xe4ly\tRome", "not UTF-8"),
    (b"\xff\xfe\x00", "not UTF-8"),
]


def as_bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


class RowsTest(IntakeTest):
    def table(self, text: str, *arguments: object, name: str = "a.tsv") -> Taken:
        return self.intake(self.write(name, text), *arguments)

    def test_every_bad_row_is_listed_with_file_line_and_text(self) -> None:
        lines = [
            HEAD.strip().encode(),
            b"P36\tFrance\tParis",
            *(as_bytes(line) for line, _ in BAD_ROWS),
            b"P36\tPeru\tLima",
        ]
        path = self.write("a.tsv", b"\n".join(lines))  # no end of the last line
        taken = self.intake(path)
        self.assertEqual(taken.facts(), [("P36", "France", "Paris"), ("P36", "Peru", "Lima")])
        self.assertEqual(taken.reasons(), [("a.tsv", number, reason) for number, (_, reason) in enumerate(BAD_ROWS, 3)])
        for row, (line, _) in zip(taken.dropped, BAD_ROWS):
            self.assertEqual(row.file, path)
            text = as_bytes(line).decode(errors="backslashreplace")
            for character in "\t\x07\u2028\x00":
                text = text.replace(character, f"\\x{ord(character):02x}")
            self.assertEqual(row.text, text)
        expected = collections.Counter(reason for _, reason in BAD_ROWS)
        self.assertEqual(taken.counts("a.tsv"), (len(BAD_ROWS) + 2, 2, expected))

    def test_counts_of_many_rows_in_two_files_equal_those_of_a_simple_model(self) -> None:
        """The model: the first good row of a subject is kept, a further object is a second object, the rest
        duplicates."""
        draw, objects = random.Random(1), {}
        counts = {name: collections.Counter() for name in ("a.tsv", "b.tsv")}
        for name, count in counts.items():
            lines = [HEAD.encode()]
            for _ in range(600):
                count["rows"] += 1
                if draw.random() < 0.2:
                    line, reason = draw.choice(BAD_ROWS)
                else:
                    relation, subject, object_ = (
                        draw.choice(["P36", "P50"]),
                        f"S {draw.randrange(150)}",
                        f"O {draw.randrange(3)}",
                    )
                    line = f"{relation}\t{subject}\t{object_}"
                    found = objects.setdefault((relation, subject), [])
                    reason = "kept" if not found else "duplicate" if object_ in found else "second object"
                    found.append(object_)
                count[reason] += 1
                lines.append(as_bytes(line) + b"\n")
            self.write(name, b"".join(lines))
        taken = self.intake(self.path("a.tsv"), self.path("b.tsv"))
        for name, count in counts.items():
            self.assertEqual(taken.counts(name), (count.pop("rows"), count.pop("kept"), count))
        for id, relation, subject, object_, aliases, also, *_ in taken.rows:
            self.assertEqual([object_, *also], list(dict.fromkeys(objects[relation, subject])))
            self.assertEqual((id, aliases), (f"{relation}:{subject}", []))

    def test_rows_of_one_subject_join(self) -> None:
        taken = self.table(
            "id\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents\n"
            'P40:Q1\tP40\tAnn\tBob\t["Robert", "Bobby"]\t["Dan"]\t\t7\n'
            'P40:Q1\tP40\tAnn\tCid\t["El Cid"]\t\t12\t\n'
            'P40:Q1\tP40\tAnn Other\tBob\t["Rob", "Bobby"]\t\t13\t\n'  # another name of this subject
            "P40:Q1\tP40\tAnn\tBob\t\t\t\t\n"
            "P40:Q2\tP40\tAnn\tEve\t\t\t\t\n"  # another subject of this name
            "P40:Q3\tP40\tFay\tEve\t\t\t0\t\n"
            "\tP40\tFay\tGus\t\t\t\t\n"  # no id: by the name
        )
        self.assertEqual(
            taken.rows,
            [
                ["P40:Q1", "P40", "Ann", "Bob", ["Robert", "Bobby", "Rob"], ["Dan", "Cid", "El Cid"], "12", "7"],
                ["P40:Q3", "P40", "Fay", "Eve", [], ["Gus"], "0", ""],
            ],
        )
        reasons = ["second object", "duplicate", "duplicate", "namesake", "second object"]
        self.assertEqual(taken.reasons(), [("a.tsv", line, reason) for line, reason in zip((3, 4, 5, 6, 8), reasons)])

    def test_a_name_that_reads_like_an_id_is_not_taken_for_the_item(self) -> None:
        for first, second in (
            ("P50:Q7\tP50\tA Novel\tAnn\n", "\tP50\tQ7\tBob\n"),
            ("\tP50\tQ7\tBob\n", "P50:Q7\tP50\tA Novel\tAnn\n"),
        ):
            taken = self.table(IDS + first + second)
            self.assertEqual(taken.reasons(), [("a.tsv", 3, "namesake")])
            self.assertEqual(taken.rows[0][5], [])
        taken = self.table(IDS + "P50:x/Q7\tP50\tx/Q7\tAnn\nP50:Q7\tP50\tA Novel\tBob\n")
        self.assertEqual([row[0] for row in taken.rows], ["P50:x/Q7", "P50:Q7"])

    def test_what_is_mended_is_said(self) -> None:
        taken = self.table(
            "relation\tsubject\tobject\talso\taliases\tpopularity\tweb_documents\n"
            "P36\t France\tParis \t\t\t\t\n"
            'P36\tPeru\tLima\t["", "Callao\\t", "' + "x" * 201 + '", "a\\tb"]\t[" Lima "]\tmany\t-1\n'
            'P36\tChad\tNDjamena\t"Fort-Lamy"\t\t\t\n'
        )
        self.assertEqual(taken.facts(), [("P36", "France", "Paris"), ("P36", "Peru", "Lima")])
        self.assertEqual(taken.rows[1][4:], [[], ["Callao"], "", ""])
        mended = [
            "an unfit answer left out",
            "space at the ends",
            "popularity is not a number",
            "web_documents is not a number",
        ]
        expected = [("a.tsv", 4, "malformed row"), ("a.tsv", 2, "mended: space at the ends")]
        self.assertEqual(taken.reasons(), expected + [("a.tsv", 3, f"mended: {what}") for what in mended])

    def test_a_limit_draws_by_seed_whatever_the_order_of_rows(self) -> None:
        rows = [(relation, f"Subject {i}", f"Object {i % 7}") for relation in ("P36", "P50") for i in range(60)]
        rows += [("P19", f"Subject {i}", f"Object {i}") for i in range(4)]
        drawn = {}
        for order in range(3):
            random.Random(order).shuffle(rows)
            text = HEAD + "".join("\t".join(row) + "\n" for row in rows)
            for seed in (1, 2):
                taken = self.table(text, "--limit-per-relation", 10, "--seed", seed)
                self.assertEqual(collections.Counter(row[1] for row in taken.rows), {"P36": 10, "P50": 10, "P19": 4})
                self.assertEqual(taken.counts("a.tsv")[2], {"beyond --limit-per-relation": 100})
                kept = frozenset(taken.facts())
                self.assertEqual(taken.facts(), [row for row in rows if row in kept])
                drawn.setdefault(seed, set()).add(kept)
        self.assertEqual([len(sets) for sets in drawn.values()], [1, 1])
        self.assertNotEqual(drawn[1], drawn[2])
        larger = self.table(text, "--limit-per-relation", 20)  # a smaller draw is part of a larger one
        self.assertLess(next(iter(drawn[1])), frozenset(larger.facts()))

    def test_a_table_of_our_own_comes_back_byte_for_byte(self) -> None:
        text = (
            "\n".join(TABLE)
            + "\n"
            + (
                'P36:Q142\tP36\tFrance\tParis\t["Lutetia", "City \\"of\\" Light"]\t["Vichy"]\t250\t0\n'
                'P36:"Quoted"\tP36\t"Quoted"\tTown of "Ann"\t\t\t0\t4294967294\n'
                "P50:Émile\tP50\tÉmile\t盧梭\t\t\t\t\n"
            )
        )
        for source in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
            self.table(source)
            self.assertEqual(self.contents(".tsv")["out/facts.tsv"].decode(), text)
        read_table(self.path("out", "facts.tsv"))  # the strict reader takes it
        sample = os.path.join(support.PACKAGE, "facts", "sample.tsv")
        self.intake(sample)
        with open(sample, "rb") as file:
            self.assertEqual(self.contents(".tsv")["out/facts.tsv"], file.read())

    def test_relations_of_ones_own_count_as_known(self) -> None:
        relations = self.write(
            "relations.tsv",
            "# relations, format_version 1\nrelation\tkind\ttext\nmoon\tlabel\tmoon\nmoon\tseen\t[X] has the "
            "moon [Y].\n"
            "moon\theldout\tAround [X] flies [Y].\nmoon\tquestion\tWhich moon has [X]?\n",
        )
        taken = self.table(HEAD + "moon\tEarth\tthe Moon\nP36\tPeru\tLima\n", "--relations", relations)
        self.assertEqual([row[0] for row in taken.rows], ["moon:Earth", "P36:Peru"])


class RefusedTest(IntakeTest):
    def test_inputs_that_cannot_be_read_as_a_whole(self) -> None:
        good = self.write("good.tsv", HEAD + "P36\tPeru\tLima\n")
        self.refused(3, "none.tsv: no such file", good, self.path("none.tsv"))
        bad = [
            ("empty.tsv", "", r"empty.tsv:1: expected the columns relation, subject, object .* found ''"),
            ("wrong.tsv", "relation\tsubject\nP36\tPeru\n", r"wrong.tsv:1: expected the columns .* found 'relation"),
            ("utf16.tsv", (HEAD + "P36\tPeru\tLima\n").encode("utf-16"), r"utf16.tsv:1: expected the columns"),
            ("newer.tsv", "# facts, format_version 2\n" + HEAD, r"newer.tsv:1: .* found '# facts, format_version 2'"),
            ("head.tsv", TABLE[0] + "\n", r"head.tsv:2: expected the columns"),
            ("twice.tsv", "relation\tsubject\tobject\tobject\n", r"twice.tsv:1: expected the columns"),
            ("none_kept.tsv", HEAD + "P36\tPeru\t\n", "none_kept.tsv: expected at least one fact, found none"),
            ("only_head.tsv", HEAD, "only_head.tsv: expected at least one fact"),
        ]
        for name, text, pattern in bad:
            with self.subTest(name):
                self.refused(3, pattern, self.write(name, text))
        self.refused(3, r"good.tsv:1: expected the columns prop, subj, obj .* found", good, "--format", "pararel")
        self.refused(2, "x.doc: the format cannot be recognised .* try --format", self.write("x.doc", "Peru has Lima."))
        os.makedirs(self.path("folder"))
        self.refused(3, "folder: expected files such as P36.jsonl, found none", self.path("folder"))
        self.refused(3, "folder: Is a directory", self.path("folder"), "--format", "table")

    def test_flags_that_do_not_fit(self) -> None:
        good = self.write("good.tsv", HEAD + "P36\tPeru\tLima\n")
        bad = [
            ("an input is given twice", good),
            ("--relation is for the formats query and dump", "--relation", "P36"),
            ("--relation is for|is not a relation such as P36", "--relation", "capital"),
            ("--columns is for the format query", "--columns", "subject=item"),
            ("expected ROLE=VARIABLE", "--columns", "item"),
            ("--split is for the format entityquestions", "--split", "dev"),
            ("--question-templates is for the format entityquestions", "--question-templates", good),
            ("--language is for the format dump", "--language", "de"),
            ("is not a count", "--limit-per-relation", "0"),
            ("invalid choice", "--format", "csv"),
            ("a folder; expected a file such as", "--out", self.folder),
        ]
        for pattern, *arguments in bad:
            with self.subTest(arguments):
                self.refused(2, pattern, good, *arguments)
        self.refused(3, "none: No such file", good, "--relations", self.path("none"))

    def test_packed_tables_and_cut_off_ones(self) -> None:
        """A cut-off stream refuses the whole: no half-written output, and what an earlier run wrote stays."""
        lines = [f"P36\tSubject {i}\tObject {random.Random(i).random()}\n" for i in range(3000)]
        plain = (HEAD + "".join(lines)).encode()
        packed = {"gz": gzip.compress(plain), "bz2": bz2.compress(plain[:5000]) + bz2.compress(plain[5000:])}
        try:
            import zstandard

            packed["zst"] = zstandard.ZstdCompressor().compress(plain)
        except ImportError:
            pass
        self.intake(self.write("a.tsv", plain))
        expected = self.contents()["out/facts.tsv"]
        for ending, data in packed.items():
            with self.subTest(ending):
                taken = self.intake(self.write(f"a.tsv.{ending}", data))
                self.assertEqual(taken.counts(f"a.tsv.{ending}"), (3000, 3000, {}))
                self.assertEqual(self.contents()["out/facts.tsv"], expected)
                for size in (len(data) // 2, len(data) - 5):
                    cut = self.write(f"cut.tsv.{ending}", data[:size])
                    self.refused(3, rf"cut.tsv.{ending}:\d+: packed data are broken or cut off", cut)
                    self.refused(3, "broken or cut off", cut, "--out", self.path("out", "facts.tsv"))
                self.refused(3, "broken or cut off", self.write(f"no.tsv.{ending}", plain), "--format", "table")
                self.refused(3, "expected the columns", self.write(f"empty.tsv.{ending}", b""))

    def test_exit_codes_and_summary_of_the_program(self) -> None:
        path = self.write(os.fsdecode(b"a\xff.tsv"), HEAD + "P36\tPeru\tLima\nP36\tPeru\tCuzco\nP36\tChad\t\n")
        said = self.run_ok("facts", "table", path, "--out", self.path("facts.tsv"))
        self.assertRegex(said, r"total +3 = +1 \+ +2  1 second object, 1 object missing")
        self.assertRegex(said, r"object missing: 1\n  .*tsv:4: P36\\x09Chad\\x09\n")
        self.assertIn("facts.tsv: 1 facts of 1 relations", said)
        self.check(Taken(self.path("facts.tsv"), said))
        self.run_bad(3, "no such file", "facts", "table", self.path("none"), "--out", self.path("out", "x.tsv"))
        self.run_bad(2, "--split is for", "facts", "table", path, "--split", "dev", "--out", self.path("out", "x.tsv"))
        self.assertFalse(os.path.exists(self.path("out")))


if __name__ == "__main__":
    unittest.main()
