"""English prose out of documentation: POD and reStructuredText reduced to paragraphs of plain sentences.

  knapsack text prose usr/share/perl usr/share/doc --out web.txt --max-bytes 12M

Takes *.pod, *.rst and *.rst.txt (also .gz) below the folders given. Code, tables, headings and markup go; a paragraph
stays when it reads like sentences. A document is a file; the output has a line <|endoftext|> after each. No paragraph
comes twice.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from knapsack.common.arguments import make_parser, parse_count
from knapsack.common.errors import DataError
from knapsack.common.files import AtomicFile
from knapsack.common.parallel import ordered_map
from knapsack.common.tokenizer import END_OF_TEXT

POD_ESCAPES = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/"}
CODE_DIRECTIVE = re.compile(
    r"\.\. *(code|code-block|sourcecode|doctest|testcode|testoutput|productionlist|parsed-literal|highlight|"
    r"literalinclude|kernel-doc|table|list-table|csv-table|flat-table|math|toctree|raw|index|figure|image|c:macro|only|contents)::"
)


def pod_inline(text: str) -> str:
    """Formatting codes such as C<...>, L<text|url> and E<lt> replaced by what they show, innermost first."""

    def shown(match: re.Match) -> str:
        code, body = match[1], match[2].strip()
        if code == "E":
            return POD_ESCAPES.get(body, "")
        if code in "XZ":
            return ""
        return body.split("|")[0].lstrip("/").strip('"') if code == "L" else body

    text = re.sub(
        r"([BCFIL])<<+\s(.*?)\s>>+", lambda m: f"{m[1]}\x01{m[2]}\x02".replace("<", "").replace(">", ""), text
    )
    text = text.replace("\x01", "<").replace("\x02", ">")
    for _ in range(4):
        text, replaced = re.subn(r"([A-Z])<([^<>]*)>", shown, text)
        if not replaced:
            break
    return text


def pod_paragraphs(text: str) -> Iterator[str]:
    skipping = False
    for block in re.split(r"\n[ \t]*\n", text):
        if block.startswith("=begin"):
            skipping = True
        elif block.startswith("=end"):
            skipping = False
        elif not skipping and block[:1] not in ("=", " ", "\t", ""):
            yield pod_inline(block)


def rst_inline(text: str) -> str:
    text = re.sub(r":[a-zA-Z:+-]+:`[!~]?([^`<]*?)(?: *<[^`]*>)?`", r"\1", text)  # roles
    text = re.sub(r"`([^`<]+?) *<[^`]*>`_+", r"\1", text)  # links with a target
    text = re.sub(r"``([^`]*)``", r"\1", text)
    text = re.sub(r"`([^`]*)`_*", r"\1", text)
    text = re.sub(r"\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*", lambda m: m[1] or m[2], text)
    text = re.sub(r"\s*\[[#\w]*\]_|\|(\w+)\|", lambda m: m[1] or "", text)
    return text.replace("\\ ", "").replace("\\", "")


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def rst_paragraphs(text: str) -> Iterator[str]:
    literal_indent: int | None = None  # inside a literal block: what is indented deeper than this is code
    for block in re.split(r"\n[ \t]*\n", text.expandtabs(8)):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        indent = indent_of(lines[0])
        if literal_indent is not None and indent > literal_indent:
            continue
        literal_indent = None
        first = lines[0].lstrip()
        if first.startswith(".. "):
            if CODE_DIRECTIVE.match(first) or "::" not in first:  # code, or a comment
                literal_indent = indent
            continue
        if first[0] in "+|=>:$#" or any(re.fullmatch(r"[=\-~^\"'*#+.`:_]{3,}", line.strip()) for line in lines):
            continue  # tables, headings, options, sessions
        if lines[-1].endswith("::"):
            literal_indent = indent
            lines[-1] = lines[-1][:-1]
        for item in re.split(r"\n *(?:[*-]|#\.|\d+\.) +", "\n" + "\n".join(lines)):
            yield rst_inline(item)


def is_prose(paragraph: str) -> bool:
    words = paragraph.split()
    if len(words) < 12 or not paragraph[0].isupper() or paragraph[-1] not in ".!?:)":
        return False
    plain = sum(bool(re.fullmatch(r"[(\"']?[A-Za-z][a-z]*(?:[-'][A-Za-z]+)*[.,;:!?)\"']*", word)) for word in words)
    strange = sum(c in "{}[]<>=|\\$@#%^~*_/+" for c in paragraph)
    return plain >= 0.8 * len(words) and strange <= 0.01 * len(paragraph) and paragraph.isascii()


def read_text(path: Path) -> str:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8", errors="replace")


def parser_for(path: Path) -> Callable[[str], Iterator[str]] | None:
    name = path.name.removesuffix(".gz")
    if name.endswith(".pod"):
        return pod_paragraphs
    return rst_paragraphs if name.endswith((".rst", ".rst.txt")) else None


def prose_of(path: Path) -> list[str]:
    parse = parser_for(path)
    assert parse is not None
    paragraphs = (" ".join(paragraph.split()) for paragraph in parse(read_text(path)))
    return [paragraph for paragraph in paragraphs if paragraph and is_prose(paragraph)]


def documents(paths: list[Path], prose_of: Callable[[Path], list[str]]) -> Iterator[str]:
    """The prose of each file that has some, paragraph by paragraph; none comes twice."""
    seen: set[str] = set()
    for paragraphs in ordered_map(prose_of, paths, len(os.sched_getaffinity(0))):
        kept = [paragraph for paragraph in dict.fromkeys(paragraphs) if paragraph not in seen]
        seen.update(kept)
        if kept:
            yield "\n\n".join(kept)


def files_below(folders: list[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if parser_for(path) and path.is_file()]


def write_documents(found: Iterable[str], path: Path, max_bytes: int) -> int:
    """Until there are `max_bytes` of them; how many. None: no file."""
    count = size = 0
    with AtomicFile(str(path)) as out:
        for document in found:
            size += out.write(f"{document}\n{END_OF_TEXT}\n".encode())
            count += 1
            if size >= max_bytes:
                break
        if count == 0:
            return 0
        out.commit()
    print(f"{path}: {count} documents, {size / 1e6:.1f} MB of prose")
    return count


def main(argv: list[str]) -> None:
    parser = make_parser("text prose", __doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-bytes", type=parse_count, default=10**12, metavar="N", help="stop there, such as 12M")
    options = parser.parse_args(argv)
    if not write_documents(documents(files_below(options.folders), prose_of), options.out, options.max_bytes):
        raise DataError(f"no documentation with prose below {', '.join(map(str, options.folders))}")
