"""Figures of runs: `mixing` of a sweep over mixing ratios, `experiment` of any numbers."""

from __future__ import annotations

from knapsack.common.errors import UsageError

FIGURES = ("mixing", "experiment")


def main(argv: list[str]) -> int:
    if argv[:1] == ["mixing"]:
        from knapsack.analysis import mixing

        return mixing.main(argv[1:])
    if argv[:1] == ["experiment"]:
        from knapsack.analysis import experiment

        return experiment.main(argv[1:])
    raise UsageError(f"expected a figure: {', '.join(FIGURES)}")
