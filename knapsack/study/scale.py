"""What of a large study a small one can keep: N, S, r, V and people, and by what factor the rest is off.

  knapsack study scale --target gu2025-70m --have-parameters 231k --have-doc-tokens 122
  knapsack study scale --parameters 70M --tokens 32B --people 320k --ratio .1,.3 --have-hours 1.5 --have-rate 55k

Four things make a fact easy or hard to learn: (a) its frequency, exposures a token, r / (people x tokens of a
document); (b) its repetition, exposures in the whole run; (c) tokens per parameter, S / N; (d) the load, bits of all
facts over 2 bits a parameter. Since repetition = frequency x tokens, a run of fewer tokens keeps (a) or (b), not both.

A plan a column: `repetition` keeps (b) and (d), `frequency` (a) and (d), `length` both by all the target's tokens,
`ratio` r and (b), with as many people as that takes. A factor is the small study's over the target's.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from knapsack.common.arguments import parse_count
from knapsack.common.errors import UsageError

BITS = Fraction("46.6")  # of the five values of a person
BITS_PER_PARAMETER = 2  # Allen-Zhu & Li, 2404.05405
ROUND_V = 64
LEAST_V = 512  # 256 bytes, and what a tokenizer needs to be one
CLOSE = Fraction(1, 50)  # of a factor: what rounding to whole people and tokens makes
FEWEST_PEOPLE, FEWEST_EXPOSURES = 20, 1
MOST_EPOCHS = 4

REPETITION = "repetition"
FREQUENCY = "frequency"
LENGTH = "length"
RATIO = "ratio"


@dataclass(frozen=True)
class Size:
    """Of a study."""

    parameters: int
    tokens: int
    people: int
    ratios: tuple[Fraction, ...]
    doc_tokens: Fraction
    vocab: int
    bits: Fraction = BITS  # a person
    web_tokens: int | None = None  # that there are

    def frequency(self, r: Fraction) -> Fraction:
        """Exposures of a fact a token of the run."""
        return r / (self.people * self.doc_tokens)

    def repetition(self, r: Fraction) -> Fraction:
        """Exposures of a fact in the run."""
        return self.frequency(r) * self.tokens

    @property
    def tokens_per_parameter(self) -> Fraction:
        return Fraction(self.tokens, self.parameters)

    @property
    def load(self) -> Fraction:
        """Bits of all people over those that the parameters hold."""
        return self.people * self.bits / (BITS_PER_PARAMETER * self.parameters)

    def epochs(self, r: Fraction) -> Fraction | None:
        """How often the web text is seen."""
        return (1 - r) * self.tokens / self.web_tokens if self.web_tokens else None


TARGETS = {  # Gu et al. 2025, 2505.18091; its counts of exposures make 100 tokens a document
    "gu2025-70m": Size(
        70426624, 32 * 10**9, 320000, tuple(Fraction(i, 20) for i in range(2, 10)), Fraction(100), 50304
    ),
    "gu2025-410m": Size(
        405334016, 32 * 10**9, 1280000, tuple(Fraction(i, 20) for i in range(2, 10)), Fraction(100), 50304
    ),
}


@dataclass(frozen=True)
class Plan:
    name: str
    keeps: tuple[str, ...]
    size: Size
    factors: dict[str, Fraction]  # frequency, repetition, tokens_per_parameter, load: over the target's
    faults: tuple[str, ...]  # why it cannot be run so


def nearest(value: Fraction) -> int:
    """Half up, at least 1."""
    return max(1, int(value + Fraction(1, 2)))


def vocabulary(target: Size, parameters: int) -> int:
    """That keeps the embeddings' share at equal depth, where the width goes with the square root of the parameters:
    V with the square root too. A multiple of 64."""
    ratio = (parameters / target.parameters) ** 0.5
    return max(LEAST_V, ROUND_V * round(target.vocab * ratio / ROUND_V))


def factors_of(target: Size, small: Size) -> dict[str, Fraction]:
    r, own = target.ratios[0], small.ratios[0]
    return {
        "frequency": small.frequency(own) / target.frequency(r),
        "repetition": small.repetition(own) / target.repetition(r),
        "tokens_per_parameter": small.tokens_per_parameter / target.tokens_per_parameter,
        "load": small.load / target.load,
    }


def faults_of(small: Size) -> tuple[str, ...]:
    """A ratio that cannot be, too few people to say anything of, less than one exposure."""
    found = []
    if small.ratios[-1] >= 1:
        found.append(f"r would be {float(small.ratios[-1]):.3g}, all tokens and more")
    if small.people < FEWEST_PEOPLE:
        found.append(f"{small.people} people are too few for an interval")
    if small.repetition(small.ratios[0]) < FEWEST_EXPOSURES:
        found.append(f"{float(small.repetition(small.ratios[0])):.2g} exposures a fact at the smallest r")
    return tuple(found)


def make_plan(name: str, target: Size, small: Size) -> Plan:
    """`small` has its parameters, tokens, document and vocabulary. People keep the load, and r what the name says; with
    `ratio` r is the target's, and people keep the repetition."""
    of_tokens = Fraction(small.tokens, target.tokens)
    people = nearest(target.people * Fraction(small.parameters, target.parameters) * target.bits / small.bits)
    if name == RATIO:
        people = nearest(target.people * of_tokens * target.doc_tokens / small.doc_tokens)
    scale = people * small.doc_tokens / (target.people * target.doc_tokens)
    scale = {REPETITION: scale / of_tokens, RATIO: Fraction(1)}.get(name, scale)
    small = replace(small, people=people, ratios=tuple(r * scale for r in target.ratios))
    factors = factors_of(target, small)
    keeps = tuple(key for key in NAMES if is_kept(factors[key]))
    return Plan(name, keeps, small, factors, faults_of(small))


