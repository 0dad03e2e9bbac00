"""Lists the relations that have templates, or makes a file of relations from ParaRel's patterns and EntityQuestions'
question templates.

A file of relations has statements to train on (seen), statements that are only asked (heldout) and question forms
(question). The built-in one is our own writing; a user-supplied one (--relations) replaces it relation by relation:

  # relations, format_version 1
  relation   kind       text                                         (tabs between the columns)
  P36        label      capital
  P36        seen       The capital of [X] is [Y].
  P36        heldout    The government of [X] has its seat in [Y].
  P36        question   What is the capital of [X]?

[X] is the subject, [Y] the object. It comes last in a statement, so that everything can be asked as a prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import open_input, write_file
from knapsack.common.spelling import fold_case
from knapsack.facts.table import defect
from knapsack.shards.format import KINDS, QUESTION, SEEN

BUILT_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "relations.tsv")
FIRST_LINE = "# relations, format_version 1"
HEADER = "relation\tkind\ttext"
LABEL = "label"
RELATION = re.compile(r"[^\s:]+")


@dataclass(frozen=True)
class Relation:
    id: str  # 'P36'
    label: str  # 'capital'
    seen: tuple[str, ...]  # statements to train on
    heldout: tuple[str, ...]  # statements that are only asked
    question: tuple[str, ...]  # question forms


def read_lines(path: str) -> list[str]:
    """Without the end of the last line."""
    try:
        with open_input(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    try:
        return data.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8") from None


def normalized(text: str) -> str:
    return fold_case(text)


def asked(kind: str, text: str) -> str:
    """What comes before the object, to compare templates by."""
    return normalized(text if kind == QUESTION else text.partition("[Y]")[0])


def form_defect(kind: str, text: str) -> str | None:
    """What is wrong with the form of a template."""
    if text.count("[X]") != 1:
        return f"expected [X] once, found it {text.count('[X]')} times in '{text}'"
    if kind == QUESTION:
        if "[Y]" in text:
            return f"expected a question without [Y], found '{text}'"
        return None if text.endswith("?") else f"expected a question that ends in '?', found '{text}'"
    if text.count("[Y]") != 1 or text.index("[Y]") < text.index("[X]") or not text.endswith(" [Y]."):
        return f"expected a statement with one [Y], after [X], that ends in ' [Y].', found '{text}'"
    return None


@dataclass
class Draft:
    """A relation while its lines are read."""

    line: int  # its first one
    label: str | None = None

    def __post_init__(self) -> None:
        self.templates: dict[str, list[str]] = {kind: [] for kind in KINDS}
        self.lines: dict[str, int] = {}  # of the templates, by what is asked

    def add(self, where: str, number: int, kind: str, text: str) -> None:
        if kind == LABEL:
            if self.label is not None:
                raise DataError(f"{where}: expected one label a relation, found '{text}' after '{self.label}'")
            self.label = text
            return
        if found := form_defect(kind, text):
            raise DataError(f"{where}: {found}")
        first = self.lines.setdefault(asked(kind, text), number)
        if first != number:
            raise DataError(f"{where}: expected another text before the object than in line {first}, found '{text}'")
        self.templates[kind].append(text)

    def finish(self, path: str, name: str) -> Relation:
        missing = [kind for kind in KINDS if not self.templates[kind]] + ([LABEL] if self.label is None else [])
        if missing:
            raise DataError(
                f"{path}:{self.line}: expected lines of the kinds {', '.join((LABEL, *KINDS))} for {name}, "
                f"found none of {', '.join(missing)}"
            )
        return Relation(name, self.label, *(tuple(self.templates[kind]) for kind in KINDS))


def read_file(path: str) -> dict[str, Relation]:
    lines = read_lines(path)
    for number, expected in enumerate((FIRST_LINE, HEADER), 1):
        if lines[number - 1 : number] != [expected]:
            found = lines[number - 1] if len(lines) >= number else "the end of the file"
            raise DataError(f"{path}:{number}: expected {expected!r}, found {found!r}")
    drafts: dict[str, Draft] = {}
    for number, line in enumerate(lines[2:], 3):
        where = f"{path}:{number}"
        fields = line.split("\t")
        if len(fields) != 3:
            raise DataError(f"{where}: expected relation, kind and text between tabs, found {line!r}")
        name, kind, text = fields
        if not RELATION.fullmatch(name):
            raise DataError(f"{where}: expected a relation such as P36, found {name!r}")
        if kind not in (LABEL, *KINDS):
            raise DataError(f"{where}: expected a kind out of {', '.join((LABEL, *KINDS))}, found {kind!r}")
        if found := defect(text):
            raise DataError(f"{where}: expected a {LABEL if kind == LABEL else 'template'}, found {found}, {text!r}")
        drafts.setdefault(name, Draft(number)).add(where, number, kind, text)
    if not drafts:
        raise DataError(f"{path}:3: expected a relation, found the end of the file")
    return {name: draft.finish(path, name) for name, draft in drafts.items()}


def read_relations(path: str | None = None) -> dict[str, Relation]:
    """The built-in relations; those of a user-supplied file replace them."""
    relations = read_file(BUILT_IN)
    return relations | read_file(path) if path else relations


def write_relations(path: str, relations: Iterable[Relation]) -> None:
    lines = [FIRST_LINE, HEADER]
    for relation in relations:
        lines.append(f"{relation.id}\t{LABEL}\t{relation.label}")
        for kind in KINDS:
            lines += [f"{relation.id}\t{kind}\t{text}" for text in getattr(relation, kind)]
    write_file(path, ("\n".join(lines) + "\n").encode())


def read_patterns(path: str) -> tuple[dict[str, list[str]], Counter[str], int]:
    """Of ParaRel (columns prop, pattern, tense): the statements of each relation, in the file's order; what is left
    out, by reason; the number of patterns."""
    header, *lines = read_lines(path)
    columns = header.split("\t")
    if "prop" not in columns or "pattern" not in columns:
        raise DataError(f"{path}:1: expected the columns prop, pattern and tense between tabs, found {header!r}")
    statements: dict[str, list[str]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for number, line in enumerate(lines, 2):
        fields = line.split("\t")
        if len(fields) != len(columns):
            raise DataError(f"{path}:{number}: expected {len(columns)} fields between tabs, found {line!r}")
        row = dict(zip(columns, fields))
        if not RELATION.fullmatch(row["prop"]):
            raise DataError(f"{path}:{number}: expected a relation such as P36, found {row['prop']!r}")
        name, text = row["prop"], " ".join(row["pattern"].split()).rstrip(" .") + "."
        found = statements[name]  # named among the relations, even if nothing of it fits
        if defect(text):
            left_out["has a control character"] += 1
        elif text.count("[X]") != 1 or text.count("[Y]") != 1:
            left_out["does not have [X] and [Y] once each"] += 1
        elif text.index("[Y]") < text.index("[X]"):
            left_out["[Y] comes before [X]"] += 1
        elif form_defect(SEEN, text):
            left_out["[Y] is not the last word"] += 1
        elif asked(SEEN, text) in (asked(SEEN, other) for other in found):
            left_out["the same as an earlier one"] += 1
        else:
            found.append(text)
    return statements, left_out, len(lines)


def read_question_templates(path: str) -> tuple[dict[str, list[str]], list[str]]:
    """Of EntityQuestions: the question forms of each relation ('P19_similar' is a second one of P19), and the names of
    those left out because their form does not fit."""
    try:
        value = json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{getattr(error, 'lineno', 1)}: expected JSON, found {error}") from None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise DataError(f"{path}:1: expected an object from relations to question templates, found other JSON")
    questions: dict[str, list[str]] = defaultdict(list)
    left_out = []
    for name, text in value.items():
        found = questions[name.partition("_")[0]]
        same = asked(QUESTION, text) in (asked(QUESTION, other) for other in found)
        if defect(text) or form_defect(QUESTION, text) or same:
            left_out.append(name)
        else:
            found.append(text)
    return questions, left_out


def from_pararel(options: argparse.Namespace, own: dict[str, Relation]) -> None:
    """The last two statements of a relation are held out, the others trained."""
    statements, left_out, patterns = read_patterns(options.patterns)
    questions, unfit = read_question_templates(options.question_templates)
    relations, few = [], {}
    for name, texts in statements.items():
        if len(texts) < 2 or not questions[name]:
            few[name] = f"fitting patterns: {len(texts)}, question templates: {len(questions[name])}"
            left_out["its relation is left out"] += len(texts)
            continue
        trained = max(len(texts) - 2, 1)
        label = own[name].label if name in own else name
        relations.append(Relation(name, label, tuple(texts[:trained]), tuple(texts[trained:]), tuple(questions[name])))
    if not relations:
        raise DataError(f"{options.patterns}: expected a relation with two fitting patterns and a question, found none")
    write_relations(options.out, relations)
    used = sum(len(relation.seen) + len(relation.heldout) for relation in relations)
    print(f"{options.out}: {len(relations)} relations")
    print(f"{patterns} patterns = {used} used + {sum(left_out.values())} left out")
    for reason, count in sorted(left_out.items()):
        print(f"  {count:4} {reason}")
    for name, reason in few.items():
        print(f"left out: {name}, {reason}")
    for name in sorted(questions.keys() - statements.keys()):
        print(f"left out: {name}, no pattern")
    for name in unfit:
        print(f"left out: the question template {name}, its form does not fit, or an earlier one is the same")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--relations", metavar="FILE", help="your relations, instead of the built-in ones")
    parser.add_argument("--patterns", metavar="TSV", help="ParaRel's patterns: columns prop, pattern, tense")
    parser.add_argument("--question-templates", metavar="JSON", help="EntityQuestions' relation_query_templates.json")
    parser.add_argument("--out", metavar="FILE", help="where the relations made of these two go")


def main(options: argparse.Namespace) -> None:
    making = [options.patterns, options.question_templates, options.out]
    if any(making) and not all(making):
        raise UsageError("--patterns, --question-templates and --out go together")
    if options.out and os.path.isdir(options.out):
        raise UsageError(
            f"--out {options.out}: a folder; expected a file such as {os.path.join(options.out, 'relations.tsv')}"
        )
    relations = read_relations(options.relations)
    if options.out:
        from_pararel(options, relations)
        return
    width = max(len(relation.label) for relation in relations.values())
    print(f"{'relation':8}  {'label':{width}}  {'  '.join(KINDS)}")
    for relation in relations.values():
        counts = "  ".join(f"{len(getattr(relation, kind)):{len(kind)}}" for kind in KINDS)
        print(f"{relation.id:8}  {relation.label:{width}}  {counts}")
