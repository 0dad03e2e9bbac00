"""Finds many phrases in a text in one pass."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

WORD = re.compile(r"\w+")


class Finder:
    """Finds whole-word occurrences of many phrases in one pass: no word character comes right before or after them. The
    words of the text are looked up among the phrases' first words; only where one matches is the text compared, once
    for each length that such phrases have."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.phrases = frozenset(phrases)
        forms: dict[str, set[tuple[int, int]]] = defaultdict(set)  # first word: the length before it, the whole length
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
