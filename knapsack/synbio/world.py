"""Reads what a SynBio world is made of: pools of values and names, sentence templates. Built-in ones are next to this
file; `--world DIR` replaces them, file by file: DIR/pools/NAME.txt, DIR/templates/ATTRIBUTE.KIND.txt."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import open_input
from knapsack.common.spelling import fold
from knapsack.shards.format import KINDS, QUESTION, SEEN

FOLDER = os.path.dirname(os.path.abspath(__file__))
ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer")
NAME_PARTS = ("first", "middle", "last")
YEARS = range(1900, 2100)
DAYS = range(1, 29)
POOL_FILES = (*NAME_PARTS, *ATTRIBUTES, "month")
TEMPLATE_FILES = tuple(f"{attribute}.{kind}" for attribute in ATTRIBUTES for kind in KINDS)


def read_items(path: str) -> list[str]:
    """An item a line; no blank line, none twice."""
    try:
        with open_input(path) as file:
            data = file.read()
        items = data.decode().splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8") from None
    first_line: dict[str, int] = {}
    for number, item in enumerate(items, 1):
        if item != item.strip() or not item:
            raise DataError(f"{path}:{number}: blank line, or space at an end of '{item}'")
        first = first_line.setdefault(fold(item), number)
        if first != number:
            raise DataError(f"{path}:{number}: '{item}' is already in line {first}, perhaps in another spelling")
    if not items:
        raise DataError(f"{path}: empty")
    return items


def check_world(world: str) -> None:
    """A file that no name here fits would be passed over in silence: refuse it."""
    used = False
    for kind, known in (("pools", POOL_FILES), ("templates", TEMPLATE_FILES)):
        folder = os.path.join(world, kind)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if name.removesuffix(".txt") not in known or not name.endswith(".txt"):
                names = ", ".join(f"{item}.txt" for item in known)
                raise DataError(f"{os.path.join(folder, name)}: nothing uses a file of this name; expected {names}")
            used = True
    if not used:
        raise UsageError(
            f"--world {world}: expected a folder with pools/NAME.txt or templates/ATTRIBUTE.KIND.txt, found neither"
        )


def own_file(world: str | None, *parts: str) -> str | None:
    path = os.path.join(world or "", *parts)
    return path if world and os.path.exists(path) else None


def owns_pool(world: str | None, name: str) -> bool:
    names = (name, "month") if name == "birth_date" else (name,)
    return any(own_file(world, "pools", f"{item}.txt") for item in names)


def read_pool(kind: str, name: str, world: str | None = None) -> list[str]:
    """The values of an attribute, or the names of one kind. A value ends in a letter or digit: punctuation at its end
    could merge with the sentence's full stop. A name is one word, so that different parts make different full
    names."""
    path = own_file(world, "pools", f"{name}.txt")
    if name == "birth_date" and path is None:
        months = read_items(own_file(world, "pools", "month.txt") or os.path.join(FOLDER, "pools", kind, "month.txt"))
        return [f"{month} {day:02d}, {year}" for year in YEARS for month in months for day in DAYS]
    path = path or os.path.join(FOLDER, "pools", kind, name + ".txt")
    items = read_items(path)
    for number, item in enumerate(items, 1):
        if name in NAME_PARTS and not item.isalpha():
            raise DataError(f"{path}:{number}: name '{item}' is not one word of letters")
        if not item[-1].isalnum():
            raise DataError(f"{path}:{number}: value '{item}' ends in punctuation; expected a letter or digit")
    return items


@dataclass(frozen=True)
class Template:
    """A sentence or question cut at its two holes: head {name} middle {value} tail."""

    text: str
    head: str
    middle: str
    tail: str
    kind: str
    place: str  # file and line, for messages

    @property
    def prompt(self) -> str:
        """What comes before the value, with the name's hole still open."""
        return f"{self.head}{{name}}{self.middle}".rstrip()


def parse_template(line: str, kind: str, place: str) -> Template:
    text = line if "{value}" in line else line + " {value}"
    if kind != QUESTION and "{value}" not in line or text.count("{name}") != 1 or text.count("{value}") != 1:
        raise DataError(f"{place}: '{line}' needs {{name}} once and {{value}} {'at most ' * (kind == QUESTION)}once")
    head, rest = text.split("{name}")
    middle, _, tail = rest.partition("{value}")
    if "{value}" in head or not middle.endswith(" ") or head and not head.endswith(" "):
        raise DataError(f"{place}: '{line}': {{name}} must come first and a space before {{value}}")
    if set("{}") & set(head + middle + tail):
        raise DataError(f"{place}: '{line}': no braces but those of {{name}} and {{value}}")
    if kind != QUESTION and (head or not tail.endswith(".")):
        raise DataError(f"{place}: '{line}' must begin with {{name}} and end with a full stop")
    return Template(text, head, middle, tail, kind, place)


def read_templates(attribute: str, wanted: dict[str, int], world: str | None = None) -> list[Template]:
    """The first `wanted[kind]` templates of each kind: seen, then held-out statements, then questions. Whole files are
    checked, also the lines that are not taken."""
    templates: list[Template] = []
    asked_by: dict[str, Template] = {}
    for kind in KINDS:
        name = f"{attribute}.{kind}.txt"
        path = own_file(world, "templates", name) or os.path.join(FOLDER, "templates", name)
        parsed = [parse_template(line, kind, f"{path}:{n}") for n, line in enumerate(read_items(path), 1)]
        for template in parsed:
            other = asked_by.setdefault(template.prompt, template)
            if other.kind != kind:
                raise DataError(
                    f"{template.place}: the prompt '{template.prompt}' is also that of {other.place}; a {kind} "
                    f"template must differ from the {other.kind} ones in what comes before {{value}}"
                )
        if len(parsed) < wanted[kind]:
            flag = "--templates" if kind == SEEN else f"--{kind}-templates"
            raise UsageError(f"{flag} {wanted[kind]}: {path} has {len(parsed)}")
        templates += parsed[: wanted[kind]]
    return templates


@dataclass(frozen=True)
class Slot:
    """An attribute with its pool and its templates (seen ones first)."""

    name: str
    pool: list[str]
    templates: list[Template]
    own: bool  # the pool is --world's

    @property
    def bits(self) -> float:
        return math.log2(len(self.pool))

    @property
    def questions(self) -> list[Template]:
        return [template for template in self.templates if template.kind == QUESTION]


def check_slots(slots: list[Slot]) -> None:
    """A prompt that two attributes share has two right answers."""
    asked_by: dict[str, Template] = {}
    for slot in slots:
        own = {template.prompt: template for template in slot.templates}
        for prompt, template in own.items():
            if prompt in asked_by:
                raise DataError(
                    f"{template.place}: the prompt '{prompt}' asks for two attributes; see {asked_by[prompt].place}"
                )
        asked_by |= own
