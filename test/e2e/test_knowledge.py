"""The instruments from outside: answers question by question, the account of a run, manifests, placements."""

import json
import pathlib
import shutil
import unittest

import numpy as np
from common import EVAL, TRAIN, DataTest, run, small_run, under_sanitizers

MPIRUN = shutil.which("mpirun")


def read_lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class KnowledgeTest(DataTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.flags = small_run(cls.data)
        at = cls.flags.index("--ratio")
        cls.flags[at : at + 2] = ["--exposures", "facts=6"]
        cls.flags += ["--placement", "facts=front:0.5", "--eval-at", "windows,every:10", "--per-question", "on"]
        cls.flags += ["--checkpoint-at", "every:20", "--keep", "0"]
        cls.trained = cls.data / "run"
        result = run(TRAIN, *cls.flags, "--out", str(cls.trained))
        assert result.returncode == 0, result.stderr + result.stdout

    def test_evaluations_stand_around_the_window(self) -> None:
        steps = [line["step"] for line in read_lines(self.trained / "eval.jsonl")]
        self.assertEqual(steps, [0, 10, 20, 21, 22, 24, 28, 30, 36, 40])
        self.assertEqual(
            [path.name for path in sorted((self.trained / "answers").iterdir())],
            [f"step_{step:08d}.jsonl" for step in steps],
        )

    def test_answers_are_those_of_the_binary(self) -> None:
        for step in (20, 40):
            out = self.data / f"answers{step}.jsonl"
            checkpoint = self.trained / f"checkpoints/step_{step:08d}"
            questions = self.data / "facts_questions"
            arguments = f"--checkpoint {checkpoint} --questions {questions} --per-question {out}".split()
            result = run(EVAL, *arguments)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(out.read_bytes(), (self.trained / f"answers/step_{step:08d}.jsonl").read_bytes())

    @unittest.skipUnless(MPIRUN, "several processes: no mpirun")
    def test_several_processes_answer_as_one(self) -> None:
        def ask(n: int) -> tuple[str, dict, bytes]:
            out, answers = self.data / f"by{n}.json", self.data / f"by{n}.jsonl"
            checkpoint = self.trained / "checkpoints/step_00000040"
            arguments = (
                f"--checkpoint {checkpoint} --questions {self.data}/facts_questions --val web={self.data}/val.bin"
            )
            arguments += f" --val-tokens 1900 --out {out} --per-question {answers}"
            launcher = f"{MPIRUN} --oversubscribe --bind-to none -np {n}".split() if n > 1 else []
            root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
            command = [*launcher, str(EVAL), *arguments.split()]
            result = run(pathlib.Path(command[0]), *command[1:], env=root)
            self.assertEqual(result.returncode, 0, result.stderr)
            return result.stdout, json.loads(out.read_text())["results"], answers.read_bytes()

        alone = ask(1)
        for n in (2, 3):  # 3: none of the passes is dealt out evenly
            self.assertEqual(ask(n), alone)

    def test_results_take_the_place_of_no_input(self) -> None:
        checkpoint, questions = self.trained / "checkpoints/step_00000040", self.data / "facts_questions"
        config = self.data / "eval.toml"
        config.write_text("questions-per-set = 10\n")
        for output in (config, checkpoint / "model.safetensors", pathlib.Path(f"{questions}.bin")):
            before = output.read_bytes()
            arguments = f"--config {config} --checkpoint {checkpoint} --questions {questions} --out {output}".split()
            result = run(EVAL, *arguments)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn("this is an input", result.stderr)
            self.assertEqual(output.read_bytes(), before)

    def test_exposures_of_a_fact_are_its_ledger_at_that_step(self) -> None:
        placed = np.load(self.manifest() / "facts.npy")
        before = -1.0
        for path in sorted((self.trained / "answers").iterdir()):
            lines = read_lines(path)
            self.assertEqual({line["step"] for line in lines}, {int(path.stem[5:])})
            exposures = {(line["entity"], line["attribute"]): line["exposures"] for line in lines}
            begun = np.bincount(placed["entity"][placed["step"] < lines[0]["step"]], minlength=80)
            for (entity, _), count in exposures.items():
                self.assertLessEqual(count, begun[entity])
                self.assertGreaterEqual(count, begun[entity] - 1)  # one may have begun and not told its value yet
            mean = sum(exposures.values()) / len(exposures)
            self.assertGreaterEqual(mean, before)
            before = mean
        self.assertEqual(before, 6)

    def manifest(self) -> pathlib.Path:
        folder = self.data / "manifest"
        if not folder.exists():
            result = run(TRAIN, *self.flags, "--manifest", str(folder))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("realised", result.stdout)
        return folder

    @under_sanitizers
    def test_the_run_took_what_the_manifest_says(self) -> None:
        placed = np.load(self.manifest() / "facts.npy")
        self.assertEqual(sorted(np.bincount(placed["entity"])), [6] * 80)
        self.assertLess(placed["position"].max(), 40 * 512 * 0.5 + 200)
        mixture = json.loads((self.trained / "mixture.json").read_text())
        self.assertEqual(mixture, json.loads((self.manifest() / "mixture.json").read_text()))
        ledger = np.load(self.trained / "exposures/facts.npy")
        realised = {source["name"]: source["realised"] for source in mixture["sources"]}
        self.assertEqual(realised["facts"]["exposures"], {"mean": 6.0, "least": 6, "most": 6})
        self.assertEqual(realised["facts"]["cut"], int(ledger["cut"].sum()))
        self.assertEqual(realised["facts"]["last_step"], int(ledger["last_step"].max()))
        last = read_lines(self.trained / "metrics.jsonl")[-1]
        for name, values in realised.items():
            self.assertEqual(values["tokens"], last[f"data/{name}/tokens"])
        axes = json.loads((self.trained / "exposures/facts.json").read_text())
        self.assertEqual(axes["shards"], [{"name": "facts", "entities": 80}])

    @under_sanitizers
    def test_answers_of_a_life_that_ended_are_not_left(self) -> None:
        out = self.data / "again"
        shutil.copytree(self.trained, out)
        (out / "DONE").unlink()
        shutil.rmtree(out / "checkpoints/step_00000040")
        (out / "answers/step_00000039.jsonl").write_text("of another schedule\n")
        (out / "answers/step_00000036.jsonl.tmp").write_text("half of it")
        result = run(TRAIN, *self.flags, "--out", str(out), "--resume")
        self.assertEqual(result.returncode, 0, result.stderr)
        names = sorted(path.name for path in (self.trained / "answers").iterdir())
        self.assertEqual(sorted(path.name for path in (out / "answers").iterdir()), names)
        for name in [*(f"answers/{name}" for name in names), "mixture.json"]:
            self.assertEqual((out / name).read_bytes(), (self.trained / name).read_bytes(), name)

    @under_sanitizers
    def test_bad_placements_are_refused(self) -> None:
        for value, words in (
            ("facts=middle", "expected uniform"),
            ("facts=front:2", "0 < F <= 1"),
            ("nobody=front:0.5", "no --source nobody"),
        ):
            result = run(TRAIN, *small_run(self.data), "--placement", value, "--plan")
            self.assertEqual(result.returncode, 2)
            self.assertIn(words, result.stderr)
        for flags, words in (
            (["--eval-at", "at:41"], "the run has 40 steps"),
            (["--questions", str(self.data / "nope")], "nope"),
        ):
            result = run(TRAIN, *small_run(self.data), *flags, "--plan")
            self.assertIn(result.returncode, (2, 3))
            self.assertIn(words, result.stderr)
        result = run(
            TRAIN, *small_run(self.data), "--window", "facts=0.5:0.2", "--placement", "facts=front:0.5", "--plan"
        )
        self.assertEqual(result.returncode, 2)
        self.assertIn("0 <= a < b <= 1", result.stderr)
        result = run(TRAIN, *small_run(self.data), "--eval-at", "windows", "--plan")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no source has", result.stderr)


if __name__ == "__main__":
    unittest.main()
