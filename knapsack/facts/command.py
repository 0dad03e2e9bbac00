"""Real facts as knowledge to infuse and as questions about it: the data of an infusion study (Lv et al. 2025, arXiv
2509.19371). Every fact is (subject, relation, object).

  knapsack facts table dataset.tar.zst --out data/facts.tsv                    a table, out of data sets in many formats
  knapsack facts scan data/facts.tsv --text data/web --out data/scanned.tsv    which facts does the web text state?
  knapsack facts write data/scanned.tsv --tokenizer data/tok --out data/wd     sources to train on, questions to ask
  knapsack facts relations                                                     the relations that have templates

knapsack/facts/sample.tsv is a table of our own, so that everything runs without any download. SUBCOMMAND --help says
more.
"""

from __future__ import annotations

import argparse

from knapsack.common.arguments import make_parser
from knapsack.facts import intake, relations, scan, write

SUBCOMMANDS = {"table": intake, "scan": scan, "write": write, "relations": relations}


def main(argv: list[str]) -> None:
    parser = make_parser("facts", __doc__)
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
    options = parser.parse_args(argv)
    options.main(options)
