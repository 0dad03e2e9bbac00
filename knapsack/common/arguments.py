"""What the command lines share: the parser, counts like 32M, --workers."""

from __future__ import annotations

import argparse

from knapsack.common.parallel import available_cores


def make_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """`command` as a user types it after `knapsack`, such as 'text'; `description` is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"knapsack {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse_count(text: str) -> int:
    """'1500', '20k', '1.5M', '32B' as a whole number; for argparse's type=."""
    scale = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}.get(text[-1:], 1)
    try:
        value = float(text[:-1] if scale > 1 else text) * scale
    except ValueError:
        value = -1.0
    if not 1 <= value < 1e15 or value != int(value):  # beyond any data set; infinity and nan too
        raise argparse.ArgumentTypeError(f"'{text}' is not a count such as 500, 20k or 1.5M")
    return int(value)


def parse_seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 20 or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a whole number from 0 to 2^64 - 1")
    return int(text)


Flags = argparse._ActionsContainer  # a parser, or a group of one's flags


def add_workers_flag(parser: Flags) -> None:
    cores = available_cores()
    said = f"processes, at most the cores (default: all, {cores})"
    parser.add_argument("--workers", type=parse_count, default=cores, help=said)


def add_seed_flag(parser: Flags) -> None:
    parser.add_argument("--seed", type=parse_seed, default=1, help="of all that is drawn (default: 1)")


def add_tokenizer_flags(parser: Flags, required: bool = True) -> None:
    parser.add_argument(
        "--tokenizer", required=required, help="tokenizer.json, or a folder with it or with GPT-2's two files"
    )
    parser.add_argument("--eot", metavar="TOKEN", help="token that ends a document (default: <|endoftext|>)")


def number_of(text: str) -> float:
    """NaN where it is none, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def parse_share(text: str) -> float:
    """0 <= share < 1."""
    if not 0 <= number_of(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share of 0 to 1")
    return float(text)


def parse_part(text: str) -> float:
    """0 < share <= 1."""
    if not 0 < number_of(text) <= 1:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 1, found '{text}'")
    return float(text)


def parse_not_negative(text: str) -> float:
    if not 0 <= number_of(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 0 or more")
    return float(text)


def parse_values(text: str) -> dict[str, float]:
    """NAME=VALUE,NAME=VALUE, such as M=1.2e6,S=8e6, with values above 0."""
    try:
        found = {name: float(value) for name, _, value in (part.partition("=") for part in text.split(","))}
    except ValueError:
        found = {}
    if not found or not all(0 < value < float("inf") for value in found.values()):
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=VALUE,NAME=VALUE with values above 0")
    return found
