"""Which facts are shown, how often, in which wordings, and against which wrong answers they are asked.

Nothing here depends on a fact's place in the table. Group and wordings follow from (seed, fact id), so that a fact that
is added moves few others; wrong answers and counterfactual objects are drawn from the whole relation.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from knapsack.common.errors import DataError, UsageError
from knapsack.common.spelling import fold, fold_case
from knapsack.facts.relations import Relation
from knapsack.facts.table import Fact

INFUSED, ONCE, EARLY, CONTROL = GROUPS = ("infused", "once", "early", "control")
MOST_CANDIDATES = 20_000_000


@dataclass(frozen=True)
class Stated:
    """A fact as this world states it."""

    fact: Fact
    object: str  # what is said and asked; another one than the fact's in a counterfactual world
    accepted: tuple[str, ...]  # other right answers
    templates: tuple[int, ...]  # its training templates, numbers in Relation.seen
    rivals: tuple[str, ...] = ()  # wrong answers


@dataclass
class World:
    relations: list[Relation]  # of the facts
    pools: dict[str, list[str]]  # by relation: its objects, each once
    groups: dict[str, list[Stated]]
    unused: int  # facts that no group wanted
    without_another: int  # counterfactual: facts left out, for want of another object
    shared_names: int = 0  # facts whose object has the name of another one, too


def key(seed: int, purpose: str, fact: Fact) -> bytes:
    return hashlib.blake2b(f"{seed}/{purpose}/{fact.id}".encode(), digest_size=8).digest()


def generator(seed: int, purpose: str, fact: Fact) -> random.Random:
    return random.Random(f"{seed}/{purpose}/{fact.id}")


def by_relation(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        found[fact.relation].append(fact)
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def spread(facts: list[Fact], seed: int) -> list[Fact]:
    """In an order of which every stretch has facts of every relation, as many as its share."""
    places = []
    for relation, of_relation in by_relation(facts).items():
        ordered = sorted(of_relation, key=lambda fact: (key(seed, "group", fact), fact.id))
        places += [((rank + 0.5) / len(ordered), relation, fact) for rank, fact in enumerate(ordered)]
    return [fact for _, _, fact in sorted(places, key=lambda place: place[:2])]


def amounts(wanted: dict[str, float | None], facts: int) -> dict[str, int]:
    """Facts of each group; `wanted` a number from 1 on, a fraction below 1, or None for what the others leave."""
    given = {name: round(w * facts) if 0 < w < 1 else int(w) for name, w in wanted.items() if w is not None}
    rest = facts - sum(given.values())
    if rest < 0:
        asked = ", ".join(f"{number:,} {name}" for name, number in given.items() if number)
        raise UsageError(f"{asked} are {-rest:,} more facts than there are ({facts:,}); ask for fewer")
    numbers = {name: given.get(name, rest) for name in wanted}
    for name, w in wanted.items():
        if w and not numbers[name]:
            raise UsageError(f"--{name} {w:g}: less than one of {facts:,} facts; ask for more")
    return numbers


def split(facts: list[Fact], wanted: dict[str, float | None], seed: int) -> tuple[dict[str, list[Fact]], int]:
    """The groups, each with every relation's share, and the number of facts that none of them took."""
    ordered, groups, first = spread(facts, seed), {}, 0
    for name, number in amounts(wanted, len(facts)).items():
        chosen = ordered[first : first + number]
        groups[name] = sorted(chosen, key=lambda fact: key(seed, "order", fact))  # not in the order of their places
        first += number
    return groups, len(facts) - first


def folded(texts: Iterable[str]) -> set[str]:
    return set(map(fold_case, texts))


