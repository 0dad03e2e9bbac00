"""Every command of the package, given what cannot be read or written: it ends at once with one sentence and the right
exit code, and leaves nothing."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import unittest

if not all(importlib.util.find_spec(name) for name in ("pandas", "scipy", "matplotlib")):
    raise unittest.SkipTest("the Python packages pandas, scipy and matplotlib are needed")

import matplotlib.pyplot  # noqa: E402, F401  before permissions are given up: it makes a cache
import support  # noqa: E402

from knapsack.__main__ import COMMANDS  # noqa: E402

# What each command reads (IN) and writes (OUT, or OUT and an ending); TOK is a tokenizer that is good.
CALLS = {
    "text": "IN --tokenizer TOK --out OUT --workers 1",
    "text prose": "IN --out OUT",
    "tokenizer": "IN --vocab-size 300 --out OUT",
    "synbio": "--people 3 --tokenizer IN --out OUT --workers 1",
    "facts table": "IN --out OUT.tsv",
    "facts scan": "IN --text IN --out OUT.tsv",
    "facts write": "IN --tokenizer TOK --out OUT",
    "reasoning slope": "--documents 3 --heldout 1 --tokenizer IN --out OUT",
    "verify": "IN",
    "lm-eval": "IN --out OUT",
    "sweep": "--grid IN --out OUT --train-program /bin/true --eval-program /bin/true",
    "runs": "IN",
    "select": "IN bio --out OUT",
    "curves": "IN --out OUT",
    "infusion": "IN --infused wd --out OUT.csv",
    "laws": "IN --out OUT",
    "popularity": "IN --out OUT",
    "capacity": "IN --set bio --out OUT",
    "study plan": "IN --out OUT",
    "study run": "IN --out OUT",
    "study report": "IN --out OUT",
    "plot mixing": "IN --out OUT.png",
    "plot experiment": "run know/bio/accuracy --runs IN --out OUT.png",
}
SECONDS = 120  # for a walk: what hangs is ended
ROOT_CAN = os.geteuid() == 0


def arguments(command: str, source: str, tokenizer: str, out: str) -> list[str]:
    known = {"IN": source, "TOK": tokenizer}
    return [out + word[3:] if word.startswith("OUT") else known.get(word, word) for word in CALLS[command].split()]


def call_all(commands: list[str], source: str, tokenizer: str, out: str) -> None:
    """In a process of its own: what each command left, a JSON line each. As nobody, since root may do everything."""
    if ROOT_CAN:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for command in commands:
        done = support.run_command(command, *arguments(command, source, tokenizer, out))
        print(json.dumps([command, *done]), flush=True)


@support.needs_tokenizers
class AllCommandsTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        os.chmod(self.folder, 0o777)

    def walk(self, source: str, out: str, fine: tuple = (), commands: list[str] | None = None) -> None:
        """`source` and `out`: what IN and OUT become. `fine`: commands that may take it."""
        self.write("tok/tokenizer.json", pathlib.Path(support.small_vocabulary(), "tokenizer.json").read_bytes())
        before = self.listing()
        names = commands or [name for name, words in CALLS.items() if "IN" in words.split()]
        call = [sys.executable, __file__, "walk", json.dumps([names, source, self.path("tok"), out])]
        done = subprocess.run(call, capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual(done.stderr, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line[0] for line in lines], names)
        for command, code, _, stderr in lines:
            with self.subTest(command, source=source, out=out):
                self.assertIn(code, (0, 1, 2, 3) if command in fine else (1, 2, 3), stderr)
                self.assertNotRegex(stderr, "Traceback|a fault of the program")
                if code:
                    self.assertRegex(stderr.splitlines()[-1], r"^knapsack [a-z-]+( \w+)?: .{8}|left out$")
        if not fine:
            self.assertEqual(self.listing(), before)

    def test_screens_without_the_letters_and_full_ones(self) -> None:
        self.write("runs/\u00e9\u4e2d/config.json", "{}")
        for encoding in ("ascii", "latin-1"):
            environment = dict(os.environ, PYTHONIOENCODING=encoding)
            done = support.run_process("runs", self.path("runs"), env=environment, encoding=encoding)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("\\u4e2d", done.stdout)
        environment = dict(os.environ, PYTHONPATH=support.REPOSITORY, PYTHONUNBUFFERED="")
        for words in (["runs", self.path("runs")], ["text", "--help"], ["facts", "--help"], ["--help"]):
            if not os.path.exists("/dev/full"):
                break
            with self.subTest(words), open("/dev/full", "w") as full:
                call = [sys.executable, "-m", "knapsack", *words]
                done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
                name = " ".join(["knapsack", *words[:-1]])
                said = f"{name}: standard output: No space left on device\n"
                self.assertEqual((done.returncode, done.stderr), (1, said))

    def listing(self) -> list[str]:
        """All files, and folders that are empty."""
        return sorted(
            os.path.join(folder, name)
            for folder, below, names in os.walk(self.folder)
            for name in names or ([] if below else [""])
        )

    def test_every_command_is_walked(self) -> None:
        self.assertEqual({command.split()[0] for command in CALLS}, set(COMMANDS))

    def test_inputs_that_are_not_there_or_not_allowed(self) -> None:
        self.walk(self.path("none"), self.path("out", "x"))
        source = self.write("secret/x.json", "{}")
        os.chmod(source, 0)
        self.walk(source, self.path("out", "x"))
        os.chmod(self.path("secret"), 0)
        self.addCleanup(os.chmod, self.path("secret"), 0o700)
        self.walk(source, self.path("out", "x"))

    def test_inputs_that_say_nothing(self) -> None:
        """Text is text, whatever its ending and with letters in the place of what is not UTF-8."""
        text = ("text", "tokenizer", "text prose")
        self.walk(self.write("bad.json", b'{"\xff\xfe": "\x80"}\n'), self.path("out", "x"), text)
        self.walk(self.write("x.xyz", b"\0\1\2\3" * 10), self.path("out", "y"), text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["walk"]:
        call_all(*json.loads(sys.argv[2]))
    else:
        unittest.main()
