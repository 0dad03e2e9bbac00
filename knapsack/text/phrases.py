"""Finds many phrases in a text in one pass."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from knapsack.common.spelling import UNSPACED, fold, word_pattern

_UNSPACED = re.compile(f"[{UNSPACED}]")


class Finder:
    """Finds whole-word occurrences of many phrases in one pass, in whatever spelling (common/spelling.py): over the end
    of a line, with typographic marks, other spaces, decomposed letters. No word character comes right before or after
    them, but where the script has no spaces. The words of the text are looked up among the phrases' first words; only
    where one matches is the text compared, once for each length that such phrases have."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.word, self.joined = word_pattern()
        self.phrases: dict[str, list[str]] = defaultdict(list)  # folded: as given
        for phrase in dict.fromkeys(phrases):
            if folded := fold(phrase):
                self.phrases[folded].append(phrase)
        forms: dict[str, set[tuple[int, int]]] = defaultdict(set)  # first word: the length before it, the whole length
        self.wordless: list[str] = []  # such as !!!
        for phrase in self.phrases:
            if word := self.word.search(phrase):
                forms[word.group()].add((word.start(), len(phrase)))
            else:
                self.wordless.append(phrase)
        self.forms = dict(forms)

    def find(self, text: str) -> Iterator[str]:
        """Each occurrence, as the phrase was given."""
        text = fold(text)
        forms, phrases = self.forms, self.phrases
        for match in self.word.finditer(text):
            for before, length in forms.get(match.group(), ()):
                start = match.start() - before
                end = start + length
                if start >= 0 and (found := text[start:end]) in phrases and self.is_whole(text, start, end):
                    yield from phrases[found]
        for phrase in self.wordless:
            start = text.find(phrase)
            while start >= 0:
                if self.is_whole(text, start, start + len(phrase)):
                    yield from phrases[phrase]
                start = text.find(phrase, start + 1)

    def is_whole(self, text: str, start: int, end: int) -> bool:
        """No word goes on before or after; a letter of a script without spaces never goes on a word."""
        if self.joined.match(text, end) and not _UNSPACED.match(text, end - 1):
            return False
        return start == 0 or not self.joined.match(text, start - 1) or bool(_UNSPACED.match(text, start))
