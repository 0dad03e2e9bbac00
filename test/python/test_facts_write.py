"""knapsack facts write: sources and questions read back from their bytes and compared with whole texts, groups,
wordings, counterfactual worlds. No code of the scripts is used to judge them."""

import collections
import csv
import json
import os
import unittest

import numpy as np
import support
from synbio_reader import ids_of, load_json, tokenizer_of

GROUPS = {"": "infused", "_once": "once", "_early": "early", "_control": "control"}
HEADER = "# facts, format_version 1\nid\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents\n"
RELATIONS = {
    "P36": (
        "capital",
        [
            "The capital of [X] is [Y].",
            "[X] is governed from [Y].",
            "[X]'s capital city is [Y].",
            "[X] has its capital in [Y].",
            "The seat of [X] is [Y].",
        ],
    ),
    "P50": (
        "author",
        [
            "[X] was written by [Y].",
            "The author of [X] is [Y].",
            "[X] is a work by [Y].",
            "[X] comes from the pen of [Y].",
            "Readers owe [X] to [Y].",
            "[X] was penned by [Y].",
        ],
    ),
}
OTHERS = {
    "heldout": ["Ask about [X] and people name [Y].", "Everybody links [X] with [Y]."],
    "question": ["What belongs to [X]?", "Which answer fits [X]?"],
}


def relations_text() -> str:
    lines = ["# relations, format_version 1", "relation\tkind\ttext"]
    for name, (label, seen) in RELATIONS.items():
        lines += [f"{name}\tlabel\t{label}", *(f"{name}\tseen\t{text}" for text in seen)]
        lines += [f"{name}\t{kind}\t{text}" for kind, texts in OTHERS.items() for text in texts]
    return "\n".join(lines) + "\n"


def table_text(capitals: int = 40, books: int = 60) -> str:
    """Twenty different objects a relation, some that end in a mark, some with other names; every third has a
    popularity."""
    rows = []
    for relation, number in (("P36", capitals), ("P50", books)):
        for i in range(number):
            subject = f"{relation if i % 9 else 'Both'} Subject {i}" + (
                "!" if i % 7 == 0 else ""
            )  # some have a fact of each
            at = i % 20
            name = f"{'Town' if relation == 'P36' else 'Writer'} {at}" + (", D.C." if at == 3 else "")
            aliases = json.dumps([f"Old {name}", f"{name} the Great"]) if at % 2 else ""
            also = json.dumps([f"Second Place {i}"]) if i % 5 == 0 else ""
            popularity = str(1000 + i) if i % 3 == 0 else ""
            rows.append(
                f"{relation}:{subject}\t{relation}\t{subject}\t{name}\t{aliases}\t{also}\t{popularity}\t{i % 4}"
            )
    return HEADER + "\n".join(rows) + "\n"


