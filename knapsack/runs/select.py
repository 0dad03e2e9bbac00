"""Which entities of a source a second training goes on with, by what a first one knows of them.

  knapsack select runs/first bio --share 0.25 --out keep.txt       (a quarter, those with the lowest loss)
  knapsack select runs/first bio --share 0.25 --rule hardest --out keep.txt
  knapsack select runs/first bio --most-exposures 200 --out keep.txt
  train_gpt --init runs/first/checkpoints/step_00000488 --subsample bio=file:keep.txt ...

The loss of a fact is the mean over its questions of the nats of its answer, that of an entity the mean over its facts;
of the last answers of the run (--per-question on). Equal losses: the smaller number first. --most-exposures F and
--drop-known S leave out entities that have been shown at least F times, or of whose questions at least the share S is
right: what is frequent or known gives way, so that the others come more often (flattening). --share is of all entities
of the source; where fewer are left, all of them are kept, and it is said.

FILE has the number of an entity a line, ascending, as --subsample NAME=file:FILE takes it. FILE.json says what it was
made of.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from knapsack.common.arguments import make_parser, parse_count, parse_part
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import dump_json, write_files
from knapsack.runs.answers import Answers, Chosen, read_answers
from knapsack.runs.files import blame, is_there, read_json, warn

RULES = ("easiest", "hardest")
FORMAT_VERSION = 1


class Entities(NamedTuple):
    """By entity of the source."""

    loss: np.ndarray
    right: np.ndarray  # share of the questions
    exposures: np.ndarray  # the mean of its facts; -1: not known


def shards_of(run: Path, source: str) -> dict[str, tuple[int, int]]:
    """By name of a shard its first entity, counted over the source, and its number of entities."""
    path = run / "exposures" / f"{source}.json"
    if not is_there(path):
        known = sorted(one.stem for one in path.parent.glob("*.json"))
        raise UsageError(f"{run} has no knowledge source {source}; it has {', '.join(known) or 'none'}")
    found, first = {}, 0
    with blame(path):
        for shard in read_json(path)["shards"]:
            found[str(shard["name"])] = first, int(shard["entities"])
            first += int(shard["entities"])
    return found


def last_answers(run: Path) -> Path:
    files = sorted((run / "answers").glob("step_????????.jsonl"))
    if not files:
        raise DataError(f"{run}: no answers/step_XXXXXXXX.jsonl; train it with --per-question on")
    return files[-1]


def entities_of(answers: Answers, shards: dict[str, tuple[int, int]], set_name: str | None) -> Entities:
    """Of the sets that ask about these shards: `set_name`, else those that are called as the shard that they ask
    about."""
    number = sum(entities for _, entities in shards.values())
    sources = [source for source, _, _ in answers.facts]
    asked_by = zip(answers.fact_of, answers.set_of)
    taken = np.array([sources[fact] in shards and name == (set_name or sources[fact]) for fact, name in asked_by], bool)
    loss_of, right_of = (
        answers.by_fact(np.where(taken, row.astype(float), np.nan)) for row in (answers.nll[-1], answers.correct[-1])
    )
    facts = np.unique(answers.fact_of[taken])
    entity = np.empty(len(facts), np.int64)
    for i, fact in enumerate(facts):
        source, own, _ = answers.facts[fact]
        first, entities = shards[source]
        if own >= entities:
            raise DataError(f"a question is about entity {own} of {source}, which has {entities}")
        entity[i] = first + own
    asked = np.bincount(entity, minlength=number)
    if missing := int((asked == 0).sum()):
        raise DataError(
            f"{missing} of {number} entities have no answer; ask about all of them (--questions-per-set all), or say "
            "--kind or --set"
        )
    if not np.isfinite(loss_of[facts]).all():
        raise DataError(f"the loss of {int((~np.isfinite(loss_of[facts])).sum())} facts is not a finite number")

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(entity, values, number) / asked

    return Entities(mean(loss_of[facts]), mean(right_of[facts]), mean(answers.exposures[-1][facts].astype(float)))


def choose(entities: Entities, options: argparse.Namespace) -> np.ndarray:
    """The numbers of those kept, ascending."""
    number = len(entities.loss)
    candidate = np.ones(number, bool)
    if options.most_exposures is not None:
        if (entities.exposures < 0).any():
            raise DataError("the answers do not say the exposures, which --most-exposures needs")
        candidate &= entities.exposures < options.most_exposures
    if options.drop_known is not None:
        candidate &= entities.right < options.drop_known
    wanted = round(options.share * number)
    left = np.flatnonzero(candidate)
    if not wanted or not len(left):
        raise UsageError(f"nobody is kept: {len(left)} of {number} are left, --share {options.share:g} is {wanted}")
    if len(left) < wanted and options.share < 1:
        warn(f"only {len(left)} of {number} are left to choose from, --share {options.share:g} is {wanted}")
    order = entities.loss[left] if options.rule == "easiest" else -entities.loss[left]
    return np.sort(left[np.argsort(order, kind="stable")[:wanted]])


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("select", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's directory")
    parser.add_argument("source", metavar="NAME", help="its knowledge source")
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("--share", type=parse_part, default=1.0, metavar="S", help="of the entities (default: 1)")
    parser.add_argument("--rule", choices=RULES, default=RULES[0], help="lowest or highest loss (default: easiest)")
    parser.add_argument("--most-exposures", type=parse_count, metavar="F", help="not those shown F times or more")
    parser.add_argument("--drop-known", type=parse_part, metavar="S", help="not those with this share right or more")
    parser.add_argument("--kind", default="seen", help="of the questions (default: seen)")
    parser.add_argument("--set", metavar="SET", help="whose answers (default: the one called as its shard)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    shards, path = shards_of(options.run, options.source), last_answers(options.run)
    answers = read_answers([path], Chosen(kind=options.kind))
    try:
        entities = entities_of(answers, shards, options.set)
        kept = choose(entities, options)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    others = np.setdiff1d(np.arange(len(entities.loss)), kept)

    def mean(values: np.ndarray, of: np.ndarray) -> float | None:
        return float(values[of].mean()) if len(of) else None

    about: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "run": options.run.resolve().name,
        "source": options.source,
        "step": int(answers.steps[-1]),
        "kind": options.kind,
        "rule": options.rule,
        "share": options.share,
        "most_exposures": options.most_exposures,
        "drop_known": options.drop_known,
        "entities": len(entities.loss),
        "kept": len(kept),
        "loss": {"kept": mean(entities.loss, kept), "others": mean(entities.loss, others)},
        "right": {"kept": mean(entities.right, kept), "others": mean(entities.right, others)},
    }
    lines = "".join(f"{entity}\n" for entity in kept)
    write_files({options.out: lines.encode(), f"{options.out}.json": dump_json(about)})
    said = ", ".join(f"{name} {value:.3f}" for name, value in about["loss"].items() if value is not None)
    print(f"{options.out}: {len(kept)} of {len(entities.loss)} entities of {options.source}; nats a value: {said}")
