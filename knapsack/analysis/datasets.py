"""Which data a run was trained on: by what they hold, as far as the run's own files say, and not by their path alone.

A replicate may have facts of its own (another population of the same make), so that the contents of two replicates
differ. What they are otherwise must not: no_replicates() says in what two sources are no populations of one make.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from knapsack.runs.files import blame, read_json
from knapsack.runs.table import Row

OF_FACTS = (".names.txt", ".values.npy")  # files of a shard that say which facts it states
SCATTER = 0.6  # relative, of a document's length: the means of two populations of n differ by less than this / sqrt(n)


class Data(NamedTuple):
    """Of one source of a run; empty or None: the run does not say."""

    path: str
    content: str = ""  # digests of all its files
    facts: str = ""  # digests of names and values
    slots: tuple[str, ...] = ()  # attributes of an entity
    entities: int | None = None
    documents: int | None = None
    tokens: int | None = None


def of_source(options: Row, option: str, source: str) -> str:
    """The values of a repeated option for one source: 'wd=0:0.3' of --window is '0:0.3'."""
    entries = (entry.partition("=") for entry in options.get(option) or [])
    return " ".join(value for name, _, value in entries if name == source)


def data_of(run: Path, source: str) -> Data:
    """By config.json, the ledger's exposures/SOURCE.json and the note that `knapsack sweep` leaves next to the run."""
    config, ledger = read_json(run / "config.json"), read_json(run / "exposures" / f"{source}.json")
    note = run.parent / f"{run.name}.flags.json"
    with blame(run / "config.json"):
        path = of_source(config.get("options", {}), "source", source)
        planned = config.get("plan", {}).get(source, {})
        found = Data(path, documents=planned.get("documents"), tokens=planned.get("source_tokens"))
    with blame(note):
        files = read_json(note).get("data", {}).get(f"source {source}", {}).get("files") or []
        content = " ".join(one[key] for one in files for key in sorted(one) if key not in ("path", ".json"))
        facts = " ".join(one.get(ending, "") for one in files for ending in OF_FACTS).strip()
    if ledger:
        with blame(run / "exposures" / f"{source}.json"):
            shards = ledger.get("shards", [])
            sums = [one.get(what, "") for one in shards for what in ("names", "values")]
            facts = " ".join(sums) if all(sums) else facts
            entities = sum(one["entities"] for one in shards)
            found = found._replace(slots=tuple(ledger.get("slots", ())), entities=entities)
    return found._replace(content=content, facts=facts)


def source_of(run: Path, shard: str) -> str:
    """The source that has this shard, by the run's ledgers: answers name the shard that a fact is of, which may be
    called otherwise than the source. Without a ledger that has it, the same name."""
    for path in sorted((run / "exposures").glob("*.json")):
        with blame(path):
            if any(one["name"] == shard for one in read_json(path)["shards"]):
                return path.stem
    return shard


def population_of(run: Path, name: str) -> str:
    """Whose facts a run learned: by their digests (they know data again that moved), else by the source's files or its
    path; the run itself where nothing is known."""
    data = data_of(run, name)
    return data.facts or data.content or data.path or str(run)


def same_content(several: list[Data]) -> list[tuple]:
    """Of sources of one name in several runs: equal keys where they hold the same. Where all runs know the digests of
    the files these decide; else the path does, and what all know besides."""
    if all(one.content for one in several):
        return [(one.content,) for one in several]
    known = [name for name in ("facts", "documents", "tokens") if all(getattr(one, name) for one in several)]
    return [(one.path, *(getattr(one, name) for name in known)) for one in several]


def no_replicates(one: Data, other: Data, equal_facts: bool = True) -> str:
    """In what they are no two populations of one make; empty where nothing is known against it. `equal_facts`: they
    have as many."""
    if one.slots and other.slots and one.slots != other.slots:
        return f"attributes {', '.join(one.slots)} against {', '.join(other.slots)}"
    for what in ("entities", "documents"):
        counts = getattr(one, what), getattr(other, what)
        if equal_facts and None not in counts and counts[0] != counts[1]:
            return f"{counts[0]:,} against {counts[1]:,} {what}"
    if not all((one.documents, other.documents, one.tokens, other.tokens)):
        return ""
    lengths = one.tokens / one.documents, other.tokens / other.documents
    if abs(math.log(lengths[0] / lengths[1])) > SCATTER / math.sqrt(min(one.documents, other.documents)):
        return f"{lengths[0]:.3g} against {lengths[1]:.3g} tokens a document"
    return ""
