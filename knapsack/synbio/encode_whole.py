"""Token ids of sentences and questions for tokenizers that do not cut text at words: all is tokenized in full."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from knapsack.common.errors import DataError
from knapsack.common.tokenizer import Encoder
from knapsack.shards.knowledge import Batch
from knapsack.synbio.candidates import rivals
from knapsack.synbio.population import Population
from knapsack.synbio.wording import Tag, Wording, asked


class DirectComposer:
    """A continuing sentence is what follows a first sentence of the same person."""

    def __init__(
        self, population: Population, encoder: Encoder, wordings: list[Wording], tag: Tag, candidates: int
    ) -> None:
        self.population, self.encoder, self.tag = population, encoder, tag
        self.wordings, self.candidates = wordings, candidates
        self.value_tokens: dict[tuple[int, str], list[int]] = {}

    def _cut(self, slot: int, value_at: int, items: Iterable[tuple[str, list[str]]]) -> list[list[list[int]]]:
        """Each item is a value and a text's growing beginnings, the last one whole; the tokens between them, or an
        error where a token reaches over a border or the value's tokens (those of part `value_at`) are not what they
        were elsewhere.
        """
        items = list(items)
        ids = iter(self.encoder.encode_batch([text for _, texts in items for text in texts]))
        cut = []
        for value, texts in items:
            runs = [next(ids) for _ in texts]
            if any(runs[-1][: len(run)] != run for run in runs):
                raise DataError(
                    f"this tokenizer merges '{value}' or a sentence's end with its neighbour in '{texts[-1]}'; "
                    "take one whose words and marks are apart (a pre-tokenizer), such as knapsack tokenizer makes"
                )
            parts = [run[len(before) :] for before, run in zip([[], *runs], runs)]
            if self.value_tokens.setdefault((slot, value), parts[value_at]) != parts[value_at]:
                raise DataError(f"the tokens of '{value}' differ between templates; see '{texts[-1]}'")
            cut.append(parts)
        return cut

    def sentences(self, people: np.ndarray, wording: Wording) -> Batch:
        population, pools = self.population, [slot.pool for slot in self.population.slots]
        tokens, lengths, spans, text_bytes = [], [], [], 0
        for person, stated in zip(people, wording.stated(population, people)):
            anchor = wording.frames[0][0][0].text(population, person, pools[0][stated[0, 0]])
            for slot, of_slot in enumerate(wording.frames):
                for template, forms in enumerate(of_slot):
                    value = pools[slot][stated[slot, template]]
                    items = []
                    for form, frame in enumerate(forms):
                        before = frame.prompt(population, person)
                        growing = [before, f"{before} {value}", frame.text(population, person, value)]
                        items.append((value, [anchor, *(anchor + text for text in growing)] if form else growing))
                        text_bytes += len(growing[-1].encode())
                    for parts in self._cut(slot, -2, items):
                        prompt, answer, tail = parts[-3:]
                        tokens += prompt + answer + tail
                        lengths.append(len(prompt) + len(answer) + len(tail))
                        spans.append((len(prompt), len(prompt) + len(answer)))
        return Batch(np.array(tokens, np.uint32), np.array(lengths), np.array(spans), text_bytes)

    def questions(self, people: np.ndarray) -> Batch:
        population, tokens, lengths, text_bytes = self.population, [], [], 0
        wrong = rivals(population, people, self.candidates)
        for row, person in enumerate(people):
            for slot, info in enumerate(population.slots):
                offered = [info.pool[i] for i in (population.values[person, slot], *wrong[row, slot])]
                for template in info.templates:
                    prompt = asked(template, self.tag).prompt(population, person)
                    cut = self._cut(slot, -1, [(value, [prompt, f"{prompt} {value}"]) for value in offered])
                    runs = [cut[0][0], *(answer for _, answer in cut)]
                    tokens += [i for run in runs for i in run]
                    lengths += map(len, runs)
                    text_bytes += len(prompt.encode()) + sum(1 + len(value.encode()) for value in offered)
        return Batch(np.array(tokens, np.uint32), np.array(lengths), None, text_bytes)

    def names(self, people: np.ndarray) -> Batch:
        texts = [self.tag.opening + self.population.name(person) for person in people]
        before = self.encoder.encode_batch([self.tag.text])[0] if self.tag.text else []
        runs = self.encoder.encode_batch(texts)
        wrong = next((text for text, run in zip(texts, runs) if run[: len(before)] != before), None)
        if wrong is not None:
            raise DataError(f"this tokenizer merges the tag with the name in '{wrong}'; try another --tag")
        lengths = np.array([(len(before), len(run) - len(before)) for run in runs]).ravel()
        tokens = np.array([i for run in runs for i in run], np.uint32)
        return Batch(tokens, lengths, None, sum(len(text.encode()) for text in texts))
