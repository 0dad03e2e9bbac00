"""Token ids of many short texts made of the same words. A tokenizer that cuts text before every space gives a word the
same ids wherever it is, so each is tokenized once. Whether the tokenizer at hand does so is checked on about a text of
each fact; where it does not, all is tokenized whole."""

from __future__ import annotations

from knapsack.common.tokenizer import Encoder

MOST_WORDS = 1 << 19  # kept at a time


class WordEncoder:
    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.ids: dict[str, list[int]] = {}
        self.cuts_before_spaces = True

    def encode(self, texts: list[str], checked: int) -> list[list[int]]:
        """Ids of each text; every `checked`-th one is tokenized whole, too, and must agree."""
        if self.cuts_before_spaces:
            runs = self.by_words(texts)
            if self.encoder.encode_batch(texts[::checked]) == runs[::checked]:
                return runs
            self.cuts_before_spaces = False
        return self.encoder.encode_batch(texts)

    def by_words(self, texts: list[str]) -> list[list[int]]:
        split = [words_of(text) for text in texts]
        unknown = {word for words in split for word in words} - self.ids.keys()
        if len(self.ids) + len(unknown) > MOST_WORDS:
            self.ids.clear()
            unknown = {word for words in split for word in words}
        new = sorted(unknown)
        self.ids.update(zip(new, self.encoder.encode_batch(new)))
        return [[id for word in words for id in self.ids[word]] for words in split]


def words_of(text: str) -> list[str]:
    """The text cut before its spaces; uncut where it has other white space or several in a row, which tokenizers
    join."""
    first, *others = text.split(" ")
    words = [f" {word}" for word in others]
    if first:
        words.insert(0, first)
    return [text] if " " in words or len(text.split()) != len(words) else words
