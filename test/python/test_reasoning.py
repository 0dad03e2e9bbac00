"""knapsack reasoning: right arithmetic in every document, held-out problems outside of the text, answers judged
rightly."""

import json
import math
import os
import re
import unittest
from fractions import Fraction

import numpy as np
import support


@support.needs_tokenizers
class ReasoningTest(support.FolderTest):
    def make(self, task: str, *flags: object, out: str = "r", documents: int = 2500) -> str:
        flags = flags if "--heldout" in flags else ("--heldout", 200, *flags)
        self.said = self.run_ok(
            "reasoning",
            task,
            "--documents",
            documents,
            "--out",
            self.path(out),
            "--tokenizer",
            support.small_vocabulary(),
            *flags,
        )
        return self.path(out)

    @classmethod
    def slopes(cls) -> str:
        """2,500 documents of the default flags, made once for the tests that only read them."""
        prefix = os.path.join(support.own_folder().name, "slopes", "r")
        if not os.path.exists(prefix + ".json"):
            flags = "--documents", 2500, "--heldout", 200, "--tokenizer", support.small_vocabulary()
            done = support.run_command("reasoning slope", *flags, "--out", prefix)
            assert done.returncode == 0, done.stderr
        return prefix

    def decoded(self, prefix: str) -> list[list[str]]:
        tokenizer = support.tokenizers.Tokenizer.from_file(os.path.join(os.path.dirname(prefix), "tokenizer.json"))
        return [
            [tokenizer.decode(ids, skip_special_tokens=False) for ids in document]
            for document in support.read_shard(prefix)
        ]

    def texts(self, prefix: str) -> list[str]:
        documents = [text for (text,) in self.decoded(prefix)]
        self.assertTrue(all(text.endswith("<|endoftext|>") and text.count("<|endoftext|>") == 1 for text in documents))
        return [text.removesuffix("<|endoftext|>") for text in documents]

    def heldout(self, prefix: str) -> list[dict]:
        with open(prefix + "_heldout.jsonl", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_slopes_are_right_and_reduced(self) -> None:
        texts = self.texts(self.slopes())
        self.assertEqual(len(texts), 2500)
        forms, values = set(), []
        for text in texts:
            question, _, solution = text.partition("\nA: ")
            x1, y1, x2, y2 = (int(number) for number in re.findall(r"\d+", question))
            self.assertTrue(x1 != x2 and max(x1, y1, x2, y2) < 100)
            truth = Fraction(y2 - y1, x2 - x1)
            self.assertTrue(text.endswith(f"\nFinal Answer: k={truth}"), text)
            values.append(truth)
            numbers = [int(number) for number in re.findall(r"-?(?<![\d])\d+", solution.replace(" - ", " minus "))]
            self.assertIn(y2 - y1, numbers)
            self.assertIn(x2 - x1, numbers)
            if "common divisor" in solution:
                self.assertIn(f"divisor is {math.gcd(x2 - x1, y2 - y1)}.", solution)
            if "{" in text or "}" in text:
                self.fail(text)
            forms.add((re.sub(r"\d+", "#", question), re.sub(r"-?\d+(/\d+)?", "#", solution)))
        self.assertEqual(len({question for question, _ in forms}), 6)
        self.assertTrue(
            any(v < 0 for v in values)
            and any(v.denominator == 1 for v in values)
            and any(v.denominator > 1 for v in values)
        )

    def test_maxima_are_right(self) -> None:
        for flags, count in ((("--numbers", 30), 30), (("--numbers", 5, "--solution", "short"), 5)):
            for text in self.texts(self.make("max", *flags, documents=300)):
                question, _, solution = text.partition("\nA: ")
                numbers = [int(number) for number in re.findall(r"\d+", question)]
                self.assertEqual(len(numbers), count)
                self.assertTrue(solution.endswith(f"Final Answer: {max(numbers)}"))
                running = np.maximum.accumulate(numbers).tolist()
                if "so far: " in solution:
                    self.assertEqual([int(n) for n in re.findall(r"\d+", solution.split("\n")[0])], running)
                steps = re.findall(r"^(\d+) is (not )?greater than (\d+): (\d+)\.$", solution, re.MULTILINE)
                if "Start with" in solution:
                    expected = [
                        (str(n), "" if n > old else "not ", str(old), str(new))
                        for n, old, new in zip(numbers[1:], running, running[1:])
                    ]
                    self.assertEqual(steps, expected)

    def test_heldout_problems_are_not_in_the_text(self) -> None:
        same = lambda numbers: tuple(sorted((numbers[:2], numbers[2:])))  # noqa: E731  either order of the points
        prefix = self.slopes()
        problems = {same(tuple(record["problem"])) for record in self.heldout(prefix)}
        self.assertEqual(len(problems), 200)
        asked = {
            same(tuple(int(n) for n in re.findall(r"\d+", text.partition("\nA: ")[0]))) for text in self.texts(prefix)
        }
        self.assertTrue(problems.isdisjoint(asked))

    def test_a_small_space_is_kept_apart_too(self) -> None:
        prefix = self.make("max", "--numbers", 2, "--heldout", 2000, documents=2000)  # of 5,050 pairs
        self.assertRegex(self.said, r"[1-9][\d,]* draws were held out")
        held = {tuple(sorted(record["problem"])) for record in self.heldout(prefix)}
        asked = {
            tuple(sorted(int(n) for n in re.findall(r"\d+", text.partition("\nA: ")[0]))) for text in self.texts(prefix)
        }
        self.assertEqual(len(held), 2000)
        self.assertTrue(held.isdisjoint(asked))
        self.run_bad(
            2,
            "too few different problems",
            "reasoning",
            "max",
            "--numbers",
            1,
            "--heldout",
            101,
            "--documents",
            5,
            "--out",
            self.path("x"),
            "--tokenizer",
            support.small_vocabulary(),
        )
        self.run_bad(
            2,
            "nearly every problem is held out",
            "reasoning",
            "max",
            "--numbers",
            1,
            "--heldout",
            100,
            "--documents",
            5,
            "--out",
            self.path("x"),
            "--tokenizer",
            support.small_vocabulary(),
        )

    def test_deterministic_whatever_the_number_of_workers(self) -> None:
        self.make("slope", "--workers", 1, out="a/r")
        self.make("slope", "--workers", 3, out="b/r")
        self.make("slope", "--seed", 2, out="c/r", documents=100)
        files = self.contents()
        names = [name[2:] for name in files if name.startswith("a/")]
        self.assertEqual([name for name in names if files["a/" + name] != files["b/" + name]], [])
        self.assertNotEqual(files["a/r.bin"], files["c/r.bin"])

    def test_more_documents_begin_with_the_same(self) -> None:
        few = self.texts(self.make("slope", documents=1500))
        self.assertEqual(self.texts(self.slopes())[:1500], few)

    def test_question_set_round_trip(self) -> None:
        for task in ("slope", "max"):
            prefix = self.make(task, out=task, documents=50)
            questions, records = self.decoded(prefix + "_questions"), self.heldout(prefix)
            self.assertEqual(questions, [[record["prompt"], record["solution"]] for record in records])
            tokenizer = support.tokenizers.Tokenizer.from_file(self.path("tokenizer.json"))
            for (prompt, answer), ids in zip(questions, support.read_shard(prefix + "_questions")):
                self.assertEqual(tokenizer.encode(prompt + answer, add_special_tokens=False).ids, ids[0] + ids[1])
            self.run_ok("verify", prefix, prefix + "_questions")
            with open(prefix + "_questions.questions.json", encoding="utf-8") as file:
                about = json.load(file)
            self.assertEqual(
                (about["name"], about["questions"], about["kinds"], about["attribute_pools"]),
                (task, 200, ["heldout"], [0]),
            )

    def check(self, *texts: tuple[object, str], task: str = "slope", key: str = "problem") -> str:
        path = self.write(
            "answers.jsonl", "".join(json.dumps({key: problem, "text": text}) + "\n" for problem, text in texts)
        )
        return self.run_ok("reasoning", "check", path, "--task", task)

    def test_planted_answers_are_judged(self) -> None:
        half = [2, 1, 4, 2]  # slope 1/2
        right = [
            "Final Answer: k=1/2",
            "steps\nFinal Answer: 1/2.",
            "Final Answer: k=2/4",
            "Final Answer: k = -1/-2\nmore",
            "Final Answer: k=0.5",
            "Final Answer: k=7\nno: Final Answer: k=1/2",
            "Final Answer: k=1/2<|endoftext|>Q: x\nFinal Answer: k=9",
            "Final Answer: $1/2$",
        ]
        wrong = ["Final Answer: k=-1/2", "Final Answer: k=1/2\nFinal Answer: k=2", "Final Answer: k=\u22121/2"]
        malformed = [
            "k=1/2",
            "Final Answer: k=1/0",
            "Final Answer: one half",
            "Final Answer:",
            "",
            "Final Answer: k=1/2/3",
        ]
        said = self.check(*((half, text) for text in right + wrong + malformed))
        self.assertRegex(said, "^8 of 17 right: accuracy 0.4706, 95 % interval 0.2617 to 0.6904; 3 wrong, 6 malformed")
        said = self.check(
            ("Q: the largest of 3, 17, 5?", "Final Answer: 17"),
            ("Q: the largest of 3, 17, 5?", "Final Answer: 5"),
            task="max",
            key="question",
        )
        self.assertRegex(said, "^1 of 2 right")

    def test_own_solutions_are_right(self) -> None:
        for task in ("slope", "max"):
            records = self.heldout(self.make(task, out=task, documents=5))
            lines = "".join(
                json.dumps({"task": task, "question": record["question"], "text": record["solution"]}) + "\n"
                for record in records
            )
            self.assertRegex(
                self.run_ok("reasoning", "check", self.write("own.jsonl", lines)),
                "^200 of 200 right: accuracy 1.0000, 95 % interval 0.9812 to 1.0000",
            )

    def test_check_refusals(self) -> None:
        for lines, code, pattern in (
            ('{"text": "x"}\n', 2, ":1: no 'task'"),
            ("", 3, "empty"),
            ("{\n", 3, ":1: not JSON"),
            ('{"task": "max"}\n', 3, ":1: expected an object with the generated text"),
            ('{"task": "slope", "problem": [1, 2, 1, 3], "text": ""}\n', 3, ":1: expected four numbers"),
            ('{"task": "max", "question": "none", "text": ""}\n', 3, ":1: expected at least one"),
        ):
            with self.subTest(pattern=pattern):
                self.run_bad(code, pattern, "reasoning", "check", self.write("bad.jsonl", lines))
        self.run_bad(3, "No such file", "reasoning", "check", self.path("nothing"))


if __name__ == "__main__":
    unittest.main()
