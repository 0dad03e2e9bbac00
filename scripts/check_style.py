#!/usr/bin/env python3
"""The house's style, checked: line lengths, words, clang-format, ruff. The last line counts the checks.

Code (C++, CUDA, Python, shell, make, CMake) has 120 columns, Markdown 160; a row of a Markdown table, which cannot be
broken, and a line without a space may be longer. A page that a study wrote (dev/results/*/report.md) is data.
clang-format and ruff are asked where they are installed in the versions that pyproject.toml pins: others have other
opinions.
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
WRITTEN = r"dev/results/[^/]+/report\.md"  # by a program, with command lines of a terminal's length
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
    if re.fullmatch(WRITTEN, name):
        return None
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


def tool(name: str) -> str:
    """The program in the version that pyproject.toml pins: of this Python's environment, else of the machine."""
    pinned = re.search(rf'"{name}==([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for program in (shutil.which(name, path=Path(sys.executable).parent), shutil.which(name)):
        if program and pinned.group(1) in run(program, "--version")[1]:
            return program
    raise LookupError(f"{name} {pinned.group(1)} is not installed")


def clang_format(names: list[str]) -> list[str]:
    text = run(tool("clang-format"), "--dry-run", "-Werror", *(name for name in names if name.endswith(CPP)))[1]
    changed = {line.split(":")[0] for line in text.splitlines() if ": error: " in line}
    return [f"{name}: make format would change it" for name in sorted(changed)]


def ruff(*arguments: str) -> list[str]:
    code, text = run(tool("ruff"), *arguments, "--quiet", "--output-format=concise")
    return text.splitlines() if code else []


def main() -> int:
    names = sources()
    checks: dict[str, Callable[[], list[str]]] = {
        "line lengths": lambda: long_lines(names),
        "words": lambda: unwanted_words(names),
        "clang-format": lambda: clang_format(names),
        "ruff check": lambda: ruff("check"),
        "ruff format": lambda: ruff("format", "--check"),
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
