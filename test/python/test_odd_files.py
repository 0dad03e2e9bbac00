"""Inputs and outputs that nobody should give: pipes, devices, links, one file by two names, full disks, endless
numbers. Each is refused with a reason and leaves nothing; none hangs."""

import json
import os
import resource
import shlex
import subprocess
import sys
import unittest

import support

from knapsack.common import files
from knapsack.common.errors import DataError, UsageError
from knapsack.common.parallel import available_cores, ordered_map

SEPARATOR = "\n<|endoftext|>\n"
FACTS = (
    "# facts, format_version 1\nid\trelation\tsubject\tobject\taliases\talso\tpopularity\tweb_documents\n"
    "P36:a\tP36\tAland\tAtown\t\t\t\t\nP36:b\tP36\tBland\tBtown\t\t\t\t\nP36:c\tP36\tCland\tCtown\t\t\t\t\n"
)


@support.needs_tokenizers
class OddFilesTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        self.text = self.write("web.txt", SEPARATOR.join(support.documents(20)))
        self.facts = self.write("facts.tsv", FACTS)
        self.tokenizer = "--tokenizer", support.small_vocabulary()

    def pipe(self, name: str) -> str:
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        os.mkfifo(self.path(name))
        return self.path(name)

    def test_a_pipe_in_place_of_an_input_is_refused_and_hangs_nothing(self) -> None:
        out = "--out", self.path("o", "x")
        self.run_ok("synbio", "--people", 5, *self.tokenizer, "--out", self.path("d", "bio"))
        broken = {ending: self.pipe(f"f{ending}/bio{ending}") for ending in (".json", ".idx", ".names.txt")}
        for path in broken.values():
            for name in os.listdir(self.path("d")):
                if not os.path.exists(target := os.path.join(os.path.dirname(path), name)):
                    os.link(self.path("d", name), target)
        for ending in (".txt", ".jsonl", ".tsv", ".nt", ".json"):
            self.pipe("in" + ending)
        self.pipe("tokenizer.json")
        calls = [
            ("text", self.path("in.txt"), *self.tokenizer, *out),
            ("text", self.path("in.jsonl"), *self.tokenizer, *out),
            ("text", self.text, "--tokenizer", self.path("tokenizer.json"), *out),
            ("tokenizer", self.path("in.txt"), "--vocab-size", 300, *out),
            ("facts", "table", self.path("in.tsv"), *out),
            ("facts", "table", self.path("in.json"), "--format", "query", *out),
            ("facts", "table", self.path("in.nt"), *out),
            ("facts", "table", self.facts, "--relations", self.path("in.tsv"), *out),
            ("facts", "scan", self.path("in.tsv"), "--text", self.text, *out),
            ("facts", "scan", self.facts, "--text", self.path("in.txt"), *out),
            ("facts", "write", self.path("in.tsv"), *self.tokenizer, *out),
            ("facts", "relations", "--relations", self.path("in.tsv")),
            ("reasoning", "check", self.path("in.jsonl")),
            ("synbio", "--people", 5, "--text-only", 1, "--report-against", self.path("in.txt"), *out),
            *(("verify", path.removesuffix(ending)) for ending, path in broken.items()),
            ("lm-eval", broken[".idx"].removesuffix(".idx"), *out),
        ]
        for call in calls:
            with self.subTest(call):
                done = support.run_command(*call)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertRegex(done.stderr, "a pipe|expected a file|checksum differs|expected the kind")
                self.assertNotIn("Traceback", done.stderr)
        self.assertFalse(os.path.exists(self.path("o")))

    def test_an_output_that_is_a_device_a_pipe_or_a_folder_stays_what_it_is(self) -> None:
        device = os.stat(os.devnull)
        self.pipe("pipe")
        os.mkdir(self.path("folder"))
        for out in (os.devnull, self.path("pipe"), self.path("folder")):
            for call in (
                ("facts", "table", self.facts, "--out", out),
                ("facts", "scan", self.facts, "--text", self.text, "--out", out),
                ("text", "docstrings", os.path.join(support.PACKAGE, "common"), "--out", out),
            ):
                with self.subTest(call):
                    self.run_bad(2, "a device|a pipe|a folder", *call)
        self.assertEqual((os.stat(os.devnull).st_mode, os.stat(os.devnull).st_rdev), (device.st_mode, device.st_rdev))
        self.assertEqual(
            sorted(self.contents()) if os.unlink(self.path("pipe")) is None else 0, ["facts.tsv", "web.txt"]
        )

    def test_a_name_that_no_output_should_have(self) -> None:
        text = "text", self.text, *self.tokenizer, "--workers", 1, "--out"
        before = self.contents()
        os.makedirs(self.path("o"))
        pipe = self.pipe("o/x.bin.tmp")
        names = {
            pipe.removesuffix(".bin.tmp"): "x.bin.tmp: the output is a pipe",
            self.path("n") + "/": "expected a folder and a name",
            "": "expected a folder and a name",
            self.path(os.fsdecode(b"a\xff")): "the name of an output is not UTF-8",
        }
        for name, said in names.items():
            with self.subTest(name):
                self.run_bad(2, said, *text, name)
        os.unlink(pipe)
        self.assertEqual(self.contents(), before)

    def test_work_without_end_is_refused(self) -> None:
        out = "--out", self.path("o", "x")
        for call in (
            ("reasoning slope", "--documents", "999B", *self.tokenizer, *out),
            ("reasoning max", "--documents", 3, "--heldout", "999B", *self.tokenizer, *out),
            ("synbio", "--people", 3, "--text-only", "999B", *out),
        ):
            with self.subTest(call):
                self.run_bad(2, ": at most [0-9,]+", *call)
        self.assertFalse(os.path.exists(self.path("o")))

    def test_what_a_sentence_quotes_is_cut(self) -> None:
        deep = self.write("deep.tsv", FACTS.replace("Atown\t\t", "Atown\t" + "[" * 100_000 + "\t"))
        done = support.run_command("facts write", deep, *self.tokenizer, "--out", self.path("o", "x"))
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, "deep.tsv:3: aliases: expected a JSON list of names")
        self.assertLess(len(done.stderr), 3000)

    def test_a_link_is_followed(self) -> None:
        target = self.write("elsewhere/table.tsv", "old")
        os.symlink(target, self.path("link.tsv"))
        self.run_ok("facts", "table", self.facts, "--out", self.path("link.tsv"))
        self.assertTrue(os.path.islink(self.path("link.tsv")))
        with open(target) as file:
            self.assertTrue(file.read().startswith("# facts"))

    def test_an_output_that_is_an_input_is_refused_by_whatever_name(self) -> None:
        os.link(self.facts, self.path("hard.tsv"))
        os.symlink(self.path("facts.tsv"), self.path("soft.tsv"))
        before = self.contents()
        for name in ("facts.tsv", "hard.tsv", "soft.tsv", "./facts.tsv"):
            for call in (
                ("facts", "table", self.facts, "--out", self.path(name)),
                ("facts", "scan", self.facts, "--text", self.text, "--out", self.path(name)),
            ):
                with self.subTest(call):
                    self.run_bad(2, "an input of this command", *call)
                    self.assertEqual(self.contents(), before)
        prose = self.write("prose/web.txt", "x")
        self.run_bad(2, "an input", "synbio", "--people", 5, "--text-only", 1, "--report-against", prose, "--out",
                     prose.removesuffix(".txt"))  # fmt: skip
        self.assertEqual(self.contents()["prose/web.txt"], b"x")

    def test_a_sidecar_does_not_replace_an_input(self) -> None:
        lines = "".join(json.dumps({"text": text}) + "\n" for text in support.documents(9))
        name = self.write("web.json", lines)
        self.run_bad(2, "an input", "text", name, *self.tokenizer, "--out", self.path("web"))
        tables = {name: data for name, data in self.contents().items() if name != "web.txt"}
        self.assertEqual(tables, {"facts.tsv": FACTS.encode(), "web.json": lines.encode()})

    def test_two_outputs_that_are_one_file(self) -> None:
        os.mkdir(self.path("d"))
        os.symlink(self.path("d"), self.path("e"))
        said = "another output of this command"
        out = self.path("d", "bio")
        self.run_bad(
            2, said, "synbio", "--people", 5, *self.tokenizer, "--out", out, "--text", self.path("e", "bio.bin")
        )

    def test_a_full_disk_names_the_file_and_leaves_nothing(self) -> None:
        big = self.write("big.txt", SEPARATOR.join(support.documents(3000)))
        rows = "".join(f"P36:{i}\tP36\tLand {i}\tTown {i}\t\t\t\t\n" for i in range(4000))
        table = self.write("big.tsv", "".join(FACTS.splitlines(True)[:2]) + rows)
        before = set(self.contents())
        out = self.path("o", "x")
        for call in (
            ("text", big, *self.tokenizer, "--out", out, "--workers", 1),
            ("tokenizer", big, "--vocab-size", 2000, "--out", out),
            ("synbio", "--people", 50, *self.tokenizer, "--out", out, "--workers", 1),
            ("facts", "table", table, "--out", out + ".tsv"),
            ("facts", "write", table, *self.tokenizer, "--out", out, "--workers", 1),
            ("reasoning", "slope", "--documents", 900, "--heldout", 20, *self.tokenizer, "--out", out, "--workers", 1),
        ):
            limit = 8_000 if call[0] == "tokenizer" else 30_000
            with self.subTest(call[0]):
                done = support.run_process(
                    *call,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),  # noqa: B023
                )
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stderr, rf"{out}|{os.path.dirname(out)}/")
                self.assertRegex(done.stderr, "File too large|No space")
                self.assertNotIn("Traceback", done.stderr)
                self.assertEqual(set(self.contents()), before)

    def test_a_closed_pipe_takes_no_file_away(self) -> None:
        words = [sys.executable, "-m", "knapsack", "text", self.text, *self.tokenizer, "--out", self.path("o", "x")]
        environment = dict(os.environ, PYTHONPATH=support.REPOSITORY)
        subprocess.run(
            ["bash", "-c", f"{shlex.join(map(str, words))} | true"], env=environment, timeout=60, check=False
        )
        self.run_ok("verify", self.path("o", "x"))

    def test_a_terminal_of_fewer_letters(self) -> None:
        table = self.write("f.tsv", FACTS.replace("Aland", "São Tomé"))
        self.run_ok("facts", "write", table, *self.tokenizer, "--out", self.path("o", "wd"), "--control", 0)
        done = support.run_process(
            "verify", self.path("o", "wd"), "--samples", 3, env=dict(os.environ, PYTHONIOENCODING="ascii")
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("S\\xe3o Tom\\xe9", done.stdout)

    def test_work_without_bound_is_refused(self) -> None:
        out = "--out", self.path("o", "x")
        for pattern, *call in (
            ("at most 10,000,000", "tokenizer", self.text, "--vocab-size", "999B", *out),
            ("not a count", "tokenizer", self.text, "--vocab-size", "1e30", *out),
            ("at most 10,000", "reasoning", "max", "--numbers", "1e9", "--documents", 1, *self.tokenizer, *out),
            ("only 5 people", "synbio", "--people", 5, "--question-people", 6, *self.tokenizer, *out),
            ("whole number", "synbio", "--people", 5, "--seed", "9" * 5000, *self.tokenizer, *out),
            ("--pool-size", "synbio", "--people", 5, "--pool-size", "first=" + "9" * 5000, *self.tokenizer, *out),
        ):
            with self.subTest(call):
                self.run_bad(2, pattern, *call)
        self.assertFalse(os.path.exists(self.path("o")))

    def test_json_of_any_depth_is_a_sentence(self) -> None:
        deep, long = "[" * 100_000, '{"text": ' + "9" * 5000 + "}"
        for data in (deep, long):
            name = self.write("in.jsonl", data + "\n")
            self.run_bad(3, r"in\.jsonl:1: JSON", "text", name, *self.tokenizer, "--out", self.path("o", "x"))
            self.run_bad(3, r"in\.jsonl:1: JSON", "reasoning", "check", name)
            self.write("x.json", data)
            self.run_bad(3, r"x\.json: JSON", "verify", self.path("x"))
            self.write("bad/tokenizer.json", data)
            self.run_bad(
                3, "not a tokenizer", "text", self.text, "--tokenizer", self.path("bad"), "--out", self.path("o", "x")
            )
            self.run_bad(3, "JSON", "facts", "table", self.write("q.json", '{"head":' + data), "--out", self.path("t"))


class OpeningTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        files.begin_command()
        self.addCleanup(files.end_command, False)

    def test_an_input_that_is_opened_after_the_output_is_not_replaced_either(self) -> None:
        path = self.write("x", "precious")
        with files.AtomicFile(path) as out:
            out.write(b"new")
            files.open_input(path).close()
            with self.assertRaisesRegex(UsageError, "an input of this command"):
                out.commit()
        self.assertEqual(self.contents(), {"x": b"precious"})

    def test_a_temporary_name_that_is_an_input(self) -> None:
        files.open_input(self.write("x.tmp", "precious")).close()
        with self.assertRaisesRegex(UsageError, "an input"):
            files.AtomicFile(self.path("x"))
        self.assertEqual(self.contents(), {"x.tmp": b"precious"})

    def test_a_group_appears_whole_or_not_at_all(self) -> None:
        with self.assertRaises(ValueError), files.FileGroup() as group:
            group.write(self.path("a"), b"1")
            group.write(self.path("b"), b"2")
            raise ValueError
        self.assertEqual(self.contents(), {})
        files.write_files({self.path("a"): b"1", self.path("b"): b"2"})
        self.assertEqual(self.contents(), {"a": b"1", "b": b"2"})

    def test_undoing_keeps_what_others_share(self) -> None:
        for others in ({}, {"other.bin": b"x"}):
            files.begin_command()
            files.write_file(self.path("d", "tokenizer.json"), b"t")
            files.share(self.path("d", "tokenizer.json"))
            files.write_file(self.path("d", "half.bin"), b"h")
            for name, data in others.items():
                self.write("d/" + name, data)
            files.end_command(undo=True)
            self.assertEqual(os.path.exists(self.path("d", "tokenizer.json")), bool(others))
            self.assertEqual(os.path.exists(self.path("d")), bool(others))
            self.assertFalse(os.path.exists(self.path("d", "half.bin")))

    def test_json_says_where(self) -> None:
        for data in ("[" * 10**5, "9" * 5000, "{oops", b"\xff"):
            with self.assertRaisesRegex(DataError, "^here: "):
                files.parse_json(data, "here")
        self.assertEqual(files.parse_json(json.dumps({"a": [1]}), "here"), {"a": [1]})


def process(_: int) -> int:
    return os.getpid()


class WorkersTest(unittest.TestCase):
    def test_there_are_no_more_workers_than_cores(self) -> None:
        self.assertLessEqual(len(set(ordered_map(process, range(200), 99_999))), available_cores())


if __name__ == "__main__":
    unittest.main()
