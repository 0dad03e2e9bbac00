"""Runs `knapsack facts table` and reads what it wrote as dev/formats.md describes it, with no code of the scripts. What
must hold of every intake is checked at each of them: rows read = kept + dropped, and every dropped row stands in
OUT.dropped.tsv."""

import collections
import json
import os

import support

TABLE = ("# facts, format_version 1", "id\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents")
DROPPED = ("# dropped and mended rows, format_version 1", "file\tline\treason\trelation\ttext")
Dropped = collections.namedtuple("Dropped", "file line reason relation text")


def lines_of(path: str, head: tuple) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        lines = file.read().split("\n")
    assert tuple(lines[:2]) == head and lines[-1] == "", (path, lines[:2], lines[-1])
    return [line.split("\t") for line in lines[2:-1]]


class Taken:
    """The three files of an intake."""

    def __init__(self, out: str, said: str) -> None:
        self.said, stem = said, out.removesuffix(".tsv")
        self.rows = [
            row[:4] + [json.loads(field or "[]") for field in row[4:6]] + row[6:] for row in lines_of(out, TABLE)
        ]
        self.dropped = [Dropped(*row) for row in lines_of(stem + ".dropped.tsv", DROPPED)]
        with open(stem + ".account.json", encoding="utf-8") as file:
            self.account = json.load(file)
        self.groups = self.account["groups"]

    def facts(self) -> list[tuple[str, str, str]]:
        return [(relation, subject, object_) for _, relation, subject, object_, *_ in self.rows]

    def reasons(self) -> list[tuple[str, int, str]]:
        """Of every row dropped or mended: file without its folder, line, reason."""
        return [(os.path.basename(row.file), int(row.line), row.reason) for row in self.dropped]

    def counts(self, group: str) -> tuple[int, int, dict[str, int]]:
        return self.groups[group]["rows"], self.groups[group]["kept"], self.groups[group]["dropped"]


class IntakeTest(support.FolderTest):
    def intake(self, *arguments: object, out: str = "out/facts.tsv") -> Taken:
        code, said, errors = support.run_command("facts table", *arguments, "--out", self.path(out))
        self.assertEqual(code, 0, errors)
        taken = Taken(self.path(out), said)
        self.check(taken)
        self.assertEqual(list(self.contents(".tmp")), [])
        return taken

    def check(self, taken: Taken) -> None:
        reasons = collections.Counter()
        for name, group in taken.groups.items():
            self.assertEqual(group["rows"], group["kept"] + sum(group["dropped"].values()), name)
            reasons.update(group["dropped"])
            reasons.update(group["mended"])
        total = taken.account["total"]
        for key in ("rows", "kept"):
            self.assertEqual(total[key], sum(group[key] for group in taken.groups.values()))
        self.assertEqual(total["rows"], total["kept"] + sum(total["dropped"].values()))
        self.assertEqual(total["kept"], len(taken.rows))
        self.assertEqual(collections.Counter(row.reason for row in taken.dropped), reasons)
        self.assertEqual(total["dropped"] | total["mended"], reasons)
        for reason, count in reasons.items():  # the summary names each reason, with a place to look at
            self.assertIn(f"{reason}: {count:,}\n  ", taken.said)

    def refused(self, code: int, pattern: str, *arguments: object) -> None:
        """One sentence, this exit code, and no file written or changed."""
        before = self.contents()
        out = () if "--out" in arguments else ("--out", self.path("out", "x.tsv"))
        found, _, errors = support.run_command("facts table", *arguments, *out)
        self.assertEqual(found, code, errors)
        self.assertRegex(errors, pattern)
        self.assertEqual(self.contents(), before)