NAMES = {
    "frequency": "frequency",
    "repetition": "repetition",
    "tokens_per_parameter": "tokens per parameter",
    "load": "load",
}


def is_kept(factor: Fraction) -> bool:
    return abs(factor - 1) <= CLOSE


def plans_of(target: Size, have: Size, both: bool) -> list[Plan]:
    """`have`: parameters and tokens, of which one follows from the other at the target's tokens per parameter unless
    `both` were given. `ratio` is left out where it is `repetition`, `length` where the tokens are given."""
    plans = [make_plan(REPETITION, target, have), make_plan(FREQUENCY, target, have)]
    if not both and have.tokens < target.tokens:
        plans.append(make_plan(LENGTH, target, replace(have, tokens=target.tokens)))
    if not is_kept(plans[0].size.ratios[0] / target.ratios[0]):
        plans.append(make_plan(RATIO, target, have))
    return plans


def conflicts(target: Size, have: Size, both: bool) -> list[str]:
    """What cannot be kept together, by what factor, and what the field says of it."""
    s = Fraction(have.tokens, target.tokens)
    said = []
    if not is_kept(s):
        said.append(
            f"frequency and repetition: with {show(s)} of the tokens one of them is off by a factor {show(s)} or "
            f"{show(1 / s)}. Repetition that differs moves the best mixture: at matched repetition it was found within "
            ".05, without within .75 (Zhou et al., 2606.07597); scarce data bears 15 to 20 repetitions in a mixture "
            "(Sedova et al., 2605.12715)"
        )
    c = have.tokens_per_parameter / target.tokens_per_parameter
    if not is_kept(c):
        why = "as both were given" if both else "by rounding"
        said.append(f"tokens per parameter: off by a factor {show(c)}, {why}; the horizon law (beta) differs with it")
    if not both and s < 1:
        said.append(
            f"frequency, repetition and tokens per parameter: only a run of all {count(target.tokens)} tokens keeps "
            f"the first two, with {show(Fraction(target.tokens, have.tokens))} times the tokens per parameter"
        )
    if have.web_tokens:
        most = have.epochs(Fraction(0))
        if most > MOST_EPOCHS:
            said.append(
                f"web text: up to {show(most)} epochs of {count(have.web_tokens)} tokens; up to about {MOST_EPOCHS} "
                "count almost as new text (Muennighoff et al., 2305.16264)"
            )
    return said


