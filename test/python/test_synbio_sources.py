"""knapsack synbio: renderings, companions, tag, names and candidates, checked against whole texts."""

import math
import os
import unittest

import numpy as np
import support
from synbio_reader import World, load_json, tokenizer_of


@support.needs_tokenizers
class SourcesTest(support.FolderTest):
    def make(self, *arguments: object, tokenizer: str = "", people: int = 60, name: str = "bio") -> str:
        prefix = self.path(name, "bio")
        tokenizer = tokenizer or support.small_vocabulary()
        few = () if {"--attributes", "--pool-size"} & set(arguments) else ("--pool-size", "birth_date=672")  # of 67,200
        self.said = self.run_ok(
            "synbio", "--people", people, "--tokenizer", tokenizer, "--out", prefix, "--workers", 1, *few, *arguments
        )
        return prefix

    def verify(self, prefix: str) -> None:
        folder = os.path.dirname(prefix)
        made = sorted({name.split(".")[0] for name in os.listdir(folder) if name.endswith(".idx")})
        said = self.run_ok("verify", *(os.path.join(folder, name) for name in made), "--samples", 2)
        self.assertEqual(said.count(": ok ("), len(made))

    def tagged_vocabulary(self) -> str:
        """Like support.small_vocabulary, with <|bio|> as a token of its own."""
        self.run_ok("synbio", "--people", 100, "--text-only", 1, "--out", self.path("text"))
        arguments = ("--vocab-size", 700, "--special", "<|bio|>", "--special", "<|web|>", "--out", self.path("bpe"))
        self.run_ok("tokenizer", self.path("text.txt"), *arguments)
        return self.path("bpe")

    def direct_vocabulary(self) -> str:
        """A tokenizer that puts a space before every text, so that pieces do not join to sentences."""
        hf = support.tokenizers
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = hf.decoders.ByteLevel()
        trainer = hf.trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|endoftext|>", "<|bio|>"],
            initial_alphabet=sorted(hf.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(support.documents(50), trainer)
        os.makedirs(self.path("direct"))
        tokenizer.save(self.path("direct", "tokenizer.json"))
        return self.path("direct")

    def test_every_feature_together(self) -> None:
        prefix = self.make(
            *("--names", "both", "--qa", 0.5, "--compact", "--candidates", 3, "--templates", 20),
            *("--heldout-templates", 5, "--question-templates", 4, "--pool-size", "birth_date=6720"),
        )
        World(self, prefix).check(candidates=3)
        self.verify(prefix)
        self.assertIn("--ratio bio=r/(1+tau) --ratio bio_compact=r*tau/(1+tau)", self.said)
        kinds = np.load(prefix + "_questions.q.npy")[:, 3]
        self.assertEqual(np.bincount(kinds).tolist(), [60 * 5 * n for n in (20, 5, 4)])
        compact = World(self, prefix).sources["_compact"]
        first = World(self, prefix).decode(compact.documents[7][compact.sequence(1, 0, 0)])
        self.assertEqual(first, f"Bio: N {compact.names[7]} C {compact.value(7, 1)}")
        qa = World(self, prefix).sources["_qa"]
        self.assertEqual(
            World(self, prefix).decode(qa.documents[3][qa.sequence(1, 0, 1)]),
            f" Question: Where was {qa.names[3]} born? Answer: {qa.value(3, 1)}.",
        )

    def test_composed_from_whole_texts(self) -> None:
        path = self.direct_vocabulary()
        for name, tag, opening in (("special", "<|bio|>", "<|bio|>"), ("words", "Biography:", "Biography: ")):
            with self.subTest(tag=tag):
                prefix = self.make(
                    *("--names", "both", "--qa", 0.5, "--compact", "--candidates", 2, "--tag", tag, "--templates", 2),
                    tokenizer=path,
                    people=12,
                    name=name,
                )
                self.assertIn("does not cut at words", self.said)
                World(self, prefix, opening).check(candidates=2)
                self.verify(prefix)

    def test_special_token_as_tag(self) -> None:
        tokenizer = self.tagged_vocabulary()
        prefix = self.make("--tag", "<|bio|>", "--qa", 0.5, "--compact", "--names", "pronoun", tokenizer=tokenizer)
        world = World(self, prefix, "<|bio|>")
        world.check()
        self.verify(prefix)
        token = tokenizer_of(tokenizer).token_to_id("<|bio|>")
        self.assertEqual(token, 1)
        for source in world.sources.values():
            self.assertEqual(source.facts["tag"], "<|bio|>")
            for sequence, form in zip(source.documents[0], source.facts["forms"] * 1000):
                self.assertEqual([i == token for i in sequence], [form == "initial"] + [False] * (len(sequence) - 1))
        for ending in ("_questions", "_names"):
            self.assertEqual(load_json(f"{prefix}{ending}.questions.json")["tag"], "<|bio|>")
            self.assertEqual({document[0][0] for document in support.read_shard(prefix + ending)}, {token})

    def test_words_as_tag(self) -> None:
        prefix = self.make("--tag", "From the archive:", "--compact", "--question-people", 10)
        World(self, prefix, "From the archive: ").check()

    def test_filler_states_nothing(self) -> None:
        plain, wordy = (
            self.make("--compact", "--templates", 2, *more, people=30, name=f"filler{len(more)}")
            for more in ((), ("--filler", 2))
        )
        for ending in ("_questions.bin", "_questions.q.npy", "_compact.bin", "_compact.spans.npy", ".values.npy"):
            with open(plain + ending, "rb") as before, open(wordy + ending, "rb") as after:
                self.assertEqual(before.read(), after.read(), ending)
        self.verify(wordy)
        with open(os.path.join(support.PACKAGE, "synbio", "filler.txt"), encoding="utf-8") as file:
            pool = file.read().splitlines()
        source, short = World(self, wordy).sources[""], World(self, plain).sources[""]
        self.assertEqual(source.facts["forms"], ["initial", "continuing", *(f"continuing {i}" for i in range(2, 9))])
        tokenizer = tokenizer_of(os.path.dirname(wordy))
        fillers = set()
        for person in range(30):
            for slot in range(5):
                for template in range(2):
                    for form in range(9):
                        ids = source.documents[person][source.sequence(slot, template, form)]
                        fact = short.documents[person][short.sequence(slot, template, min(form, 1))]
                        self.assertEqual(ids[: len(fact)], fact)
                        said = tokenizer.decode(ids)
                        self.assertEqual(ids, tokenizer.encode(said).ids)
                        rest = said.removeprefix(tokenizer.decode(fact)).removeprefix(" ")
                        fillers.add((slot, template, form, rest))
                        first = next(one for one in pool if rest.startswith(one))
                        self.assertIn(rest.removeprefix(f"{first} "), set(pool) - {first})
        self.assertEqual(len(fillers), 5 * 2 * 9)  # whoever it is about
        self.assertGreater(len({rest for *_, rest in fillers}), 80)
        text = f"{source.facts['template_texts']['major'][0]}"
        self.assertTrue(text.startswith("{name}") and "{value}. " in text, text)
        words = {word.strip(".,").lower() for one in pool for word in one.split()}
        told = {word.lower() for values in (source.names, *source.pools) for value in values for word in value.split()}
        self.assertEqual({word for word in words & told if len(word) > 3}, set())
        self.assertNotRegex(" ".join(pool), r"[0-9]")
        arguments = ("--people", 3, "--filler", 99, "--tokenizer", support.small_vocabulary(), "--out", self.path("x"))
        self.run_bad(2, "--filler 99: there are 48 sentences", "synbio", *arguments)

    def test_pronouns_belong_to_people_and_change_nothing_else(self) -> None:
        full, pronoun = (self.make("--names", names, people=200, name=names) for names in ("full", "pronoun"))
        world = World(self, pronoun)
        world.check_source("")
        source = world.sources[""]
        words = [world.pronoun(source, person) for person in range(200)]
        self.assertGreater(min(map(words.count, SUBJECTS := ("She", "He"))), 70)
        self.assertEqual(set(words), set(SUBJECTS))
        self.assertEqual(source.facts["forms"], ["initial", "pronoun"])
        self.assertEqual(source.facts["pronoun_bits_per_entity"], 1.0)
        self.assertNotIn("pronoun_bits_per_entity", World(self, full).sources[""].facts)
        one, two = self.contents(".q.npy"), self.contents("_questions.bin", ".values.npy", ".names.txt", "_names.bin")
        for files in (one, two):
            for name in [name for name in files if name.startswith("full")]:
                self.assertEqual(files[name], files[name.replace("full", "pronoun")])
        initial = [document[::2] for document in World(self, full).sources[""].documents]
        self.assertEqual(initial, [document[::2] for document in source.documents])

    def test_presets(self) -> None:
        redrawn = {"wordings": "redrawn", "orders": "redrawn"}
        names = {"full": ["initial", "continuing"], "pronoun": ["initial", "pronoun"]}
        expected = {
            (): (redrawn, "full"),
            ("--variant", "single"): ({"wordings": 1, "orders": "listed"}, "pronoun"),
            ("--variant", "single+fullname"): ({"wordings": 1, "orders": "listed"}, "full"),
            ("--variant", "multi5"): ({"wordings": 5, "orders": "listed"}, "pronoun"),
            ("--variant", "permute2"): ({"wordings": 1, "orders": 2}, "pronoun"),
            ("--variant", "multi5+permute"): ({"wordings": 5, "orders": 5}, "pronoun"),
            ("--variant", "multi5+permute+fullname"): ({"wordings": 5, "orders": 5}, "full"),
            ("--variant", "multi2+permute3"): ({"wordings": 2, "orders": 3}, "pronoun"),
            ("--wordings", 7, "--orders", "listed"): ({"wordings": 7, "orders": "listed"}, "full"),
        }
        small = ("--attributes", "major,university", "--templates", 1)
        for number, (flags, (rendering, form)) in enumerate(expected.items()):
            with self.subTest(flags=flags):
                extra = ("--qa", 0.5, "--compact") if number == 5 else ()
                prefix = self.make(*flags, *small, *extra, people=6, name=str(number))
                facts = load_json(prefix + ".facts.json")
                self.assertEqual((facts["rendering"], facts["forms"]), (rendering, names[form]))
                for ending in ("_qa", "_compact") if extra else ():
                    facts = load_json(f"{prefix}{ending}.facts.json")
                    self.assertEqual((facts["rendering"], facts["forms"]), (redrawn, names["full"]))
                    self.assertEqual(facts["source"], "bio")

    def test_question_companion_is_a_fair_half_of_every_group(self) -> None:
        prefix = self.make("--groups", "powerlaw:1:4", "--qa", 0.25, *("--attributes", "major"), people=80)
        world = World(self, prefix)
        main, qa = world.sources[""], world.sources["_qa"]
        group, chosen = np.load(prefix + ".group.npy"), [main.names.index(name) for name in qa.names]
        self.assertEqual(np.bincount(group[chosen]).tolist(), [5] * 4)
        self.assertEqual(np.load(prefix + "_qa.group.npy").tolist(), group[chosen].tolist())
        self.assertEqual(qa.values.tolist(), main.values[chosen].tolist())
        self.assertEqual(qa.facts["group_weights"], main.facts["group_weights"])
        about, q = load_json(prefix + "_questions.questions.json"), np.load(prefix + "_questions.q.npy")
        sidecar = load_json(prefix + ".json")["checksums"]  # whom the questions are about
        ends = {"names": ".names.txt", "values": ".values.npy"}
        self.assertEqual(
            about["source_checksums"], {key: sidecar[os.path.basename(prefix) + end] for key, end in ends.items()}
        )
        names = [f"group_{g:03d}/{half}" for g in range(1, 5) for half in ("trained_qa", "held_out_qa")]
        self.assertEqual(about["groups"], names)
        weights = [w * share for w in main.facts["group_weights"] for share in (0.25, 0.75)]
        np.testing.assert_allclose(about["group_weights"], weights)
        for row in q:
            half = "trained_qa" if row[4] in chosen else "held_out_qa"
            self.assertEqual(about["groups"][row[5]], f"group_{group[row[4]] + 1:03d}/{half}")
        self.assertNotEqual(sorted(chosen), [20 * g + i for g in range(4) for i in range(5)])
        names_about = load_json(prefix + "_names.questions.json")
        self.assertEqual(names_about["groups"], main.facts["groups"])
        self.assertEqual(names_about["group_weights"], main.facts["group_weights"])
        self.assertEqual(np.load(prefix + "_names.q.npy")[:, 5].tolist(), group.tolist())

    def test_question_companion_of_everybody_and_of_one_group(self) -> None:
        for share, groups, weights in ((1, ["trained_qa"], [1]), (0.5, ["trained_qa", "held_out_qa"], [0.5, 0.5])):
            flags = ("--qa", share, "--attributes", "major", "--question-people", 6)
            prefix = self.make(*flags, people=20, name=str(share))
            about = load_json(prefix + "_questions.questions.json")
            self.assertEqual((about["groups"], about["group_weights"]), (groups, weights))
            self.assertEqual(load_json(prefix + "_qa.facts.json")["entities"], 20 * share)
            asked = {int(person): int(group) for person, group in np.load(prefix + "_questions.q.npy")[:, 4:6]}
            self.assertEqual(np.bincount(list(asked.values())).tolist(), [6 // len(groups)] * len(groups))
            self.verify(prefix)

    def test_names(self) -> None:
        prefix = self.make("--pool-size", "first=50", people=100)
        about = load_json(prefix + "_names.questions.json")
        pool = 50 * 400 * 1000
        self.assertEqual(about["attribute_pools"], [pool])
        self.assertAlmostEqual(about["attribute_bits"][0], math.log2(pool / 100))
        self.assertEqual((about["kinds"], about["questions"], about["entities"]), (["seen"], 100, 100))
        World(self, prefix).check_names()

    def test_candidates_depend_on_seed_and_fact_alone(self) -> None:
        flags = ("--attributes", "major,employer", "--pool-size", "major=4", "--candidates", 3, "--templates", 1)
        seen: list[dict] = []
        for name, extra in (("all", ()), ("some", ("--question-people", 5)), ("seed", ("--seed", 2))):
            prefix = self.make(*flags, *extra, people=40, name=name)
            World(self, prefix).check_questions(candidates=3)
            q, documents = np.load(prefix + "_questions.q.npy"), support.read_shard(prefix + "_questions")
            seen.append({tuple(row[[1, 4]]): document[2:] for row, document in zip(q, documents)})
        for fact, offered in seen[1].items():
            self.assertEqual(offered, seen[0][fact])
        self.assertNotEqual(seen[0], seen[2])
        many = self.make("--attributes", "employer", "--candidates", 10, people=400, name="many")
        documents = support.read_shard(many + "_questions")[::9]
        answers = [tuple(c) for document in documents for c in document[2:]]
        used = {tuple(document[1]) for document in documents}
        self.assertEqual(set(answers), used)  # what nobody has would be given away without knowing a fact
        self.assertLess(len(used), 263)
        self.assertLess(max(answers.count(run) for run in used), 50)  # 4,000 draws of about 200 values: 20 each

    def test_any_number_of_workers_writes_the_same_bytes(self) -> None:
        flags = ("--qa", 0.5, "--compact", "--candidates", 2, "--variant", "multi2", "--attributes", "major,employer")
        for workers in (1, 2):
            self.make(*flags, "--workers", workers, people=1100, name=str(workers))
        files = self.contents()
        one, two = ({name[2:]: data for name, data in files.items() if name[0] == which} for which in "12")
        self.assertEqual(one, two)
        self.assertEqual(len([name for name in one if name.endswith(".idx")]), 5)

    def test_text_has_the_pronouns(self) -> None:
        self.run_ok("synbio", "--people", 20, "--variant", "single", "--text-only", 1, "--out", self.path("t"))
        with open(self.path("t.txt"), encoding="utf-8") as file:
            biographies = [text for text in file.read().split("\n<|endoftext|>\n") if text]
        self.assertEqual(len(biographies), 20)
        for text in biographies:
            words = {word for word in ("She", "Her", "He", "His") if f". {word} " in text}
            self.assertTrue(words <= {"She", "Her"} or words <= {"He", "His"}, text)
            self.assertEqual(len(words & {"She", "He"}), 1, text)


if __name__ == "__main__":
    unittest.main()
