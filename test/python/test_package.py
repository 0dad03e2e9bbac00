"""The package as a whole: no import against the order of rooms and no circle, help that fits a screen, examples that
run."""

import ast
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

import support

from knapsack.__main__ import COMMANDS, GROUPS

PACKAGE = pathlib.Path(support.PACKAGE)
# A room imports from rooms of lower floors and from itself; those of one floor do not know each other.
FLOORS = [
    {"common"},
    {"shards"},
    {"text"},
    {"synbio", "facts", "reasoning"},
    {"export"},
    {"runs"},
    {"analysis"},
    {"study"},
]
SCREEN = 50  # lines of 100 columns
OPENS_A_GROUP = re.compile(r"^[a-z].*:$", re.MULTILINE)
STANDARD_GROUPS = {"options:", "positional arguments:"}


def module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: pathlib.Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "knapsack"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "knapsack":
            inner = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}:{node.lineno}: a relative import")
    return found


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


class LayersTest(unittest.TestCase):
    def test_every_room_has_its_floor(self) -> None:
        rooms = {room_of(module) for module in MODULES} - {"", "__main__"}
        self.assertLessEqual(rooms, set.union(*FLOORS))

    def test_no_import_against_the_order(self) -> None:
        floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
        for module, imported in IMPORTS.items():
            room = room_of(module)
            for other in map(room_of, imported if room in floor else ()):
                self.assertTrue(other == room or floor[other] < floor[room], f"{module} imports from {other}")

    def test_no_circle(self) -> None:
        done: set[str] = set()

        def visit(module: str, way: tuple[str, ...]) -> None:
            self.assertNotIn(module, way, " -> ".join((*way, module)))
            if module not in done:
                for other in IMPORTS.get(module, ()):
                    visit(other, (*way, module))
                done.add(module)

        for module in MODULES:
            visit(module, ())

    def test_nothing_imports_a_command_nor_the_checker(self) -> None:
        """They are for __main__; what several need is in a module of its own, such as shards/read.py."""
        for module, imported in IMPORTS.items():
            commands = {other for other in imported if other.endswith(".command") or other == "knapsack.shards.verify"}
            self.assertEqual(commands, set(), module)

    def test_modules_say_what_they_are(self) -> None:
        for module, path in MODULES.items():
            self.assertTrue(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module)


def subcommands(command: str) -> list[str]:
    """With those that its help names in braces."""
    words = re.findall(r"^  \{([\w,-]+)\}", support.run_command(command, "--help").stdout, re.MULTILINE)
    return [command, *(f"{command} {name}" for names in words for name in names.split(","))]


class HelpTest(unittest.TestCase):
    def setUp(self) -> None:
        self.columns = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = "100"

    def tearDown(self) -> None:
        if self.columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = self.columns

    def test_help_fits_a_screen_or_is_grouped(self) -> None:
        commands = [name for command in COMMANDS for name in subcommands(command)]
        for command in [*commands, "text prose", "text docstrings", "facts table", "facts write"]:
            with self.subTest(command):
                done = support.run_command(command, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertTrue(done.stdout.startswith(f"usage: knapsack {command}"), done.stdout[:80])
                groups = set(OPENS_A_GROUP.findall(done.stdout)) - STANDARD_GROUPS
                lines = done.stdout.count("\n")
                self.assertTrue(lines <= SCREEN or len(groups) > 1, f"{lines} lines, groups {groups}")

    def test_alone_it_lists_the_commands_in_groups(self) -> None:
        said = support.run_command("").stdout
        for group, commands in GROUPS.items():
            self.assertIn(f"\n{group}:\n", said)
            for name, (module, summary) in commands.items():
                self.assertRegex(said, rf"\n  {name} +{re.escape(summary)}\n")
                self.assertTrue(callable(importlib.import_module(module).main))
        self.assertEqual(said, support.run_command("--help").stdout)

    def test_an_unknown_command_names_the_nearest(self) -> None:
        for word, nearest in (
            ("synboi", "synbio"),
            ("lm_eval", "lm-eval"),
            ("tokenize", "tokenizer"),
            ("vrfy", "verify"),
        ):
            done = support.run_command(word)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, rf"^knapsack: no command '{word}'; did you mean '{nearest}'\?.*\n$")


class ProcessTest(support.FolderTest):
    """The entry point itself; the other tests call the commands inside their process."""

    def test_exit_codes_and_one_sentence(self) -> None:
        for code, arguments in (
            (0, ["verify", "--help"]),
            (2, ["synbio"]),
            (3, ["verify", self.path("none")]),
            (2, ["x"]),
        ):
            done = support.run_process(arguments[0], *arguments[1:])
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        self.assertRegex(done.stderr, r"^knapsack: no command 'x'.*\n$")

    def test_an_interrupt_ends_it_by_its_signal_and_leaves_no_file(self) -> None:
        script = (
            "import os, signal, sys\n"
            "from knapsack.common.errors import run\n"
            "from knapsack.common.files import AtomicFile\n"
            "def main():\n"
            f"    with AtomicFile({self.path('x')!r}) as file:\n"
            "        os.kill(os.getpid(), int(sys.argv[1]))\n"
            "sys.exit(run(main, 'knapsack text'))\n"
        )
        for number in (2, 15):
            environment = dict(os.environ, PYTHONPATH=support.REPOSITORY)
            command = [sys.executable, "-c", script, str(number)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
            self.assertEqual(
                (done.returncode, done.stderr), (-number, "knapsack text: interrupted; unfinished files are removed\n")
            )
            self.assertEqual(self.contents(), {})

    def test_a_missing_package_is_named(self) -> None:
        self.write("numpy.py", "raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n")
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([self.folder, support.REPOSITORY]))
        command = [sys.executable, "-m", "knapsack", "synbio", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        said = "knapsack synbio: the Python package 'numpy' is missing; install it with: pip install numpy\n"
        self.assertEqual((done.returncode, done.stderr), (1, said))

    def test_a_closed_pipe_is_no_error(self) -> None:
        command = f"{shlex.quote(sys.executable)} -m knapsack facts relations | true"
        environment = dict(os.environ, PYTHONPATH=support.REPOSITORY)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


def examples() -> list[list[str]]:
    """The commands of README's fenced blocks, in order."""
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line, comments=True)[1:] for line in lines.splitlines() if line.startswith("knapsack ")]


@support.needs_tokenizers
class ExamplesTest(support.FolderTest):
    def test_every_example_of_the_data_commands_runs(self) -> None:
        self.write("web.txt", "\n<|endoftext|>\n".join(support.documents(200)))
        os.symlink(support.PACKAGE, self.path("knapsack"))
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        run = set()
        for name, *arguments in examples():
            if name in GROUPS["make data"]:
                with self.subTest(" ".join([name, *arguments])):
                    self.run_ok(name, *arguments)
                run.add(name)
        self.assertEqual(run, set(GROUPS["make data"]))


if __name__ == "__main__":
    unittest.main()
