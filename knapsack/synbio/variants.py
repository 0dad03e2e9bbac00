"""The renderings of a source: --wordings, --orders and --names, or a name for the three of them (--variant).

The names are those of Allen-Zhu & Li, "Physics of Language Models: Part 3.1" (arXiv 2309.14316): `single` (one wording,
one order), `multiM` (M biographies of other wordings), `permuteP` (one wording, P orders), `multiM+permute` (each of
the M biographies in an order of its own), and `+fullname` (the name in every sentence instead of a pronoun)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from knapsack.common.errors import UsageError

VARIANT = re.compile(
    r"(?:(?:single|multi(?P<wordings>[1-9]\d{0,3}))(?P<permuted>\+permute(?P<orders>[1-9]\d{0,3})?)?"
    r"|permute(?P<alone>[1-9]\d{0,3}))(?P<full>\+fullname)?"
)


@dataclass(frozen=True)
class Variant:
    wordings: int | str  # 'redrawn', or how many fixed choices an entity has
    orders: int | str  # 'redrawn', 'listed', or how many fixed orders an entity has
    names: str  # 'full', 'pronoun', 'both'

    @property
    def rendering(self) -> dict[str, int | str]:
        return {"wordings": self.wordings, "orders": self.orders}


def parse_choice(flag: str, text: str, words: tuple[str, ...]) -> int | str:
    if text in words:
        return text
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise UsageError(f"{flag} {text}: expected {', '.join(words)} or a number from 1 to 9999")
    return int(text)


def parse_variant(text: str) -> Variant:
    match = VARIANT.fullmatch(text)
    if not match:
        raise UsageError(
            f"--variant {text}: expected single, multiM, permuteP, multiM+permute or multiM+permuteP, perhaps with "
            "+fullname, such as multi5+permute"
        )
    wordings = int(match["wordings"] or 1)
    orders: int | str = "listed"
    if match["permuted"] or match["alone"]:
        orders = int(match["orders"] or match["alone"] or wordings)
    return Variant(wordings, orders, "full" if match["full"] else "pronoun")


def choose(variant: str | None, wordings: str | None, orders: str | None, names: str | None) -> Variant:
    """From the flags as given; None where they are not."""
    if variant is None:
        return Variant(
            parse_choice("--wordings", wordings or "redrawn", ("redrawn",)),
            parse_choice("--orders", orders or "redrawn", ("redrawn", "listed")),
            names or "full",
        )
    given = [flag for flag, value in (("--wordings", wordings), ("--orders", orders), ("--names", names)) if value]
    if given:
        raise UsageError(
            f"--variant {variant} and {', '.join(given)}: a variant chooses all three; leave out one or other"
        )
    return parse_variant(variant)
