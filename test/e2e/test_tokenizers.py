"""Tokenizers of the families, each small and with its family's own way of cutting and spelling, from text to shard to
the trainer's screen: the text that comes back is the text that went in, and what a checkpoint says of it is right."""

import json
import pathlib
import struct
import subprocess
import sys
import unittest

import numpy as np
from common import EVAL, ROOT, TRAIN, EndToEndTest

try:
    import tokenizers as hf
except ImportError:
    hf = None

# Accents, marks that combine, scripts without spaces, emoji, runs of spaces and of digits, line ends.
DOCUMENTS = [
    "Zürich's 1234567 people don't mind  two   spaces.\n\n\tA tab, an e-mail: a.b@c.de",
    "東京は日本の首都です。กรุงเทพ हिन्दी — naïve café 🙂🙃 in 2024's",
    "Plain words, then words again: the capital of Freedonia is Fredville, since 1881.",
]
# Of the published tokenizers: Llama 3's and Qwen2's rule for cutting a text into words, before the merges.
WORDS_OF_LLAMA3 = "|".join(
    (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*")
    + (r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+")
)
WORDS_OF_QWEN2 = WORDS_OF_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def trained(tokenizer: object, special: list, alphabet: list) -> object:
    trainer = hf.trainers.BpeTrainer(
        vocab_size=len(special) + len(alphabet) + 150,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(DOCUMENTS[2:] * 5, trainer)  # of the others most is spelt in bytes
    return tokenizer


def spaces_and_bytes() -> tuple[object, str]:
    """Llama 2 and TinyLlama: spaces as U+2581, bytes as <0xNN> where there is no token."""
    tokenizer = hf.Tokenizer(hf.models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Metaspace()  # merges that stay within a word, as theirs do
    special = ["<unk>", "<s>", "</s>"]
    trained(tokenizer, [*special, *(f"<0x{i:02X}>" for i in range(256))], [])
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][
        : len(special)
    ]  # bytes are tokens like others: the trainer added them
    tokenizer = hf.Tokenizer.from_str(json.dumps(state | {"pre_tokenizer": None}))
    tokenizer.normalizer = hf.normalizers.Sequence(
        [hf.normalizers.Prepend("\u2581"), hf.normalizers.Replace(" ", "\u2581")]
    )
    back = hf.decoders
    tokenizer.decoder = back.Sequence(
        [back.Replace("\u2581", " "), back.ByteFallback(), back.Fuse(), back.Strip(" ", 1, 0)]
    )
    return tokenizer, "</s>"


def byte_level(words: list, normalizer: object = None, end: str = "<|endoftext|>") -> tuple[object, str]:
    tokenizer = hf.Tokenizer(hf.models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    last = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not any("Split" in str(w) for w in words))
    tokenizer.pre_tokenizer = hf.pre_tokenizers.Sequence([*words, last])
    tokenizer.decoder = hf.decoders.ByteLevel()
    return trained(tokenizer, [end], hf.pre_tokenizers.ByteLevel.alphabet()), end


def split(pattern: str) -> object:
    return hf.pre_tokenizers.Split(hf.Regex(pattern), behavior="isolated", invert=False)


KINDS = {
    "tinyllama": spaces_and_bytes,
    "llama3": lambda: byte_level([split(WORDS_OF_LLAMA3)], end="<|end_of_text|>"),
    "qwen2": lambda: byte_level([split(WORDS_OF_QWEN2)], hf.normalizers.NFC()),
    "smollm2": lambda: byte_level([hf.pre_tokenizers.Digits(individual_digits=True)]),
}


def read_sequences(prefix: pathlib.Path) -> list[list[int]]:
    """Of a shard with ids of two bytes, as dev/formats.md has it."""
    index = prefix.with_name(prefix.name + ".idx").read_bytes()
    (count,) = struct.unpack_from("<Q", index, 18)
    lengths = np.frombuffer(index, "<i4", count, 34)
    ids = np.fromfile(prefix.with_name(prefix.name + ".bin"), "<u2")
    return [run.tolist() for run in np.split(ids, np.cumsum(lengths)[:-1])]


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)


@unittest.skipIf(hf is None, "the Python package tokenizers is not installed")
class FamiliesTest(EndToEndTest):
    def save(self, kind: str, name: str) -> tuple[pathlib.Path, str]:
        """A folder with the tokenizer, and the token that ends a document."""
        tokenizer, end = KINDS[kind]()
        folder = self.data / name
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        return folder, end

    def prepare(self, kind: str) -> tuple[pathlib.Path, str]:
        folder, end = self.save(kind, kind)
        lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in 4 * DOCUMENTS)
        (folder / "in.jsonl").write_text(lines)
        done = run(
            sys.executable, "-m", "knapsack", "text", folder / "in.jsonl", "--tokenizer", folder, "--eot", end,
            "--out", folder / "web", "--workers", "1",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return folder, end

    def test_text_comes_back(self) -> None:
        for kind in KINDS:
            with self.subTest(kind):
                folder, end = self.prepare(kind)
                side = json.loads((folder / "web.json").read_text())
                self.assertEqual(side["bytes"], 4 * sum(len(text.encode()) for text in DOCUMENTS))
                flags = (
                    *("--model", "llama:L1:C32:H2:KV1:F48", "--source", f"web={folder}/web.bin", "--micro-batch", "1"),
                    *("--seq-len", "512", "--batch-tokens", "512", "--steps", "1"),  # a document is one piece
                )
                order = run(TRAIN, *flags, "--print-order", "0")
                self.assertEqual(order.returncode, 0, order.stderr)
                shown = order.stdout
                for text in DOCUMENTS:
                    self.assertIn("\n    " + text.replace("\n", "\\n").replace("\t", "\\x09") + "\n", shown)
                out = folder / "run"
                done = run(TRAIN, *flags, "--out", out)
                self.assertEqual(done.returncode, 0, done.stderr)
                (checkpoint,) = (out / "checkpoints").iterdir()
                ours = hf.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
                config = json.loads((checkpoint / "config.json").read_text())
                self.assertEqual(ours.token_to_id(end), config["eos_token_id"])
                settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
                self.assertEqual(settings.get("eos_token"), end)

    def test_biographies_are_tokenized_as_their_text(self) -> None:
        for kind in KINDS:
            with self.subTest(kind):
                folder, end = self.save(kind, f"{kind}_bio")
                done = run(
                    sys.executable, "-m", "knapsack", "synbio", "--people", "5", "--tokenizer", folder, "--eot", end,
                    "--templates", "2", "--pool-size", "birth_date=336", "--out", folder / "bio", "--workers", "1",
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stderr)
                tokenizer = hf.Tokenizer.from_file(str(folder / "tokenizer.json"))
                facts = json.loads((folder / "bio.facts.json").read_text())
                names = (folder / "bio.names.txt").read_text().splitlines()
                sequences, spans = read_sequences(folder / "bio"), np.load(folder / "bio.spans.npy")
                each = len(sequences) // len(names)  # sentences of a person: slot, template, form
                forms = len(facts["forms"])
                self.assertEqual(forms, 2)  # the first sentence of a document, and one that continues it
                for person, name in enumerate(names):
                    of = range(person * each, (person + 1) * each)
                    document = [i for at in (of[0], of[-1]) for i in sequences[at]]
                    self.assertEqual(
                        tokenizer.encode(tokenizer.decode(document), add_special_tokens=False).ids, document
                    )
                    for number, at in enumerate(of):
                        slot = facts["slots"][number // (facts["templates"] * forms)]["name"]
                        template = facts["template_texts"][slot][number // forms % facts["templates"]]
                        first, last = spans[at]
                        value = tokenizer.decode(sequences[at][first:last]).strip()
                        text = template.format(name=name, value=value)
                        self.assertEqual(tokenizer.decode(sequences[at]).strip(), text)

    def test_a_continuation_goes_on_after_its_prompt(self) -> None:
        for kind in ("tinyllama", "llama3"):  # decoded by itself, the first's would begin without its space
            with self.subTest(kind):
                folder, end = self.save(kind, f"{kind}_said")
                done = run(
                    sys.executable, "-m", "knapsack", "synbio", "--people", "4", "--tokenizer", folder, "--eot", end,
                    "--templates", "1", "--out", folder / "bio", "--workers", "1",
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stderr)
                out = folder / "run"
                done = run(
                    TRAIN, "--model", "llama:L2:C64:H4:KV2:F96", "--source", f"bio={folder}/bio.bin",
                    "--seq-len", "128", "--batch-tokens", "512", "--steps", "250", "--lr", "0.005", "--out", out,
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stderr)
                (checkpoint,) = (out / "checkpoints").iterdir()
                done = run(
                    EVAL, "--checkpoint", checkpoint, "--questions", folder / "bio_questions", "--generate",
                    folder / "said.jsonl", "--generate-tokens", "30",
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stderr)
                lines = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
                right = [line for line in lines if line["normalized"] and not line["prompt"].endswith(" ")]
                self.assertGreater(len(right), 5)
                for line in right:
                    self.assertRegex(line["text"], "^ [^ ]", line["prompt"])


if __name__ == "__main__":
    unittest.main()
