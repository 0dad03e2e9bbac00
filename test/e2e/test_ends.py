"""Nothing is lost at an end: signals at any moment, readers that leave, shards that shrink. And the lives of a run are
one run: their time, their TensorBoard curves, their bytes."""

import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from common import TRAIN, EndToEndTest, make_data, metrics_without_time, run, small_run


class Ends(EndToEndTest):
    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.data = pathlib.Path(cls.temporary.name)
        make_data(cls.data)
        cls.flags = [*small_run(cls.data), "--eval-at", "every:10", "--checkpoint-at", "every:4", "--keep", "0"]

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def start(self, *flags: str, **kwargs) -> subprocess.Popen:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        return subprocess.Popen([str(TRAIN), *flags], text=True, **streams)

    def wait_for(self, process: subprocess.Popen, path: pathlib.Path, text: str) -> None:
        end = time.monotonic() + 60
        while not (path.exists() and text in path.read_text()):
            self.assertIsNone(process.poll(), f"ended before {path.name} had {text}")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.002)


class SignalTest(Ends):
    def test_an_evaluation_is_cut_short_and_made_again(self) -> None:
        # each pass of validation is a pass more to be cut between; the whole evaluation takes seconds
        flags = [*small_run(self.data, steps=6), "--eval-at", "at:3,end", "--keep", "0"]
        flags[flags.index("--model") + 1] = "pythia:L3:C64:H2"
        flags[flags.index("--val") + 1] = f"web={self.data}/web.bin"
        flags[flags.index("--val-tokens") + 1] = "30k"
        whole, out = self.data / "eval-whole", self.data / "eval-cut"
        self.assertEqual(run(TRAIN, *flags, "--out", str(whole)).returncode, 0)
        process = self.start(*flags, "--out", str(out))
        self.wait_for(process, out / "metrics.jsonl", '"step": 2,')
        time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        began = time.monotonic()
        process.communicate()
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(process.returncode, 75)
        if (out / "checkpoints/step_00000003").exists():  # the signal came in the evaluation
            self.assertEqual((out / "eval.jsonl").read_text(), "")
        self.assertEqual(run(TRAIN, *flags, "--out", str(out), "--resume").returncode, 0)
        for name in ("metrics.jsonl", "eval.jsonl"):
            self.assertEqual(metrics_without_time(whole / name), metrics_without_time(out / name), name)

    def test_a_checkpoint_before_the_first_step_is_one(self) -> None:
        flags = small_run(self.data, steps=4)
        whole, out, branch = self.data / "none-whole", self.data / "none", self.data / "none-branch"
        self.assertEqual(run(TRAIN, *flags, "--out", str(whole)).returncode, 0)
        stops = [*flags, "--stop-at", "val/web/loss<=99", "--out", str(out)]
        self.assertEqual(run(TRAIN, *stops).returncode, 0)
        again = run(TRAIN, *stops, "--resume")
        self.assertEqual((again.returncode, "already DONE" in again.stdout), (0, True), again.stderr)
        at = flags.index("--model")
        flags[at : at + 2] = ["--branch", str(out / "checkpoints/step_00000000")]
        self.assertEqual(run(TRAIN, *flags, "--out", str(branch)).returncode, 0)
        for name in ("model.safetensors", "optimizer.safetensors", "loader_state.json"):
            last = "checkpoints/step_00000004/" + name
            self.assertEqual((whole / last).read_bytes(), (branch / last).read_bytes(), name)

    def test_whoever_starts_with_hangups_ignored_goes_on(self) -> None:
        out = self.data / "nohup"
        process = self.start(
            *self.flags, "--out", str(out), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
        )
        self.wait_for(process, out / "metrics.jsonl", '"step": 3,')
        process.send_signal(signal.SIGHUP)
        process.communicate()
        self.assertEqual(process.returncode, 0)

    def test_killed_at_random_moments(self) -> None:
        """Seconds, not steps: kills fall into set-up, evaluations and saves as well. KILLS=100: by hand."""
        whole, out = self.data / "kill-whole", self.data / "killed"
        began = time.monotonic()
        self.assertEqual(run(TRAIN, *self.flags, "--out", str(whole)).returncode, 0)
        duration = time.monotonic() - began
        kills, chance = int(os.environ.get("KILLS", "6")), random.Random(11)
        done, lives = 0, 0
        while done < kills:
            if (out / "DONE").exists():
                self.assert_same_bytes(whole, out)
                shutil.rmtree(out)
            process = self.start(*self.flags, "--out", str(out), "--resume")
            pause = chance.uniform(0, duration)
            time.sleep(pause)
            if process.poll() is None:
                number = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
                process.send_signal(number)
                done += 1
                _, said = process.communicate(timeout=60)
                unheard = -number if pause < 0.5 else 0  # before main() could ask for signals: nothing is there yet
                self.assertIn(process.returncode, (0, 75, -signal.SIGKILL, unheard), said)
            else:
                _, said = process.communicate()
                self.assertEqual(process.returncode, 0, said)
            lives += 1
        self.assertEqual(run(TRAIN, *self.flags, "--out", str(out), "--resume").returncode, 0)
        self.assert_same_bytes(whole, out)
        if "KILLS" in os.environ:
            print(f"{done} kills in {lives} lives")

    def assert_same_bytes(self, whole: pathlib.Path, out: pathlib.Path) -> None:
        for name in ("metrics.jsonl", "eval.jsonl"):
            self.assertEqual(metrics_without_time(whole / name), metrics_without_time(out / name), name)
        last = "checkpoints/step_00000040"
        for name in ("model.safetensors", "optimizer.safetensors", "loader_state.json", "exposures/facts.npy"):
            self.assertEqual((whole / last / name).read_bytes(), (out / last / name).read_bytes(), name)
        self.assertEqual((whole / "exposures/facts.npy").read_bytes(), (out / "exposures/facts.npy").read_bytes())
        self.assertEqual(list(out.rglob("*.tmp")), [])
        times = [json.loads(line)["time"] for line in (out / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(times, sorted(times))
        self.assert_curves(out)

    def assert_curves(self, out: pathlib.Path) -> None:
        """TensorBoard's rule for files of a session: its START forgets the steps from its own on."""
        curves: dict[str, dict[int, int]] = {"train/loss": {}, "val/web/loss": {}}
        for file in sorted(out.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
            for event in events(file.read_bytes()):
                step = next((value for number, value in event if number == 2), 0)
                for number, value in event:
                    if number == 7:
                        for curve in curves.values():
                            for later in [s for s in curve if s >= step]:
                                del curve[later]
                    if number == 5:
                        for name, curve in curves.items():
                            if name.encode() in value:
                                curve[step] = curve.get(step, 0) + 1
        steps = [line["step"] for line in metrics_without_time(out / "metrics.jsonl")]
        self.assertEqual(curves["train/loss"], dict.fromkeys(steps, 1))
        steps = [line["step"] for line in metrics_without_time(out / "eval.jsonl")]
        self.assertEqual(curves["val/web/loss"], dict.fromkeys(steps, 1))


def events(data: bytes) -> list[list[tuple[int, object]]]:
    """Fields of each record: (number, value or bytes)."""
    result = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        message, data, fields, at = data[12 : 12 + length], data[16 + length :], [], 0
        while at < len(message):
            key, at = varint(message, at)
            if key & 7 == 0:
                value, at = varint(message, at)
            else:
                size, at = {1: (8, at), 5: (4, at)}.get(key & 7) or varint(message, at)
                value, at = message[at : at + size], at + size
            fields.append((key >> 3, value))
        result.append(fields)
    return result


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


class OutputTest(Ends):
    def test_a_reader_that_leaves_ends_no_run(self) -> None:
        out = self.data / "pipe"
        process = self.start(*self.flags, "--out", str(out))
        process.stdout.close()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertTrue((out / "DONE").exists())

    def test_lines_reach_a_file_at_once(self) -> None:
        out, log = self.data / "lines", self.data / "lines.log"
        with log.open("w") as file:
            process = self.start(*self.flags, "--out", str(out), stdout=file)
            self.wait_for(process, out / "eval.jsonl", '"step": 20,')
            process.kill()
            process.communicate()
        self.assertIn("step 10:", log.read_text())

    def test_a_shard_that_shrinks_is_named(self) -> None:
        shard = self.data / "shrinks.bin"
        for ending in ("bin", "idx", "json"):
            shutil.copy(self.data / f"web.{ending}", shard.with_suffix("." + ending))
        flags = [flag.replace("web.bin", "shrinks.bin") for flag in small_run(self.data, steps=100000)]
        out = self.data / "shrunk"
        process = self.start(*flags, "--out", str(out), "--checkpoint-at", "every:4", "--eval-at", "end")
        self.wait_for(process, out / "metrics.jsonl", '"step": 5,')
        os.truncate(shard, 0)
        _, said = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3, said)
        self.assertIn(f"error: {shard}: cannot be read any more", said)
        self.assertIn(str(shard), (out / "FAILED").read_text())

    def test_a_folder_that_cannot_be_made_says_why(self) -> None:
        (self.data / "file").write_text("")
        result = run(TRAIN, *small_run(self.data, steps=2), "--out", str(self.data / "file" / "run"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("Not a directory", result.stderr)


if __name__ == "__main__":
    unittest.main()
