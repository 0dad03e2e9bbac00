"""EntityQuestions (Sciavolino et al. 2021): questions whose subject is found by inverting their template."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import Any

from knapsack.common.compressed import open_packed, packing_errors
from knapsack.common.errors import DataError
from knapsack.common.files import open_input
from knapsack.facts.formats.reading import base, json_list, names, only_space_follows, read_whole, whole_text
from knapsack.facts.rows import MALFORMED, NO_OBJECT, NO_SUBJECT, NOT_THE_TEMPLATE, Row

FILE = re.compile(r"(P[1-9][0-9]*)(?:\.(train|dev|test))?\.json")
ARCHIVE = re.compile(r"\.(tar|tar\.gz|tgz|tar\.zst)$", re.IGNORECASE)
SPLITS = ("train", "dev", "test")
TEMPLATES = "relation_query_templates.json"


class Watched:
    """A stream that remembers where its data end and what follows them, because tarfile takes a cut-off archive for a
    shorter one."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.size, self.last_byte = stream, 0, 0

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        used = len(data.rstrip(b"\0"))
        self.last_byte = self.size + used if used else self.last_byte
        self.size += len(data)
        return data


def archive_files(path: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files that matter, in the archive's order."""
    broken = (*packing_errors(path), tarfile.TarError, ValueError, OverflowError)
    try:
        with open_input(path) as raw:
            stream = Watched(open_packed(path, raw))
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if member.isfile() and (FILE.fullmatch(base(member.name)) or base(member.name) == TEMPLATES):
                        yield member.name, archive.extractfile(member).read()
            while stream.read(1 << 18):
                pass
            if stream.last_byte > archive.offset or stream.size < archive.offset + 512:
                raise EOFError(f"no end of the archive at byte {archive.offset}")
    except broken as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the packer's
            raise DataError(f"{path}: {error.strerror}") from None
        raise DataError(f"{path}: the archive is broken or cut off ({error})") from None


def folder_files(path: str) -> Iterator[tuple[str, bytes]]:
    for folder, _, found in os.walk(path):
        for name in found:
            if FILE.fullmatch(name):
                file = os.path.join(folder, name)
                yield file, read_whole(file)


def files_of(path: str) -> list[tuple[str, bytes]]:
    """In the order train, dev, test; within one by relation."""
    if os.path.isdir(path):
        files = list(folder_files(path))
    elif ARCHIVE.search(path):
        files = [(f"{path}/{name}", data) for name, data in archive_files(path)]
    else:
        files = [(path, read_whole(path))]

    def order(item: tuple[str, bytes]) -> tuple:
        found = FILE.fullmatch(base(item[0]))
        split = SPLITS.index(found.group(2)) if found and found.group(2) else len(SPLITS)
        return split, int(found.group(1)[1:]) if found else 0, item[0]

    return sorted(files, key=order)


def find_templates(path: str) -> str:
    """Next to the input, or in a folder above it."""
    folder = os.path.abspath(path)
    while True:
        candidate = os.path.join(folder, TEMPLATES)
        if os.path.isfile(candidate):
            return candidate
        if folder == os.path.dirname(folder):
            raise DataError(f"{path}: expected {TEMPLATES} next to it or in a folder above; try --question-templates")
        folder = os.path.dirname(folder)


def parse_templates(file: str, data: bytes) -> dict[str, list[tuple[str, str]]]:
    """What comes before and after the subject in the question forms of each relation ('P19_similar' is a further one
    of P19)."""
    try:
        value = json.loads(whole_text(file, data))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}: expected JSON: {error.msg}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{file}:1: expected JSON that can be read") from None
    fits = isinstance(value, dict) and all(isinstance(text, str) and text.count("[X]") == 1 for text in value.values())
    if not fits:
        raise DataError(f"{file}:1: expected an object from relations to questions with one [X], found other JSON")
    forms: dict[str, list[tuple[str, str]]] = {}
    for name, text in value.items():
        before, _, after = text.partition("[X]")
        forms.setdefault(name.partition("_")[0], []).append((before, after))
    return forms


def subject_of(question: str, forms: list[tuple[str, str]]) -> str | None:
    for before, after in forms:
        if question.startswith(before) and question.endswith(after) and len(question) >= len(before) + len(after):
            return question[len(before) : len(question) - len(after)]
    return None


def read_entityquestions(path: str, options: Any) -> Iterator[Row]:
    files = files_of(path)
    inside = [item for item in files if base(item[0]) == TEMPLATES]
    if options.question_templates:
        forms = parse_templates(options.question_templates, read_whole(options.question_templates))
    elif inside:
        forms = parse_templates(*inside[0])
    else:
        found = find_templates(path)
        forms = parse_templates(found, read_whole(found))
    files = [item for item in files if item not in inside]
    chosen = 0
    for file, data in files:
        name = FILE.fullmatch(base(file))
        if not name:
            raise DataError(f"{file}: expected a name such as P36.dev.json, which names the relation")
        relation, split = name.group(1), name.group(2)
        if options.split in ("all", split):
            chosen += 1
            yield from read_list(file, whole_text(file, data), relation, split or base(path), forms.get(relation, []))
    if not chosen:
        wanted = "dev" if options.split == "all" else options.split
        raise DataError(f"{path}: expected files such as P36.{wanted}.json, found {len(files)} others")


def read_list(file: str, text: str, relation: str, group: str, forms: list[tuple[str, str]]) -> Iterator[Row]:
    items = json_list(file, text)
    while True:
        try:
            line, raw, record = next(items)
        except StopIteration as end:
            only_space_follows(file, text, end.value)
            return
        row = Row(group, file, line, raw, relation)
        question = record.get("question") if isinstance(record, dict) else None
        answers = names(record.get("answers")) if isinstance(record, dict) else None
        if not isinstance(question, str) or answers is None:
            row.reason = MALFORMED
        elif (subject := subject_of(question, forms)) is None:
            row.reason = NOT_THE_TEMPLATE
        elif not subject.strip():
            row.reason = NO_SUBJECT
        elif not answers or not answers[0].strip():
            row.reason = NO_OBJECT
        else:
            row.subject, row.object, row.also = subject, answers[0], answers[1:]
        yield row
