"""The examples of knapsack/README.md, one after another, from text to the figures of two runs that are really
trained."""

import os
import re
import shlex
import sys
import unittest

from common import EVAL, ROOT, TRAIN, EndToEndTest

sys.path.append(str(ROOT / "test" / "python"))
from support import run_command  # noqa: E402

try:
    import matplotlib  # noqa: F401
    import pandas  # noqa: F401
    import scipy  # noqa: F401
    import tokenizers  # noqa: F401
except ImportError as error:
    raise unittest.SkipTest(f"the Python package '{error.name}' is not installed") from None

# of the first block; test/python/test_package.py tries all data commands
NEEDED = {"synbio", "tokenizer", "text", "facts"}
PROGRAMS = ["--train-program", str(TRAIN), "--eval-program", str(EVAL)]
WORDS = "harbour town hill ship sea land road wind stone river bridge market".split()


def examples() -> list[list[str]]:
    """What makes data in the first block, then the block of runs; the others have tests of their own."""
    text = (ROOT / "knapsack" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    of_runs = next(block for block in blocks if "knapsack sweep" in block)
    data, runs = (
        [shlex.split(line, comments=True)[1:] for line in block.splitlines()] for block in (blocks[0], of_runs)
    )
    return [command for command in data if command[0] in NEEDED] + runs


class ReadmeTest(EndToEndTest):
    def test_examples_of_runs_and_analysis(self) -> None:
        texts = (" ".join(WORDS[(i * j + j * j) % len(WORDS)] for j in range(40 + i % 9)) for i in range(300))
        (self.data / "web.txt").write_text("\n<|endoftext|>\n".join(texts))
        (self.data / "knapsack").symlink_to(ROOT / "knapsack")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.data)
        for name, *arguments in examples():
            done = run_command(name, *(PROGRAMS if name == "sweep" else ()), *arguments)
            self.assertEqual(done.returncode, 0, f"{name} {shlex.join(arguments)}\n{done.stdout}{done.stderr}")
        self.assertLessEqual({"sweep", "runs", "plot", "curves", "infusion"}, {command[0] for command in examples()})
        made = "mixing.png mixing.csv exposures.png facts.csv facts.png infusion.csv infusion.png".split()
        for name in made:
            self.assertGreater((self.data / "runs" / name).stat().st_size, 100, name)


if __name__ == "__main__":
    unittest.main()