class Objects:
    """The objects of one relation's facts, each with all names that any fact gives it. Two items of one name, such as
    Athens in Greece and in Georgia, are two objects and share no alias; a fact that does not say which of them it means
    keeps to its own."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        facts = list(facts)
        items: dict[str, set[str]] = defaultdict(set)
        for fact in facts:
            if fact.object_id:
                items[fold(fact.object)].add(fact.object_id)
        self.items = dict(items)
        self.shared = sum(len(items[fold(fact.object)]) > 1 for fact in facts)  # facts with a name of several objects
        self.name: dict[str, str] = {}  # by key: as the first fact has it
        aliases: dict[str, dict[str, None]] = defaultdict(dict)
        spellings: dict[str, dict[str, None]] = defaultdict(dict)
        self.folded_of: dict[str, set[str]] = defaultdict(set)  # by object's name: all names of all objects called so
        for fact in facts:
            key = self.key(fact)
            self.name.setdefault(key, fact.object)
            aliases[key].update(dict.fromkeys(fact.aliases))
            spellings[key][fact.object] = None
        self.names = {key: tuple(dict.fromkeys((*aliases[key], *spellings[key]))) for key in self.name}
        self.folded = {key: folded(names) for key, names in self.names.items()}
        for fact in facts:
            self.folded_of[fact.object] |= self.folded[self.key(fact)]

    def key(self, fact: Fact) -> str:
        """The item, where it is known or the only one of this name; else the name."""
        name = fold(fact.object)
        items = self.items.get(name, ())
        if fact.object_id or len(items) == 1:
            return fact.object_id or next(iter(items))
        return f"{name}\t{fact.id}" if items else name

    def others(self, key: str, name: str) -> tuple[str, ...]:
        """Further names of an object that is stated as `name`."""
        return tuple(other for other in self.names[key] if other != name)


def partners(rng: random.Random, number: int) -> Iterator[int]:
    """All numbers in random order; first some at random, which nearly always have the one that is sought."""
    yield from (rng.randrange(number) for _ in range(100))
    yield from rng.sample(range(number), number)


def permuted(facts: list[Fact], objects: Objects, seed: int) -> dict[str, str]:
    """Counterfactual objects (their keys) of one relation's facts, by id: they change hands, so that each is stated as
    often as before and none is true, under whatever name. A fact for which no other object can be found (where one is
    half of the relation) is left out."""
    facts = sorted(facts, key=lambda fact: (key(seed, "permutation", fact), fact.id))
    names = objects.folded
    true = [names[objects.key(fact)] | folded(fact.also) for fact in facts]
    rng = random.Random(f"{seed}/permutation/{facts[0].relation}")
    given = [objects.key(fact) for fact in facts]
    rng.shuffle(given)
    wrong = [names[object].isdisjoint(true[i]) for i, object in enumerate(given)]
    for i in range(len(facts)):
        if wrong[i]:
            continue
        for j in partners(rng, len(facts)):
            if names[given[j]].isdisjoint(true[i]) and names[given[i]].isdisjoint(true[j]):
                given[i], given[j] = given[j], given[i]
                wrong[i] = wrong[j] = True
                break
    return {fact.id: object for fact, object, good in zip(facts, given, wrong) if good}


def wordings(fact: Fact, pool: int, number: int, seed: int) -> tuple[int, ...]:
    """The fact's own training templates: `number` out of the relation's first `pool`."""
    return tuple(sorted(generator(seed, "templates", fact).sample(range(pool), number)))


def rivals(stated: Stated, objects: Objects, names: list[str], number: int | None, seed: int) -> Stated:
    """With `number` wrong answers (None: all), drawn evenly out of the relation's objects; fewer where it has no more.
    Nothing that is another name of the right one."""
    right = folded((stated.object, *stated.accepted))

    def competes(name: str) -> bool:
        return right.isdisjoint(objects.folded_of[name])

    if number is None or number >= len(names):
        return replace(stated, rivals=tuple(filter(competes, names)))
    rng, chosen = generator(seed, "candidates", stated.fact), {}
    for name in rng.sample(names, min(len(names), number + 8)):
        if len(chosen) < number and competes(name):
            chosen[name] = None
    if len(chosen) < number:  # too many were other names of the answer
        chosen |= dict.fromkeys(filter(competes, rng.sample(names, len(names))))
    return replace(stated, rivals=tuple(chosen)[:number])


@dataclass(frozen=True)
class Choice:
    """What the flags of `write` ask for."""

    groups: dict[str, float | None]
    templates: int
    templates_per_fact: int
    candidates: int | None  # None: all
    counterfactual: bool
    seed: int


def check_templates(relations: Iterable[Relation], choice: Choice) -> None:
    few = [relation for relation in relations if len(relation.seen) < choice.templates]
    if few:
        least = min(few, key=lambda relation: len(relation.seen))
        raise UsageError(
            f"--templates {choice.templates}: {least.id} ({least.label}) has {len(least.seen)} training statements, as "
            f"{len(few)} relations have too few; ask for fewer, or add some with --relations FILE"
        )
    if choice.templates_per_fact > choice.templates:
        raise UsageError(
            f"--templates-per-fact {choice.templates_per_fact}: expected at most --templates, {choice.templates}"
        )


def check_candidates(found: dict[str, list[Fact]], choice: Choice) -> None:
    """All objects of an open relation for each of its facts is a square."""
    number = 0
    for of_relation in found.values():
        objects = len({fact.object for fact in of_relation})
        number += len(of_relation) * (objects if choice.candidates is None else min(choice.candidates, objects))
    if number > MOST_CANDIDATES:
        raise UsageError(
            f"--candidates: {number:,} wrong answers over all facts; ask for a number of them, or for fewer relations "
            "with --relation"
        )


def make_world(facts: list[Fact], relations: dict[str, Relation], choice: Choice) -> World:
    facts = sorted(facts, key=lambda fact: fact.id)  # nothing depends on their order in the table
    found = by_relation(facts)
    check_templates((relations[name] for name in found), choice)
    check_candidates(found, choice)
    objects = {name: Objects(of_relation) for name, of_relation in found.items()}
    key_of = {fact.id: objects[fact.relation].key(fact) for fact in facts}
    if choice.counterfactual:
        key_of = {}
        for name, of_relation in found.items():
            key_of |= permuted(of_relation, objects[name], choice.seed)
    object_of = {
        fact.id: objects[fact.relation].name[key_of[fact.id]] if choice.counterfactual else fact.object
        for fact in facts
        if fact.id in key_of
    }
    left = [fact for fact in facts if fact.id in object_of]
    if not left:
        raise DataError("--counterfactual: no fact is left, for want of another object in its relation")
    pools = {
        name: sorted({object_of[fact.id] for fact in of_relation}) for name, of_relation in by_relation(left).items()
    }

    def state(fact: Fact) -> Stated:
        object = object_of[fact.id]
        others = () if choice.counterfactual else fact.also
        accepted = dict.fromkeys((*objects[fact.relation].others(key_of[fact.id], object), *others))
        templates = wordings(fact, choice.templates, choice.templates_per_fact, choice.seed)
        one = Stated(fact, object, tuple(accepted), templates)
        if choice.candidates == 0:
            return one
        return rivals(one, objects[fact.relation], pools[fact.relation], choice.candidates, choice.seed)

    groups, unused = split(left, choice.groups, choice.seed)
    return World(
        [relations[name] for name in pools],
        pools,
        {name: list(map(state, group)) for name, group in groups.items()},
        unused,
        len(facts) - len(left),
        sum(of_relation.shared for of_relation in objects.values()),
    )
