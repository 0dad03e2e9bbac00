"""Real facts from a table to a reading: `knapsack facts` writes, the trainer infuses, eval_knowledge asks, `knapsack
infusion` reads. What each says of exposures, groups and answers must be what was planned, and what a small model learns
only what it was shown."""

import csv
import json
import pathlib
import sys
import unittest

import numpy as np
from common import EVAL, ROOT, SANITIZED, TRAIN, EndToEndTest, run, under_sanitizers

sys.path.append(str(ROOT / "test" / "python"))
from support import run_command  # noqa: E402

try:
    import tokenizers  # noqa: F401  (the Python package needs it)
except ImportError:
    raise unittest.SkipTest("the Python package 'tokenizers' is not installed") from None

RELATIONS = ("P30", "P37")
PLACES = "Norwood Ostrava Quintara Belvaro Tamsin Hollow Merrow Castel Dunmore Everly Farrow Glinka".split()
OBJECTS = {"P30": ["Arvia", "Benlor", "Cestia", "Dorum"], "P37": ["Elvish", "Fenic", "Gorsk", "Hulian"]}
# a sanitizer's build takes minutes to learn anything: there the rest is tested with few steps
F, TOKENS = (8, "12k") if SANITIZED else (200, "250k")


def knapsack(command: str, *arguments: object) -> None:
    done = run_command(command, *arguments)
    assert done.returncode == 0, done.stderr


def write_table(path: pathlib.Path) -> None:
    """24 facts of two relations; every object is right for a quarter of the subjects."""
    lines = ["# facts, format_version 1", "id\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents"]
    for relation in RELATIONS:
        for number, place in enumerate(PLACES):
            object_ = OBJECTS[relation][(number * 7 + len(place)) % 4]
            lines.append(f"{relation}:{place}\t{relation}\t{place}\t{object_}\t\t\t{1000 - number}\t")
    path.write_text("\n".join(lines) + "\n")


