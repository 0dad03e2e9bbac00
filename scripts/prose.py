#!/usr/bin/env python3
"""English prose out of documentation: POD and reStructuredText reduced to paragraphs of plain sentences.

  prose.py usr/share/perl usr/share/doc --out web.txt --max-bytes 12M

Takes *.pod, *.rst and *.rst.txt (also .gz) below the folders given. Code, tables, headings and markup go; a paragraph stays
when it reads like sentences. A document is a file; the output has a line <|endoftext|> behind each. No paragraph comes twice.
"""
from __future__ import annotations

import argparse
import gzip
import multiprocessing
import re
import sys
from pathlib import Path
from typing import Callable, Iterable, Iterator

END_OF_TEXT = "<|endoftext|>"
POD_ESCAPES = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/"}
CODE_DIRECTIVE = re.compile(
    r"\.\. *(code|code-block|sourcecode|doctest|testcode|testoutput|productionlist|parsed-literal|highlight|literalinclude|"
    r"kernel-doc|table|list-table|csv-table|flat-table|math|toctree|raw|index|figure|image|c:macro|only|contents)::")


def pod_inline(text: str) -> str:
    """Formatting codes such as C<...>, L<text|url> and E<lt> replaced by what they show, innermost first."""
    def shown(match: re.Match) -> str:
        code, body = match[1], match[2].strip()
        if code == "E":
            return POD_ESCAPES.get(body, "")
        if code in "XZ":
            return ""
        return body.split("|")[0].lstrip("/").strip('"') if code == "L" else body

    text = re.sub(r"([BCFIL])<<+\s(.*?)\s>>+", lambda m: f"{m[1]}\x01{m[2]}\x02".replace("<", "").replace(">", ""), text)
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
    text = re.sub(r"`([^`<]+?) *<[^`]*>`_+", r"\1", text)                        # links with a target
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


def documents(folders: list[Path]) -> Iterator[str]:
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if parser_for(path) and path.is_file()]
    seen: set[str] = set()
    with multiprocessing.Pool() as pool:
        for paragraphs in pool.imap(prose_of, paths, chunksize=16):
            kept = [paragraph for paragraph in dict.fromkeys(paragraphs) if paragraph not in seen]
            seen.update(kept)
            if kept:
                yield "\n\n".join(kept)


def parse_size(text: str) -> int:
    scale = {"k": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:], 1)
    return int(float(text[:-1] if scale > 1 else text) * scale)


def write_documents(found: Iterable[str], path: Path, max_bytes: int) -> int:
    """Until there are `max_bytes` of them; how many. None: no file."""
    temporary = path.with_name(path.name + ".tmp")
    count = size = 0
    with temporary.open("w", encoding="utf-8") as out:
        for document in found:
            size += out.write(f"{document}\n{END_OF_TEXT}\n")
            count += 1
            if size >= max_bytes:
                break
    if count == 0:
        temporary.unlink()
        return 0
    temporary.rename(path)
    print(f"{path}: {count} documents, {size / 1e6:.1f} MB of prose")
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-bytes", type=parse_size, default=10**12, metavar="N", help="stop there, such as 12M")
    args = parser.parse_args()
    if not write_documents(documents(args.folders), args.out, args.max_bytes):
        print(f"prose.py: no documentation with prose below {', '.join(map(str, args.folders))}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
