"""The flags of knapsack synbio and what they mean."""

from __future__ import annotations

import argparse

from knapsack.common.arguments import add_workers_flag, make_parser, parse_count
from knapsack.common.errors import UsageError
from knapsack.shards.format import HELDOUT, QUESTION
from knapsack.synbio.variants import Variant
from knapsack.synbio.world import ATTRIBUTES, NAME_PARTS


def parse_arguments(argv: list[str], description: str) -> argparse.Namespace:
    parser = make_parser("synbio", description)
    parser.add_argument("--people", type=parse_count, required=True, metavar="N")
    parser.add_argument("--out", required=True, metavar="PREFIX")
    parser.add_argument("--tokenizer", help="tokenizer.json, or a folder with it or with GPT-2's two files")
    parser.add_argument("--eot", metavar="TOKEN", help="token that ends a document (default: <|endoftext|>)")
    parser.add_argument("--kind", choices=("plausible", "fictional"), default="plausible")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--groups",
        default="all",
        metavar="all|uniform:G|powerlaw:EXPONENT:G",
        help="people in G equal groups; weights k^-EXPONENT go to facts.json (default: all)",
    )
    parser.add_argument("--templates", type=parse_count, default=5, metavar="M", help="training templates (default: 5)")
    for kind, what in ((HELDOUT, "statements that are only asked"), (QUESTION, "question forms")):
        flag, said = f"--{kind}-templates", f"{what} (default: 2)"
        parser.add_argument(flag, type=parse_count, default=2, metavar="M", help=said)
    add_wording_flags(parser)
    parser.add_argument(
        "--attributes",
        default=",".join(ATTRIBUTES),
        metavar="A,B,...",
        help=f"some of {', '.join(ATTRIBUTES)} (default: all)",
    )
    parser.add_argument(
        "--pool-size",
        action="append",
        default=[],
        metavar="NAME=K",
        help="use the first K items of a pool: an attribute (birth_date: 336 a year), first, middle or last",
    )
    parser.add_argument(
        "--world",
        metavar="DIR",
        help="own pools and templates: DIR/pools/NAME.txt, DIR/templates/ATTRIBUTE.KIND.txt, each in the place of the "
        "built-in one",
    )
    parser.add_argument("--shuffled", action="store_true", help="the control without facts, see above")
    parser.add_argument(
        "--question-people", default="all", metavar="M|all", help="ask about M people, evenly over groups"
    )
    parser.add_argument(
        "--candidates", type=int, default=0, metavar="K", help="wrong answers with each question (default: 0)"
    )
    parser.add_argument("--text", metavar="FILE", help="also write every person's biography once, as text")
    parser.add_argument(
        "--text-only", type=parse_count, metavar="R", help="write only PREFIX.txt: R renderings a person"
    )
    parser.add_argument(
        "--report-against",
        nargs="+",
        default=[],
        metavar="TEXTFILE",
        help="count names and values in these texts: a table, and PREFIX.occurrences.json",
    )
    add_workers_flag(parser)
    options = parser.parse_args(argv)
    if options.seed < 0:
        parser.error("--seed must not be negative")
    if not options.tokenizer and not options.text_only:
        parser.error("--tokenizer is needed (or --text-only)")
    if options.text_only and (options.qa or options.compact or options.tag is not None or options.candidates):
        parser.error(
            "--text-only writes biographies as text and nothing else; leave out --qa, --compact, --tag, --candidates"
        )
    return options


def add_wording_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wordings", metavar="redrawn|M", help="templates drawn anew at each exposure (default), or M fixed choices"
    )
    parser.add_argument(
        "--orders",
        metavar="redrawn|listed|P",
        help="order of the sentences: drawn anew at each exposure (default), as listed, or P fixed ones",
    )
    parser.add_argument(
        "--names",
        choices=("full", "pronoun", "both"),
        help="sentences after the first begin with the full name (default), She/He, or either",
    )
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="the three together as in arXiv 2309.14316: single, multiM, permuteP, multiM+permute; with +fullname or "
        "else pronouns",
    )
    parser.add_argument(
        "--qa",
        type=float,
        default=0.0,
        metavar="F",
        help="PREFIX_qa: questions with answers about a fraction F of the people, to train on; the question set's "
        "groups tell them from the others",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="PREFIX_compact: 'Bio: N Ann Lee Fox C Oslo ...'; prints how to mix it in",
    )
    parser.add_argument(
        "--tag", metavar="TEXT", help="stands before every document and question: a special token, or words"
    )


def parse_attributes(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = [name for name in wanted if name not in ATTRIBUTES]
    if unknown or len(set(wanted)) != len(wanted):
        raise UsageError(f"--attributes {text}: expected some of {', '.join(ATTRIBUTES)}, each once")
    return [name for name in ATTRIBUTES if name in wanted]


def parse_pool_sizes(texts: list[str], attributes: list[str]) -> dict[str, int]:
    sizes = {}
    for text in texts:
        name, _, size = text.partition("=")
        if name not in (*attributes, *NAME_PARTS) or not size.isdecimal():
            raise UsageError(
                f"--pool-size {text}: expected NAME=K with NAME out of {', '.join((*attributes, *NAME_PARTS))}"
            )
        sizes[name] = int(size)
    return sizes


def parse_question_people(text: str) -> int | None:
    try:
        return None if text == "all" else parse_count(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--question-people: {error}") from None


def check_control(options: argparse.Namespace, variant: Variant) -> None:
    """Where each name keeps to one wording, or a companion to one value, the control would state facts after all."""
    wrong = [flag for flag, given in (("--qa", options.qa), ("--compact", options.compact)) if given]
    wrong += ["fixed wordings (--wordings, --variant)"] if variant.wordings != "redrawn" else []
    if options.shuffled and wrong:
        raise UsageError(f"--shuffled with {', '.join(wrong)}: these would state facts, and the control must have none")
