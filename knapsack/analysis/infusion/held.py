"""What runs of one curve share: all options of config.json that are no axis of an infusion study."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from knapsack.analysis.datasets import no_replicates, same_content
from knapsack.analysis.held import NO_PART_OF_TRAINING, REPLICATES, Held
from knapsack.runs.files import warn
from knapsack.runs.identity import digest
from knapsack.runs.table import Row, cell

BUDGET = {"budget", "tokens", "steps"}  # a curve's own numbers
NOT_HELD = BUDGET | REPLICATES | NO_PART_OF_TRAINING
VARIED_BY_SOURCE = {"exposures", "ratio"}  # of the infused family: how often it is shown is what a curve varies


def in_family(source: str, name: str) -> bool:
    return source == name or source.startswith(name + "_")


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


def is_data_of_family(key: str, name: str) -> bool:
    source, _, option = key.partition(" ")
    return option == "source" and in_family(source, name)


def hold_data(rows: list[Row], name: str) -> None:
    """Holds what the runs were trained on, in the place of its path. Of the family's sources not where they say no more
    than the replicate and the number of facts: each replicate may have a population of its own. Other data are curves
    of their own, and why is said once."""
    for source in dict.fromkeys(source for row in rows for source in row["data"]):
        name_contents([row for row in rows if source in row["data"]], source)
    alike: dict[Any, list[Row]] = defaultdict(list)
    for row in (row for row in rows if row["F"]):
        held = tuple(sorted((key, value) for key, value in row["held"].items() if not is_data_of_family(key, name)))
        alike[row["N"], row["budget_tokens"], row["policy"], held].append(row)
    reasons: dict[str, None] = {}
    for group in alike.values():
        if len({own_data(row, name) for row in group}) < 2:
            continue
        if reason := why_apart(group, name):
            reasons[f"{reason}; they are curves of their own, not replicates"] = None
            continue
        for row in group:
            row["held"] = {key: value for key, value in row["held"].items() if not is_data_of_family(key, name)}
    for reason in reasons:
        warn(reason)


def name_contents(rows: list[Row], source: str) -> None:
    """Data that hold the same get one name, a path; of one path that held several things each has what tells them
    apart."""
    contents = same_content([row["data"][source] for row in rows])
    paths: dict[tuple, str] = {}
    for row, content in zip(rows, contents):
        paths.setdefault(content, row["data"][source].path)
    counts = Counter(paths.values())
    for row, content in zip(rows, contents):
        if path := paths[content]:
            mark = f" (content {digest(repr(content).encode())[:8]})" if counts[path] > 1 else ""
            row["held"][f"{source} source"] = path + mark


def own_data(row: Row, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in row["held"].items() if is_data_of_family(key, name)))


def why_apart(group: list[Row], name: str) -> str:
    """Of runs that are alike but for their seeds and the family's data: why these are not populations of replicates;
    empty where they are. Of equal K each replicate has one and shares it with none, and all are of one make."""
    of_equal_K: dict[Any, list[Row]] = defaultdict(list)
    for row in group:
        of_equal_K[row["K"]].append(row)
    for rows in of_equal_K.values():
        data_of_seeds, seeds_of_data = defaultdict(set), defaultdict(set)
        for row in rows:
            seeds, own = (row["seed"], row["data_seed"]), own_data(row, name)
            data_of_seeds[seeds].add(own)
            seeds_of_data[own].add(seeds)
        if len(seeds_of_data) > 1:
            if max(map(len, data_of_seeds.values())) > 1:
                return f"{in_words(rows, name)}, in runs of equal seeds"
            if max(map(len, seeds_of_data.values())) > 1:
                return f"{in_words(rows, name)}, one of them in runs of several seeds"
    firsts = [rows[0] for rows in of_equal_K.values()]
    pairs = [(rows[0], row, True) for rows in of_equal_K.values() for row in rows[1:]]
    for one, other, equal_facts in pairs + [(firsts[0], row, False) for row in firsts[1:]]:
        for source in one["data"].keys() & other["data"].keys():
            if in_family(source, name):
                both = one["data"][source], other["data"][source]
                if reason := no_replicates(*both, equal_facts):
                    return f"{source} source is {both[0].path} in some runs, {both[1].path} in others: {reason}"
    return ""


def in_words(rows: list[Row], name: str) -> str:
    """How the family's data differ between the first run and another."""
    first = dict(own_data(rows[0], name))
    other = next(own for own in (dict(own_data(row, name)) for row in rows) if own != first)
    key = next(key for key in first | other if first.get(key) != other.get(key))
    return f"{key} is {first.get(key, 'not there')} in some runs, {other.get(key, 'not there')} in others"


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
