"""The examples of knapsack/README.md, one after another, from text to the figures of two runs that are really
trained."""

import os
import pathlib
import re
import shlex
import sys
import tempfile
import unittest

from common import EVAL, ROOT, TRAIN

sys.path.append(str(ROOT / "test" / "python"))
from support import run_command  # noqa: E402

try:
    import matplotlib  # noqa: F401
    import pandas  # noqa: F401
    import scipy  # noqa: F401
    import tokenizers  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"the Python package '{error.name}' is not installed") from None

NEEDED = {
    "synbio",
    "tokenizer",
    "text",
    "facts",
}  # of the first block; test/python/test_package.py tries all data commands
PROGRAMS = ["--train-program", str(TRAIN), "--eval-program", str(EVAL)]
WORDS = "harbour town hill ship sea land road wind stone river bridge market".split()


def examples() -> list[list[str]]:
    """What makes data in the first block, then the block of runs."""
    text = (ROOT / "knapsack" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    data, runs = (
        [shlex.split(line, comments=True)[1:] for line in block.splitlines()] for block in (blocks[0], blocks[-1])
    )
    return [command for command in data if command[0] in NEEDED] + runs


class ReadmeTest(unittest.TestCase):
    def test_examples_of_runs_and_analysis(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            texts = (" ".join(WORDS[(i * j + j * j) % len(WORDS)] for j in range(40 + i % 9)) for i in range(300))
            (folder / "web.txt").write_text("\n<|endoftext|>\n".join(texts))
            (folder / "knapsack").symlink_to(ROOT / "knapsack")
            self.addCleanup(os.chdir, os.getcwd())
            os.chdir(folder)
            for name, *arguments in examples():
                done = run_command(name, *(PROGRAMS if name == "sweep" else ()), *arguments)
                self.assertEqual(done.returncode, 0, f"{name} {shlex.join(arguments)}\n{done.stdout}{done.stderr}")
            self.assertLessEqual(
                {"sweep", "runs", "plot", "curves", "infusion"}, {command[0] for command in examples()}
            )
            for made in (
                "mixing.png",
                "mixing.csv",
                "exposures.png",
                "facts.csv",
                "facts.png",
                "infusion.csv",
                "infusion.png",
            ):
                self.assertGreater((folder / "runs" / made).stat().st_size, 100, made)


if __name__ == "__main__":
    unittest.main()
