"""The account of an intake: every row read is kept or dropped for one reason, and nothing happens silently."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from knapsack.common.files import AtomicFile, dump_json
from knapsack.facts.rows import Row
from knapsack.facts.table import BREAKS, SURROGATES

FIRST_LINE = "# dropped and mended rows, format_version 1"
COLUMNS = ("file", "line", "reason", "relation", "text")
SHOWN, LONGEST = 5, 1000


def visible(text: str) -> str:
    """In one line that UTF-8 can hold."""
    text = BREAKS.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
    return SURROGATES.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


@dataclass
class Account:
    """Counts by group of rows; the dropped rows go to a file as they come."""

    file: AtomicFile
    read: Counter = field(default_factory=Counter)
    kept: Counter = field(default_factory=Counter)
    dropped: dict[str, Counter] = field(default_factory=dict)
    mended: dict[str, Counter] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file.write(f"{FIRST_LINE}\n{chr(9).join(COLUMNS)}\n".encode())

    def drop(self, row: Row, reason: str) -> None:
        self._count(self.dropped, row, reason)

    def mend(self, row: Row, what: str) -> None:
        self._count(self.mended, row, f"mended: {what}")

    def _count(self, counts: dict[str, Counter], row: Row, reason: str) -> None:
        counts.setdefault(row.group, Counter())[reason] += 1
        text = visible(re.sub(r"\s*\n\s*", " ", row.text))
        text = text if len(text) <= LONGEST else text[:LONGEST] + "..."
        fields = [visible(row.file), str(row.line), reason, visible(row.relation), text]
        self.file.write(("\t".join(fields) + "\n").encode())
        first = self.first.setdefault(reason, [])
        if len(first) < SHOWN:
            first.append(f"{visible(row.file)}:{row.line}: {text[:120]}")

    def check(self) -> None:
        for group, read in self.read.items():
            kept, dropped = self.kept[group], sum(self.dropped.get(group, {}).values())
            if read != kept + dropped:
                raise RuntimeError(f"{group}: {read} rows read, but {kept} kept and {dropped} dropped")

    def totals(self, counts: dict[str, Counter]) -> dict[str, int]:
        return dict(sum(counts.values(), Counter()).most_common())

    def as_json(self, seconds: float) -> bytes:
        groups = {
            visible(group): {
                "rows": read,
                "kept": self.kept[group],
                "dropped": dict(self.dropped.get(group, {})),
                "mended": dict(self.mended.get(group, {})),
            }
            for group, read in self.read.items()
        }
        total = {
            "rows": sum(self.read.values()),
            "kept": sum(self.kept.values()),
            "dropped": self.totals(self.dropped),
            "mended": self.totals(self.mended),
        }
        return dump_json({"format_version": 1, "seconds": round(seconds, 1), "groups": groups, "total": total})

    def table(self) -> str:
        rows = [
            (group, read, self.kept[group], self.dropped.get(group, Counter())) for group, read in self.read.items()
        ]
        rows.append(("total", sum(self.read.values()), sum(self.kept.values()), Counter(self.totals(self.dropped))))
        width = max(5, *(len(visible(group)) for group, *_ in rows))
        lines = [f"{'':{width}}  {'rows read':>10} = {'kept':>10} + {'dropped':>10}"]
        for group, read, kept, dropped in rows:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
            counts = f"{read:>10,} = {kept:>10,} + {sum(dropped.values()):>10,}"
            lines.append(f"{visible(group):{width}}  {counts}  {reasons}".rstrip())
        return "\n".join(lines)

    def examples(self) -> str:
        totals = self.totals(self.dropped) | self.totals(self.mended)
        lines = []
        for reason, count in totals.items():
            lines += [f"{reason}: {count:,}", *(f"  {place}" for place in self.first[reason])]
            lines += ["  ..."] if count > SHOWN else []
        return "\n".join(lines)
