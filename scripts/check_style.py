#!/usr/bin/env python3
"""The house's style, checked: line lengths, words, clang-format, ruff. The last line counts the checks.

Code (C++, CUDA, Python, shell, make, CMake) has 120 columns, Markdown 160; a row of a Markdown table, which cannot be
broken, and a line without a space may be longer. clang-format and ruff are asked where they are installed, clang-format
in the version that formats this repository; another one would have other opinions.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPP = (".cpp", ".h", ".cu", ".cuh")
CODE = (*CPP, ".py", ".sh", ".mk", ".cmake")
CODE_FILES = ("Makefile", "CMakeLists.txt", ".ci/run")
COLUMNS = {"code": 120, "prose": 160}
CLANG_FORMAT = 14
# What readers stumbled over, and what is meant.
WORDS = {r"doors?": "entry point", r"to and fro": "in both directions", r"files? of one's own": "user-supplied file"}
WORDS_EXEMPT = ("dev/LOG.md", "scripts/check_style.py")  # a diary keeps its words


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def sources() -> list[str]:
    """Files of the repository, and those that are not in it yet."""
    code, names = run("git", "ls-files", "-co", "--exclude-standard")
    if code != 0:  # no git folder, as on a machine that got a copy
        return []
    return [name for name in names.splitlines() if (ROOT / name).is_file() and limit(name)]


def limit(name: str) -> int | None:
    """The columns a file may have; None: it is data."""
    if name in CODE_FILES or name.endswith(CODE):
        return COLUMNS["code"]
    return COLUMNS["prose"] if name.endswith(".md") else None


def long_lines(names: list[str]) -> list[str]:
    found = []
    for name in names:
        most, prose = limit(name), name.endswith(".md")
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            unbreakable = prose and line.lstrip().startswith("|") or " " not in line.strip()
            if len(line) > most and not unbreakable:
                found.append(f"{name}:{number}: {len(line)} columns, {most} are allowed")
    return found


def unwanted_words(names: list[str]) -> list[str]:
    found = []
    for name in names:
        if name in WORDS_EXEMPT:
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            for word, better in WORDS.items():
                if match := re.search(rf"\b{word}\b", line, re.IGNORECASE):
                    found.append(f"{name}:{number}: '{match.group()}': say {better}")
    return found


def clang_format(names: list[str]) -> list[str]:
    """Files that `make format` would change."""
    program = shutil.which(f"clang-format-{CLANG_FORMAT}") or shutil.which("clang-format")
    if not program:
        raise LookupError(f"clang-format {CLANG_FORMAT} is not installed")
    version = re.search(r"version (\d+)", run(program, "--version")[1])
    if not version or int(version.group(1)) != CLANG_FORMAT:
        raise LookupError(f"{program} is not version {CLANG_FORMAT}")
    return clang_format_errors(run(program, "--dry-run", "-Werror", *(name for name in names if name.endswith(CPP)))[1])


def clang_format_errors(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if ": error: " in line]
    return sorted({f"{line.split(':')[0]}: make format would change it" for line in lines})


def ruff(*arguments: str) -> list[str]:
    if run(sys.executable, "-m", "ruff", "--version")[0] != 0:
        raise LookupError("ruff is not installed in this Python")
    code, text = run(sys.executable, "-m", "ruff", *arguments, ".")
    return text.splitlines() if code else []


def main() -> int:
    names = sources()
    checks: dict[str, Callable[[], list[str]]] = {
        "line lengths": lambda: long_lines(names),
        "words": lambda: unwanted_words(names),
        "clang-format": lambda: clang_format(names),
        "ruff check": lambda: ruff("check", "--quiet", "--output-format=concise"),
        "ruff format": lambda: ruff("format", "--check", "--quiet", "--output-format=concise"),
    }
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, check in checks.items():
        try:
            if not names:
                raise LookupError("no git repository, whose files would be checked")
            found = check()
        except LookupError as reason:
            print(f"skipped: {name}: {reason}")
            counts["skipped"] += 1
            continue
        counts["failed" if found else "passed"] += 1
        if found:
            print(f"{name}: {len(found)} to mend", *found, sep="\n  ")
    print(", ".join(f"{number} {word}" for word, number in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
