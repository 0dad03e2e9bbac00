"""scripts/launch: arguments arrive as they were given, exit codes come back, a Slurm job that has to go on is queued
again; and dev/scaling.md has the tables that dev/scaling.py prints."""

import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

from common import ROOT, TRAIN, DataTest, EndToEndTest, metrics_without_time, replaced, small_run

LAUNCH = ROOT / "scripts" / "launch"
SCRIPTS = ("mpirun.sh", "torchrun.sh", "slurm.sbatch")
FLAGS = ["--out", "two words", "--source", "a=*.bin", "it's", "$HOME", ""]


class ScriptsTest(EndToEndTest):
    """With launchers that only write down their arguments."""

    def setUp(self) -> None:
        self.tools = self.data / "tools"
        self.tools.mkdir(exist_ok=True)
        for name in ("mpirun", "torchrun", "srun", "scontrol"):
            tool = self.tools / name
            tool.write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" >"{self.data}/{name}.arguments"\nexit "${{CODE:-0}}"\n')
            tool.chmod(0o755)
            (self.data / f"{name}.arguments").unlink(missing_ok=True)

    def launch(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "PROGRAM": "/bin/true",
            **variables,
        }
        return subprocess.run(
            [str(LAUNCH / script), *arguments], env=environment, capture_output=True, text=True, timeout=60
        )

    def arguments(self, tool: str) -> list[str]:
        return (self.data / f"{tool}.arguments").read_text().split("\0")[:-1]

    def test_syntax_and_help(self) -> None:
        for script in SCRIPTS:
            with self.subTest(script=script):
                subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True)
                done = self.launch(script, "--help")
                self.assertEqual(done.returncode, 0, done)
                self.assertIn("usage", done.stdout)
                self.assertTrue(all(len(line) <= 120 for line in done.stdout.splitlines()), done.stdout)
                self.assertEqual(self.launch(script, "-n", "2").returncode, 2)  # no --, no job
                self.assertFalse((self.data / "srun.arguments").exists())

    def test_arguments_and_codes_go_through(self) -> None:
        done = self.launch("mpirun.sh", "-np", "2", "--", *FLAGS, CODE="75")
        self.assertEqual(done.returncode, 75)
        given = self.arguments("mpirun")
        self.assertEqual(given[:4], ["--bind-to", "none", "-np", "2"])
        self.assertEqual(given[-len(FLAGS) - 1 :], ["/bin/true", *FLAGS])
        self.launch("mpirun.sh", "--bind-to", "core", "--", *FLAGS)
        self.assertEqual(self.arguments("mpirun")[:2], ["--bind-to", "core"])

        done = self.launch("torchrun.sh", "--nproc-per-node", "2", "--", *FLAGS, CODE="1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.arguments("torchrun"), ["--nproc-per-node", "2", "--no-python", "/bin/true", *FLAGS])
        self.assertEqual(self.launch("mpirun.sh", "--", PROGRAM="/no/such").returncode, 1)

    def test_a_slurm_job_is_queued_again_when_it_has_to_go_on(self) -> None:
        copy = self.data / "slurm_script"  # as Slurm's: elsewhere
        shutil.copy(LAUNCH / "slurm.sbatch", copy)
        job = {"SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(ROOT)}
        for code in (0, 1, 4, 75, 137):
            (self.data / "scontrol.arguments").unlink(missing_ok=True)
            done = self.launch(str(copy), *FLAGS, CODE=str(code), **job)
            self.assertEqual(self.arguments("srun"), ["/bin/true", *FLAGS, "--resume"])
            self.assertEqual((self.data / "scontrol.arguments").exists(), code == 75, done)
            if code != 75:
                self.assertEqual(done.returncode, code)
        self.launch(str(copy), *FLAGS, CODE="75", **job)
        self.assertEqual(self.arguments("scontrol"), ["requeue", "17"])
        lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
        for line in ("#SBATCH --signal=USR1@90", "#SBATCH --requeue", "#SBATCH --open-mode=append"):
            self.assertIn(line, lines)

    def test_the_tables_of_scaling(self) -> None:
        done = subprocess.run(
            [sys.executable, str(ROOT / "dev/scaling.py"), "--check", str(ROOT / "dev/scaling.md")],
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)


@unittest.skipUnless(shutil.which("mpirun"), "scripts/launch/mpirun.sh: no mpirun")
class MpirunTest(DataTest):
    environment = {
        **os.environ,
        "PROGRAM": str(TRAIN),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }

    def command(self, n: int, flags: list[str], out: pathlib.Path) -> list[str]:
        return [str(LAUNCH / "mpirun.sh"), "--oversubscribe", "-np", str(n), "--", *flags, "--out", str(out)]

    def test_sigterm_leaves_time_for_a_checkpoint(self) -> None:
        out = self.data / "stopped"
        command = self.command(2, small_run(self.data, steps=100000), out)
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        end = time.monotonic() + 60
        while not ((out / "metrics.jsonl").exists() and '"step": 2,' in (out / "metrics.jsonl").read_text()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        process.terminate()
        said, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, said)
        self.assertIn("go on with --resume", said)
        self.assertEqual(len(list((out / "checkpoints").glob("step_*/COMPLETE"))), 1)

    def test_two_processes_train_as_one(self) -> None:
        flags = [*replaced(small_run(self.data, steps=3), lanes="2"), "--micro-batch", "2"]
        outs: list[pathlib.Path] = []
        for n in (1, 2):
            outs.append(self.data / f"launched {n}")
            command = self.command(n, flags, outs[-1])
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        one, two = (metrics_without_time(out / "metrics.jsonl") for out in outs)
        self.assertEqual(one, two)
        weights = [(out / "checkpoints/step_00000003/model.safetensors").read_bytes() for out in outs]
        self.assertEqual(*weights)


if __name__ == "__main__":
    unittest.main()