class World:
    """The files of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.base = prefix, os.path.basename(prefix)
        self.tokenizer = tokenizer_of(os.path.dirname(prefix))
        with open(prefix + ".entities.tsv", encoding="utf-8") as file:
            assert file.readline() == "# entities, format_version 1\n"
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        self.entities = collections.defaultdict(list)
        for row in rows:
            self.entities[row["source"].removeprefix(self.base)].append(row)

    def decode(self, ids: list) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def questions(self, ending: str) -> tuple:
        prefix = f"{self.prefix}{ending}_questions"
        return load_json(prefix + ".questions.json"), np.load(prefix + ".q.npy"), support.read_shard(prefix)


def text_of(template: str, row: dict) -> str:
    text = template.replace("[X]", row["subject"]).replace("[Y]", row["stated"])
    return text[:-1] if not row["stated"][-1].isalnum() else text


@support.needs_tokenizers
class WriteTest(support.FolderTest):
    def make(self, *arguments: object, name: str = "wd", table: str = "") -> World:
        facts, relations = self.write("facts.tsv", table or table_text()), self.write("relations.tsv", relations_text())
        prefix = self.path(name, "wd")
        self.said = self.run_ok(
            *("facts", "write", facts, "--relations", relations, "--tokenizer", support.small_vocabulary()),
            *("--out", prefix, "--workers", 1, *arguments),
        )
        return World(prefix)

    def check_sources(self, world: World, templates: int) -> None:
        for ending, rows in world.entities.items():
            if ending == "_control":
                self.assertFalse(os.path.exists(world.prefix + ending + ".bin"))
                continue
            about = load_json(world.prefix + ending + ".facts.json")
            spans = np.load(world.prefix + ending + ".spans.npy")
            documents = support.read_shard(world.prefix + ending)
            self.assertEqual((about["entities"], about["templates"], len(about["slots"])), (len(rows), templates, 1))
            self.assertEqual(len(documents), len(rows))
            number, texts, ids = 0, [], []
            for row, document in zip(rows, documents):
                told = [RELATIONS[row["relation"]][1][int(i)] for i in row["templates"].split(",")]
                self.assertEqual(len(document), 2 * templates)
                for at, sequence in enumerate(document):
                    text = " " * (at % 2) + text_of(told[at // 2], row)
                    texts.append(text)
                    ids.append(sequence)
                    first, last = spans[number]
                    self.assertEqual(world.decode(sequence[first:last]), " " + row["stated"])
                    self.assertEqual(world.decode(sequence[last:]), "." if row["stated"][-1].isalnum() else "")
                    number += 1
            self.assertEqual(number, len(spans))
            self.assertEqual(ids, ids_of(world.tokenizer, texts))

    def check_questions(self, world: World, candidates: int) -> None:
        """Every fact in its own training statements and in all held-out ones and questions; candidates are objects of
        the relation and wrong, aliases are the table's."""
        truths = {row.split("\t")[0]: row.split("\t") for row in table_text().splitlines()[2:]}
        pools = collections.defaultdict(set)
        for rows in world.entities.values():
            for row in rows:
                pools[row["relation"]].add(row["stated"])
        for ending, rows in world.entities.items():
            about, q, documents = world.questions(ending)
            popularity = np.load(f"{world.prefix}{ending}_questions.popularity.npy")
            self.assertEqual((about["name"], about["source"]), (world.base + ending,) * 2)
            self.assertEqual(
                (about["entities"], about["questions"], about["groups"]), (len(rows), len(q), [GROUPS[ending]])
            )
            asked = collections.defaultdict(list)
            for row, document, popular in zip(q, documents, popularity):
                relation, attribute, template, kind, entity, group, first, alias = map(int, row)
                fact = rows[entity]
                self.assertEqual(about["relations"][relation].split()[0], fact["relation"])
                self.assertEqual((attribute, group), (relation, 0))
                self.assertEqual(about["attribute_pools"][attribute], len(pools[fact["relation"]]))
                truth = truths[fact["id"]]
                self.assertEqual(int(popular), int(truth[6]) if truth[6] else 2**32 - 1)
                prompt = about["templates"][template].replace("[X]", fact["subject"])
                texts = [world.decode(sequence)[1:] for sequence in document[1:]]
                self.assertEqual(texts[0], fact["stated"])
                for text, sequence in zip(texts, document[1:]):
                    self.assertEqual(document[0] + sequence, ids_of(world.tokenizer, [f"{prompt} {text}"])[0])
                self.assertEqual(first, 2 if candidates else 0)
                wrong, right = texts[1 : alias - 1 if alias else None], texts[alias - 1 :] if alias else []
                self.assertEqual(len(wrong), candidates)
                self.assertLessEqual(set(wrong), pools[fact["relation"]] - {fact["stated"], *right})
                if fact["stated"] == fact["object"]:
                    self.assertEqual(right, [*json.loads(truth[4] or "[]"), *json.loads(truth[5] or "[]")])
                self.assertEqual(len(set(texts)), len(texts))
                asked[entity].append((about["kinds"][kind], about["templates"][template]))
            for entity, fact in enumerate(rows):
                seen = [RELATIONS[fact["relation"]][1][int(i)] for i in fact["templates"].split(",")]
                expected = [("seen", text.removesuffix(" [Y].")) for text in seen]
                expected += [(kind, text.removesuffix(" [Y].")) for kind, texts in OTHERS.items() for text in texts]
                self.assertEqual(sorted(asked[entity]), sorted(expected))

    def test_every_group_is_told_and_asked_as_its_texts_read(self) -> None:
        world = self.make("--once", 10, "--early", 0.1, "--control", 20, "--candidates", 5)
        self.assertEqual(
            {e: len(rows) for e, rows in world.entities.items()}, {"": 60, "_once": 10, "_early": 10, "_control": 20}
        )
        self.check_sources(world, 5)
        self.check_questions(world, 5)
        for flag in ("--exposures wd=", "--exposures wd_once=1", "--window wd_early=0:0.3", "wd_control_questions"):
            self.assertIn(flag, self.said)
        said = self.run_ok(
            "verify", *(world.prefix + e for e in ("", "_once", "_questions", "_control_questions")), "--samples", 1
        )
        self.assertEqual(said.count(": ok ("), 4)

    def test_groups_share_no_fact_and_have_their_share_of_every_relation(self) -> None:
        world = self.make("--once", 0.1, "--early", 0.2, "--control", 0.3)
        ids = [row["id"] for rows in world.entities.values() for row in rows]
        self.assertEqual((len(ids), len(set(ids))), (100, 100))
        for rows in world.entities.values():
            counts = collections.Counter(row["relation"] for row in rows)
            self.assertLessEqual(abs(counts["P36"] - 0.4 * len(rows)), 1)
        self.assertNotEqual(
            [row["relation"] for row in world.entities[""]], sorted(row["relation"] for row in world.entities[""])
        )

    def test_wordings_of_a_fact_at_equal_exposures(self) -> None:
        """m of M training statements each, every one of the M about equally often, one fact's not another's."""
        world = self.make("--templates-per-fact", 2, "--candidates", 0, "--control", 10)
        self.check_sources(world, 2)
        self.check_questions(world, 0)
        drawn = collections.Counter(row["templates"] for row in world.entities[""])
        self.assertEqual(len(drawn), 10)  # all pairs of five
        self.assertTrue(all(len(set(pair.split(","))) == 2 for pair in drawn))

    def test_counterfactual_objects_are_permuted_within_their_relation(self) -> None:
        world = self.make("--counterfactual", "--candidates", 4)
        self.check_sources(world, 5)
        self.check_questions(world, 4)
        rows = [row for group in world.entities.values() for row in group]
        truths = {row.split("\t")[0]: row.split("\t") for row in table_text().splitlines()[2:]}
        self.assertEqual(len(rows), 100)
        for row in rows:
            self.assertNotEqual(row["stated"], row["object"])
            self.assertNotIn(
                row["stated"], json.loads(truths[row["id"]][4] or "[]") + json.loads(truths[row["id"]][5] or "[]")
            )
        for relation in RELATIONS:
            stated, true = (
                collections.Counter(r[k] for r in rows if r["relation"] == relation) for k in ("stated", "object")
            )
            self.assertEqual(stated, true)
        pairs = {(row["object"], row["stated"]) for row in rows}
        self.assertGreater(len(pairs), 60)  # no rule that sends one object always to the same other

    def test_counterfactual_of_a_relation_with_one_object_for_most_leaves_facts_out(self) -> None:
        rows = "".join(f"P36:s{i}\tP36\tSubject {i}\t{'Oslo' if i < 8 else f'Town {i}'}\t\t\t\t\n" for i in range(10))
        world = self.make("--counterfactual", "--control", 0, "--candidates", 0, table=HEADER + rows)
        rows = world.entities[""]
        self.assertEqual(len(rows), 4)  # the two others change places with two of the eight
        self.assertTrue(all(row["stated"] != row["object"] for row in rows))
        self.assertIn("6 facts left out", self.said)

    def test_counterfactual_objects_are_not_the_true_one_under_another_name(self) -> None:
        """Two names of one object, which the table knows of only from one side, are no change of hands."""
        names = [("Farsi", '["Persian"]'), ("Persian", ""), ("French", "")]
        rows = [f"P36:s{i}\tP36\tSubject {i}\t{names[i % 3][0]}\t{names[i % 3][1]}\t\t\t" for i in range(60)]
        world = self.make("--counterfactual", "--control", 0, "--candidates", 0, table=HEADER + "\n".join(rows) + "\n")
        same = {"Farsi", "Persian"}
        told = world.entities[""]
        self.assertGreater(len(told), 30)
        for row in told:
            self.assertFalse({row["stated"], row["object"]} <= same, row)
            self.assertNotEqual(row["stated"], row["object"])

    def test_counterfactual_with_nothing_to_change_is_refused(self) -> None:
        facts, relations = (
            self.write("facts.tsv", HEADER + "P36:a\tP36\ta\tb\t\t\t\t\n"),
            self.write("relations.tsv", relations_text()),
        )
        self.run_bad(
            *(3, "no fact is left", "facts", "write", facts, "--relations", relations, "--out", self.path("x")),
            *("--tokenizer", support.small_vocabulary(), "--counterfactual", "--control", 0),
        )

    def test_the_bytes_depend_on_the_seed_and_not_on_processes_or_places_in_the_table(self) -> None:
        self.make("--once", 5, name="a")
        self.make("--once", 5, "--workers", 2, name="b")
        lines = table_text().splitlines()[2:]
        shuffled = HEADER + "\n".join(reversed(lines)) + "\n"
        self.make("--once", 5, name="c", table=shuffled)
        self.make("--once", 5, "--seed", 2, name="d")
        made = self.contents(".bin", ".npy", ".tsv", ".idx", ".names.txt")
        files = [name[2:] for name in made if name.startswith("a/")]
        self.assertGreater(len(files), 20)
        for name in files:
            self.assertEqual(made["a/" + name], made["b/" + name], name)
            self.assertEqual(made["a/" + name], made["c/" + name], name)
        self.assertNotEqual(made["a/wd.bin"], made["d/wd.bin"])

    def test_facts_that_the_web_tells_can_be_left_out(self) -> None:
        world = self.make("--max-web-documents", 1, "--control", 0)
        self.assertEqual(len(world.entities[""]), 50)
        self.assertIn("50 in the web text left out", self.said)

    def test_text_for_a_tokenizer_has_every_fact_of_every_group(self) -> None:
        facts, relations = self.write("facts.tsv", table_text()), self.write("relations.tsv", relations_text())
        self.run_ok("facts", "write", facts, "--relations", relations, "--text-only", "--out", self.path("all"))
        with open(self.path("all.txt"), encoding="utf-8") as file:
            texts = file.read().split("\n<|endoftext|>\n")[:-1]
        self.assertEqual(len(texts), 500)
        self.assertIn("The capital of P36 Subject 3 is Town 3, D.C.", texts)
        self.assertEqual(sum("P36 Subject 1 " in text or "P36 Subject 1'" in text for text in texts), 5)

    def test_what_cannot_be_done_is_said(self) -> None:
        facts, relations = self.write("facts.tsv", table_text()), self.write("relations.tsv", relations_text())
        bad = [
            (2, "61 more facts than there are", "--infused", 100, "--once", 41, "--control", 20),
            (2, "--templates 6: P36", "--templates", 6),
            (2, "--templates-per-fact 6", "--templates-per-fact", 6),
            (2, "--relation P99", "--relation", "P99"),
            (2, "--once", "--once", 0.001),
            (2, "--seed", "--seed", -1),
        ]
        for code, pattern, *arguments in bad:
            with self.subTest(arguments):
                self.run_bad(
                    *(code, pattern, "facts", "write", facts, "--relations", relations, "--out", self.path("x")),
                    *("--tokenizer", support.small_vocabulary(), *arguments),
                )
        self.run_bad(2, "--tokenizer is needed", "facts", "write", facts, "--out", self.path("x"))
        unscanned = self.write("unscanned.tsv", HEADER + "P36:a\tP36\ta\tb\t\t\t\t\n")
        self.run_bad(
            *(2, "P36:a .* was not counted", "facts", "write", unscanned, "--text-only", "--out", self.path("x")),
            *("--max-web-documents", 0),
        )
        unknown = self.write("unknown.tsv", HEADER + "P99999:a\tP99999\ta\tb\t\t\t\t\n")
        self.run_bad(3, "no fact is left", "facts", "write", unknown, "--text-only", "--out", self.path("x"))
        self.assertEqual([name for name in self.contents() if name.startswith("x")], [])

    def test_files_of_an_earlier_run_are_not_left_among_new_ones(self) -> None:
        self.make("--once", 5)
        facts, relations = self.path("facts.tsv"), self.path("relations.tsv")
        self.run_bad(
            *(2, "wd_once.json of an earlier run", "facts", "write", facts, "--relations", relations),
            *("--tokenizer", support.small_vocabulary(), "--out", self.path("wd", "wd")),
        )

    def test_a_tokenizer_that_merges_over_the_object_is_refused(self) -> None:
        hf = support.tokenizers
        tokenizer = hf.Tokenizer(hf.models.BPE())
        trainer = hf.trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
        texts = [f"The capital of P36 Subject {i} is Town {i % 20}." for i in range(40)]
        texts += [letter for text in (table_text(), relations_text()) for letter in text]
        tokenizer.train_from_iterator(texts * 5, trainer)  # no cutting at words: 'is Town' becomes one token
        os.makedirs(self.path("merging"))
        tokenizer.save(self.path("merging", "tokenizer.json"))
        facts, relations = self.write("facts.tsv", table_text()), self.write("relations.tsv", relations_text())
        self.run_bad(
            *(3, "other tokens here than elsewhere", "facts", "write", facts, "--relations", relations),
            *("--tokenizer", self.path("merging"), "--out", self.path("m", "wd"), "--relation", "P36", "--workers", 1),
        )
        self.assertEqual([name for name in self.contents(".bin", ".tmp") if name.startswith("m/")], [])


if __name__ == "__main__":
    unittest.main()
