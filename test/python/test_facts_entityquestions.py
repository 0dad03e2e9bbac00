"""knapsack facts table: EntityQuestions as a folder, an archive or single files, made up and real. The subjects come
back from the questions, the counts are those of an independent count."""

import collections
import gzip
import io
import json
import os
import re
import tarfile
import unittest

import support
from facts_reader import IntakeTest, Taken

REAL = os.path.join(support.OUTSIDE_DATA, "entityquestions")
TEMPLATES = {
    "P36": "What is the capital of [X]?",
    "P36_similar": "[X] is governed from where?",
    "P50": "Who wrote [X]?",
}
NAME = "relation_query_templates.json"

try:
    import zstandard
except ImportError:
    zstandard = None


def questions(*pairs: object) -> str:
    """Over several lines, as the real files are."""
    rows = [pair if isinstance(pair, dict) else {"question": pair[0], "answers": pair[1]} for pair in pairs]
    return json.dumps(rows, indent=1, ensure_ascii=False)


FILES = {
    "dataset/train/P36.train.json": questions(
        ("What is the capital of Peru?", ["Lima"]),
        ("Chad is governed from where?", ["N'Djamena", "Fort-Lamy"]),
        ("Peru is governed from where?", ["Lima"]),
    ),
    "dataset/train/P50.train.json": questions(("Who wrote Who wrote??", ["Ann"]), ("Who wrote Émile?", ["Rousseau"])),
    "dataset/dev/P36.dev.json": questions(
        ("What is the capital of Peru?", ["Cuzco"]), ("What is the capital of Mali?", ["Bamako"])
    ),
    "dataset/test/P36.test.json": questions(("What is the capital of ?", ["Rome"]), ("Which is Italy?", ["Rome"])),
    "dataset/test/P50.test.json": questions(
        {"question": "Who wrote Emma?"},
        {"question": "Who wrote Emma?", "answers": ["", "Jane"]},
        {"question": "Who wrote Emma?", "answers": "Jane"},
        {"question": 5, "answers": ["Jane"]},
        {"question": "Who wrote Emma?", "answers": ["Jane Austen"]},
    ),
}
FACTS = [
    ["P36:Peru", "P36", "Peru", "Lima", [], ["Cuzco"], "", ""],
    ["P36:Chad", "P36", "Chad", "N'Djamena", [], ["Fort-Lamy"], "", ""],
    ["P50:Who wrote?", "P50", "Who wrote?", "Ann", [], [], "", ""],
    ["P50:Émile", "P50", "Émile", "Rousseau", [], [], "", ""],
    ["P36:Mali", "P36", "Mali", "Bamako", [], [], "", ""],
    ["P50:Emma", "P50", "Emma", "Jane Austen", [], [], "", ""],
]


