"""`knapsack text`: token shards out of text; `text prose` and `text docstrings` find text where there is no corpus."""

from __future__ import annotations

from knapsack.text import docstrings, prepare, prose

SOURCES = {
    "prose": prose.main,
    "docstrings": docstrings.main,
}  # no input is called so: inputs have an ending or a slash


def main(argv: list[str]) -> None:
    if argv and argv[0] in SOURCES:
        SOURCES[argv[0]](argv[1:])
    else:
        prepare.main(argv)
