"""knapsack facts table: BEAR, ParaRel, PopQA and answers of the query service give exactly the tables expected; what is
wrong with them is said by row, or by file and line where the whole is refused."""

import json
import os
import unittest

from facts_reader import IntakeTest, Taken

MALFORMED, COUNT, UTF8 = "malformed row", "wrong number of columns", "not UTF-8"
NO_SUBJECT, NO_OBJECT = "subject missing", "object missing"


def jsonl(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


class FormatsTest(IntakeTest):
    def check_dropped(self, taken: Taken, expected: list[tuple[str, int, str]]) -> None:
        """Also that the text is the one in this line of this file."""
        self.assertEqual(taken.reasons(), expected)
        for row in taken.dropped:
            with open(row.file, "rb") as file:
                line = file.read().split(b"\n")[int(row.line) - 1].rstrip(b"\r")
            text = line.decode(errors="backslashreplace").replace("\t", "\\x09")
            self.assertEqual(row.text, text if len(text) <= 1000 else text[:1000] + "...")


class BearTest(FormatsTest):
    def bear(self, folder: str, space: list, *rows: object, name: str = "P36.jsonl") -> None:
        self.write(f"{folder}/{name}", jsonl(*rows))
        self.write(
            f"{folder}/metadata_relations.json",
            json.dumps({"P36": {"templates": ["[X] [Y]"], "answer_space_labels": space}}),
        )

    def row(self, number: int, subject: object, object_: object, index: object = None, **more: object) -> dict:
        return {
            "sub_id": f"Q{number}",
            "sub_label": subject,
            "sub_aliases": [],
            "obj_id": f"Q9{number}",
            "obj_label": object_,
            "answer_idx": index,
            **more,
        }

    def test_a_folder_with_its_answer_space(self) -> None:
        rows = [
            self.row(1, "France", "Paris", 0, obj_aliases=["Lutetia"]),
            self.row(2, "Peru", "Lima", 1),
            self.row(3, "Chad", "Lima", 0),  # the space says Paris
            self.row(4, "Mali", "Bamako", 7),  # no such place in it
            self.row(5, "Cuba", "Havana", True),
            b'{"sub_id": "Q6", "sub_label": "Fiji", "obj_id": "Q96", "obj_label": "Suva"}',  # nothing to compare
            b"",
            self.row(8, "", "Lima", 1),
            self.row(9, "Oman", None, 1),
            self.row(10, "Iran", 5, 1),
            self.row(11, "Iraq", "Baghdad", None, obj_aliases="Bagdad"),
            b'{"sub_label": "Laos", "obj_label": ',
            b"[1, 2]",
            b'{"sub_label": "\xe4"}',
            b"[" * 100_000,
            self.row(1, "France", "Paris", 0),
            self.row(20, "Palau", "Ngerulmud\t", None),
        ]
        self.bear("bear", ["Paris", "Lima"], *rows)
        self.write("bear/README.md", "not a row")
        taken = self.intake(self.path("bear"))
        self.assertEqual(
            taken.rows,
            [
                ["P36:Q1", "P36", "France", "Paris", ["Lutetia"], [], "", ""],
                ["P36:Q2", "P36", "Peru", "Lima", [], [], "", ""],
                ["P36:Q6", "P36", "Fiji", "Suva", [], [], "", ""],
                ["P36:Q20", "P36", "Palau", "Ngerulmud", [], [], "", ""],
            ],
        )
        other = "object differs from the answer space"
        reasons = [
            (3, other),
            (4, other),
            (5, other),
            (8, NO_SUBJECT),
            (9, NO_OBJECT),
            (10, MALFORMED),
            (11, MALFORMED),
            (12, MALFORMED),
        ]
        reasons += [(13, MALFORMED), (14, UTF8), (15, MALFORMED), (16, "duplicate"), (17, "mended: space at the ends")]
        self.check_dropped(taken, [("P36.jsonl", line, reason) for line, reason in reasons])
        self.assertEqual(taken.counts("bear")[:2], (16, 4))  # the empty line is no row

    def test_each_folder_has_its_own_answer_space(self) -> None:
        """As BEAR and BEAR-big stand side by side."""
        self.bear("both/small", ["Paris"], self.row(1, "France", "Paris", 0))
        self.bear("both/big", ["Lima", "Paris"], self.row(1, "France", "Paris", 1), self.row(2, "Peru", "Lima", 0))
        taken = self.intake(self.path("both"))
        self.assertEqual(taken.facts(), [("P36", "France", "Paris"), ("P36", "Peru", "Lima")])
        self.assertEqual(taken.counts("both"), (3, 2, {"duplicate": 1}))

    def test_single_files_and_what_is_refused(self) -> None:
        self.bear("bear", ["Paris"], self.row(1, "France", "Paris", 0))
        self.assertEqual(self.intake(self.path("bear", "P36.jsonl")).facts(), [("P36", "France", "Paris")])
        unnamed = self.write("bear/capitals.jsonl", jsonl(self.row(1, "France", "Paris", 0)))
        self.refused(3, "capitals.jsonl: expected a name such as P36.jsonl", unnamed)
        for text, pattern in (
            ('{"P36": {\n"a" 1}}', ":2: expected JSON"),
            ("[]", ":1: expected an object of relations"),
            (b"\n\xff", ":2: expected UTF-8"),
        ):
            self.write("bear/metadata_relations.json", text)
            self.refused(3, "metadata_relations.json" + pattern, self.path("bear", "P36.jsonl"))


class PararelTest(FormatsTest):
    def test_a_tsv(self) -> None:
        path = self.write(
            "triples.tsv",
            b'prop\tsubj\tobj\r\nP36\tFrance\tParis\r\nP36\t"Peru"\tLima\r\nP36\tChad\r\nP36\t"Big" Ben\tLondon\r\n'
            b"P36\t\tRome\r\nP36\tItaly\t\r\nP0\tItaly\tRome\r\nP36\tIt\xe4ly\tRome\r\nP36\tFrance\tLyon\r\n",
        )
        taken = self.intake(path)
        self.assertEqual([row[0] for row in taken.rows], ["P36:France", "P36:Peru", 'P36:"Big" Ben'])
        reasons = [
            (4, COUNT),
            (6, NO_SUBJECT),
            (7, NO_OBJECT),
            (8, "unknown relation"),
            (9, UTF8),
            (10, "second object"),
        ]
        self.check_dropped(taken, [("triples.tsv", line, reason) for line, reason in reasons])

    def test_jsonl_as_lama_has_it(self) -> None:
        rows = [
            {
                "uuid": "a",
                "sub_uri": "Q1",
                "obj_uri": "Q91",
                "obj_label": "Paris",
                "predicate_id": "P36",
                "sub_label": "France",
            },
            {
                "uuid": "b",
                "sub_label": "Emma",
                "obj_label": "Jane Austen",
                "predicate_id": "P50",
            },  # not what the name says
            {"sub_label": "Peru", "obj_label": "Lima"},
            {"sub_label": "Peru", "obj_label": ["Lima"]},
            {"obj_label": "Lima"},
        ]
        self.write("lama/P36.jsonl", jsonl(*rows))
        taken = self.intake(self.path("lama"))
        self.assertEqual([row[0] for row in taken.rows], ["P36:Q1", "P50:Emma", "P36:Peru"])
        self.check_dropped(taken, [("P36.jsonl", 4, MALFORMED), ("P36.jsonl", 5, NO_SUBJECT)])
        self.assertEqual(self.intake(self.path("lama", "P36.jsonl")).facts(), taken.facts())
        self.write("more/P50.jsonl", jsonl({"sub_label": "Ulysses", "obj_label": "James Joyce"}))
        both = self.intake(self.path("lama"), self.path("more", "P50.jsonl"))
        self.assertEqual((list(both.groups), both.counts("P50.jsonl")), (["lama", "P50.jsonl"], (1, 1, {})))


class PopqaTest(FormatsTest):
    COLUMNS = (
        "id subj prop obj subj_id prop_id obj_id s_aliases o_aliases s_uri o_uri s_wiki_title "
        "o_wiki_title s_pop o_pop question"
    )
    HEAD = COLUMNS.replace(" ", "\t") + "\tpossible_answers\n"

    def line(
        self, subject: str, prop: str, object_: str, aliases: str, popularity: str, answers: str, uris: tuple = ("", "")
    ) -> str:
        uri = [f"http://www.wikidata.org/entity/{one}" if one else "" for one in uris]
        fields = [
            "1",
            subject,
            prop,
            object_,
            "77",
            "22",
            "88",
            "[]",
            aliases,
            *uri,
            subject,
            object_,
            popularity,
            "5",
            "Who?",
            answers,
        ]
        return "\t".join(fields) + "\n"

    def test_aliases_answers_and_popularity(self) -> None:
        quoted = '"[""polit."", ""statesman""]"', '"[""politician"", ""polit."", ""jurist""]"'
        path = self.write(
            "popQA.tsv",
            self.HEAD
            + self.line("George Rankin", "occupation", "politician", quoted[0], "142", quoted[1], ("Q1", "Q2"))
            + self.line("France", "capital", "Paris", '["Lutetia"]', "0", '["Paris"]')
            + self.line("Paris", "capital of", "France", "[]", "", "[]")
            + self.line("Emma", "author", "Jane Austen", "[", "1", "[]")
            + self.line("Emma", "author", "Jane Austen", "[]", "1", '"Jane"')
            + self.line("Emma", "author", "", "[]", "1", "[]")
            + self.line("Emma", "shoe size", "37", "[]", "1", "[]")
            + "1\tEmma\tauthor\tJane Austen\n"
            + self.line("George Rankin", "occupation", "jurist", "[]", "150", "[]", ("Q1", "Q3")),
        )
        taken = self.intake(path)
        self.assertEqual(
            taken.rows,
            [
                ["P106:Q1", "P106", "George Rankin", "politician", ["polit.", "statesman"], ["jurist"], "142", ""],
                ["P36:France", "P36", "France", "Paris", ["Lutetia"], [], "0", ""],
                ["P1376:Paris", "P1376", "Paris", "France", [], [], "", ""],
            ],
        )
        reasons = [
            (5, MALFORMED),
            (6, MALFORMED),
            (7, NO_OBJECT),
            (8, "unknown relation"),
            (9, COUNT),
            (10, "second object"),
        ]
        reasons.append((4, "mended: popularity is not a number"))
        self.check_dropped(taken, [("popQA.tsv", line, reason) for line, reason in reasons])
        self.refused(
            3, "x.tsv:1: expected the columns .* s_pop, possible_answers", self.write("x.tsv", "subj\tobj\ts_pop\n")
        )


class QueryTest(FormatsTest):
    def uri(self, name: str) -> dict:
        return {"type": "uri", "value": "http://www.wikidata.org/entity/" + name}

    def binding(
        self, subject: str, subject_label: str, object_: str, object_label: str, prefix: str = "", **more: object
    ) -> dict:
        text = {"type": "literal", "xml:lang": "en"}
        names = (
            ("item", "itemLabel", "value", "valueLabel")
            if prefix
            else ("subject", "subjectLabel", "object", "objectLabel")
        )
        values = self.uri(subject), dict(text, value=subject_label), self.uri(object_), dict(text, value=object_label)
        return dict(zip(names, values), **more)

    def answer(self, variables: str, *bindings: object) -> str:
        """One binding a line, after a head of five lines."""
        text = ",\n".join(json.dumps(one) for one in bindings)
        return (
            '{\n"head": {\n"vars": '
            + json.dumps(variables.split())
            + '\n},\n"results": {"bindings": [\n'
            + text
            + "\n]}}\n"
        )

    FULL = "subject subjectLabel object objectLabel objectAltLabel sitelinks relation"

    def test_items_without_names_and_values_without_items(self) -> None:
        relation = {"type": "uri", "value": "http://www.wikidata.org/prop/direct/P36"}
        extra = {
            "objectAltLabel": {"type": "literal", "value": "Lutetia, City of Light"},
            "sitelinks": {"type": "literal", "value": "250"},
        }
        rows = [
            self.binding("Q1", "France", "Q91", "Paris", relation=relation, **extra),
            self.binding("Q2", "Q2", "Q92", "Lima", relation=relation),
            self.binding("Q3", "Chad", "Q93", "Q93", relation=relation),
            dict(
                self.binding("Q4", "Mali", "Q94", "t123", relation=relation), object={"type": "bnode", "value": "t123"}
            ),
            dict(
                self.binding("Q5", "Cuba", "", "x", relation=relation),
                object={"type": "uri", "value": "http://www.wikidata.org/.well-known/genid/7f"},
            ),
            self.binding("Q6", "Oman", "Q96", "Muscat"),
            {"subjectLabel": {"value": "Fiji"}, "relation": relation},
            {"subjectLabel": "Fiji", "relation": relation},
            ["Fiji"],
            self.binding("Q1", "France", "Q98", "Vichy", relation=relation),
            {
                "subjectLabel": {"type": "literal", "value": "Peru"},
                "objectLabel": {"type": "literal", "value": "Lima"},
                "relation": relation,
            },
        ]
        path = self.write("query.json", self.answer(self.FULL, *rows))
        taken = self.intake(path, "--alias-separator", ", ")
        self.assertEqual(
            taken.rows,
            [
                ["P36:Q1", "P36", "France", "Paris", ["Lutetia", "City of Light"], ["Vichy"], "250", ""],
                ["P36:Peru", "P36", "Peru", "Lima", [], [], "", ""],
            ],
        )
        item, label = "subject or object is not an item", "no label in the language"
        reasons = [
            (7, label),
            (8, label),
            (9, item),
            (10, item),
            (11, "unknown relation"),
            (12, NO_OBJECT),
            (13, MALFORMED),
        ]
        reasons += [(14, MALFORMED), (15, "second object")]
        self.assertEqual(taken.reasons(), [("query.json", line, reason) for line, reason in reasons])
        self.assertEqual([json.loads(row.text) for row in taken.dropped], rows[1:-1])

    def test_columns_and_relation_by_flag(self) -> None:
        row = self.binding(
            "Q1", "France", "Q91", "Paris", "item", links={"value": "9"}, valueAltLabel={"value": "Lutetia"}
        )
        path = self.write("q.json", self.answer("item itemLabel value valueLabel valueAltLabel links", row))
        flags = "--columns", "subject=item,object=value,sitelinks=links", "--relation", "P36"
        self.assertEqual(
            self.intake(path, *flags).rows, [["P36:Q1", "P36", "France", "Paris", ["Lutetia"], [], "9", ""]]
        )
        self.refused(
            3, "q.json:1: expected the variable subjectLabel, found item, .* try --columns", path, "--relation", "P36"
        )
        self.refused(3, "expected the variable relation", path, *flags[:2])
        self.refused(2, "takes one relation", path, *flags[:3], "P36,P50")
        self.refused(2, "--relation P99999: no such relation", path, *flags[:3], "P99999")

    def test_what_is_refused(self) -> None:
        bad = [
            ('{"head": {"vars": []},\n"results" 1}', ":2: expected JSON"),
            ('{"head": {"vars": []}, "results": {"bindings": {}}}', ":1: expected a result of the query service"),
            ('{"boolean": true}', ":1: expected a result of the query service"),
            (b'{\n"a": "\xff"}', ":2: expected UTF-8, found byte 0xff"),
            (self.answer(self.FULL, {})[:-20], r":\d: expected JSON"),
            ("{" + '"a":[' * 100_000, ":1: expected JSON"),
        ]
        for text, pattern in bad:
            self.refused(3, "q.json" + pattern, self.write("q.json", text))
        self.assertFalse(os.path.exists(self.path("out", "x.tsv")))


if __name__ == "__main__":
    unittest.main()
