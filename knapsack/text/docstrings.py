"""English prose out of the docstrings of installed Python packages: web text for a machine with neither a network nor
documentation.

  knapsack text docstrings --out web.txt --max-bytes 30M                (the packages of the Python that runs it)
  knapsack text docstrings /opt/lib/python3/site-packages --out web.txt

A document is a module; its paragraphs are reduced and chosen as in `text prose`, none comes twice. Nothing is imported
or run.
"""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from knapsack.common.arguments import make_parser, parse_count
from knapsack.common.errors import DataError
from knapsack.text.prose import documents, is_prose, rst_paragraphs, write_documents

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
    folders = dict.fromkeys(
        Path(folder).resolve() for folder in [named["stdlib"], named["purelib"], named["platlib"], *sys.path] if folder
    )
    here = Path(__file__).resolve().parent
    found = [folder for folder in folders if folder.is_dir() and folder != here]
    return [folder for folder in found if not any(other in folder.parents for other in found)]


def files_below(folders: list[Path]) -> list[Path]:
    found = (path for folder in folders for path in sorted(folder.rglob("*.py")))
    return [path for path in found if path.is_file() and path.stat().st_size < LARGEST_FILE]


def main(argv: list[str]) -> None:
    parser = make_parser("text docstrings", __doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-bytes", type=parse_count, default=10**12, metavar="N", help="stop there, such as 12M")
    options = parser.parse_args(argv)
    if not write_documents(
        documents(files_below(options.folders or default_folders()), prose_of), options.out, options.max_bytes
    ):
        raise DataError("no prose in docstrings there; name other folders, or give a text of your own")
