"""Whether text survives the way into tokens. A tokenizer may have no token for a letter (it then gives an unknown one,
or none), or change case, accents and white space; what it does is counted, and no answer may lose a letter."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from knapsack.common.errors import DataError
from knapsack.common.spelling import skeleton
from knapsack.common.tokenizer import Encoder

SAME, CHANGED, LOST = range(3)
SHOWN = 3
MANY = 20_000  # answers, such as all dates of two centuries: those are checked that have every word among them


def fate(text: str, back: str) -> int:
    """What came `back` of a text: all (perhaps composed otherwise, and without white space at its ends); all but case,
    accents and inner white space; less."""
    text, back = text.strip(), back.strip()
    if back == text or back == unicodedata.normalize("NFC", text):
        return SAME
    return CHANGED if skeleton(back) == skeleton(text) else LOST


def quoted(text: str, back: str) -> str:
    """Both around the first letter that differs."""
    text, back = text.strip(), back.strip()
    at = next((i for i, (a, b) in enumerate(zip(text, back)) if a != b), min(len(text), len(back)))
    first = max(at - 10, 0)
    return f"{text[first : at + 20]!r} became {back[first : at + 20]!r}"


@dataclass
class Survival:
    """Counts over texts that were checked."""

    checked: int = 0
    changed: int = 0
    lost: int = 0
    unknown: int = 0  # tokens, of all texts and not of the checked ones alone
    examples: dict[int, list[str]] = field(default_factory=dict)

    def check(self, text: str, back: str) -> int:
        self.checked += 1
        found = fate(text, back)
        if found != SAME:
            self.changed += found == CHANGED
            self.lost += found == LOST
            examples = self.examples.setdefault(found, [])
            if len(examples) < SHOWN:
                examples.append(quoted(text, back))
        return found

    def add(self, other: Survival) -> None:
        self.checked += other.checked
        self.changed += other.changed
        self.lost += other.lost
        self.unknown += other.unknown
        for kind, examples in other.examples.items():
            self.examples[kind] = (self.examples.get(kind, []) + examples)[:SHOWN]

    def warnings(self, what: str) -> list[str]:
        said = []
        if self.unknown:
            said.append(f"{self.unknown:,} tokens of {what} are the tokenizer's unknown token")
        for count, kind, verb in ((self.lost, LOST, "lose letters"), (self.changed, CHANGED, "come back otherwise")):
            if count:
                said.append(
                    f"{count:,} of {self.checked:,} {what} that were decoded again {verb} with this tokenizer: "
                    + "; ".join(self.examples[kind])
                )
        return said


def check_answers(encoder: Encoder, answers: Iterable[str], what: str = "answers") -> None:
    """Each as it follows a space. An answer with an unknown token, or without a letter, would be asked for as something
    else, and several would become one."""
    names = sorted(set(answers))
    if len(names) > MANY:
        names = covering(names)
    runs = encoder.encode_batch([" " + name for name in names])
    bad, changed, same_tokens, taken = [], Survival(), 0, set()
    for name, ids, back in zip(names, runs, encoder.decode_batch(runs)):
        if not ids or encoder.unknown_id in ids or changed.check(name, back) == LOST:
            bad.append(quoted(name, back))
        same_tokens += tuple(ids) in taken
        taken.add(tuple(ids))
    if bad:
        raise DataError(
            f"tokenizer '{encoder.info.name}': {len(bad):,} of {len(names):,} {what} lose letters: "
            f"{'; '.join(bad[:SHOWN])}; take a tokenizer that has a token for every byte, or leave these out"
        )
    warn(changed.warnings(what))
    if same_tokens:
        warn([f"{same_tokens:,} {what} have the tokens of another one"])


def covering(names: list[str]) -> list[str]:
    """Some of them in which every word of all occurs."""
    seen: set[str] = set()
    kept = []
    for name in names:
        words = name.split(" ")
        if not seen.issuperset(words):
            seen.update(words)
            kept.append(name)
    return kept


def check_texts(encoder: Encoder, texts: Iterable[str], what: str) -> None:
    """Names and templates that are no answers: what they lose is counted and said."""
    found, several = Survival(), sorted(set(texts))
    runs = encoder.encode_batch(several)
    for text, ids, back in zip(several, runs, encoder.decode_batch(runs)):
        found.unknown += encoder.unknown_in(ids)
        found.check(text, back)
    warn(found.warnings(what))


def warn(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(f"warning: {sentence}", file=sys.stderr)