class FactsTest(EndToEndTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        data = cls.data
        write_table(data / "facts.tsv")
        text = [
            " ".join(
                f"the {a} and the {b} of {i * j % 17}"
                for j, (a, b) in enumerate(zip("harbour town hill ship".split(), "sea land road wind".split()))
            )
            for i in range(400)
        ]
        (data / "web.txt").write_text("\n<|endoftext|>\n".join(text) + "\n")
        knapsack("facts", "write", data / "facts.tsv", "--text-only", "--out", data / "all")
        knapsack("tokenizer", data / "all.txt", data / "web.txt", "--vocab-size", 512, "--out", data / "tok")
        knapsack("text", data / "web.txt", "--tokenizer", data / "tok", "--out", data / "web", "--val-fraction", 0.1)
        arguments = f"{data}/facts.tsv --tokenizer {data}/tok --out {data}/wd --templates 2 --candidates all".split()
        knapsack("facts", "write", *arguments, *"--infused 12 --once 2 --early 4 --control 6".split())
        sources = " ".join(f"--source {name}={data}/{name}.bin" for name in ("web", "wd", "wd_once", "wd_early"))
        names = "wd", "wd_once", "wd_early", "wd_control"
        cls.questions = " ".join(f"--questions {data}/{name}_questions" for name in names).split()
        plan = f"--exposures wd={F} --exposures wd_once=1 --exposures wd_early={F} --window wd_early=0:0.4"
        arguments = (
            f"--model pythia:L2:C64:H2 --seq-len 64 --batch-tokens 1024 --tokens {TOKENS} --lr 4e-3 {sources} {plan}"
            f" --val web={data}/web_val.bin --out {data}/runs/a"
        ).split()
        result = run(TRAIN, *arguments, *cls.questions)
        assert result.returncode == 0, result.stderr + result.stdout
        cls.checkpoint = str(next((data / "runs/a/checkpoints").iterdir()))
        arguments = (
            f"--checkpoint {cls.checkpoint} --val web={data}/web_val.bin --out {data}/runs/a/results.json"
            f" --generate {data}/said.jsonl --generate-tokens 12 --popularity-failures 1 --popularity-items 1"
        ).split()
        result = run(EVAL, *arguments, *cls.questions)
        assert result.returncode == 0, result.stderr
        cls.know = json.loads((data / "runs/a/results.json").read_text())["know"]

    @under_sanitizers
    def test_every_fact_is_shown_as_often_as_planned(self) -> None:
        for name, count in (("wd", F), ("wd_once", 1), ("wd_early", F)):
            ledger = np.load(self.data / f"runs/a/exposures/{name}.npy")
            self.assertEqual(set(ledger["count"].ravel()), {count}, name)
            cells = self.know[name]["by_exposures_and_kind"]
            self.assertTrue(all(low <= count <= high for low, high in (cell["exposures"] for cell in cells)), name)
        steps = json.loads((self.data / "runs/a/config.json").read_text())["steps"]
        self.assertLessEqual(np.load(self.data / "runs/a/exposures/wd_early.npy")["last_step"].max(), 0.4 * steps + 1)
        self.assertNotIn("by_exposures_and_kind", self.know["wd_control"])  # in no ledger

    def test_what_is_shown_is_known_and_what_is_not_is_guessed(self) -> None:
        seen = {
            name: next(cell for cell in know["by_kind"] if cell["kind"] == "seen") for name, know in self.know.items()
        }
        self.assertGreater(seen["wd"]["accuracy"], 0.9)
        self.assertGreater(seen["wd"]["choice"], 0.9)
        # four objects a relation: the model knows which, not whose
        self.assertLess(seen["wd_control"]["accuracy"], 0.7)
        self.assertAlmostEqual(seen["wd"]["choice_chance"], 0.25)
        for cell in seen.values():
            self.assertGreaterEqual(cell["accuracy_normalized"], cell["accuracy"])  # a statement ends after its answer

    @under_sanitizers
    def test_continuations_are_judged_as_their_text_reads(self) -> None:
        answers = {}
        for line in (self.data / "wd.entities.tsv").read_text().splitlines()[2:]:
            source, entity, *_, stated = line.split("\t")[:6]
            answers[source, int(entity)] = stated.casefold()
        lines = [json.loads(line) for line in (self.data / "said.jsonl").read_text().splitlines()]
        self.assertEqual(len(lines), sum(know["questions"] for know in self.know.values()))
        for line in lines:
            first = line["text"].casefold().replace(".", "").split()[:1]
            self.assertEqual(line["normalized"], first == [answers[line["set"], line["entity"]]], line)
        for name, know in self.know.items():
            right = [line["normalized"] for line in lines if line["set"] == name]
            self.assertAlmostEqual(know["all"]["accuracy_normalized"], sum(right) / len(right))

    @under_sanitizers
    def test_questions_of_another_world_are_told_apart(self) -> None:
        source = f"{self.data}/facts.tsv --tokenizer {self.data}/tok --out {self.data}/other/wd".split()
        knapsack("facts", "write", *source, *"--infused 6 --templates 2 --control 0".split())
        result = run(EVAL, "--checkpoint", self.checkpoint, "--questions", f"{self.data}/other/wd_questions")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("question set wd asks about 6 entities of wd, which has 12 here", result.stderr)

    @under_sanitizers
    def test_continuations_too_short_for_an_answer_are_warned_of(self) -> None:
        lines = (self.data / "facts.tsv").read_text().splitlines()[:6]  # four facts, now with objects of two words
        longer = [
            *lines[:2],
            *("\t".join([*line.split("\t")[:3], "Arvia Benlor", *line.split("\t")[4:]]) for line in lines[2:]),
        ]
        (self.data / "longer.tsv").write_text("\n".join(longer) + "\n")
        source = f"{self.data}/longer.tsv --tokenizer {self.data}/tok --out {self.data}/longer/wd".split()
        knapsack("facts", "write", *source, *"--templates 2 --control 0".split())
        questions = f"{self.data}/longer/wd_questions"
        arguments = f"--checkpoint {self.checkpoint} --questions {questions} --generate {self.data}/short.jsonl".split()
        for tokens, warned in ((1, True), (12, False)):
            result = run(EVAL, *arguments, "--generate-tokens", str(tokens))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(
                f"--generate-tokens {tokens} is less than any right answer" in result.stderr, warned, result.stderr
            )

    def test_the_study_reads_what_the_run_left(self) -> None:
        knapsack("infusion", self.data / "runs", "--infused", "wd", "--out", self.data / "out.csv")
        (row,) = csv.DictReader((self.data / "out.csv").read_text().splitlines())
        seen = next(cell for cell in self.know["wd"]["by_kind"] if cell["kind"] == "seen")
        self.assertEqual((float(row["F"]), int(row["K"]), float(row["F_least"]), float(row["F_most"])), (F, 12, F, F))
        self.assertAlmostEqual(float(row["accuracy_seen"]), seen["accuracy"])
        mixture = json.loads((self.data / "runs/a/mixture.json").read_text())
        tokens = {source["name"]: source["realised"]["tokens"] for source in mixture["sources"]}
        self.assertAlmostEqual(float(row["share"]), tokens["wd"] / sum(tokens.values()))
        self.assertEqual(
            json.loads((self.data / "out.json").read_text())["curves"][0]["collapse"]["status"], "too_few_points"
        )


if __name__ == "__main__":
    unittest.main()
