"""Figures of runs, each with its numbers as .csv next to it.

  knapsack plot mixing runs/quickstart --out mixing.png
  knapsack plot experiment share/bio know/bio/accuracy --runs runs/mix --lines model --out mix.png

`knapsack plot FIGURE --help` says more.
"""

from __future__ import annotations

import argparse

from knapsack.analysis import experiment, mixing
from knapsack.common.arguments import make_parser

FIGURES = {"mixing": mixing, "experiment": experiment}  # modules with add_arguments(parser) and draw(args)


def main(argv: list[str]) -> None:
    parser = make_parser("plot", __doc__)
    figures = parser.add_subparsers(dest="figure", required=True)
    for name, module in FIGURES.items():
        about = module.__doc__ or ""
        figure = figures.add_parser(
            name,
            help=" ".join(about.partition("\n\n")[0].split()),
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(figure)
    args = parser.parse_args(argv)
    FIGURES[args.figure].draw(args)
