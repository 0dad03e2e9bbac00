"""The one writer of knowledge sources and question sets (dev/formats.md, 2 and 3). A kind of knowledge composes batches
of sequences and says what they are; which file and column holds what is known here alone.

    with KnowledgeWriter(prefix, SourceAbout(entities=..., slots=..., ...), encoder.info) as writer:
        for block in blocks:
            writer.add(batch, values, groups, names)
        written = writer.commit()

    with QuestionWriter(prefix, count, SetAbout(name=..., ...), encoder.info) as writer:
        writer.add(Questions(batch, sizes, template=..., kind=..., entity=...))
        written = writer.commit()

A writer that is left without commit() leaves no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from knapsack.common.files import dump_json
from knapsack.common.progress import Progress
from knapsack.common.tokenizer import TokenizerInfo
from knapsack.shards.format import FORMAT_VERSION, KINDS, QUESTION_COLUMNS, REDRAWN, token_dtype
from knapsack.shards.read import load_json
from knapsack.shards.write import Bundle, ShardWriter


@dataclass
class Batch:
    """Sequences one after another. `spans` (sequences, 2) is where the value is: first and one-past-last token;
    questions have none."""

    tokens: np.ndarray
    lengths: np.ndarray
    spans: np.ndarray | None
    text_bytes: int

    def split(self) -> list[np.ndarray]:
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])


@dataclass
class Questions:
    """Questions one after another: each is a prompt, the right answer, wrong answers, other right answers, as sequences
    of `batch`. The columns are arrays (questions) or one number for all."""

    batch: Batch
    sizes: np.ndarray  # sequences of each question, at least 2
    relation: np.ndarray | int = 0
    attribute: np.ndarray | int = 0
    template: np.ndarray | int = 0
    kind: np.ndarray | int = 0  # number in the set's kinds
    entity: np.ndarray | int = 0
    group: np.ndarray | int = 0
    candidates: np.ndarray | int = 0  # place of the first wrong answer among the question's sequences; 0: none
    aliases: np.ndarray | int = 0  # the same of the other right answers
    popularity: np.ndarray | None = None  # (questions)

    def rows(self) -> np.ndarray:
        rows = np.empty((len(self.sizes), len(QUESTION_COLUMNS)), np.uint32)
        for number, name in enumerate(QUESTION_COLUMNS):
            rows[:, number] = getattr(self, name)
        return rows


class Slot(NamedTuple):
    """What is stated of every entity."""

    name: str
    pool_size: int
    bits: float  # of a value
    kind: str  # where the pool's values come from: plausible, fictional, own, real, counterfactual

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "pool": self.name, "pool_size": self.pool_size, "bits": self.bits}


def present(about: Any) -> dict[str, Any]:
    """The fields of a dataclass that are set, in their order."""
    return {f.name: getattr(about, f.name) for f in fields(about) if getattr(about, f.name) is not None}


@dataclass(kw_only=True)
class SourceAbout:
    """PREFIX.facts.json, in the order of its keys; None: the key is left out."""

    entities: int
    slots: list[Slot]
    templates: int  # of each slot
    forms: list[str]  # the first one opens a document
    rendering: dict[str, int | str] = field(default_factory=lambda: dict(REDRAWN))
    template_texts: dict[str, list[str]]
    relations: list[str]
    groups: list[str]
    group_weights: list[float] | None = None
    pools: dict[str, Any] = field(init=False)
    entropy_bits_per_entity: float
    name_bits_per_entity: float | None = None
    name_pool_size: int | None = None
    shuffled: bool = False
    seed: int
    tag: str | None = None
    pronoun_bits_per_entity: float | None = None
    source: str | None = None  # the world that a companion is about

    def __post_init__(self) -> None:
        self.pools = {slot.name: {"size": slot.pool_size, "kind": slot.kind} for slot in self.slots}

    def as_json(self) -> dict[str, Any]:
        slots = {"slots": [slot.as_json() for slot in self.slots]}
        return {"format_version": FORMAT_VERSION} | present(self) | slots


@dataclass(kw_only=True)
class SetAbout:
    """PREFIX.questions.json, in the order of its keys; None: the key is left out."""

    name: str
    source: str | None = None  # the knowledge source that the questions are about
    source_checksums: dict[str, str] | None = None  # of its names and values; filled in by the writer
    shuffled: bool | None = None  # True: the source is a control, without facts
    questions: int = 0  # filled in by the writer
    entities: int
    relations: list[str]
    attributes: list[str]
    attribute_pools: list[int]  # number of possible answers; 0: open
    attribute_bits: list[float] | None = None
    templates: list[str]  # the prompts, with the hole open
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    groups: list[str] = field(default_factory=lambda: ["all"])
    group_weights: list[float] | None = None
    tag: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION} | present(self)


@dataclass
class Written:
    """What a summary says about a source or set."""

    documents: int
    tokens: int
    document_tokens: float = 0.0  # of a composed document, on average, without EOT


class _Writer:
    """What both have: a bundle of files, the shard, a progress bar."""

    def __init__(self, prefix: str, total: int, tokenizer: TokenizerInfo, sequences_per_document: int = 0) -> None:
        self.tokenizer, self.progress = tokenizer, Progress(prefix, total)
        self.prefix = prefix
        self.bundle = Bundle(prefix)
        self.shard = ShardWriter(self.bundle, token_dtype(tokenizer.vocab_size), sequences_per_document)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.bundle.discard()
        self.progress.close()


class KnowledgeWriter(_Writer):
    """PREFIX.{bin,idx,json,facts.json,spans.npy,values.npy,group.npy,names.txt}."""

    def __init__(self, prefix: str, about: SourceAbout, tokenizer: TokenizerInfo) -> None:
        entities, slots, forms = about.entities, len(about.slots), len(about.forms)
        sequences = slots * about.templates * forms
        super().__init__(prefix, entities, tokenizer, sequences)
        self.about, self.form_tokens = about, np.zeros(forms)
        self.spans = self.bundle.open_npy(".spans.npy", "<u2", (entities * sequences, 2))
        self.values = self.bundle.open_npy(".values.npy", "<u4", (entities, slots))
        self.groups = self.bundle.open_npy(".group.npy", "<u4", (entities,))
        self.names = self.bundle.open(".names.txt")

    def add(self, batch: Batch, values: np.ndarray, groups: np.ndarray, names: Iterable[str]) -> None:
        """Whole entities: their sequences by slot, template, form; (entities, slots) numbers of values in their pools;
        (entities) numbers of groups; a name each."""
        self.shard.append(batch.tokens, batch.lengths, batch.text_bytes)
        self.spans.append(batch.spans)
        self.values.append(values)
        self.groups.append(groups)
        self.names.write("".join(f"{name}\n" for name in names).encode())
        self.form_tokens += batch.lengths.reshape(-1, len(self.form_tokens)).sum(axis=0)
        entities = self.shard.documents
        self.progress.update(entities, f"{entities:,} entities, {self.shard.tokens / 1e6:.0f}M tokens")

    def commit(self) -> Written:
        self.bundle.open(".facts.json").write(dump_json(self.about.as_json()))
        self.bundle.commit("knowledge", self.tokenizer, self.shard)
        slots = len(self.about.slots)
        first, *others = self.form_tokens / (self.about.entities * self.about.templates)  # of all slots' sentences
        tokens = (first + (slots - 1) * sum(others) / len(others)) / slots
        return Written(self.shard.documents, self.shard.tokens, tokens)


class QuestionWriter(_Writer):
    """PREFIX.{bin,idx,json,questions.json,q.npy}, and popularity.npy where asked for."""

    def __init__(
        self, prefix: str, questions: int, about: SetAbout, tokenizer: TokenizerInfo, popularity: bool = False
    ) -> None:
        super().__init__(prefix, questions, tokenizer)
        about.questions, self.about = questions, about
        self.columns = self.bundle.open_npy(".q.npy", "<u4", (questions, len(QUESTION_COLUMNS)))
        self.popularity = self.bundle.open_npy(".popularity.npy", "<u4", (questions,)) if popularity else None

    def add(self, questions: Questions) -> None:
        batch = questions.batch
        self.shard.append(batch.tokens, batch.lengths, batch.text_bytes, questions.sizes)
        self.columns.append(questions.rows())
        if self.popularity is not None:
            self.popularity.append(questions.popularity)
        self.progress.update(self.shard.documents, f"{self.shard.documents:,} questions")

    def _source_checksums(self) -> dict[str, str] | None:
        """Of the source next to the set, so that a set of other people is not taken for one of these."""
        source = os.path.join(os.path.dirname(self.prefix), self.about.source or "")
        if not self.about.source or not os.path.exists(source + ".json"):
            return None
        checksums = load_json(source + ".json").get("checksums", {})
        names = {"names": ".names.txt", "values": ".values.npy"}
        found = {key: checksums.get(self.about.source + ending) for key, ending in names.items()}
        return {key: checksum for key, checksum in found.items() if checksum} or None

    def commit(self) -> Written:
        self.about.source_checksums = self._source_checksums()
        self.bundle.open(".questions.json").write(dump_json(self.about.as_json()))
        self.bundle.commit("questions", self.tokenizer, self.shard)
        return Written(self.shard.documents, self.shard.tokens)
