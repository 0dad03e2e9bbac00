"""Finds many phrases in a text in one pass, and counts how often names and values occur: `knapsack synbio
--report-against`."""

from __future__ import annotations

from collections.abc import Iterable

from knapsack.synbio.population import Population
from knapsack.synbio.world import NAME_PARTS
from knapsack.text.phrases import Finder


class Counter:
    """Counts whole-word occurrences of many phrases."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.counts = dict.fromkeys(phrases, 0)
        self.finder = Finder(self.counts)

    def add(self, text: str) -> None:
        for phrase in self.finder.find(text):
            self.counts[phrase] += 1


def count(population: Population, documents: Iterable[str]) -> dict[str, dict[str, int]]:
    """For each attribute, each kind of name and the full names: occurrences of every item."""
    pools = {slot.name: slot.pool for slot in population.slots}
    pools |= {f"{part}_name": pool for part, pool in zip(NAME_PARTS, population.parts)}
    pools["full_name"] = [population.name(person) for person in range(len(population))]
    counter = Counter(item for pool in pools.values() for item in pool)
    for document in documents:
        counter.add(document)
    return {pool: {item: counter.counts[item] for item in items} for pool, items in pools.items()}


def table(counts: dict[str, dict[str, int]]) -> str:
    lines = [f"{'pool':<14}{'items':>8}{'occurring':>11}{'times':>10}  most frequent"]
    for pool, items in counts.items():
        top = sorted((item for item in items if items[item]), key=lambda item: (-items[item], item))
        shown = "; ".join(f"{item} {items[item]}" for item in top[:3])
        lines.append(f"{pool:<14}{len(items):>8}{len(top):>11}{sum(items.values()):>10}  {shown}".rstrip())
    return "\n".join(lines)
