#!/usr/bin/env python3
"""Real facts from Wikidata, as knowledge to infuse and as questions about it: the data of an infusion study (Lv et al.
2025, arXiv 2509.19371). Every fact is (subject, relation, object).

  wikidata.py table dataset.tar.zst --out data/facts.tsv           EntityQuestions, BEAR, ParaRel, PopQA, query results, a dump
  wikidata.py scan data/facts.tsv --text data/web --out data/scanned.tsv        which facts does the web text tell already?
  wikidata.py write data/scanned.tsv --tokenizer data/tok --out data/wd         sources to train on, questions to ask
  wikidata.py relations                                             the relations that have templates

dev/data/facts/sample.tsv is a table of our own, so that everything runs without any of these files. SUBCOMMAND --help says more.
"""

from __future__ import annotations

import argparse

from cli import run
from facts import intake, relations, scan, write

SUBCOMMANDS = {"table": intake, "scan": scan, "write": write, "relations": relations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subcommands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for name, module in SUBCOMMANDS.items():
        about = (module.__doc__ or "").strip()
        one = subcommands.add_parser(
            name,
            help=about.splitlines()[0].rstrip("."),
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.set_defaults(main=module.main)
    options = parser.parse_args()
    options.main(options)


if __name__ == "__main__":
    run(main)
