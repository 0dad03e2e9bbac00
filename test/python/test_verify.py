"""knapsack verify finds a flipped byte in any file, and says which."""

import functools
import hashlib
import json
import os
import unittest

import support


@functools.lru_cache(maxsize=1)
def source_files() -> dict[str, bytes]:
    """The files of a small source and its question set, made once."""
    folder = os.path.join(support.own_folder().name, "verify")
    done = support.run_script(
        "synbio",
        "--people",
        20,
        "--tokenizer",
        support.small_vocabulary(),
        "--out",
        os.path.join(folder, "bio"),
        "--attributes",
        "birth_city,major",
    )
    assert done.returncode == 0, done.stderr
    files = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


@support.needs_tokenizers
class VerifyTest(support.FolderTest):
    def setUp(self) -> None:
        super().setUp()
        self.prefix = self.path("bio")
        for name, data in source_files().items():
            self.write(name, data)

    def damage(self, name: str, position: int) -> None:
        with open(self.path(name), "r+b") as file:
            file.seek(position, os.SEEK_SET if position >= 0 else os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))

    def reseal(self, sidecar: str, name: str) -> None:
        """Make the checksum fit the damaged file, so that only the checks of contents remain."""
        with open(self.path(name), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        with open(self.path(sidecar), encoding="utf-8") as file:
            value = json.load(file)
        value["checksums"][name] = "sha256:" + digest
        self.write(sidecar, json.dumps(value))

    def test_flipped_byte_in_each_file(self) -> None:
        for prefix in ("bio", "bio_questions"):
            with open(self.path(prefix + ".json"), encoding="utf-8") as file:
                names = list(json.load(file)["checksums"])
            for name in [*names, "tokenizer.json"]:
                with self.subTest(file=name):
                    self.damage(name, -5)
                    self.run_bad(3, f"{name}: .*(checksum|tokenizer)", "verify", self.path(prefix))
                    self.damage(name, -5)
            self.run_ok("verify", self.path(prefix))

    def test_contents_are_checked_too(self) -> None:
        for sidecar, name, position, message in (
            ("bio.json", "bio.idx", 0, "Megatron"),
            ("bio.json", "bio.idx", 34, "offsets|index says"),
            ("bio.json", "bio.values.npy", 131, "pool"),
            ("bio.json", "bio.spans.npy", 129, "span"),
            ("bio_questions.json", "bio_questions.q.npy", 131, "index"),
        ):
            with self.subTest(file=name, position=position):
                before = self.contents()
                self.damage(name, position)
                self.reseal(sidecar, name)
                self.run_bad(3, f"{name[:-4]}.*({message})", "verify", self.path(sidecar))
                for changed in (name, sidecar):
                    self.write(changed, before[changed])

    def test_ids_beyond_the_vocabulary(self) -> None:
        self.write("bio.bin", self.contents("bio.bin")["bio.bin"][:-2] + b"\xff\xff")
        self.reseal("bio.json", "bio.bin")
        self.run_bad(3, "bio.bin: id 65535", "verify", self.prefix)

    def test_truncated_newer_and_missing(self) -> None:
        files = self.contents()
        self.write("bio.idx", files["bio.idx"][:-8])
        self.reseal("bio.json", "bio.idx")
        self.run_bad(3, "bio.idx: .* bytes, expected", "verify", self.prefix)
        self.write("bio.json", files["bio.json"].replace(b'"format_version": 1', b'"format_version": 2'))
        self.run_bad(3, "format_version 2", "verify", self.prefix)
        self.write("bio.json", b"[]")
        self.run_bad(3, "not a JSON object", "verify", self.prefix)
        self.run_bad(3, "No such file", "verify", self.path("nothing"))


if __name__ == "__main__":
    unittest.main()
