"""A report as a list of parts, as Markdown and as HTML of one file, with its figures inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

STYLE = """body { font: 15px/1.5 system-ui, sans-serif; color: #37352f; max-width: 60em; margin: 2em auto }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .7em; border-bottom: 1px solid #e9e5e3 }
th { text-align: left } td { font-variant-numeric: tabular-nums } pre { overflow-x: auto; font-size: 12px }
img { max-width: 100% } .failed { color: #e03e3e }"""


class Heading(NamedTuple):
    text: str
    level: int = 2


class Text(NamedTuple):
    text: str


class Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Code(NamedTuple):
    text: str


class Figure(NamedTuple):
    path: Path
    caption: str


Part = Heading | Text | Table | Code | Figure


def markdown(parts: Sequence[Part], folder: Path) -> str:
    """`folder`: where the file will be; figures are named from there."""
    out = []
    for part in parts:
        if isinstance(part, Heading):
            out.append(f"{'#' * part.level} {part.text}")
        elif isinstance(part, Text):
            out.append(part.text)
        elif isinstance(part, Table):
            lines = [part.head, ["---"] * len(part.head), *part.rows]
            out.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
        elif isinstance(part, Code):
            out.append(f"```\n{part.text}\n```")
        else:
            out.append(f"![{part.caption}]({part.path.relative_to(folder).as_posix()})")
    return "\n\n".join(out) + "\n"


def html_page(parts: Sequence[Part], title: str) -> str:
    out = []
    for part in parts:
        if isinstance(part, Heading):
            out.append(f"<h{part.level}>{html.escape(part.text)}</h{part.level}>")
        elif isinstance(part, Text):
            out.append(f"<p>{html.escape(part.text)}</p>")
        elif isinstance(part, Table):
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in part.head)
            rows = []
            for row in part.rows:
                look = ' class="failed"' if "failed" in row else ""
                rows.append(f"<tr{look}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
            out.append("<table>\n<tr>" + head + "</tr>\n" + "\n".join(rows) + "\n</table>")
        elif isinstance(part, Code):
            out.append(f"<pre>{html.escape(part.text)}</pre>")
        else:
            image = base64.b64encode(part.path.read_bytes()).decode()
            caption = html.escape(part.caption)
            out.append(
                f'<figure><img alt="{caption}" src="data:image/png;base64,{image}">\n'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{STYLE}\n</style>\n" + "\n".join(out) + "\n</html>\n"
    )
