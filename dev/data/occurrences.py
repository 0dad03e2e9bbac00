"""Finds many phrases in a text in one pass, and counts how often names and values occur: `synbio.py --report-against`."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Iterable, Iterator

from population import NAME_PARTS, Population

WORD = re.compile(r"\w+")


class Finder:
    """Finds whole-word occurrences of many phrases in one pass: no word character stands before or behind them. The
    words of the text are looked up among the phrases' first words; only where one matches is the text compared, once
    for each length that such phrases have."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.phrases = frozenset(phrases)
        forms: dict[str, set[tuple[int, int]]] = defaultdict(set)  # first word: what stands before it, whole length
        self.wordless: list[str] = []  # such as !!!
        for phrase in self.phrases:
            if word := WORD.search(phrase):
                forms[word.group()].add((word.start(), len(phrase)))
            elif phrase:
                self.wordless.append(phrase)
        self.forms = dict(forms)

    def find(self, text: str) -> Iterator[str]:
        forms, phrases = self.forms, self.phrases
        for match in WORD.finditer(text):
            for before, length in forms.get(match.group(), ()):
                start = match.start() - before
                end = start + length
                if start >= 0 and text[start:end] in phrases and not WORD.match(text, end):
                    if not before or not (start and WORD.match(text, start - 1)):
                        yield text[start:end]
        for phrase in self.wordless:
            start = text.find(phrase)
            while start >= 0:
                end = start + len(phrase)
                if not WORD.match(text, end) and not (start and WORD.match(text, start - 1)):
                    yield phrase
                start = text.find(phrase, start + 1)


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
