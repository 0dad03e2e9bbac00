"""The collectives of several processes: MPI's of the CPU programs, and the CUDA programs' calls of NCCL, on its
stand-in. test/processes/test_communicator.cpp checks them from inside."""

import pathlib
import subprocess
import unittest

from common import BUILD
from test_processes import ENVIRONMENT, MPIRUN, SIMT, mpirun


@unittest.skipUnless(MPIRUN, "several processes: no mpirun")
class CommunicatorTest(unittest.TestCase):
    def start(self, processes: int, folder: pathlib.Path, *what: str) -> subprocess.CompletedProcess:
        command = [*mpirun(processes), str(folder / "test_communicator"), *what]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)

    def collectives(self, folder: pathlib.Path) -> None:
        for processes in (1, 2, 4):
            with self.subTest(processes=processes):
                done = self.start(processes, folder)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(done.stdout, rf"^{processes} processes, .*: [1-9]\d+ checks\n$")

    @unittest.skipUnless((BUILD / "test_communicator").exists(), "not in this build")
    def test_on_the_cpu(self) -> None:
        self.collectives(BUILD)

    @unittest.skipUnless((SIMT / "test_communicator").exists(), "no CUDA toolkit, or not in this build")
    def test_nccl_on_its_stand_in(self) -> None:
        self.collectives(SIMT)

    @unittest.skipUnless((SIMT / "test_communicator").exists(), "no CUDA toolkit, or not in this build")
    def test_what_nccl_would_hang_on_or_refuse(self) -> None:
        for what, named in (
            ("sizes", "process 0 has begun a broadcast of 20 bytes, process 1 a broadcast of 24 bytes"),
            ("gpus", "2 processes on GPU 0"),
            ("host", "not device memory"),
        ):
            with self.subTest(what=what):
                done = self.start(2, SIMT, what)
                self.assertEqual(done.returncode, 4, done.stdout + done.stderr)
                self.assertIn(named, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
