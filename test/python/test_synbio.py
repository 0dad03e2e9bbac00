"""knapsack synbio: sources and question sets, read back without the code that made them."""

import collections
import json
import math
import os
import random
import re
import unittest
from pathlib import Path

import numpy as np
import support

from knapsack.common.tokenizer import Encoder, hugging_face, load_tokenizer
from knapsack.shards.knowledge import KINDS
from knapsack.synbio import make_pools
from knapsack.synbio.world import ATTRIBUTES, read_pool


class Source:
    """A knowledge source as a reader sees it who has only dev/formats.md and the pools."""

    def __init__(self, prefix: str) -> None:
        with open(prefix + ".facts.json", encoding="utf-8") as file:
            self.facts = json.load(file)
        with open(prefix + ".names.txt", encoding="utf-8") as file:
            self.names = file.read().splitlines()
        self.values = np.load(prefix + ".values.npy")
        self.spans = np.load(prefix + ".spans.npy")
        self.documents = support.read_shard(prefix)
        self.slots = [slot["name"] for slot in self.facts["slots"]]
        kind = self.facts["pools"][self.slots[0]]["kind"]
        self.pools = [read_pool(kind, slot) for slot in self.slots]

    def value(self, person: int, slot: int) -> str:
        return self.pools[slot][self.values[person, slot]]

    def text(self, person: int, slot: int, template: int) -> str:
        text = self.facts["template_texts"][self.slots[slot]][template]
        return text.format(name=self.names[person], value=self.value(person, slot))

    def sequence(self, slot: int, template: int, form: int) -> int:
        return (slot * self.facts["templates"] + template) * len(self.facts["forms"]) + form


