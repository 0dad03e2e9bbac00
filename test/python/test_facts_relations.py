"""knapsack facts relations: the built-in templates, user-supplied relation files, and those made from ParaRel."""

import json
import os
import re
import unittest

import support

from knapsack.facts.relations import read_relations

KINDS = ("seen", "heldout", "question")
LEAST = {"seen": 6, "heldout": 2, "question": 2}  # 5 + 2 + 2 are in use by default
ENTITY_QUESTIONS = (
    "P17 P19 P20 P26 P30 P36 P40 P50 P69 P106 P112 P127 P131 P136 P159 P170 P175 P176 P264 P276 P407 P413 P495 P740 "
    "P800"
)
FUNCTION_WORDS = set("x y s a the of in is are was has by to on that for".split())
POP_QA = "P106 P19 P136 P22 P17 P162 P57 P1376 P58 P86 P462 P140 P641 P50 P25 P36"
PARAREL = os.path.join(support.OUTSIDE_DATA, "pararel", "pararel_patterns.tsv")
QUESTIONS = os.path.join(support.OUTSIDE_DATA, "entityquestions", "relation_query_templates.json")
GOOD = """# relations, format_version 1
relation	kind	text
P36	label	chief city
P36	seen	The chief city of [X] is [Y].
P36	seen	[X] has its chief city in [Y].
P36	heldout	[X] is ruled from [Y].
P36	question	What is the chief city of [X]?
Q_1	question	Where is [X]?
Q_1	heldout	Find [X] in [Y].
Q_1	seen	[X] is found in [Y].
Q_1	label	place
"""


def prompts(relation) -> dict[str, str]:
    """What is asked, in a form to compare, with its kind."""
    found = {}
    for kind in KINDS:
        for text in getattr(relation, kind):
            asked = " ".join(text.removesuffix("[Y].").casefold().split())
            assert asked not in found, f"{relation.id}: {text}"
            found[asked] = kind
    return found


class BuiltInTest(unittest.TestCase):
    def test_all_relations_of_the_data_sets(self) -> None:
        self.assertLessEqual({*ENTITY_QUESTIONS.split(), *POP_QA.split()}, read_relations().keys())

    def test_no_training_prompt_stands_in_two_relations(self) -> None:
        """It would have two right answers."""
        first: dict[str, str] = {}
        for name, relation in read_relations().items():
            for text in relation.seen:
                prompt = " ".join(text.partition("[Y]")[0].casefold().split())
                self.assertEqual(first.setdefault(prompt, name), name, text)

    def test_counts_and_forms(self) -> None:
        for name, relation in read_relations().items():
            self.assertEqual(relation.id, name)
            self.assertRegex(name, r"^P[1-9][0-9]*$")
            for kind, least in LEAST.items():
                texts = getattr(relation, kind)
                self.assertGreaterEqual(len(texts), least, f"{name} {kind}")
                for text in texts:
                    self.assertEqual(text.count("[X]"), 1, text)
                    self.assertEqual(text, " ".join(text.split()))
                    self.assertNotRegex(text, r"(?i)\b(s?he|her|hers|him|his)\b|\[X\][^' ,?]|\ban? \[[XY]\]")
                    if kind == "question":
                        self.assertTrue(text.endswith("?") and "[Y]" not in text, text)
                    else:
                        self.assertRegex(text, r"^[^\[\]]*\[X\][^\[\]]* \[Y\]\.$")

    def test_no_training_statement_is_asked_in_another_kind(self) -> None:
        for relation in read_relations().values():
            for asked, kind in prompts(relation).items():
                for other, other_kind in prompts(relation).items():
                    if kind != other_kind:
                        begins = f"{other} ".startswith(f"{asked} ")
                        self.assertFalse(begins, f"{relation.id}: '{asked}' begins '{other}'")

    def test_held_out_statements_are_other_wordings(self) -> None:
        """At most half of the words that carry the meaning of a held-out statement stand in one training statement."""

        def words(text: str) -> set[str]:
            return set(re.findall(r"\w+", text.casefold())) - FUNCTION_WORDS

        for relation in read_relations().values():
            for text in relation.heldout:
                for seen in relation.seen:
                    shared = words(text) & words(seen)
                    self.assertLessEqual(len(shared), len(words(text)) / 2, f"{relation.id}: '{text}' and '{seen}'")

    def test_list(self) -> None:
        done = support.run_script("facts", "relations")
        self.assertEqual(done.returncode, 0, done.stderr)
        _, *lines = done.stdout.splitlines()
        self.assertEqual(len(lines), len(read_relations()))
        capital = read_relations()["P36"]
        line = next(line for line in lines if line.startswith("P36 "))
        self.assertEqual(line.split(), ["P36", "capital", *(str(len(getattr(capital, kind))) for kind in KINDS)])


