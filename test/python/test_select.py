"""knapsack select: whom it keeps, by planted losses; what it refuses; a list is known by its content."""

import json
import pathlib
import random
import unittest

import support


class SelectTest(support.FolderTest):
    def plant(self, losses: list[float], right: list[float] | None = None, exposures: list[int] | None = None) -> str:
        """A run whose source bio has two shards, `a` with the first three people and `b` with the others: two facts a
        person, of four questions each, whose losses scatter around the person's; other kinds and sets say the
        opposite."""
        draw = random.Random(3)
        run = pathlib.Path(self.path("run"))
        for folder in ("answers", "exposures"):
            (run / folder).mkdir(parents=True, exist_ok=True)
        shards = [{"name": "a", "entities": 3}, {"name": "b", "entities": len(losses) - 3}]
        about = {"format_version": 1, "slots": ["x", "y"], "shards": shards}
        (run / "exposures" / "bio.json").write_text(json.dumps(about))
        lines = []
        for person, loss in enumerate(losses):
            source, entity = ("a", person) if person < 3 else ("b", person - 3)
            for number in range(8):
                line = {"step": 40, "set": source, "source": source, "question": 8 * entity + number, "entity": entity}
                line |= {"attribute": "xy"[number % 2], "kind": "seen", "group": "all"}
                line |= {"nll": loss + draw.uniform(-0.1, 0.1), "correct": number < 8 * (right or losses)[person]}
                lines.append(line | {"exposures": (exposures or [5] * len(losses))[person]})
                lines.append(line | {"kind": "heldout", "question": 1000 + line["question"], "nll": 9 - loss})
            name = {"set": f"{source}_names", "question": entity, "attribute": "name", "nll": 9 - loss}
            lines.append(lines[-2] | name)
        draw.shuffle(lines)
        (run / "answers" / "step_00000020.jsonl").write_text("{}\n")  # an earlier one is not read
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run / "answers" / "step_00000040.jsonl").write_text(text)
        return str(run)

    def kept(self, run: str, *flags: object) -> list[int]:
        self.run_ok("select", run, "bio", "--out", self.path("keep.txt"), *flags)
        lines = pathlib.Path(self.path("keep.txt")).read_text().splitlines()
        self.assertEqual(lines, sorted(lines, key=int))
        return list(map(int, lines))

    def test_by_loss(self) -> None:
        run = self.plant([4.0, 1.0, 3.0, 2.0, 8.0, 6.0, 5.0, 7.0])
        self.assertEqual(self.kept(run, "--share", 0.5), [0, 1, 2, 3])
        self.assertEqual(self.kept(run, "--share", 0.25), [1, 3])
        self.assertEqual(self.kept(run, "--share", 0.25, "--rule", "hardest"), [4, 7])
        self.assertEqual(self.kept(run, "--share", 0.25, "--kind", "heldout"), [4, 7])
        self.assertEqual(self.kept(run), list(range(8)))
        about = json.loads(pathlib.Path(self.path("keep.txt.json")).read_text())
        self.assertEqual((about["entities"], about["kept"], about["step"], about["run"]), (8, 8, 40, "run"))
        self.kept(run, "--share", 0.5)
        about = json.loads(pathlib.Path(self.path("keep.txt.json")).read_text())
        self.assertAlmostEqual(about["loss"]["kept"], 2.5, delta=0.1)
        self.assertAlmostEqual(about["loss"]["others"], 6.5, delta=0.1)

    def test_what_is_frequent_or_known_gives_way(self) -> None:
        shown = [100, 9, 100, 9, 9, 100, 9, 9]
        run = self.plant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1, 1, 0.5, 0.5, 0, 0, 0, 0], shown)
        self.assertEqual(self.kept(run, "--most-exposures", 100), [1, 3, 4, 6, 7])
        self.assertEqual(self.kept(run, "--most-exposures", 100, "--share", 0.25), [1, 3])
        self.assertEqual(self.kept(run, "--drop-known", 1, "--share", 0.25), [2, 3])
        self.assertEqual(self.kept(run, "--drop-known", 0.5, "--share", 0.25), [4, 5])
        done = support.run_command("select", run, "bio", "--drop-known", 0.5, "--share", 0.75, "--out", self.path("k"))
        self.assertEqual(done.returncode, 0)
        self.assertIn("only 4 of 8 are left to choose from, --share 0.75 is 6", done.stderr)

    def test_refusals(self) -> None:
        run, out = self.plant([1.0, 2.0, 3.0, 4.0], exposures=[5, 5, 5, 5]), self.path("keep.txt")
        self.run_bad(2, "no knowledge source wiki; it has bio", "select", run, "wiki", "--out", out)
        self.run_bad(2, "nobody is kept: 4 of 4 are left, --share 0.01 is 0", "select", run, "bio", "--out", out,
                     "--share", 0.01)  # fmt: skip
        self.run_bad(2, "nobody is kept: 0 of 4", "select", run, "bio", "--out", out, "--most-exposures", 5)
        self.run_bad(2, "more than 0 and at most 1", "select", run, "bio", "--out", out, "--share", 1.5)
        self.run_bad(3, "4 of 4 entities have no answer", "select", run, "bio", "--out", out, "--set", "other")
        self.run_bad(3, "no question with kind spoken", "select", run, "bio", "--out", out, "--kind", "spoken")
        answers = pathlib.Path(run, "answers", "step_00000040.jsonl")
        lines = list(map(json.loads, answers.read_text().splitlines()))

        def write(changed: list[dict]) -> None:
            answers.write_text("".join(json.dumps(line) + "\n" for line in changed))

        write([line for line in lines if (line["source"], line["entity"]) != ("b", 0)])
        self.run_bad(3, "1 of 4 entities have no answer; ask about all", "select", run, "bio", "--out", out)
        write([line | ({"entity": 7} if line["source"] == "b" else {}) for line in lines])
        self.run_bad(3, "about entity 7 of b, which has 1", "select", run, "bio", "--out", out)
        write([line | ({"nll": "NaN", "correct": False} if line["source"] == "b" else {}) for line in lines])
        self.run_bad(3, "the loss of 2 facts is not a finite number", "select", run, "bio", "--out", out)
        write([{key: value for key, value in line.items() if key != "exposures"} for line in lines])
        self.run_bad(3, "do not say the exposures", "select", run, "bio", "--out", out, "--most-exposures", 9)
        for path in pathlib.Path(run, "answers").glob("*"):
            path.unlink()
        self.run_bad(3, "train it with --per-question on", "select", run, "bio", "--out", out)
        self.assertFalse(pathlib.Path(out).exists())

    def test_a_list_is_known_by_its_content(self) -> None:
        from knapsack.runs.identity import contents_of, difference, hash_of, identity_of

        def identity(name: str, text: str | None) -> dict:
            if text is not None:
                self.write(name, text)
            contents_of.cache_clear()
            return identity_of({"subsample": [f"bio=file:{self.path(name)}", "web=0.50"]})

        one, moved = identity("a.txt", "1\n2\n"), identity("b.txt", "1\n2\n")
        self.assertEqual(one["options"], {"subsample": ["bio", "web=0.5"]})
        self.assertIsNone(difference(one, moved))
        self.assertEqual(hash_of(one), hash_of(moved))
        self.assertRegex(str(difference(one, identity("a.txt", "1\n3\n"))), "other data: .*a.txt has changed since")
        self.assertIn("other flags", str(difference(one, identity("none.txt", None))))


if __name__ == "__main__":
    unittest.main()