class EntityQuestionsTest(IntakeTest):
    def lay_out(self, templates: str = NAME) -> str:
        for name, text in FILES.items():
            self.write(name, text)
        self.write(templates, json.dumps(TEMPLATES))
        return self.path("dataset")

    def archive(self, files: dict[str, str]) -> bytes:
        """Files in an order that is not the table's."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for name, text in reversed(files.items()):
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
        return data.getvalue()

    def check_all(self, taken: Taken) -> None:
        self.assertEqual(taken.rows, FACTS)
        self.assertEqual(taken.counts("train"), (5, 4, {"duplicate": 1}))
        self.assertEqual(taken.counts("dev"), (2, 1, {"second object": 1}))
        reasons = {
            "subject missing": 1,
            "question does not fit the template": 1,
            "object missing": 2,
            "malformed row": 2,
        }
        self.assertEqual(taken.counts("test"), (7, 1, reasons))
        for row in taken.dropped:  # the line is the one where the question's bracket opens
            name = next(name for name in FILES if row.file.endswith(name))
            start = FILES[name].split("\n")[int(row.line) - 1 :]
            self.assertEqual(json.JSONDecoder().raw_decode("\n".join(start).strip())[0], json.loads(row.text))

    def test_a_folder_an_archive_and_single_files_make_the_same_table(self) -> None:
        folder = self.lay_out()
        self.check_all(self.intake(folder))
        self.check_all(self.intake(*(self.path(name) for name in FILES)))
        plain = self.archive({**FILES, "dataset/README.json": "{}", "dataset/P1.txt": "no questions"})
        packed = {"tar": plain, "tar.gz": gzip.compress(plain), "tgz": gzip.compress(plain)}
        if zstandard:
            packed["tar.zst"] = zstandard.ZstdCompressor().compress(plain)
        for ending, data in packed.items():
            with self.subTest(ending):
                self.check_all(self.intake(self.write(f"sub/dataset.{ending}", data)))  # templates: in the folder above
                for size in (len(data) // 2, len(data) - (9 if ending != "tar" else 1024 * 10)):
                    cut = self.write(f"sub/cut.{ending}", data[:size])
                    self.refused(3, rf"cut.{ending}: the archive is broken or cut off", cut)

    def test_splits(self) -> None:
        folder = self.lay_out()
        self.assertEqual(list(self.intake(folder, "--split", "dev").groups), ["dev"])
        self.assertEqual(
            self.intake(folder, "--split", "train").rows, [FACTS[0][:5] + [[]] + FACTS[0][6:], *FACTS[1:4]]
        )
        self.refused(
            3,
            r"P36.dev.json: expected files such as P36.test.json, found 1 others",
            self.path("dataset/dev/P36.dev.json"),
            "--split",
            "test",
        )
        unsplit = self.write("P36.json", questions(("What is the capital of Peru?", ["Lima"])))
        self.assertEqual(self.intake(unsplit).counts("P36.json"), (1, 1, {}))

    def test_where_the_templates_are(self) -> None:
        folder = self.lay_out(templates="elsewhere/templates.json")
        self.refused(3, f"dataset: expected {NAME} next to it or in a folder above; try --question-templates", folder)
        self.check_all(self.intake(folder, "--question-templates", self.path("elsewhere", "templates.json")))
        inside = self.archive({**FILES, NAME: json.dumps(TEMPLATES)})
        self.check_all(self.intake(self.write("inside.tar", inside)))
        bad = [
            ("[", ":1: expected JSON"),
            ('{"P36": "Capital?"}', ":1: expected an object from relations"),
            (b"\n\xff", ":2: expected UTF-8"),
        ]
        for text, pattern in bad:
            self.refused(3, NAME + pattern, folder, "--question-templates", self.write(NAME, text))
        self.refused(3, "none.json: No such file", folder, "--question-templates", self.path("none.json"))

    def test_what_is_refused(self) -> None:
        self.write(NAME, json.dumps(TEMPLATES))
        good = questions(("What is the capital of Peru?", ["Lima"]))
        bad = [
            ("", ":1: expected a JSON list, found the end of the file"),
            (good[:-3], ":7: expected a JSON value, found the end of the file"),
            (good[:-1], ":8: expected a comma or the end of the list, found the end of the file"),
            (good + "\n]", ":9: expected the end of the file after the list"),
            (good.replace('"answers"', "answers"), ":4: expected a JSON value, found 'answers"),
            (good.encode().replace(b"Lima", b"L\xefma"), ":5: expected UTF-8, found byte 0xef"),
            ("[" + "1" * 5000 + "]", ":1: expected a JSON value that can be read"),
        ]
        for text, pattern in bad:
            with self.subTest(pattern):
                self.refused(3, "P36.dev.json" + pattern, self.write("P36.dev.json", text))
        self.refused(3, "capitals.json: expected a name such as P36.dev.json", self.write("capitals.json", good))
        self.refused(3, "x.tar: expected files such as P36.dev.json", self.write("x.tar", self.archive({"a.txt": "b"})))
        self.refused(3, "y.tar: the archive is broken", self.write("y.tar", b"no archive" * 1000))


@unittest.skipUnless(os.path.isdir(REAL), f"{REAL} is not here")
@unittest.skipUnless(zstandard, "the Python package 'zstandard' is not installed")
class RealTest(IntakeTest):
    def test_the_dev_split_goes_in_whole(self) -> None:
        """Against a count of its own: files out of the archive, subjects by a regular expression."""
        with open(os.path.join(REAL, NAME), encoding="utf-8") as file:
            forms = {name: re.escape(text).replace(r"\[X\]", "(.*)") for name, text in json.load(file).items()}
        with open(os.path.join(REAL, "dataset.tar.zst"), "rb") as file:
            plain = zstandard.ZstdDecompressor().stream_reader(file).read()
        objects, count, relations = {}, collections.Counter(), collections.Counter()
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            for name in archive.getnames():
                found = re.search(r"(P\d+)\.dev\.json$", name)
                for row in json.load(archive.extractfile(name)) if found else ():
                    relation, question = found.group(1), row["question"]
                    both = (re.fullmatch(forms.get(name, "-"), question) for name in (relation, relation + "_similar"))
                    # a name is kept with single plain spaces, whatever its spelling in the file
                    subject = " ".join(next(match.group(1) for match in both if match).split())
                    object_, relations[relation] = " ".join(row["answers"][0].split()), relations[relation] + 1
                    known = objects.get((relation, subject), [])
                    reason = "duplicate" if object_ in known else "second object" if known else "kept"
                    reason = "object is the subject" if object_ == subject else reason
                    if reason != "object is the subject":
                        objects.setdefault((relation, subject), []).append(object_)
                    count[reason] += 1
        taken = self.intake(os.path.join(REAL, "dataset.tar.zst"), "--split", "dev")
        self.assertEqual((sum(relations.values()), len(relations)), (22_068, 24))
        self.assertEqual(taken.counts("dev"), (22_068, count.pop("kept"), count))
        self.assertEqual({(r, s): o for r, s, o in taken.facts()}, {key: names[0] for key, names in objects.items()})


if __name__ == "__main__":
    unittest.main()
