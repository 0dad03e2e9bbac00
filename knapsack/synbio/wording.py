"""How a source words its facts: for each slot and template one frame a form. The text that a frame gives is the only
truth about how a fact reads; encode_pieces.py is checked against it.

The first form of a source opens a document, the others continue one and begin with a space.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import numpy as np

from knapsack.common.errors import DataError, UsageError
from knapsack.shards.format import REDRAWN, SEEN
from knapsack.synbio.population import FILLER_STREAM, Population, random_stream
from knapsack.synbio.world import FOLDER, Template, read_items

NAME, PRONOUN, POSSESSIVE, NOBODY = range(4)  # what takes the place of {name}
PRONOUNS = {PRONOUN: ("She", "He"), POSSESSIVE: ("Her", "His")}
FORMS = {
    "full": ["initial", "continuing"],
    "pronoun": ["initial", "pronoun"],
    "both": ["initial", "continuing", "pronoun"],
}
FILLERS = 8  # ways to fill up a continuing sentence
LETTERS = {"birth_date": "B", "birth_city": "C", "university": "U", "major": "M", "employer": "E"}


@dataclass(frozen=True)
class Frame:
    """One sequence cut at its holes: head, subject, middle, value, tail. `middle` ends with the space before the
    value."""

    head: str
    subject: int
    middle: str
    tail: str

    def prompt(self, population: Population, person: int) -> str:
        if self.subject == NOBODY:
            subject = ""
        elif self.subject == NAME:
            subject = population.name(person)
        else:
            subject = PRONOUNS[self.subject][population.pronoun[person]]
        return f"{self.head}{subject}{self.middle}".rstrip(" ")

    def text(self, population: Population, person: int, value: str) -> str:
        return f"{self.prompt(population, person)} {value}{self.tail}"


@dataclass(frozen=True)
class Wording:
    """One knowledge source: who it is about, and how it reads."""

    ending: str  # of the prefix: '', '_qa', '_compact'
    people: np.ndarray
    forms: list[str]
    frames: list[list[list[Frame]]]  # slot, template, form
    texts: dict[str, list[str]]  # of the first form, with the holes {name} and {value} and without the tag
    rendering: dict[str, str | int] = field(default_factory=lambda: dict(REDRAWN))

    @property
    def templates(self) -> int:
        return len(self.frames[0])

    def stated(self, population: Population, people: np.ndarray) -> np.ndarray:
        """(people, slots, templates): what the sequences say."""
        if not self.ending:
            return population.stated[people]
        values = population.values[people]
        return np.broadcast_to(values[:, :, None], (*values.shape, self.templates))


@dataclass(frozen=True)
class Tag:
    """What begins every document and every question, such as a special token."""

    text: str = ""
    special: bool = False

    @property
    def opening(self) -> str:
        """The text that comes before the first word; a word of text needs a space after it."""
        return self.text if self.special or not self.text else self.text + " "


def asked(template: Template, tag: Tag) -> Frame:
    """A question, opening a document. Statements are asked as they begin."""
    return Frame(tag.opening + template.head, NAME, template.middle, "")


def pronoun_frame(template: Template) -> Frame:
    if template.middle.startswith("'s "):
        return Frame(" ", POSSESSIVE, template.middle[2:], template.tail)
    if not template.middle.startswith(" "):
        raise DataError(
            f"{template.place}: '{template.text}': with pronouns (--names, --variant) expected a space or \"'s \" "
            "after {name}"
        )
    return Frame(" ", PRONOUN, template.middle, template.tail)


class Filler:
    """Sentences that state nothing, `number` of them after each fact. Which ones depends on slot, template and form and
    on nobody, so there is nothing to learn about a person from them; a continuing sentence, drawn anew at every
    exposure, is in FILLERS forms that differ in them alone."""

    def __init__(self, number: int, seed: int) -> None:
        pool = read_items(os.path.join(FOLDER, "filler.txt")) if number else []
        if number and not 0 < number <= len(pool):
            raise UsageError(f"--filler {number}: there are {len(pool)} sentences")
        self.number, self.pool, self.rng = number, pool, random_stream(seed, FILLER_STREAM)

    def after(self, frame: Frame) -> Frame:
        chosen = self.rng.choice(len(self.pool), self.number, replace=False) if self.number else []
        return replace(frame, tail=" ".join([frame.tail, *(self.pool[i] for i in chosen)]))

    def forms(self, names: list[str]) -> list[str]:
        """The first opens a document, once."""
        others = [name if i == 0 else f"{name} {i + 1}" for i in range(FILLERS) for name in names[1:]]
        return [names[0], *others] if self.number else names


def biographies(
    population: Population, tag: Tag, names: str, rendering: dict[str, str | int], filler: int = 0
) -> Wording:
    """The world itself."""
    forms, fill = FORMS[names], Filler(filler, population.seed)

    def frames(template: Template) -> list[Frame]:
        made = {
            "initial": Frame(tag.opening, NAME, template.middle, template.tail),
            "continuing": Frame(" ", NAME, template.middle, template.tail),
        }
        if names != "full":
            made["pronoun"] = pronoun_frame(template)
        return [fill.after(made[form.partition(" ")[0]]) for form in fill.forms(forms)]

    def texts(of_slot: list[Template], frames_of: list[list[Frame]]) -> list[str]:
        return [t.text.removesuffix(t.tail) + forms[0].tail for t, forms in zip(of_slot, frames_of)]

    templates = {slot.name: [t for t in slot.templates if t.kind == SEEN] for slot in population.slots}
    made = [[frames(template) for template in of_slot] for of_slot in templates.values()]
    return Wording(
        "",
        np.arange(len(population)),
        fill.forms(forms),
        made,
        {slot: texts(of_slot, frames_of) for (slot, of_slot), frames_of in zip(templates.items(), made)},
        rendering,
    )


def question_answers(population: Population, tag: Tag, people: np.ndarray) -> Wording:
    """Mixed training: the questions with their answers, as documents about some of the people."""

    def frames(template: Template) -> list[Frame]:
        ends = template.tail or "."
        return [Frame(head + template.head, NAME, template.middle, ends) for head in (tag.opening, " ")]

    return Wording(
        "_qa",
        people,
        FORMS["full"],
        [[frames(template) for template in slot.questions] for slot in population.slots],
        {slot.name: [f"{t.text}{'' if t.tail else '.'}" for t in slot.questions] for slot in population.slots},
    )


def compact(population: Population, tag: Tag) -> Wording:
    """Compact knowledge mixing: 'Bio: N Ann Lee Fox C Oslo U ...'."""
    letters = [LETTERS[slot.name] for slot in population.slots]
    return Wording(
        "_compact",
        np.arange(len(population)),
        FORMS["full"],
        [[[Frame(f"{tag.opening}Bio: N ", NAME, f" {x} ", ""), Frame("", NOBODY, f" {x} ", "")]] for x in letters],
        {slot.name: [f"Bio: N {{name}} {LETTERS[slot.name]} {{value}}"] for slot in population.slots},
    )


def parse_tag(text: str | None, special: set[str], eot: str) -> Tag:
    if text is None:
        return Tag()
    if not text or text != text.strip() or not text.isprintable():
        raise UsageError(f"--tag {text!r}: expected a word or token with no space at its ends")
    if eot in text:
        raise UsageError(f"--tag {text}: {eot} ends documents; expected another one, see knapsack tokenizer --special")
    return Tag(text, text in special)
