"""Reads what `knapsack synbio` wrote with dev/formats.md, the pools and the `tokenizers` package alone, and checks it
against whole texts; no code of the package is used. Shared by the test_synbio_*.py files."""

from __future__ import annotations

import collections
import json
import os
import random
import unittest
from typing import Any

import numpy as np
import support
from test_synbio import Source

SUBJECTS = {"She": "Her", "He": "His"}


def tokenizer_of(folder: str) -> Any:
    """As a user of the shards loads it; a special token in a text is recognised."""
    return support.tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))


def load_json(path: str) -> dict:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def ids_of(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


class World:
    """All files of one prefix. `opening` is what comes before the first word of a document."""

    def __init__(self, test: unittest.TestCase, prefix: str, opening: str = "") -> None:
        self.test, self.prefix, self.opening = test, prefix, opening
        self.tokenizer = tokenizer_of(os.path.dirname(prefix))
        endings = [e for e in ("", "_qa", "_compact") if os.path.exists(f"{prefix}{e}.facts.json")]
        self.sources = {ending: Source(prefix + ending) for ending in endings}
        self.value_ids: dict[tuple[int, int], set] = collections.defaultdict(set)

    def pronoun(self, source: Source, person: int) -> str:
        """As the first sentence of that form has it."""
        form = source.facts["forms"].index("pronoun")
        text = self.tokenizer.decode(source.documents[person][source.sequence(0, 0, form)])
        word = text.split()[0]
        return {"Her": "She", "His": "He"}.get(word, word)

    def sentence(self, ending: str, person: int, slot: int, template: int, form: int) -> str:
        source = self.sources[ending]
        kind = source.facts["forms"][form]
        text = source.facts["template_texts"][source.slots[slot]][template]
        if kind == "pronoun":
            subject = self.pronoun(source, person)
            text = text.replace("{name}'s", SUBJECTS[subject]).replace("{name}", subject)
        if ending == "_compact" and kind != "initial":
            text = text.removeprefix("Bio: N {name} ")
        text = text.format(name=source.names[person], value=source.value(person, slot))
        return self.opening + text if kind == "initial" else " " + text

    def check_source(self, ending: str) -> None:
        """Random documents are tokenized as their texts, every sentence is its text, every span its value."""
        source, rng = self.sources[ending], random.Random(0)
        slots, templates, forms = len(source.slots), source.facts["templates"], len(source.facts["forms"])
        texts, ids = [], []
        for person in range(len(source.names)):
            for _ in range(3):
                chosen = [
                    (slot, rng.randrange(templates), rng.randrange(1, forms) if i else 0)
                    for i, slot in enumerate(rng.sample(range(slots), slots))
                ]
                texts.append("".join(self.sentence(ending, person, *at) for at in chosen))
                ids.append([i for at in chosen for i in source.documents[person][source.sequence(*at)]])
        self.test.assertEqual(ids, ids_of(self.tokenizer, texts))
        number = 0
        for person, document in enumerate(source.documents):
            self.test.assertEqual(len(document), slots * templates * forms)
            for at, sequence in enumerate(document):
                slot, rest = divmod(at, templates * forms)
                text = self.sentence(ending, person, slot, *divmod(rest, forms))
                self.test.assertEqual(self.decode(sequence).strip(), text.strip())
                first, last = source.spans[number]
                before = self.decode(sequence[:first]).strip()
                self.test.assertEqual(before, text[: text.rindex(source.value(person, slot))].strip())
                self.test.assertEqual(self.decode(sequence[first:last]), " " + source.value(person, slot))
                self.value_ids[slot, int(source.values[person, slot])].add(tuple(sequence[first:last]))
                number += 1
        self.test.assertEqual(number, len(source.spans))

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False).replace("|> ", "|>")

    def check_questions(self, candidates: int = 0) -> None:
        source = self.sources[""]
        about = load_json(self.prefix + "_questions.questions.json")
        q = np.load(self.prefix + "_questions.q.npy")
        places = [{value: place for place, value in enumerate(pool)} for pool in source.pools]
        texts, ids = [], []
        offered: dict[tuple[int, int], list] = {}
        for row, document in zip(q, support.read_shard(self.prefix + "_questions")):
            _, slot, template, _, person, _, first, alias = map(int, row)
            self.test.assertEqual((first, alias, len(document)), (2 if candidates else 0, 0, 2 + candidates))
            prompt = self.opening + about["templates"][template].format(name=source.names[person])
            values = [self.decode(sequence)[1:] for sequence in document[1:]]
            self.test.assertEqual(values[0], source.value(person, slot))
            self.test.assertEqual(len(set(values)), 1 + candidates)
            self.test.assertTrue(all(value in places[slot] for value in values))
            self.test.assertEqual(offered.setdefault((person, slot), values), values)
            self.value_ids[slot, places[slot][values[0]]].add(tuple(document[1]))
            texts += [f"{prompt} {value}" for value in values]
            ids += [document[0] + sequence for sequence in document[1:]]
        self.test.assertEqual(ids, ids_of(self.tokenizer, texts))

    def check_names(self) -> None:
        source = self.sources[""]
        about = load_json(self.prefix + "_names.questions.json")
        q = np.load(self.prefix + "_names.q.npy")
        documents = support.read_shard(self.prefix + "_names")
        self.test.assertEqual(about["name"], os.path.basename(self.prefix) + "_names")
        self.test.assertEqual((about["source"], about["attributes"]), (os.path.basename(self.prefix), ["name"]))
        self.test.assertEqual(q[:, 4].tolist(), list(range(len(source.names))))
        self.test.assertFalse(q[:, [0, 1, 2, 3, 6, 7]].any())
        for name, (prompt, answer), document in zip(source.names, documents, source.documents):
            self.test.assertEqual(self.decode(prompt + answer).strip(), (self.opening + name).strip())
            self.test.assertEqual(prompt, ids_of(self.tokenizer, [self.opening.strip()])[0] if self.opening else [])
            opens = document[0][: len(prompt + answer)]
            self.test.assertEqual(opens, prompt + answer)

    def check_qa_prompts(self) -> None:
        """What is trained on is, token for token, what is asked: prompt and answer."""
        qa, names = self.sources["_qa"], self.sources[""].names
        about = load_json(self.prefix + "_questions.questions.json")
        q = np.load(self.prefix + "_questions.q.npy")
        asked = collections.defaultdict(set)
        for row, document in zip(q, support.read_shard(self.prefix + "_questions")):
            if about["kinds"][row[3]] == "question":
                asked[names[row[4]], int(row[1])].add((tuple(document[0]), tuple(document[1])))
        per_person, templates = len(qa.documents[0]), qa.facts["templates"]
        for person, name in enumerate(qa.names):
            for slot in range(len(qa.slots)):
                trained = set()
                for template in range(templates):
                    at = qa.sequence(slot, template, 0)
                    first, last = qa.spans[person * per_person + at]
                    sequence = qa.documents[person][at]
                    trained.add((tuple(sequence[:first]), tuple(sequence[first:last])))
                self.test.assertEqual(trained, asked[name, slot])

    def check(self, candidates: int = 0) -> None:
        for ending in self.sources:
            self.check_source(ending)
        self.check_questions(candidates)
        self.check_names()
        if "_qa" in self.sources:
            self.check_qa_prompts()
        for fact, found in self.value_ids.items():
            self.test.assertEqual(len(found), 1, fact)
