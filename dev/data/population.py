"""Who lives in a SynBio world: pools of values, sentence templates, people. All of it a function of the options and
the seed.

Drawn here are numbers; text comes from `Population.sentence`, `prompt` and `answer`, and is the only truth about how a
fact reads: compose.py is checked against it.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from cli import DataError, UsageError

FOLDER = os.path.dirname(os.path.abspath(__file__))
ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer")
NAME_PARTS = ("first", "middle", "last")
YEARS = range(1900, 2100)
DAYS = range(1, 29)
SEEN, HELDOUT, QUESTION = KINDS = ("seen", "heldout", "question")


def random_stream(seed: int, purpose: int) -> np.random.Generator:
    """Independent streams, so that more people or other groups do not change what another purpose draws."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose,)))


PEOPLE_STREAM, VALUES_STREAM, SHUFFLE_STREAM, QUESTION_STREAM, TEXT_STREAM, CHECK_STREAM = range(6)


def read_items(path: str) -> list[str]:
    """An item a line; no blank line, none twice."""
    try:
        with open(path, encoding="utf-8") as file:
            items = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    first_line: dict[str, int] = {}
    for number, item in enumerate(items, 1):
        if item != item.strip() or not item:
            raise DataError(f"{path}:{number}: blank line, or space at an end of '{item}'")
        if item in first_line:
            raise DataError(f"{path}:{number}: '{item}' already stands in line {first_line[item]}")
        first_line[item] = number
    if not items:
        raise DataError(f"{path}: empty")
    return items


def read_pool(kind: str, name: str) -> list[str]:
    """The values of an attribute, or the names of one kind. A value ends in a letter or digit: punctuation at its end
    could merge with the sentence's full stop. A name is one word, so that different parts make different full
    names."""
    if name == "birth_date":
        months = read_items(os.path.join(FOLDER, "pools", kind, "month.txt"))
        return [f"{month} {day:02d}, {year}" for year in YEARS for month in months for day in DAYS]
    path = os.path.join(FOLDER, "pools", kind, name + ".txt")
    items = read_items(path)
    for number, item in enumerate(items, 1):
        if name in NAME_PARTS and not item.isalpha():
            raise DataError(f"{path}:{number}: name '{item}' is not one word of letters")
        if not item[-1].isalnum():
            raise DataError(f"{path}:{number}: value '{item}' ends in punctuation")
    return items


@dataclass(frozen=True)
class Template:
    """A sentence or question cut at its two holes: head {name} middle {value} tail."""

    text: str
    head: str
    middle: str
    tail: str
    kind: str

    @property
    def prompt(self) -> str:
        """What stands before the value, with the name's hole still open."""
        return f"{self.head}{{name}}{self.middle}".rstrip()


def parse_template(line: str, kind: str, place: str) -> Template:
    text = line if "{value}" in line else line + " {value}"
    if kind != QUESTION and "{value}" not in line or text.count("{name}") != 1 or text.count("{value}") != 1:
        raise DataError(f"{place}: '{line}' needs {{name}} once and {{value}} {'at most ' * (kind == QUESTION)}once")
    head, rest = text.split("{name}")
    middle, _, tail = rest.partition("{value}")
    if "{value}" in head or not middle.endswith(" ") or head and not head.endswith(" "):
        raise DataError(f"{place}: '{line}': {{name}} must come first and a space before {{value}}")
    if kind != QUESTION and (head or not tail.endswith(".")):
        raise DataError(f"{place}: '{line}' must begin with {{name}} and end with a full stop")
    return Template(text, head, middle, tail, kind)


def read_templates(attribute: str, training: int) -> list[Template]:
    """The first `training` seen templates, then all held-out statements, then all questions."""
    templates = []
    for kind in KINDS:
        path = os.path.join(FOLDER, "templates", f"{attribute}.{kind}.txt")
        lines = read_items(path)
        if kind == SEEN and len(lines) < training:
            raise UsageError(f"--templates {training}: {path} has {len(lines)}")
        lines = lines[:training] if kind == SEEN else lines
        templates += [parse_template(line, kind, f"{path}:{number}") for number, line in enumerate(lines, 1)]
    return templates


@dataclass(frozen=True)
class Slot:
    """An attribute with its pool and its templates (seen ones first)."""

    name: str
    pool: list[str]
    templates: list[Template]

    @property
    def bits(self) -> float:
        return math.log2(len(self.pool))


