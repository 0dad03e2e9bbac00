"""What runs of one curve share: all options of config.json that are no axis of an infusion study."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from knapsack.analysis.held import NO_PART_OF_TRAINING, REPLICATES, Held
from knapsack.runs.table import Row, cell

BUDGET = {"budget", "tokens", "steps"}  # a curve's own numbers
NOT_HELD = BUDGET | REPLICATES | NO_PART_OF_TRAINING
VARIED_BY_SOURCE = {"exposures", "ratio"}  # of the infused family: how often it is shown is what a curve varies


def in_family(source: str, name: str) -> bool:
    return source == name or source.startswith(name + "_")


def of_source(options: Row, option: str, source: str) -> str:
    """The values of a repeated option for one source: 'wd=0:0.3' of --window is '0:0.3'."""
    entries = (entry.partition("=") for entry in options.get(option) or [])
    return " ".join(value for name, _, value in entries if name == source)


def held_constant(options: Row, name: str) -> Held:
    """As text, but for the warm-up (hold_warmup). Options of the form SOURCE=VALUE are keys 'SOURCE OPTION'; those of
    the family's sources say how it was shown, which a run without it does not have."""
    held: Held = {}
    for option, value in options.items():
        if option in NOT_HELD or option == "warmup" or value in (None, "", []):
            continue
        if not isinstance(value, list):
            held[option] = cell(value)
            continue
        for entry in value:
            source, _, words = entry.partition("=")
            if not (in_family(source, name) and option in VARIED_BY_SOURCE):
                held[f"{source} {option}"] = " ".join(filter(None, (held.get(f"{source} {option}"), words)))
    return held


def held_without(held: Held, name: str) -> Held:
    """What a run with F = 0 shares with a curve: the options that do not speak of the infused family."""
    return {key: value for key, value in held.items() if not (" " in key and in_family(key.split()[0], name))}


def is_path_of_family(key: str, name: str) -> bool:
    source, _, option = key.partition(" ")
    return option == "source" and in_family(source, name)


def hold_paths(rows: list[Row], name: str) -> None:
    """Takes the paths of the family's sources out of `held` where they say no more than the replicate and the number of
    facts: each replicate may have facts of its own. Where one replicate (equal seeds and K) has runs with several
    paths, these are data that somebody compares, and are held."""
    alike: dict[Any, list[Row]] = defaultdict(list)
    for row in (row for row in rows if row["F"]):
        held = tuple(sorted((key, value) for key, value in row["held"].items() if not is_path_of_family(key, name)))
        alike[row["N"], row["budget_tokens"], row["policy"], held].append(row)
    for group in alike.values():
        paths: dict[Any, set] = defaultdict(set)
        for row in group:
            own = tuple(sorted((key, value) for key, value in row["held"].items() if is_path_of_family(key, name)))
            paths[row["seed"], row["data_seed"], row["K"]].add(own)
        if len(set.union(*paths.values())) > 1 and all(len(one) == 1 for one in paths.values()):
            for row in group:
                row["held"] = {key: value for key, value in row["held"].items() if not is_path_of_family(key, name)}


def default_warmup(steps: int) -> int:
    """Of train_gpt without --warmup."""
    return min(160, steps // 10)


def hold_warmup(rows: list[Row], name: str) -> None:
    """Adds it to `held` where it was given. config.json has the warm-up as resolved; by default it follows from the
    steps, which with append follow from the exposures. Where it is the default it was given if it was to a run that is
    alike otherwise."""
    alike: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        held = tuple(sorted(held_without(row["held"], name).items()))
        alike[row["N"], row["budget_tokens"], held].append(row)
    for group in alike.values():
        given = {row["warmup"] for row in group if row["warmup"] != default_warmup(row["steps"])} - {None}
        for row in group:
            if row["warmup"] in given:
                row["held"]["warmup"] = cell(row["warmup"])
