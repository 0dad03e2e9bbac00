"""Counts how often names and values occur in a text, in one pass: `synbio.py --report-against`."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Iterable

from population import NAME_PARTS, Population

WORD = re.compile(r"\w+")


class Counter:
    """Counts whole-word occurrences of many phrases. The words of the text are looked up among the phrases' first
    words; only where one matches is the text compared, once for each length that such phrases have."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.counts = dict.fromkeys(phrases, 0)
        lengths: dict[str, set[int]] = defaultdict(set)
        for phrase in self.counts:
            lengths[WORD.match(phrase).group()].add(len(phrase))
        self.lengths = dict(lengths)

    def add(self, text: str) -> None:
        for match in WORD.finditer(text):
            for length in self.lengths.get(match.group(), ()):
                end = match.start() + length
                phrase = text[match.start() : end]
                if phrase in self.counts and not text[end : end + 1].isalnum():
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
