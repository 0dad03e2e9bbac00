"""knapsack lm-eval: the harness reads the ids of the question set; what it would read otherwise is counted."""

import json
import os
import unittest

import numpy as np
import support

from knapsack.common.files import dump_json
from knapsack.common.tokenizer import load_tokenizer
from knapsack.shards.format import token_dtype
from knapsack.shards.write import Bundle, ShardWriter

try:
    import yaml
except ImportError:
    yaml = None

QUESTIONS = [  # prompt, answer, candidates, aliases, kind
    ("Ann was born on", " August 09, 1992", [], [], 0),
    ("Ann was born in", " Paris", [" Oslo", " Bergen"], [], 0),
    ("Where was Bob born? Answer:", " Oslo", [" Paris"], [" Christiania"], 1),
    ("", " Naïve café", [" tea"], [], 1),
    ("Say \"yes\" {{or}} 'no':", " yes", [], [" yeah", " aye"], 1),
]


def harness_ids(tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """As lm-evaluation-harness 0.4 cuts a pair (its model API), written anew."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    before = tokenizer.encode(context, add_special_tokens=False).ids
    return before, tokenizer.encode(context + continuation, add_special_tokens=False).ids[len(before) :]


def read_yaml(text: str) -> dict:
    """A line a key, each value JSON; as a YAML parser reads it where there is one."""
    fields = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in text.splitlines())}
    if yaml is not None:
        assert yaml.safe_load(text) == fields, text
    return fields


@support.needs_tokenizers
class LmEvalTaskTest(support.FolderTest):
    def build(
        self,
        questions: list = QUESTIONS,
        prefix: str = "qs",
        ids: dict[str, list[int]] | None = None,
        attributes: tuple = ("city",),
    ) -> str:
        """A question set; `ids` replaces the tokens of an answer. Questions have the attributes in turn."""
        encoder = load_tokenizer(support.small_vocabulary())
        encoder.install(self.path(prefix))
        q = np.zeros((len(questions), 8), np.uint32)
        with Bundle(self.path(prefix)) as bundle:
            writer = ShardWriter(bundle, token_dtype(encoder.info.vocab_size), 1)
            ends, per_document = [0], []
            for number, (prompt, answer, candidates, aliases, kind) in enumerate(questions):
                sequences = encoder.encode_batch([prompt, answer, *candidates, *aliases])
                sequences[1] = (ids or {}).get(answer, sequences[1])
                writer.append(
                    np.array([i for run in sequences for i in run], np.uint32),
                    np.array([len(run) for run in sequences]),
                    1,
                )
                q[number] = (
                    0,
                    number % len(attributes),
                    number,
                    kind,
                    number,
                    0,
                    2 if candidates else 0,
                    2 + len(candidates) if aliases else 0,
                )
                per_document.append(len(sequences))
                ends.append(ends[-1] + len(sequences))
            column = bundle.open_npy(".q.npy", "<u4", q.shape)
            column.append(q)
            column.close()
            about = {
                "format_version": 1,
                "name": "facts",
                "source": "facts",
                "questions": len(q),
                "entities": len(q),
                "relations": ["city"],
                "attributes": attributes,
                "attribute_pools": [9] * len(attributes),
                "templates": [prompt for prompt, *_ in questions],
                "kinds": ["seen", "heldout"],
                "groups": ["all"],
            }
            bundle.open(".questions.json").write(dump_json(about))
            bundle.commit("questions", encoder.info, writer)
        with open(self.path(prefix + ".idx"), "rb") as file:  # the writer's documents have one length; these differ
            data = file.read()
        sequences = sum(per_document)
        head = data[:18] + np.array([sequences, len(ends)], "<u8").tobytes() + data[34 : 34 + 12 * sequences]
        with open(self.path(prefix + ".idx"), "wb") as file:
            file.write(head + np.array(ends, "<i8").tobytes())
        return self.path(prefix)

    def records(self, name: str) -> list[dict]:
        with open(self.path("tasks", name + ".jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def yaml(self, name: str) -> str:
        with open(self.path("tasks", name + ".yaml"), encoding="utf-8") as file:
            return file.read()

    def convert(self, prefix: str, *flags: object) -> str:
        return self.run_ok("lm-eval", prefix, "--out", self.path("tasks"), *flags)

    def tokenizer(self):
        return support.tokenizers.Tokenizer.from_file(self.path("tokenizer.json"))

    def test_the_harness_reads_the_same_ids(self) -> None:
        prefix = self.build()
        said = self.convert(prefix, "--strict")
        self.assertIn("0 of 5 questions are tokenized otherwise", said)
        self.assertIn("2 questions have aliases", said)
        tokenizer, documents = self.tokenizer(), support.read_shard(prefix)
        eot = tokenizer.token_to_id("<|endoftext|>")
        facts, choices = self.records("facts"), self.records("facts_choice")
        self.assertEqual(([r["question"] for r in facts], [r["question"] for r in choices]), ([0, 4], [1, 2, 3]))
        for record in facts + choices:
            document = documents[record["question"]]
            context = (
                read_yaml(self.yaml("facts"))["doc_to_text"].replace("{{prompt}}", "\0").replace("\0", record["prompt"])
            )
            right = record["answer"] if "answer" in record else record["choices"][record["gold"]]
            before, after = harness_ids(tokenizer, context, right)
            self.assertEqual((before, after), ([eot, *document[0]], document[1]))
            self.assertTrue(record["same_tokens"])
        self.assertEqual(
            [(r["choices"], r["gold"]) for r in choices],
            [([" Oslo", " Paris", " Bergen"], 1), ([" Oslo", " Paris"], 0), ([" tea", " Naïve café"], 1)],
        )

    def test_yaml_keys(self) -> None:
        self.convert(self.build())
        plain, choice, group = (read_yaml(self.yaml(name)) for name in ("facts", "facts_choice", "facts_all_group"))
        self.assertEqual(
            (plain["task"], plain["dataset_path"], plain["output_type"], plain["target_delimiter"]),
            ("facts", "json", "loglikelihood", ""),
        )
        self.assertEqual(plain["dataset_kwargs"], {"data_files": {"test": self.path("tasks", "facts.jsonl")}})
        self.assertEqual((plain["doc_to_target"], choice["doc_to_target"]), ("answer", "gold"))
        metrics = [tuple(metric.values()) for task in (plain, choice) for metric in task["metric_list"]]
        expected = (
            ("acc", "mean", True),
            ("perplexity", "perplexity", False),
            ("acc", "mean", True),
            ("acc_norm", "mean", True),
        )
        self.assertEqual(metrics, list(expected))
        self.assertEqual(list(plain["metric_list"][0]), ["metric", "aggregation", "higher_is_better"])
        self.assertEqual((choice["output_type"], choice["doc_to_choice"]), ("multiple_choice", "choices"))
        self.assertNotIn("doc_to_choice", plain)
        self.assertEqual((group["group"], group["task"]), ("facts_all", ["facts", "facts_choice"]))
        self.assertNotIn("aggregate_metric_list", group)

    def test_by_kind_name_folder_and_no_eot(self) -> None:
        self.convert(
            self.build([item for item in QUESTIONS if not item[2]]),
            "--by",
            "kind",
            "--name",
            "mine",
            "--data-folder",
            "here",
            "--no-eot",
        )
        self.assertEqual(
            sorted(os.listdir(self.path("tasks"))),
            ["mine_group.yaml", "mine_heldout.jsonl", "mine_heldout.yaml", "mine_seen.jsonl", "mine_seen.yaml"],
        )
        seen, group = read_yaml(self.yaml("mine_seen")), read_yaml(self.yaml("mine_group"))
        self.assertEqual(seen["dataset_kwargs"]["data_files"]["test"], "here/mine_seen.jsonl")
        self.assertEqual(seen["doc_to_text"], "{{prompt}}")
        weighted = {"metric": "acc", "aggregation": "mean", "weight_by_size": True}
        self.assertEqual((group["group"], group["aggregate_metric_list"]), ("mine", [weighted]))

    def test_labels_that_no_file_can_have(self) -> None:
        """Every label has a task of its own, inside the folder, whose name the harness takes."""
        labels = "P19/P20", "P19-P20", "../up", "a,b c", "x" * 300
        plain = [(prompt, answer, [], [], 0) for prompt, answer, *_ in QUESTIONS]
        self.convert(self.build(plain, attributes=labels), "--by", "attribute")
        group = read_yaml(self.yaml("facts_group"))
        self.assertEqual(len(set(group["task"])), len(labels))
        self.assertEqual(group["task"][1], "facts_P19-P20")
        found = set(os.listdir(self.path("tasks")))
        self.assertEqual(
            found, {"facts_group.yaml", *(f"{t}.{end}" for t in group["task"] for end in ("yaml", "jsonl"))}
        )
        for task, label in zip(group["task"], labels):
            self.assertRegex(task, r"^[\w.-]{1,120}$")
            self.assertEqual(read_yaml(self.yaml(task))["task"], task)
            self.assertEqual([record["attribute"] for record in self.records(task)], [label])
        # a label that ends like another's questions with candidates
        self.run_bad(
            2, "another output of this command", "lm-eval", self.build(attributes=("x_choice", "x")),
            "--by", "attribute", "--out", self.path("again"),
        )  # fmt: skip
        self.assertFalse(os.path.exists(self.path("again")))

    def test_other_tokenization_is_counted_and_refused(self) -> None:
        tokenizer = support.tokenizers.Tokenizer.from_file(os.path.join(support.small_vocabulary(), "tokenizer.json"))
        letters = [tokenizer.token_to_id(letter) for letter in "ĠParis"]  # never what the tokenizer makes of ' Paris'
        prefix = self.build(QUESTIONS[:2], ids={" Paris": letters})
        self.assertIn("1 of 2 questions are tokenized otherwise as text, the first: question 1", self.convert(prefix))
        self.assertFalse(self.records("facts_choice")[0]["same_tokens"])
        self.run_bad(
            3,
            "1 of 2 questions are tokenized otherwise.*without --strict",
            "lm-eval",
            prefix,
            "--out",
            self.path("strict"),
            "--strict",
        )
        self.assertFalse(os.path.exists(self.path("strict")))

    def test_a_prompt_that_ends_in_a_space_differs(self) -> None:
        self.assertIn(
            "1 of 1 questions are tokenized otherwise", self.convert(self.build([("The town is ", "Oslo", [], [], 0)]))
        )

    def test_malformed_questions_json(self) -> None:
        prefix = self.build()
        good = json.loads(self.contents("qs.questions.json")["qs.questions.json"])
        cases: list[tuple[object, str]] = [
            ({key: value for key, value in good.items() if key != missing}, f"no key '{missing}'")
            for missing in ("name", "relations", "attributes", "kinds", "groups")
        ]
        cases += [
            (good | {"name": 3}, "expected a name at 'name', found 3"),
            (good | {"kinds": "seen"}, "expected a list of names at 'kinds', found \"seen\""),
            (good | {"groups": [["all"]]}, "expected a list of names at 'groups', in which is"),
            (good | {"kinds": ["seen"]}, "1 names at 'kinds', but question 2"),
            ([], "not a JSON object"),
        ]
        for about, said in cases:
            with self.subTest(said=said):
                self.write("qs.questions.json", json.dumps(about))
                pattern = rf"^knapsack lm-eval: .*qs.questions.json: {said}.*\n$"
                self.run_bad(3, pattern, "lm-eval", prefix, "--out", self.path("tasks"))
        self.write("qs.questions.json", "{")
        self.run_bad(3, "qs.questions.json: not JSON", "lm-eval", prefix, "--out", self.path("tasks"))
        self.assertFalse(os.path.exists(self.path("tasks")))

    def test_refusals(self) -> None:
        prefix = self.build()
        self.run_bad(2, "one word", "lm-eval", prefix, "--out", self.path("tasks"), "--name", "a b")
        self.run_bad(3, "No such file", "lm-eval", self.path("none"), "--out", self.path("tasks"))
        other = self.write("other.json", b"{}")
        self.run_bad(
            3,
            "other.json: expected the tokenizer .*, found another one .*--tokenizer",
            "lm-eval",
            prefix,
            "--out",
            self.path("tasks"),
            "--tokenizer",
            other,
        )
        sidecar = self.contents("qs.json")["qs.json"].replace(b'"questions"', b'"text"', 1)
        self.write("qs.json", sidecar)
        self.run_bad(
            3,
            "expected the kind 'questions', found 'text'; the set of a source",
            "lm-eval",
            prefix,
            "--out",
            self.path("tasks"),
        )


if __name__ == "__main__":
    unittest.main()
