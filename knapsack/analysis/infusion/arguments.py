"""What a collapse is, as options of `knapsack infusion` and `knapsack laws --infused`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pandas as pd

from knapsack.analysis.infusion.collapse import VICTIMS, Rule
from knapsack.analysis.infusion.curves import HOLDS
from knapsack.analysis.infusion.rows import MEASURES
from knapsack.common.arguments import parse_not_negative
from knapsack.common.errors import UsageError
from knapsack.runs.table import numbers


def add_rule_arguments(add: Callable[..., object]) -> None:
    """What a collapse is; `add`: a parser's or a group's add_argument."""
    add("--base", default="web", metavar="NAME", help="whose validation loss is next to it (default: web)")
    add("--measure", default="accuracy_seen", help="what R is (default: accuracy_seen)")
    add("--victim", choices=VICTIMS, default="facts", help="what falls: facts (default), early or web")
    add("--hold", choices=list(HOLDS), default="K", help="along a curve: K (default; F varies), or KF")
    add("--margin", type=parse_not_negative, default=0.05, help="least fall that counts, in units of R (default: 0.05)")
    typical = "between seeds, of arcsin sqrt(R), where no point has several runs (default: 0.045)"
    add("--seed-sd", type=parse_not_negative, default=0.045, metavar="SD", help=typical)
    loss = "least rise of the base's loss that counts (default: 0.05)"
    add("--loss-margin", type=parse_not_negative, default=0.05, metavar="NATS", help=loss)


def rule_of(args: argparse.Namespace) -> Rule:
    base_loss = f"val/{args.base}/loss"
    return Rule(args.measure, base_loss, args.margin, args.loss_margin, args.infused, args.seed_sd, args.victim)


def check_names(study: pd.DataFrame, rule: Rule, base: str) -> None:
    sources = list(dict.fromkeys(source for names in study["sources"] for source in names.split()))
    among = f"the runs have {', '.join(sources)}"
    if not (study["F"] > 0).any():
        raise UsageError(f"no run has infused a source '{rule.infused}'; {among}")
    if not numbers(study, rule.base_loss) and base not in sources:
        raise UsageError(f"no run has a source '{base}'; name the base with --base ({among})")
    if rule.measure == "bits":
        raise UsageError("--measure bits: --margin is a share; read bits_share, the bits as a share of all there are")
    have = [measure for measure in MEASURES if measure != "bits" and numbers(study, measure)]
    if rule.measure not in have:
        said = f"no run has a measure '{rule.measure}' of the set '{rule.infused}'"
        raise UsageError(f"{said}; they have {', '.join(have) or 'none'}")
    if not numbers(study, rule.column):
        raise UsageError(f"--victim {rule.victim}: no run has {rule.column}")