def show(value: Fraction | float) -> str:
    return f"{float(value):.3g}"


def count(value: int | Fraction) -> str:
    """70.4M"""
    number = float(value)
    for scale, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if number >= scale:
            return f"{number / (1e3 if letter == 'k' else scale):.4g}{letter}"
    return f"{number:.4g}"


def parse_ratios(text: str) -> tuple[Fraction, ...]:
    try:
        found = tuple(sorted(Fraction(part) for part in text.split(",")))
    except (ValueError, ZeroDivisionError):
        found = ()
    if not found or not all(0 < r < 1 for r in found):
        raise argparse.ArgumentTypeError(f"'{text}': expected shares above 0 and under 1, such as .1,.25,.4")
    return found


def parse_positive(text: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value < 10**12:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    target = parser.add_argument_group("the target")
    target.add_argument("--target", choices=TARGETS, help="its numbers; the flags below go before them")
    target.add_argument("--parameters", type=parse_count, metavar="N")
    target.add_argument("--tokens", type=parse_count, metavar="S")
    target.add_argument("--people", type=parse_count, metavar="K")
    target.add_argument("--ratio", type=parse_ratios, metavar="R,R", help="shares of the people's documents")
    target.add_argument("--doc-tokens", type=parse_positive, metavar="T", help="of a document of a person (100)")
    target.add_argument("--vocab", type=parse_count, metavar="V", help="(50304)")
    target.add_argument(
        "--bits", type=parse_positive, help=f"of what is asked of a person ({float(BITS):g}: five values)"
    )
    have = parser.add_argument_group("what there is")
    have.add_argument("--have-parameters", type=parse_count, metavar="N", help="the tokens follow, unless given too")
    have.add_argument("--have-tokens", type=parse_count, metavar="S", help="the parameters follow, unless given too")
    have.add_argument("--have-hours", type=parse_positive, metavar="H", help="of one run, with --have-rate: tokens")
    have.add_argument("--have-rate", type=parse_count, metavar="R", help="tokens per second, as `study plan` times it")
    have.add_argument(
        "--have-doc-tokens", type=parse_positive, metavar="T", help="with the small vocabulary (target's)"
    )
    have.add_argument("--have-vocab", type=parse_count, metavar="V", help="(keeps the embeddings' share)")
    have.add_argument("--have-web-tokens", type=parse_count, metavar="W", help="of different web text")
    parser.add_argument("--json", action="store_true", help="print JSON")


def target_of(args: argparse.Namespace) -> Size:
    named = TARGETS.get(args.target)
    base = asdict(named) if named else {"doc_tokens": Fraction(100), "vocab": 50304, "bits": BITS}
    given = {"parameters": args.parameters, "tokens": args.tokens, "people": args.people, "ratios": args.ratio}
    given |= {"doc_tokens": args.doc_tokens, "vocab": args.vocab, "bits": args.bits}
    base |= {name: value for name, value in given.items() if value is not None}
    flags = {"parameters": "parameters", "tokens": "tokens", "people": "people", "ratios": "ratio"}
    if missing := [flag for name, flag in flags.items() if name not in base]:
        raise UsageError(f"the target has no --{missing[0]}: give it, or --target {' or '.join(TARGETS)}")
    return Size(**base)


def have_of(args: argparse.Namespace, target: Size) -> tuple[Size, bool]:
    """The small study but for its people and ratios, and whether both parameters and tokens were given."""
    tokens = args.have_tokens
    if (args.have_hours is None) != (args.have_rate is None):
        raise UsageError("--have-hours and --have-rate go together")
    if args.have_hours is not None:
        if tokens:
            raise UsageError("give --have-tokens, or --have-hours and --have-rate")
        tokens = nearest(args.have_hours * 3600 * args.have_rate)
    parameters = args.have_parameters
    if not parameters and not tokens:
        raise UsageError("say what there is: --have-parameters, --have-tokens, or --have-hours and --have-rate")
    both = bool(parameters and tokens)
    parameters = parameters or nearest(tokens / target.tokens_per_parameter)
    tokens = tokens or nearest(parameters * target.tokens_per_parameter)
    doc = args.have_doc_tokens or target.doc_tokens
    vocab = args.have_vocab or vocabulary(target, parameters)
    return Size(parameters, tokens, 1, target.ratios, doc, vocab, target.bits, args.have_web_tokens), both


def said_of(plan: Plan) -> dict[str, Any]:
    size = plan.size
    rows = [
        {"r": float(r), "exposures": float(size.repetition(r)), "epochs_web": none_or_float(size.epochs(r))}
        for r in size.ratios
    ]
    return {
        "name": plan.name,
        "keeps": list(plan.keeps),
        "parameters": size.parameters,
        "tokens": size.tokens,
        "people": size.people,
        "vocab": size.vocab,
        "doc_tokens": float(size.doc_tokens),
        "ratios": rows,
        "tokens_per_parameter": float(size.tokens_per_parameter),
        "load": float(size.load),
        "factors": {name: float(value) for name, value in plan.factors.items()},
        "faults": list(plan.faults),
    }


def none_or_float(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def main(args: argparse.Namespace) -> int:
    """Exit code 3: no plan can be run."""
    target = target_of(args)
    have, both = have_of(args, target)
    plans = plans_of(target, have, both)
    against = conflicts(target, have, both)
    if args.json:
        own = said_of(Plan("target", (), target, factors_of(target, target), ()))
        out = {"format_version": 1, "target": own, "plans": [said_of(plan) for plan in plans], "not_together": against}
        print(json.dumps(out, indent=1))
    else:
        print_plans(target, plans, against)
    return 3 if all(plan.faults for plan in plans) else 0


def print_plans(target: Size, plans: list[Plan], against: list[str]) -> None:
    columns = ["", "target", *(plan.name for plan in plans)]
    sizes = [target, *(plan.size for plan in plans)]
    rows = [
        ["N, parameters", *(count(one.parameters) for one in sizes)],
        ["S, tokens", *(count(one.tokens) for one in sizes)],
        ["V, vocabulary", *(str(one.vocab) for one in sizes)],
        ["people", *(str(one.people) for one in sizes)],
        ["tokens a document", *(show(one.doc_tokens) for one in sizes)],
        ["r", *(spread(list(one.ratios)) for one in sizes)],
        ["exposures a fact", *(spread([one.repetition(r) for r in one.ratios]) for one in sizes)],
        ["tokens per parameter", *(show(one.tokens_per_parameter) for one in sizes)],
        ["load of 2 bits", *(show(one.load) for one in sizes)],
    ]
    for letter, (key, name) in zip("abcd", NAMES.items()):
        said = ("kept" if is_kept(plan.factors[key]) else f"x {show(plan.factors[key])}" for plan in plans)
        rows.append([f"({letter}) {name}", "1", *said])
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip())
    for plan in plans:
        for fault in plan.faults:
            print(f"{plan.name} cannot be run: {fault}")
    if against:
        print("\nNot together:")
    for one in against:
        print(f"- {one}")
    if any(one.vocab != target.vocab for one in sizes):
        print("\nA smaller vocabulary makes documents longer: measure (`knapsack synbio`), give --have-doc-tokens.")


def spread(values: list[Fraction]) -> str:
    return show(values[0]) if len(values) == 1 else f"{show(values[0])} to {show(values[-1])}"
