#!/usr/bin/env python3
"""English prose out of the docstrings of installed Python packages: web text for a machine with neither a network nor documentation.

  docstrings.py --out web.txt --max-bytes 30M                (the packages of the Python that runs it)
  docstrings.py /opt/lib/python3/site-packages --out web.txt

A document is a module; its paragraphs are reduced and chosen as prose.py does it, none comes twice. Nothing is imported or run.
"""
from __future__ import annotations

import argparse
import ast
import inspect
import multiprocessing
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import Iterator

from prose import is_prose, parse_size, rst_paragraphs, write_documents

LARGEST_FILE = 2_000_000  # bytes; larger ones are generated tables


def docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's escapes
            tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # of another Python
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield inspect.cleandoc(text)


def prose_of(path: Path) -> list[str]:
    paragraphs = (" ".join(paragraph.split()) for text in docstrings(path) for paragraph in rst_paragraphs(text))
    return [paragraph for paragraph in paragraphs if paragraph and is_prose(paragraph)]


def default_folders() -> list[Path]:
    named = sysconfig.get_paths()
    folders = dict.fromkeys(Path(folder).resolve() for folder in [named["stdlib"], named["purelib"], named["platlib"], *sys.path] if folder)
    here = Path(__file__).resolve().parent
    found = [folder for folder in folders if folder.is_dir() and folder != here]
    return [folder for folder in found if not any(other in folder.parents for other in found)]


def documents(folders: list[Path]) -> Iterator[str]:
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py")) if path.is_file() and path.stat().st_size < LARGEST_FILE]
    seen: set[str] = set()
    with multiprocessing.Pool() as pool:
        for paragraphs in pool.imap(prose_of, paths, chunksize=16):
            kept = [paragraph for paragraph in dict.fromkeys(paragraphs) if paragraph not in seen]
            seen.update(kept)
            if kept:
                yield "\n\n".join(kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-bytes", type=parse_size, default=10**12, metavar="N", help="stop there, such as 12M")
    args = parser.parse_args()
    if not write_documents(documents(args.folders or default_folders()), args.out, args.max_bytes):
        print("docstrings.py: no prose in docstrings there; name other folders, or give a text of your own", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