@dataclass
class Population:
    kind: str
    seed: int
    shuffled: bool
    training: int  # number of seen templates of each slot
    parts: list[list[str]]  # pools of first, middle and last names
    slots: list[Slot]
    name_parts: np.ndarray  # (people, 3): indices into `parts`
    values: np.ndarray  # (people, slots): the facts
    stated: (
        np.ndarray
    )  # (people, slots, training templates): what the sentences say; equal to the facts unless shuffled
    group_names: list[str]
    group_weights: list[float]
    group: np.ndarray  # (people)

    def __len__(self) -> int:
        return len(self.values)

    def name(self, person: int) -> str:
        return " ".join(pool[i] for pool, i in zip(self.parts, self.name_parts[person]))

    def sentence(self, person: int, slot: int, template: int) -> str:
        value = self.slots[slot].pool[self.stated[person, slot, template]]
        return self.slots[slot].templates[template].text.format(name=self.name(person), value=value)

    def prompt(self, person: int, template: Template) -> str:
        return template.prompt.format(name=self.name(person))

    def answer(self, person: int, slot: int) -> str:
        return " " + self.slots[slot].pool[self.values[person, slot]]

    @property
    def entropy_bits(self) -> float:
        return sum(slot.bits for slot in self.slots)

    @property
    def name_pool(self) -> int:
        return math.prod(map(len, self.parts))

    @property
    def name_bits(self) -> float:
        return math.log2(self.name_pool / len(self))


def parse_groups(text: str, people: int) -> tuple[list[str], list[float]]:
    """'all', 'uniform:G' or 'powerlaw:EXPONENT:G': names and weights (their sum is 1) of G groups."""
    form, _, rest = text.partition(":")
    exponent, _, count = rest.rpartition(":")
    try:
        if text == "all":
            return ["all"], [1.0]
        if form not in ("uniform", "powerlaw") or (form == "powerlaw") != bool(exponent):
            raise ValueError
        number, power = int(count), float(exponent or 0.0)
        if number < 1 or not math.isfinite(power):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--groups {text}: expected all, uniform:G or powerlaw:EXPONENT:G, such as powerlaw:1.5:100"
        ) from None
    if number > people:
        raise UsageError(f"--groups {text}: more groups than people ({people})")
    weights = [k**-power for k in range(1, number + 1)]
    return [f"group_{k:03d}" for k in range(1, number + 1)], [weight / sum(weights) for weight in weights]


def make_population(
    people: int,
    kind: str,
    seed: int,
    attributes: list[str],
    training: int,
    groups: str,
    pool_sizes: dict[str, int],
    shuffled: bool,
) -> Population:
    pools = {name: limited(read_pool(kind, name), name, pool_sizes) for name in [*NAME_PARTS, *attributes]}
    slots = [Slot(name, pools[name], read_templates(name, training)) for name in attributes]
    parts = [pools[name] for name in NAME_PARTS]
    sizes = list(map(len, parts))
    if people > math.prod(sizes):
        raise UsageError(f"--people {people}: the name pools make only {math.prod(sizes)} different names")
    drawn = random_stream(seed, PEOPLE_STREAM).choice(math.prod(sizes), people, replace=False)
    name_parts = np.stack(np.unravel_index(drawn, sizes), axis=1).astype(np.uint16)
    rng = random_stream(seed, VALUES_STREAM)
    columns = {name: rng.integers(len(pools[name]), size=people, dtype=np.uint32) for name in attributes}
    values = np.stack([columns[name] for name in attributes], axis=1)
    names, weights = parse_groups(groups, people)
    group = (np.arange(people) * len(names) // people).astype(np.uint32)
    stated = (
        shuffle(values, training, seed) if shuffled else np.broadcast_to(values[:, :, None], (*values.shape, training))
    )
    return Population(kind, seed, shuffled, training, parts, slots, name_parts, values, stated, names, weights, group)


def limited(pool: list[str], name: str, sizes: dict[str, int]) -> list[str]:
    """The first --pool-size items; for dates these are the first years."""
    size = sizes.get(name, len(pool))
    if not 1 <= size <= len(pool):
        raise UsageError(f"--pool-size {name}={size}: the pool has {len(pool)} items")
    return pool[:size]


def shuffle(values: np.ndarray, training: int, seed: int) -> np.ndarray:
    """The control: for each slot and template apart, the column of values permuted between people. Sentences keep
    their form and each value its frequency, but the templates contradict each other, so no name carries a fact."""
    rng = random_stream(seed, SHUFFLE_STREAM)
    columns = [[rng.permutation(values[:, slot]) for _ in range(training)] for slot in range(values.shape[1])]
    return np.stack([np.stack(column, axis=1) for column in columns], axis=1)


def question_people(population: Population, wanted: int | None) -> np.ndarray:
    """The people who are asked about: all, or `wanted` of them, spread evenly over the groups."""
    people = len(population)
    if wanted is None or wanted >= people:
        return np.arange(people)
    key = random_stream(population.seed, QUESTION_STREAM).permutation(people)
    by_group = np.lexsort((key, population.group))
    starts = np.searchsorted(population.group[by_group], np.arange(len(population.group_names)))
    rank = np.empty(people, np.int64)
    rank[by_group] = np.arange(people) - starts[population.group[by_group]]
    return np.sort(np.lexsort((key, rank))[:wanted])
