"""The collectives of several processes: MPI's of the CPU programs, and the CUDA programs' calls of NCCL, on its
stand-in. test/processes/test_communicator.cpp checks them from inside."""

import os
import pathlib
import socket
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

    @unittest.skipUnless((SIMT / "test_communicator").exists(), "no CUDA toolkit, or not in this build")
    def test_more_processes_than_gpus(self) -> None:
        """As torchrun starts them: the stand-in then has one GPU."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        meeting = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes = [
            subprocess.Popen(
                [SIMT / "test_communicator"],
                env={**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        said = "".join(process.communicate(timeout=120)[0] for process in processes)
        self.assertIn("2 or more processes on this machine and 1 GPU: each needs one of its own", said)
        self.assertEqual([process.returncode for process in processes], [4, 4], said)


if __name__ == "__main__":
    unittest.main()
