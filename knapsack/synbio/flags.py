"""The flags of `knapsack synbio` and what they mean."""

from __future__ import annotations

import argparse

from knapsack.common.arguments import (
    Flags,
    add_seed_flag,
    add_tokenizer_flags,
    add_workers_flag,
    make_parser,
    parse_count,
)
from knapsack.common.errors import UsageError
from knapsack.shards.format import HELDOUT, QUESTION
from knapsack.synbio.variants import Variant
from knapsack.synbio.world import ATTRIBUTES, NAME_PARTS

MOST_RENDERINGS = 1_000_000


def parse_arguments(argv: list[str], description: str | None) -> argparse.Namespace:
    parser = make_parser("synbio", description)
    add_output_flags(parser.add_argument_group("in and out"))
    add_world_flags(parser.add_argument_group("the world"))
    add_wording_flags(parser.add_argument_group("how facts read"))
    add_companion_flags(parser.add_argument_group("further sources, and the questions"))
    options = parser.parse_args(argv)
    if not options.tokenizer and not options.text_only:
        parser.error("--tokenizer is needed (or --text-only)")
    if options.text_only and options.text_only > MOST_RENDERINGS:
        parser.error(f"--text-only: at most {MOST_RENDERINGS:,} renderings a person")
    if options.text_only and (options.qa or options.compact or options.tag is not None or options.candidates):
        parser.error(
            "--text-only writes biographies as text and nothing else; leave out --qa, --compact, --tag, --candidates"
        )
    return options


def add_output_flags(flags: Flags) -> None:
    flags.add_argument("--people", type=parse_count, required=True, metavar="N")
    flags.add_argument("--out", required=True, metavar="PREFIX")
    add_tokenizer_flags(flags, required=False)
    flags.add_argument("--text", metavar="FILE", help="also write every person's biography once, as text")
    flags.add_argument(
        "--text-only", type=parse_count, metavar="R", help="write only PREFIX.txt: R renderings a person"
    )
    flags.add_argument(
        "--report-against",
        nargs="+",
        default=[],
        metavar="TEXTFILE",
        help="count names and values in these texts: a table, and PREFIX.occurrences.json",
    )
    add_workers_flag(flags)


def add_world_flags(flags: Flags) -> None:
    flags.add_argument("--kind", choices=("plausible", "fictional"), default="plausible")
    add_seed_flag(flags)
    flags.add_argument(
        "--groups",
        default="all",
        metavar="all|uniform:G|powerlaw:EXPONENT:G",
        help="people in G equal groups; weights k^-EXPONENT go to facts.json (default: all)",
    )
    flags.add_argument(
        "--attributes",
        default=",".join(ATTRIBUTES),
        metavar="A,B,...",
        help=f"some of {', '.join(ATTRIBUTES)} (default: all)",
    )
    flags.add_argument(
        "--pool-size",
        action="append",
        default=[],
        metavar="NAME=K",
        help="use the first K items of a pool: an attribute (birth_date: 336 a year), first, middle or last",
    )
    flags.add_argument(
        "--world",
        metavar="DIR",
        help="your pools and templates: DIR/pools/NAME.txt, DIR/templates/ATTRIBUTE.KIND.txt, each instead of the "
        "built-in one",
    )
    flags.add_argument("--shuffled", action="store_true", help="the control without facts, see above")


def add_wording_flags(flags: Flags) -> None:
    flags.add_argument("--templates", type=parse_count, default=5, metavar="M", help="training templates (default: 5)")
    for kind, what in ((HELDOUT, "statements that are only asked"), (QUESTION, "question forms")):
        flag, said = f"--{kind}-templates", f"{what} (default: 2)"
        flags.add_argument(flag, type=parse_count, default=2, metavar="M", help=said)
    flags.add_argument(
        "--wordings", metavar="redrawn|M", help="templates drawn anew at each exposure (default), or M fixed choices"
    )
    flags.add_argument(
        "--orders",
        metavar="redrawn|listed|P",
        help="order of the sentences: drawn anew at each exposure (default), as listed, or P fixed ones",
    )
    flags.add_argument(
        "--names",
        choices=("full", "pronoun", "both"),
        help="sentences after the first begin with the full name (default), She/He, or either",
    )
    flags.add_argument(
        "--variant",
        metavar="NAME",
        help="the three together as in arXiv 2309.14316: single, multiM, permuteP, multiM+permute; with +fullname or "
        "else pronouns",
    )
    flags.add_argument(
        "--tag", metavar="TEXT", help="comes before every document and question: a special token, or words"
    )

    flags.add_argument(
        "--filler", type=parse_count, default=0, metavar="N", help="N sentences that state nothing after each fact (0)"
    )


def add_companion_flags(flags: Flags) -> None:
    flags.add_argument(
        "--qa",
        type=float,
        default=0.0,
        metavar="F",
        help="PREFIX_qa: questions with answers about a fraction F of the people, to train on; the question set's "
        "groups keep them apart from the others",
    )
    flags.add_argument(
        "--compact",
        action="store_true",
        help="PREFIX_compact: 'Bio: N Ann Lee Fox C Oslo ...'; prints how to mix it in",
    )
    flags.add_argument(
        "--question-people", default="all", metavar="M|all", help="ask about M people, evenly over groups"
    )
    flags.add_argument(
        "--candidates", type=int, default=0, metavar="K", help="wrong answers with each question (default: 0)"
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
        if name not in (*attributes, *NAME_PARTS) or not size.isdecimal() or len(size) > 18:
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