@support.needs_tokenizers
class SynbioTest(support.FolderTest):
    def make(self, *arguments: object, tokenizer: str = "", people: int = 60) -> str:
        prefix, tokenizer = self.path("world", "bio"), tokenizer or support.small_vocabulary()
        few = () if "--pool-size" in arguments else ("--pool-size", "birth_date=672")  # of 67,200
        flags = "--people", people, "--tokenizer", tokenizer, "--out", prefix, *few
        self.said = self.run_ok("synbio", *flags, *arguments)
        return prefix

    def check_documents(self, prefix: str, encoder: Encoder) -> None:
        """Composed documents and questions are tokenized as their joined texts; spans hold the value's tokens."""
        source, rng = Source(prefix), random.Random(0)
        slots, templates = len(source.slots), source.facts["templates"]
        texts, ids = [], []
        value_ids: dict[tuple[int, int], set] = collections.defaultdict(set)
        for person in range(len(source.names)):
            order = rng.sample(range(slots), slots)
            chosen = [(slot, rng.randrange(templates), int(i > 0)) for i, slot in enumerate(order)]
            texts.append(" ".join(source.text(person, slot, template) for slot, template, _ in chosen))
            ids.append([i for at in chosen for i in source.documents[person][source.sequence(*at)]])
            for number, sequence in enumerate(source.documents[person]):
                first, last = source.spans[person * len(source.documents[person]) + number]
                slot = number // (2 * templates)
                value_ids[slot, int(source.values[person, slot])].add(tuple(sequence[first:last]))
        self.assertEqual(ids, encoder.encode_batch(texts))
        for (slot, value), found in value_ids.items():
            self.assertEqual(
                [encoder.tokenizer.decode(list(run)).strip() for run in found], [source.pools[slot][value]]
            )
        self.check_questions(prefix, source, encoder)

    def check_questions(self, prefix: str, source: Source, encoder: Encoder) -> None:
        with open(prefix + "_questions.questions.json", encoding="utf-8") as file:
            about = json.load(file)
        q, documents = np.load(prefix + "_questions.q.npy"), support.read_shard(prefix + "_questions")
        self.assertEqual(q.shape, (about["questions"], 8))
        self.assertEqual(set(about["kinds"][kind] for kind in q[:, 3]), set(KINDS))
        texts = []
        for (relation, attribute, template, kind, person, _, candidate, alias), (prompt, answer) in zip(q, documents):
            self.assertEqual((relation, candidate, alias), (attribute, 0, 0))
            question = about["templates"][template].format(name=source.names[person])
            self.assertEqual(question.startswith("Question:"), about["kinds"][kind] == "question")
            texts.append(f"{question} {source.value(person, attribute)}")
            self.assertNotIn(encoder.eot_id, prompt + answer)
            self.assertTrue(prompt and answer)
        self.assertEqual([prompt + answer for prompt, answer in documents], encoder.encode_batch(texts))

    def test_small_vocabulary(self) -> None:
        prefix = self.make()
        self.check_documents(prefix, load_tokenizer(support.small_vocabulary()))
        self.run_ok("verify", prefix, prefix + "_questions", "--samples", 3)

    def test_published_tokenizers(self) -> None:
        for name in ("gpt2", "neox"):
            folder = os.path.join(support.OUTSIDE_DATA, "tokenizers", name)
            with self.subTest(tokenizer=name):
                if not os.path.isdir(folder):
                    self.skipTest(f"tokenizer {name} is not on this machine")
                prefix, kind = self.path(name, "bio"), "fictional" if name == "gpt2" else "plausible"
                flags = "--templates", 8, "--kind", kind, "--pool-size", "birth_date=6720"
                self.run_ok("synbio", "--people", 30, "--tokenizer", folder, "--out", prefix, *flags)
                self.check_documents(prefix, load_tokenizer(folder))
                self.assertEqual(load_tokenizer(folder).info.eot_id, {"gpt2": 50256, "neox": 0}[name])

    def other_tokenizer(self, pre_tokenizer: object) -> str:
        """A BPE vocabulary that does not cut text as GPT-2 does."""
        hf = hugging_face()
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = hf.decoders.ByteLevel()
        trainer = hf.trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=sorted(hf.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self.run_ok("synbio", "--people", 60, "--text-only", 1, "--out", self.path("bios"))
        with open(self.path("bios.txt"), encoding="utf-8") as file:
            tokenizer.train_from_iterator(file.read().split("\n<|endoftext|>\n"), trainer)
        tokenizer.save(self.path("tokenizer.json"))
        return self.path("tokenizer.json")

    def test_tokenizer_that_cannot_be_composed_from_pieces(self) -> None:
        pre = hugging_face().pre_tokenizers
        path = self.other_tokenizer(pre.ByteLevel(add_prefix_space=True))
        prefix = self.make(tokenizer=path)
        self.assertIn("does not cut at words", self.said)
        self.check_documents(prefix, load_tokenizer(path))

    def test_tokenizer_that_merges_over_sentences_is_refused(self) -> None:
        pre = hugging_face().pre_tokenizers
        path = self.other_tokenizer(pre.ByteLevel(add_prefix_space=False, use_regex=False))
        self.run_bad(3, "this tokenizer", "synbio", "--people", 60, "--tokenizer", path, "--out", self.path("x", "bio"))

    def test_facts(self) -> None:
        source = Source(self.make("--groups", "powerlaw:1.5:4", "--pool-size", "birth_date=67200"))
        self.assertAlmostEqual(source.facts["entropy_bits_per_entity"], 46.6, delta=0.01)
        self.assertAlmostEqual(source.facts["name_bits_per_entity"], math.log2(400 * 400 * 1000 / 60))
        self.assertEqual([slot["pool_size"] for slot in source.facts["slots"]], [67200, 200, 300, 100, 263])
        self.assertEqual(len(set(source.names)), 60)
        weights = source.facts["group_weights"]
        self.assertAlmostEqual(sum(weights), 1.0)
        self.assertAlmostEqual(weights[0] / weights[3], 4**1.5)
        self.assertEqual(np.bincount(np.load(self.path("world", "bio.group.npy"))).tolist(), [15] * 4)

    def test_seeds_differ(self) -> None:
        names = []
        for seed in (1, 2):
            self.run_ok("synbio", "--people", 50, "--seed", seed, "--text-only", 1, "--out", self.path(str(seed)))
            names.append(self.contents(f"{seed}.txt")[f"{seed}.txt"])
        self.assertNotEqual(*names)

    def test_subset_of_attributes_pools_and_people(self) -> None:
        prefix = self.make(
            "--attributes",
            "major,birth_city",
            "--pool-size",
            "birth_city=16",
            "--pool-size",
            "last=5",
            "--templates",
            2,
            "--groups",
            "uniform:3",
            "--question-people",
            6,
        )
        source = Source(prefix)
        self.assertEqual(source.slots, ["birth_city", "major"])
        self.assertLess(source.values[:, 0].max(), 16)
        self.assertLessEqual(len({name.split()[-1] for name in source.names}), 5)
        self.check_documents(prefix, load_tokenizer(support.small_vocabulary()))
        q = np.load(prefix + "_questions.q.npy")
        asked = {int(person): int(group) for person, group in q[:, 4:6]}
        self.assertEqual(sorted(asked.values()), [0, 0, 1, 1, 2, 2])

    def test_shuffled_control_has_no_consistent_fact(self) -> None:
        prefix = self.make("--shuffled", "--pool-size", "birth_date=3360", people=300)
        source, encoder = Source(prefix), load_tokenizer(support.small_vocabulary())
        self.assertTrue(source.facts["shuffled"])
        about = json.loads(Path(prefix + "_questions.questions.json").read_text())
        self.assertTrue(about["shuffled"])  # by which eval_knowledge knows a control
        per_person, templates = len(source.documents[0]), source.facts["templates"]
        for slot in range(len(source.slots)):
            agree = 0
            stated: list[collections.Counter] = [collections.Counter() for _ in range(templates)]
            for person, document in enumerate(source.documents):
                for template in range(templates):
                    at = source.sequence(slot, template, 0)
                    first, last = source.spans[person * per_person + at]
                    value = encoder.tokenizer.decode(document[at][first:last]).strip()
                    stated[template][value] += 1
                    agree += value == source.value(person, slot)
            nominal = collections.Counter(source.value(person, slot) for person in range(300))
            self.assertEqual(stated, [nominal] * templates)
            self.assertLess(agree / (300 * templates), 0.05)
        self.check_questions(prefix, source, encoder)

    def test_usage_errors(self) -> None:
        for pattern, *flags in (
            ("only 1000", "--pool-size", "first=1", "--pool-size", "middle=1"),
            ("--groups", "--groups", "zipf"),
            ("more groups", "--groups", "uniform:9999"),
            ("--templates 99", "--templates", 99),
            ("--attributes", "--attributes", "age"),
            ("has 200", "--pool-size", "birth_city=201"),
            ("--question-people", "--question-people", "some"),
        ):
            with self.subTest(flags=flags):
                self.run_bad(2, pattern, "synbio", "--people", 1001, "--text-only", 1, "--out", self.path("x"), *flags)
        self.run_bad(2, "--tokenizer is needed", "synbio", "--people", 5, "--out", self.path("x"))


class PoolsTest(support.FolderTest):
    def test_committed_pools_are_what_the_parts_make(self) -> None:
        self.assertEqual(make_pools.differing(), {})

    def test_sizes(self) -> None:
        sizes = {
            "first": 400,
            "middle": 400,
            "last": 1000,
            "birth_date": 67200,
            "birth_city": 200,
            "university": 300,
            "major": 100,
            "employer": 263,
        }
        for kind in ("plausible", "fictional"):
            self.assertEqual({name: len(set(read_pool(kind, name))) for name in sizes}, sizes)
        self.assertIn("August 09, 1992", read_pool("plausible", "birth_date"))

    def test_fictional_items_occur_nowhere(self) -> None:
        texts = [
            self.write(
                "plain.txt", "\n".join(support.PARAGRAPHS) + "\nShe studied Law in St. Louis, MO on August 09, 1992."
            )
        ]
        outside = os.path.join(support.OUTSIDE_DATA, "wikitext2", "valid.txt")
        texts += [outside] if os.path.exists(outside) else []
        for kind in ("fictional", "plausible"):
            self.run_ok(
                "synbio",
                "--people",
                50,
                "--kind",
                kind,
                "--text-only",
                1,
                "--out",
                self.path(kind),
                "--report-against",
                *texts,
            )
        counts = {name: json.loads(data) for name, data in self.contents(".occurrences.json").items()}
        invented = counts["fictional.occurrences.json"]
        self.assertEqual({item for items in invented.values() for item, times in items.items() if times}, set())
        real = counts["plausible.occurrences.json"]
        self.assertGreaterEqual(real["birth_city"]["St. Louis, MO"], 1)
        self.assertGreaterEqual(real["birth_date"]["August 09, 1992"], 2)
        self.assertEqual(set(real), {*ATTRIBUTES, "first_name", "middle_name", "last_name", "full_name"})

    def test_text_has_every_attribute_once(self) -> None:
        self.run_ok("synbio", "--people", 30, "--text-only", 2, "--out", self.path("t"))
        with open(self.path("t.txt"), encoding="utf-8") as file:
            biographies = [text for text in file.read().split("\n<|endoftext|>\n") if text]
        self.assertEqual(len(biographies), 60)
        for text in biographies:
            name = " ".join(text.split()[:3]).removesuffix("'s")
            self.assertEqual(len(re.findall(re.escape(name), text)), 5)


if __name__ == "__main__":
    unittest.main()