class OwnFileTest(support.FolderTest):
    def test_replaces_relation_by_relation(self) -> None:
        own = read_relations(self.write("own.tsv", GOOD))
        self.assertEqual(own["P36"].label, "chief city")
        self.assertEqual(own["P36"].seen, ("The chief city of [X] is [Y].", "[X] has its chief city in [Y]."))
        self.assertEqual((own["Q_1"].heldout, own["Q_1"].question), (("Find [X] in [Y].",), ("Where is [X]?",)))
        built_in = read_relations()
        self.assertEqual(own.keys(), {*built_in, "Q_1"})
        self.assertTrue(all(own[name] == relation for name, relation in built_in.items() if name != "P36"))

    def check(self, line: int, pattern: str, data: str | bytes) -> None:
        path = self.write("bad.tsv", data)
        self.run_bad(3, rf"bad\.tsv:{line}: {pattern}", "facts", "relations", "--relations", path)

    def test_what_is_not_a_relation_file(self) -> None:
        first, header, *_ = GOOD.splitlines()
        self.check(1, "expected '# relations, format_version 1', found ''", "")
        self.check(1, "expected '# relations, format_version 1', found '# relations, .* 2'", GOOD.replace("1", "2"))
        self.check(1, r"expected .* found '\\ufeff# rel", "\ufeff" + GOOD)
        self.check(2, "expected .* found 'the end of the file'", first + "\n")
        self.check(2, "expected .* found 'relation.tkind'", f"{first}\nrelation\tkind\n")
        self.check(3, "expected a relation, found the end of the file", f"{first}\n{header}\n")
        self.check(5, "byte 0xff is not UTF-8", GOOD.replace("has its", "\0").encode().replace(b"\0", b"\xff"))
        self.check(12, "expected relation, kind and text between tabs, found ''", GOOD + "\n")
        missing = self.path("missing.tsv")
        self.run_bad(3, r"missing\.tsv: No such file", "facts", "relations", "--relations", missing)

    def test_lines(self) -> None:
        for line, pattern in {
            "P36\tseen": "expected relation, kind and text between tabs, found 'P36",
            "P36\tseen\t[X]\t[Y].": "expected relation, kind and text between tabs, found 'P36",
            "P 36\tlabel\tx": "expected a relation such as P36, found 'P 36'",
            "\tlabel\tx": "expected a relation such as P36, found ''",
            "P36\ttrained\tOf [X] is [Y].": "expected a kind out of label, seen, heldout, question, found 'trained'",
            "P36\tseen\t": "expected a template, found an empty text",
            "P36\tseen\tOf [X] is [Y]. ": "expected a template, found a text with space at its ends",
            "P36\tseen\tOf [X] is [Y].\r": "expected a template, found a text with a tab, line break or control",
            "P36\tseen\tIt is [Y].": "expected .X. once, found it 0 times in 'It is",
            "P36\tseen\t[X] and [X] are [Y].": "expected .X. once, found it 2 times",
            "P36\tseen\t[Y] is of [X].": "expected a statement with one .Y., after",
            "P36\tseen\t[X] is [Y] or [Y].": "expected a statement with one .Y.",
            "P36\tseen\tOf [X] is [Y]": "expected a statement with one .Y., .* that ends in ' .Y..', found",
            "P36\theldout\tOf [X] is '[Y].": "expected a statement with one .Y., .* that ends in ' .Y..', found",
            "P36\tquestion\tIs [X] in [Y]?": "expected a question without .Y.",
            "P36\tquestion\tWhere is [X].": "expected a question that ends in '.', found 'Where",
            "P36\tlabel\tcapital": "expected one label a relation, found 'capital' after 'chief city'",
            "P36\tseen\tThe chief city of [X] is [Y].": "expected another text before the object than in line 4",
            "P36\theldout\tTHE chief  city of [X] is [Y].": "expected another text before the object than in line 4",
            "Q_1\tquestion\tWHERE IS [X]?": "expected another text before the object than in line 8",
        }.items():
            with self.subTest(line):
                self.check(12, pattern, f"{GOOD}{line}\n")

    def test_a_kind_is_missing(self) -> None:
        for kind in ("label", *KINDS):
            lines = GOOD.split("\n")
            kept = lines[:7] + [line for line in lines[7:] if f"\t{kind}\t" not in line]
            self.check(8, f"expected lines of the kinds .* for Q_1, found none of {kind}$", "\n".join(kept))


