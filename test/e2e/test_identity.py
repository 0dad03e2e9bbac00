"""Data and runs are known by what they are, not by their names: what differs is refused naming the difference, the same
content at another place is the same."""

import json
import os
import pathlib
import shutil
import unittest

import numpy as np
from common import TRAIN, EndToEndTest, crc32c, make_data, metrics_without_time, run, small_run, under_sanitizers


def moved(flags: list[str], before: pathlib.Path, after: pathlib.Path) -> list[str]:
    return [flag.replace(str(before), str(after)) for flag in flags]


class IdentityTest(EndToEndTest):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.root = cls.data
        cls.data = cls.root / "data"
        cls.data.mkdir()
        make_data(cls.data)
        cls.flags = [*small_run(cls.data, steps=8), "--eval-at", "every:4", "--checkpoint-at", "every:4", "--keep", "0"]
        cls.whole = cls.root / "whole"
        result = run(TRAIN, *cls.flags, "--out", str(cls.whole))
        assert result.returncode == 0, result.stderr

    def begun(self) -> pathlib.Path:
        """The run as a kill between its two checkpoints leaves it."""
        out = self.root / "begun"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.whole, out)
        (out / "DONE").unlink()
        shutil.rmtree(out / "checkpoints/step_00000008")
        return out

    def copy(self, name: str) -> pathlib.Path:
        folder = self.root / name
        shutil.copytree(self.data, folder)
        return folder

    def resume(self, flags: list[str], code: int, words: str = "") -> None:
        out = self.begun()
        result = run(TRAIN, *flags, "--out", str(out), "--resume")
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn(words, result.stderr)
        if code == 0:
            weights = "checkpoints/step_00000008/model.safetensors"
            self.assertEqual((self.whole / weights).read_bytes(), (out / weights).read_bytes())

    def test_the_same_data_elsewhere_are_the_same(self) -> None:
        folder = self.copy("moved")
        for name in ("web", "val"):
            for ending in ("bin", "idx", "json"):
                (folder / f"{name}.{ending}").rename(folder / f"{name}_of_old.{ending}")
        flags = [
            flag.replace("web.bin", "web_of_old.bin").replace("val.bin", "val_of_old.bin")
            for flag in moved(self.flags, self.data, folder)
        ]
        self.resume(flags, 0)

    def test_what_may_be_another_in_the_next_life(self) -> None:
        more = list(self.flags)
        more[more.index("--checkpoint-at") + 1] = "every:2"
        self.resume(more, 0)
        out = self.begun()
        result = run(TRAIN, *self.flags, "--micro-batch", "2", "--out", str(out), "--resume")
        self.assertEqual(result.returncode, 0, result.stderr)
        for a, b in zip(
            metrics_without_time(self.whole / "metrics.jsonl"), metrics_without_time(out / "metrics.jsonl")
        ):
            self.assertAlmostEqual(a["train/loss"], b["train/loss"], delta=1e-4)
        fewer = [flag for flag in self.flags if flag not in ("--questions", f"{self.data}/facts_questions")]
        self.resume(fewer, 2, "--questions facts")
        folder = self.copy("asked")
        info = json.loads((folder / "facts_questions.questions.json").read_text())
        (folder / "facts_questions.questions.json").write_text(json.dumps({**info, "name": "more"}))
        self.resume([*self.flags, "--questions", str(folder / "facts_questions")], 0)

    def test_changed_data_are_refused_by_name(self) -> None:
        for number, (name, part, words) in enumerate(
            (
                ("web.bin", 0.5, "web.bin: not the file that the checkpoint was trained on"),
                ("facts.bin", 0.5, "facts.bin: not the file"),
                ("facts.values.npy", 0.9, "facts.bin: not the file"),
                ("facts.names.txt", 0.5, "facts.bin: not the file"),
                ("val.bin", 0.01, "--val web: not what the run was evaluated on"),
                ("facts_questions.bin", 0.5, "--questions facts: not what the run was evaluated on"),
            )
        ):
            with self.subTest(name=name):
                folder = self.copy(f"changed{number}")
                content = bytearray((folder / name).read_bytes())
                at = int(len(content) * part) // 4 * 4
                content[at] = content[at] ^ 1 if content[at] > 1 else content[at] + 2
                (folder / name).write_bytes(content)
                self.resume(moved(self.flags, self.data, folder), 3, words)

    def test_documents_in_another_order_are_refused(self) -> None:
        folder = self.copy("shuffled")
        index = (folder / "web.idx").read_bytes()
        count = int.from_bytes(index[18:26], "little")
        lengths = np.frombuffer(index[34 : 34 + 4 * count], "<i4")
        ids = np.fromfile(folder / "web.bin", "<u2")
        documents = np.split(ids, np.cumsum(lengths)[:-1])
        # two documents of one length change places: not a byte of the index is another
        first, second = next(
            (i, j)
            for i in range(count)
            for j in range(i + 1, count)
            if lengths[i] == lengths[j] and not np.array_equal(documents[i], documents[j])
        )
        documents[first], documents[second] = documents[second], documents[first]
        np.concatenate(documents).tofile(folder / "web.bin")
        self.resume(moved(self.flags, self.data, folder), 3, "web.bin")

    def test_one_more_shard_is_named(self) -> None:
        folder = self.copy("more")
        for ending in ("bin", "idx", "json"):
            shutil.copy(folder / f"val.{ending}", folder / f"web2.{ending}")
        flags = [
            flag.replace("/web.bin", "/web*.bin") if flag.startswith("web=") else flag
            for flag in moved(self.flags, self.data, folder)
        ]
        self.resume(flags, 2, "web2.bin is new")

    def test_checksums_of_the_sidecar(self) -> None:
        folder = self.copy("damaged")
        sidecar = json.loads((folder / "web.json").read_text())
        sidecar["checksums"] = {"web.bin": "sha256:" + "0" * 64}
        (folder / "web.json").write_text(json.dumps(sidecar))
        result = run(TRAIN, *moved(self.flags, self.data, folder), "--out", str(self.root / "new"))
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("web.bin: not what the sha256", result.stderr)

    def test_a_finished_run_is_the_one_that_is_asked_for(self) -> None:
        def again(*flags: str) -> tuple[int, str]:
            result = run(TRAIN, *flags, "--out", str(self.whole), "--resume")
            return result.returncode, result.stderr + result.stdout

        self.assertEqual(again(*self.flags)[0], 0)
        faster = list(self.flags)
        faster[faster.index("--lr") + 1] = "0.5"
        code, said = again(*faster)
        self.assertEqual(code, 2)
        self.assertIn("--lr: 0.5 here, 0.003 there", said)
        longer = list(self.flags)
        longer[longer.index("--steps") + 1] = "40"
        self.assertEqual(again(*longer)[0], 2)
        self.assertIn("--steps", again(*longer)[1])
        code, said = again(*[flag.replace("web.bin", "val.bin") for flag in self.flags])
        self.assertEqual(code, 3)
        self.assertIn("val.bin: not the file", said)

    @under_sanitizers
    def test_damage_in_a_checkpoint_is_damage(self) -> None:
        out = self.begun()
        checkpoint = out / "checkpoints/step_00000004"
        state = checkpoint / "loader_state.json"
        text = state.read_text()
        state.write_text(text.replace('"T":64', '"T":65'))
        result = run(TRAIN, *self.flags, "--out", str(out), "--resume")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("loader_state.json: damaged", result.stderr)
        # the checksums made again by hand
        for name, content, code, words in (
            ("loader_state.json", "", 3, "loader_state.json: empty"),
            ("loader_state.json", text.replace('"step":4', '"step":5'), 3, ""),
            ("config.json", "", 3, "config.json"),
            (
                "trainer_state.json",
                (checkpoint / "trainer_state.json").read_text().replace('"step": 4', '"step": 6'),
                3,
                "step 6",
            ),
        ):
            with self.subTest(name=name, content=content[:20]):
                out = self.begun()
                (checkpoint / name).write_text(content)
                (checkpoint / "COMPLETE").write_text(self.complete(checkpoint))
                result = run(TRAIN, *self.flags, "--out", str(out), "--resume")
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn(words, result.stderr)

    @under_sanitizers
    def test_what_is_no_regular_file_is_refused_and_not_waited_for(self) -> None:
        folder = self.copy("special")
        for name in ("web.bin", "web.idx", "web.json", "facts.values.npy", "facts_questions.questions.json"):
            with self.subTest(name=name):
                (folder / name).rename(folder / "kept")
                os.mkfifo(folder / name)
                result = run(TRAIN, *moved(self.flags, self.data, folder), "--out", str(self.root / "never"))
                self.assertEqual(result.returncode, 3, result.stderr)
                self.assertIn(f"{name}: not a regular file", result.stderr)
                self.assertFalse((self.root / "never").exists())
                (folder / "kept").replace(folder / name)
        os.mkfifo(folder / "run.toml")
        result = run(TRAIN, *self.flags, "--config", str(folder / "run.toml"))
        self.assertEqual(result.returncode, 3)
        self.assertIn("run.toml: not a regular file", result.stderr)
        (folder / "empty.toml").write_text("lr =\n")
        result = run(TRAIN, *self.flags, "--config", str(folder / "empty.toml"))
        self.assertEqual(result.returncode, 2)
        self.assertIn("line 1: 'lr' has no value", result.stderr)
        result = run(TRAIN, *self.flags, "--out", "/dev/null")
        self.assertEqual(result.returncode, 2, result.stderr)

    def complete(self, checkpoint: pathlib.Path) -> str:
        marker = json.loads((checkpoint / "COMPLETE").read_text())
        for name in marker["files"]:
            data = (checkpoint / name).read_bytes()
            marker["files"][name] = {
                "bytes": len(data),
                "crc32c": crc32c(data) if len(data) < 1 << 16 else marker["files"][name]["crc32c"],
            }
        return json.dumps(marker)


if __name__ == "__main__":
    unittest.main()
