"""What the tests of the package share: running a command, an independent reader of shards, a small vocabulary."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback
import unittest
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = os.path.join(REPOSITORY, "knapsack")
OUTSIDE_DATA = os.path.join(os.path.dirname(REPOSITORY), "shared", "data")  # not part of the repository; may be missing
sys.path.insert(0, REPOSITORY)

from knapsack.__main__ import main as knapsack_main  # noqa: E402

try:
    import tokenizers
except ImportError:
    tokenizers = None

needs_tokenizers = unittest.skipUnless(tokenizers, "the Python package 'tokenizers' is not installed")

PARAGRAPHS = [
    "The harbour of the old town lies between two hills; ships came here in 1742 and again in 1801.",
    "Water boils at 100 degrees. At a height of 3,000 metres it boils sooner, which cooks remember when they make tea.",
    "It's said that the painter's house wasn't sold: nobody knew who'd own it.\n\nA second one, with naïve café words.",
    "Numbers such as 3.14159 or 2,718 appear, and names: Ann, Bob, and the University of Somewhere, August 09, 1992.",
]


def documents(count: int) -> list[str]:
    """Different documents of different lengths."""
    return [
        " ".join(PARAGRAPHS[(i + j) % 4] for j in range(1 + i % 3)) + f" End of document {i}." for i in range(count)
    ]


STDERR = "backslashreplace"  # as Python's own writes what cannot be encoded


class Done(NamedTuple):
    """What a command left, as subprocess.CompletedProcess says it."""

    returncode: int
    stdout: str
    stderr: str


def run_command(command: str, *arguments: object) -> Done:
    """`knapsack COMMAND ARGUMENTS` inside this process, which saves the second that a new one takes to start."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", how, write_through=True) for how in ("strict", STDERR))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = knapsack_main([*command.split(), *map(str, arguments)])
        except SystemExit as end:  # argparse
            code = end.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
    return Done(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())


def run_process(command: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess:
    """The same as a process of its own, or a Python script by its path."""
    words = [command] if command.endswith(".py") else ["-m", "knapsack", *command.split()]
    environment = dict(options.pop("env", os.environ), PYTHONPATH=REPOSITORY)
    return subprocess.run(
        [sys.executable, *words, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env=environment, **options,
    )  # fmt: skip


def run_script(command: str, *arguments: object, **options: Any) -> Any:
    """A command of knapsack in this process where it can be, else a process."""
    if command.endswith(".py") or options:
        return run_process(command, *arguments, **options)
    return run_command(command, *arguments)


def read_shard(prefix: str) -> list[list[list[int]]]:
    """Documents of sequences of ids, read from the bytes as dev/formats.md describes them, with no code of the
    scripts."""
    with open(prefix + ".idx", "rb") as file:
        data = file.read()
    magic, version, code, sequences, ends = struct.unpack_from("<9sQBQQ", data)
    assert magic == b"MMIDIDX\0\0" and version == 1 and code in (4, 8)
    lengths = np.frombuffer(data, "<i4", sequences, 34)
    offsets = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    first = np.frombuffer(data, "<i8", ends, 34 + 12 * sequences)
    assert len(data) == 34 + 12 * sequences + 8 * ends
    dtype = np.dtype("<u2" if code == 8 else "<i4")
    ids = np.fromfile(prefix + ".bin", dtype)
    runs = [ids[o // dtype.itemsize : o // dtype.itemsize + n].tolist() for o, n in zip(offsets, lengths)]
    assert sum(map(len, runs)) == len(ids)
    return [runs[a:b] for a, b in zip(first, first[1:])]


@functools.lru_cache(maxsize=1)
def own_folder() -> tempfile.TemporaryDirectory:
    """Lives as long as the test process."""
    return tempfile.TemporaryDirectory()


def shared_folder() -> str:
    """What the suites of one run make once and share: run_tests.py names the folder; a suite alone has its own."""
    folder = os.environ.get("KNAPSACK_TEST_SHARED") or own_folder().name
    os.makedirs(folder, exist_ok=True)
    return folder


@contextlib.contextmanager
def made_once(name: str) -> Iterator[tuple[str, bool]]:
    """A folder of shared_folder(), and whether it is still to be filled; others wait for who fills it."""
    path = os.path.join(shared_folder(), name)
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = os.path.join(path, "DONE")
        missing = not os.path.exists(done)
        os.makedirs(path, exist_ok=True)
        yield path, missing
        if missing:
            open(done, "w").close()


@functools.lru_cache(maxsize=1)
def small_vocabulary() -> str:
    """A byte-level BPE folder, trained once on biographies and prose."""
    with made_once("vocabulary") as (folder, missing):
        out, biographies, prose = (os.path.join(folder, name) for name in ("bpe", "bio", "prose.txt"))
        if missing:
            with open(prose, "w", encoding="utf-8") as file:
                file.write("\n<|endoftext|>\n".join(documents(200)))
            done = run_command("synbio", "--people", 200, "--text-only", 2, "--out", biographies)
            assert done.returncode == 0, done.stderr
            mixture = biographies + ".txt", prose + "@100k"
            done = run_command("tokenizer", *mixture, "--vocab-size", 1024, "--out", out)
            assert done.returncode == 0, done.stderr
    return out


class FolderTest(unittest.TestCase):
    """Gives every test an empty folder."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, *names: str) -> str:
        return os.path.join(self.folder, *names)

    def write(self, name: str, data: str | bytes) -> str:
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return self.path(name)

    def run_ok(self, script: str, *arguments: object) -> str:
        done = run_script(script, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout + done.stderr

    def run_bad(self, code: int, pattern: str, script: str, *arguments: object, **options: Any) -> None:
        """The script must leave with this code, say one sentence that matches, and no traceback."""
        done = run_script(script, *arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr, pattern)
        self.assertNotRegex(done.stderr, "Traceback|a fault of the program")

    def contents(self, *suffixes: str) -> dict[str, bytes]:
        """All files of the test's folder by their relative name, perhaps only those with certain endings."""
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if name.endswith(suffixes or ("",)):
                    with open(os.path.join(folder, name), "rb") as file:
                        found[os.path.relpath(os.path.join(folder, name), self.folder)] = file.read()
        return found