class ParaRelTest(support.FolderTest):
    def make(self, patterns: list[str], questions: dict[str, str]) -> str:
        rows = "".join(f"{pattern}\tpresent\n" for pattern in patterns)
        return self.run_ok(
            "facts",
            "relations",
            "--patterns",
            self.write("patterns.tsv", "prop\tpattern\ttense\n" + rows),
            "--question-templates",
            self.write("questions.json", json.dumps(questions)),
            "--out",
            self.path("out", "relations.tsv"),
        )

    def test_division_and_account(self) -> None:
        said = self.make(
            [
                "P36\tThe capital of [X] is [Y] .",
                "P36\t[Y] is the capital of [X].",
                "P36\t[X]'s capital,  [Y]",
                "P36\tthe capital of [X] is [Y]",
                "P36\t[X] has [Y] as capital.",
                "P36\t[X] and its [X] is [Y].",
                "P36\t[X] is governed from [Y].",
                "P36\t[X] has its capital in [Y].",
                "P9\tOne of [X] is [Y].",
                "P9\tTwo of [X] is [Y].",
                "P8\tOne of [X] is [Y].",
                "P7\tOne of [X] is [Y].",
                "P7\tTwo of [X] is [Y].",
                "P6\t[Y] of [X].",
            ],
            {"P36": "Capital of [X]?", "P9": "[X]?", "P9_more": "What [X]?", "P8": "[X]?", "P5": "[X]?", "P7": "[Y]?"},
        )
        made = read_relations(self.path("out", "relations.tsv"))
        self.assertEqual(made["P36"].label, "capital")
        self.assertEqual(made["P36"].seen, ("The capital of [X] is [Y].", "[X]'s capital, [Y]."))
        self.assertEqual(made["P36"].heldout, ("[X] is governed from [Y].", "[X] has its capital in [Y]."))
        self.assertEqual(made["P9"].label, "P9")
        self.assertEqual((made["P9"].seen, made["P9"].heldout), (("One of [X] is [Y].",), ("Two of [X] is [Y].",)))
        self.assertEqual(made["P9"].question, ("[X]?", "What [X]?"))
        self.assertEqual(made.keys(), {*read_relations(), "P9"})
        self.assertIn("14 patterns = 6 used + 8 left out", said)
        self.assertIn("  2 [Y] comes before [X]\n", said)
        self.assertIn("  1 [Y] is not the last word\n", said)
        self.assertIn("  1 does not have [X] and [Y] once each\n", said)
        self.assertIn("  1 the same as an earlier one\n", said)
        self.assertIn("  3 its relation is left out\n", said)
        for name, patterns, questions in (("P8", 1, 1), ("P7", 2, 0), ("P6", 0, 0)):
            self.assertIn(f"left out: {name}, fitting patterns: {patterns}, question templates: {questions}\n", said)
        self.assertIn("left out: P5, no pattern\n", said)
        self.assertIn("left out: the question template P7,", said)

    def test_refused(self) -> None:
        good = self.write("good.tsv", "prop\tpattern\ttense\nP36\tOf [X] [Y].\tpast\nP36\tFrom [X] [Y].\tpast\n")
        questions = self.write("questions.json", '{"P36": "Capital of [X]?"}')

        def refuse(code: int, pattern: str, patterns: str, templates: str) -> None:
            flags = ("--patterns", patterns, "--question-templates", templates, "--out", self.path("out.tsv"))
            self.run_bad(code, pattern, "facts", "relations", *flags)
            self.assertFalse(os.path.exists(self.path("out.tsv")))

        bad = self.write("bad.tsv", "relation\tpattern\n")
        refuse(3, r"bad\.tsv:1: expected the columns prop, pattern and tense", bad, questions)
        bad = self.write("bad.tsv", "prop\tpattern\ttense\nP36\tOf [X] [Y].\n")
        refuse(3, r"bad\.tsv:2: expected 3 fields", bad, questions)
        bad = self.write("bad.tsv", "prop\tpattern\nP 36\tOf [X] [Y].\n")
        refuse(3, r"bad\.tsv:2: expected a relation such as P36, found 'P 36'", bad, questions)
        refuse(3, r"bad\.json:2: expected JSON", good, self.write("bad.json", '{"P36": "a",\n]'))
        refuse(3, r"bad\.json:1: expected an object", good, self.write("bad.json", '{"P36": ["Capital of [X]?"]}'))
        unfit = self.write("bad.json", '{"P36": "\\ud800[X]?"}')
        refuse(3, r"good\.tsv: expected a relation with two fitting", good, unfit)
        self.run_bad(2, "go together", "facts", "relations", "--patterns", good)
        self.run_bad(2, "go together", "facts", "relations", "--out", self.path("out.tsv"))

    @unittest.skipUnless(os.path.exists(PARAREL), "ParaRel is not there")
    @unittest.skipUnless(os.path.exists(QUESTIONS), "EntityQuestions is not there")
    def test_the_data_sets(self) -> None:
        flags = ("--patterns", PARAREL, "--question-templates", QUESTIONS, "--out", self.path("made.tsv"))
        said = self.run_ok("facts", "relations", *flags)
        patterns, used, left_out = map(int, re.search(r"(\d+) patterns = (\d+) used \+ (\d+) left out", said).groups())
        self.assertEqual(patterns, used + left_out)
        with open(PARAREL, encoding="utf-8") as file:
            self.assertEqual(patterns, len(file.readlines()) - 1)
        made, built_in = read_relations(self.path("made.tsv")), read_relations()
        changed = [name for name in made if made[name] != built_in.get(name)]
        self.assertGreaterEqual(len(changed), 15)
        self.assertTrue(all(made[name].label == built_in[name].label for name in changed if name in built_in))
        left_out = re.findall(r"^left out: (P\d+), fitting", said, re.M)
        with open(PARAREL, encoding="utf-8") as file:
            names = {line.split("\t")[0] for line in file.readlines()[1:]}
        self.assertEqual(sorted(changed + left_out), sorted(names))


if __name__ == "__main__":
    unittest.main()
