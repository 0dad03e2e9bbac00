"""Who lives in a SynBio world: people, their values, their groups. All of it a function of the options and the seed.

Drawn here are numbers; text comes from wording.py, which is the only truth about how a fact reads: encode_pieces.py is
checked against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from knapsack.common.errors import UsageError
from knapsack.shards.format import SEEN
from knapsack.synbio.world import (
    NAME_PARTS,
    Slot,
    check_slots,
    owns_pool,
    read_pool,
    read_templates,
)


def random_stream(seed: int, purpose: int) -> np.random.Generator:
    """Independent streams, so that more people or other groups do not change what another purpose draws."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose,)))


PEOPLE_STREAM, VALUES_STREAM, SHUFFLE_STREAM, QUESTION_STREAM, TEXT_STREAM, CHECK_STREAM = range(6)
PRONOUN_STREAM, QA_STREAM, CANDIDATE_STREAM, FILLER_STREAM = range(6, 10)


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
    stated: np.ndarray  # (people, slots, training templates): what sentences say; the facts unless shuffled
    group_names: list[str]
    group_weights: list[float]
    group: np.ndarray  # (people)
    pronoun: np.ndarray  # (people): 0 she, 1 he; drawn apart, used only where sentences have pronouns

    def __len__(self) -> int:
        return len(self.values)

    def name(self, person: int) -> str:
        return " ".join(pool[i] for pool, i in zip(self.parts, self.name_parts[person]))

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
    try:
        weights = [float(k) ** -power for k in range(1, number + 1)]
    except OverflowError:
        weights = [0.0]
    if not min(weights) > 0 or not math.isfinite(sum(weights)):
        raise UsageError(
            f"--groups {text}: the weights of the groups leave what a number can hold; try an exponent near 1"
        )
    return [f"group_{k:03d}" for k in range(1, number + 1)], [weight / sum(weights) for weight in weights]


@dataclass(frozen=True)
class WorldChoice:
    """What the flags ask for."""

    people: int
    kind: str  # plausible, fictional
    seed: int
    attributes: list[str]
    templates: dict[str, int]  # how many of each kind: seen, heldout, question
    groups: str = "all"
    pool_sizes: dict[str, int] = field(default_factory=dict)
    shuffled: bool = False
    folder: str | None = None  # of a user's pools and templates

    def pool(self, name: str) -> list[str]:
        return limited(read_pool(self.kind, name, self.folder), name, self.pool_sizes)

    def slot(self, name: str) -> Slot:
        templates = read_templates(name, self.templates, self.folder)
        return Slot(name, self.pool(name), templates, owns_pool(self.folder, name))


def make_population(choice: WorldChoice) -> Population:
    people, seed, training = choice.people, choice.seed, choice.templates[SEEN]
    parts = [choice.pool(name) for name in NAME_PARTS]
    slots = [choice.slot(name) for name in choice.attributes]
    check_slots(slots)
    sizes = list(map(len, parts))
    if people > math.prod(sizes):
        raise UsageError(f"--people {people}: the name pools make only {math.prod(sizes)} different names")
    drawn = random_stream(seed, PEOPLE_STREAM).choice(math.prod(sizes), people, replace=False)
    rng = random_stream(seed, VALUES_STREAM)
    values = np.stack([rng.integers(len(slot.pool), size=people, dtype=np.uint32) for slot in slots], axis=1)
    names, weights = parse_groups(choice.groups, people)
    as_they_are = np.broadcast_to(values[:, :, None], (*values.shape, training))
    return Population(
        kind=choice.kind,
        seed=seed,
        shuffled=choice.shuffled,
        training=training,
        parts=parts,
        slots=slots,
        name_parts=np.stack(np.unravel_index(drawn, sizes), axis=1).astype(np.uint16),
        values=values,
        stated=shuffle(values, training, seed) if choice.shuffled else as_they_are,
        group_names=names,
        group_weights=weights,
        group=(np.arange(people) * len(names) // people).astype(np.uint32),
        pronoun=random_stream(seed, PRONOUN_STREAM).integers(2, size=people).astype(np.uint8),
    )


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


def ranks_in_groups(key: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """The place of everybody among the people of the same group, in the order of the keys."""
    by_group = np.lexsort((key, group))
    starts = np.searchsorted(group[by_group], np.arange(groups))
    rank = np.empty(len(group), np.int64)
    rank[by_group] = np.arange(len(group)) - starts[group[by_group]]
    return rank


def question_people(population: Population, wanted: int | None, group: np.ndarray, groups: int) -> np.ndarray:
    """The people who are asked about: all, or `wanted` of them, spread evenly over the groups of the questions."""
    people = len(population)
    if wanted is None or wanted >= people:
        return np.arange(people)
    key = random_stream(population.seed, QUESTION_STREAM).permutation(people)
    return np.sort(np.lexsort((key, ranks_in_groups(key, group, groups)))[:wanted])
