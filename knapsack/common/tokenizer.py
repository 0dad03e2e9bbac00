"""Loads a tokenizer for the data scripts and puts its file next to the shards, where the C++ side decodes with it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from knapsack.common.errors import DataError, ScriptError, UsageError
from knapsack.common.files import dump_json, know_input, make_folder, open_input, parse_json, share, write_file

# Work is spread over processes; threads of the library inside each of them would only compete, and hang after a fork.
THREADS = "TOKENIZERS_PARALLELISM"
os.environ[THREADS] = "false"

WORD_CACHE = 1 << 18  # words whose ids are remembered; the library's own 10,000 cost a quarter of the speed
END_OF_TEXT = "<|endoftext|>"
GPT2_PAIRS = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))


@contextlib.contextmanager
def library_threads() -> Iterator[None]:
    """Where one process does all the work."""
    os.environ[THREADS] = "true"
    try:
        yield
    finally:
        os.environ[THREADS] = "false"


def hugging_face() -> Any:
    """The `tokenizers` module; imported late so that scripts give --help and verify files without it."""
    try:
        import tokenizers
    except ImportError:
        raise ScriptError(
            "the Python package 'tokenizers' is missing; install it with: pip install tokenizers"
        ) from None
    return tokenizers


@dataclass(frozen=True)
class TokenizerInfo:
    """What the sidecar says about the tokenizer."""

    name: str
    sha256: str
    file: str
    vocab_size: int
    eot_id: int
    content: str = ""  # tokenizer_content; empty: not known


@dataclass
class Encoder:
    """A tokenizer that never produces a special token from text, its end-of-text id, and its file."""

    tokenizer: Any
    info: TokenizerInfo
    file_bytes: bytes
    config_bytes: bytes

    @property
    def eot_id(self) -> int:
        return self.info.eot_id

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def encode_after(self, before: str, text: str) -> tuple[list[int], bool]:
        """Ids of a text that goes on after `before`, and whether the tokenizer cuts between the two: else the place
        of the cut shows in the tokens."""
        if not before:
            return self.encode_batch([text])[0], True
        first, both = self.encode_batch([before, before + text])
        if both[: len(first)] == first:
            return both[len(first) :], True
        return self.encode_batch([text])[0], False

    def after_word(self, text: str) -> list[int]:
        """Ids of a text that follows a word at once, such as a full stop. Alone, some tokenizers give it a space."""
        return self.encode_after("a", text)[0]

    def decode_batch(self, runs: list[list[int]]) -> list[str]:
        return decode_batch(self.tokenizer, runs)

    def decode(self, ids: list[int]) -> str:
        return self.decode_batch([ids])[0]

    @functools.cached_property
    def unknown_id(self) -> int | None:
        """Of the token that stands for all that has none."""
        model = json.loads(self.tokenizer.to_str()).get("model", {})
        unknown = model.get("unk_token")
        return self.tokenizer.token_to_id(unknown) if isinstance(unknown, str) else model.get("unk_id")

    def unknown_in(self, ids: list[int]) -> int:
        return ids.count(self.unknown_id) if self.unknown_id is not None else 0

    def install(self, prefix: str) -> None:
        """Copy the tokenizer into PREFIX's folder. A folder holds one tokenizer."""
        folder = os.path.dirname(prefix) or "."
        make_folder(folder)
        path = os.path.join(folder, self.info.file)
        if os.path.exists(path):
            with open_input(path) as file:
                found = file.read()
                if found != self.file_bytes and not is_tokenizer(found, self.info.sha256, self.info.content):
                    raise UsageError(
                        f"{path} is another tokenizer than '{self.info.name}'; choose another folder for --out"
                    )
                self.info = replace(self.info, sha256=hashlib.sha256(found).hexdigest())  # the file that is there
        else:
            write_file(path, self.file_bytes)
            share(path)
        config = os.path.join(folder, "tokenizer_config.json")
        if not os.path.exists(config):
            write_file(config, self.config_bytes)
            share(config)


def decode_batch(tokenizer: Any, runs: list[list[int]]) -> list[str]:
    """As the file's decoder has it; where it has none, as its vocabulary is written."""
    if tokenizer.decoder is None and any(tokenizer.token_to_id(mark) is not None for mark in ("\u0120", "\u2581")):
        decode = hugging_face().decoders.ByteLevel().decode
        texts = ("".join(tokenizer.id_to_token(id) or "" for id in ids) for ids in runs)
        return [decode([text.replace("\u2581", "\u0120")]) for text in texts]
    return tokenizer.decode_batch(runs, skip_special_tokens=False)


def tokenizer_content(data: bytes) -> str:
    """SHA-256 of what turns text into ids (vocabulary, merges, added tokens, normalizer, pre-tokenizer) in the
    canonical form of dev/formats.md, 1.4: the same whatever library version wrote the file. util/tokenizer_id.cpp has
    the same."""
    root = json.loads(data)
    if not isinstance(root, dict):
        raise ValueError("not a JSON object")
    kept = {key: root[key] for key in ("model", "normalizer", "pre_tokenizer", "added_tokens") if key in root}
    model = kept.get("model")
    if isinstance(model, dict):
        model.setdefault("type", "BPE")
        if isinstance(model.get("merges"), list):
            model["merges"] = [
                merge.split(" ", 1) if isinstance(merge, str) and " " in merge else merge for merge in model["merges"]
            ]
    for key in ("normalizer", "pre_tokenizer"):
        _set_defaults(kept.get(key))
    if isinstance(kept.get("added_tokens"), list):
        kept["added_tokens"].sort(key=lambda token: token.get("id", -1) if isinstance(token, dict) else -1)
    parts: list[bytes] = []
    _canonical(kept, parts)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _set_defaults(part: Any) -> None:
    """Older libraries leave away what newer ones write at its default, and two keys have other names."""
    if isinstance(part, list):
        for item in part:
            _set_defaults(item)
    if not isinstance(part, dict):
        return
    for item in part.values():
        _set_defaults(item)
    if part.get("type") == "ByteLevel":
        part.pop("trim_offsets", None)
        if part.get("use_regex") is True:
            del part["use_regex"]
    if part.get("type") == "Metaspace":
        part.setdefault("prepend_scheme", "never" if part.get("add_prefix_space") is False else "always")
        part.pop("add_prefix_space", None)
        part.pop("str_rep", None)
        if part.get("split") is True:
            del part["split"]


def _canonical(value: Any, parts: list[bytes]) -> None:
    """Every value after a letter for its type, texts and numbers with an end of their own; members that say what is so
    without them (null, false, an empty text) are left out."""
    if isinstance(value, dict):
        parts.append(b"{")
        for key in sorted(value):
            if value[key] is not None and value[key] is not False and value[key] != "":
                _canonical(key, parts)
                _canonical(value[key], parts)
        parts.append(b"}")
    elif isinstance(value, list):
        parts.append(b"[")
        for item in value:
            _canonical(item, parts)
        parts.append(b"]")
    elif isinstance(value, str):
        text = value.encode()
        parts.append(b"s%d:%b" % (len(text), text))
    elif isinstance(value, float):
        parts.append(b"d" + struct.pack(">d", value).hex().encode())
    elif isinstance(value, bool):
        parts.append(b"t" if value else b"f")
    elif value is None:
        parts.append(b"n")
    else:
        parts.append(b"i%d;" % value)


def is_tokenizer(data: bytes, sha256: str, content: str = "") -> bool:
    """Whether a file's bytes are the tokenizer that a sidecar names, by the file or, where known, by its content."""
    if hashlib.sha256(data).hexdigest() == sha256:
        return True
    try:
        return bool(content) and tokenizer_content(data) == content
    except (ValueError, RecursionError):
        return False


def transformers_config(eot: str) -> bytes:
    """tokenizer_config.json with which `transformers` opens a folder that holds tokenizer.json."""
    return dump_json(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": eot,
            "eos_token": eot,
            "unk_token": eot,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
        }
    )


def byte_level_bpe(model: Any) -> Any:
    """A Tokenizer that cuts text as GPT-2 does around a BPE model."""
    hf = hugging_face()
    tokenizer = hf.Tokenizer(model)
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = hf.decoders.ByteLevel()
    tokenizer.post_processor = hf.processors.ByteLevel(trim_offsets=False)
    return tokenizer


def load_tokenizer(path: str, eot: str | None = None) -> Encoder:
    """`path`: a tokenizer.json, a folder that holds one, or a folder (or its vocabulary file) with GPT-2's two
    files."""
    file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
    pair = _gpt2_pair(path)
    if os.path.isdir(path) and not os.path.exists(file) and pair is None:
        file = _only_json(path)
    try:
        if pair is not None and not (os.path.isdir(path) and os.path.exists(file)):
            tokenizer, data, name = _load_pair(*pair, eot or END_OF_TEXT)
        else:
            with open_input(file) as stream:
                data = stream.read()
            tokenizer = hugging_face().Tokenizer.from_str(data.decode())
            stem = os.path.splitext(os.path.basename(file))[0]
            name = os.path.basename(os.path.dirname(os.path.abspath(file))) if stem == "tokenizer" else stem
    except ScriptError:
        raise
    except OSError as error:
        raise DataError(f"tokenizer {error.filename or file}: {error.strerror or error}") from None
    except Exception as error:  # the library raises bare Exception for a malformed file
        raise DataError(f"tokenizer {path}: not a tokenizer.json nor GPT-2 vocabulary and merges ({error})") from None
    return _finish(tokenizer, data, name, os.path.dirname(file), eot or END_OF_TEXT)


def _finish(tokenizer: Any, data: bytes, name: str, folder: str, eot: str) -> Encoder:
    eot_id = tokenizer.token_to_id(eot)
    if eot_id is None:
        own = _own_end(folder)
        hint = f"; its own is {own}: --eot '{own}'" if own else "; name the one that ends a document with --eot TOKEN"
        raise UsageError(f"tokenizer '{name}' has no token {eot}{hint}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # '<|endoftext|>' inside a document is text, not the end of the document
    if hasattr(tokenizer.model, "_resize_cache"):
        tokenizer.model._resize_cache(WORD_CACHE)
    if eot_id in tokenizer.encode(f"a {eot} b", add_special_tokens=False).ids:
        raise UsageError(
            f"tokenizer '{name}': plain text can produce {eot}, so it cannot end documents; choose a special "
            "token with --eot TOKEN"
        )
    config = os.path.join(folder, "tokenizer_config.json")
    if os.path.exists(config):
        with open_input(config) as file:
            config_bytes = file.read()
    else:
        config_bytes = transformers_config(eot)
    vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    info = TokenizerInfo(
        name, hashlib.sha256(data).hexdigest(), "tokenizer.json", vocab_size, eot_id, tokenizer_content(data)
    )
    return Encoder(tokenizer, info, data, config_bytes)


def _own_end(folder: str) -> str | None:
    """The eos_token of the folder's tokenizer_config.json, None where none is named there."""
    try:
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
            token = json.load(file).get("eos_token")
    except (OSError, ValueError, AttributeError):
        return None
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) and token else None


def _gpt2_pair(path: str) -> tuple[str, str] | None:
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    for vocabulary, merges in GPT2_PAIRS:
        both = os.path.join(folder, vocabulary), os.path.join(folder, merges)
        named = os.path.isdir(path) or os.path.basename(path) in (vocabulary, merges)
        if named and all(map(os.path.exists, both)):
            return both
    return None


def _load_pair(vocabulary: str, merges: str, eot: str) -> tuple[Any, bytes, str]:
    hf = hugging_face()
    know_input(merges)
    with open_input(vocabulary) as file:
        if eot not in parse_json(file.read(), vocabulary):
            raise UsageError(f"{vocabulary} has no token {eot}; name the one that ends a document with --eot TOKEN")
    tokenizer = byte_level_bpe(hf.models.BPE.from_file(vocabulary, merges))
    tokenizer.add_special_tokens([hf.AddedToken(eot, special=True, normalized=False)])
    return (
        tokenizer,
        tokenizer.to_str(pretty=True).encode(),
        os.path.basename(os.path.dirname(os.path.abspath(vocabulary))),
    )


def _only_json(folder: str) -> str:
    """A folder with no tokenizer.json may hold one file of another name that ends so, such as 20B_tokenizer.json."""
    found = [name for name in sorted(os.listdir(folder)) if name.endswith("tokenizer.json")]
    if len(found) != 1:
        raise DataError(
            f"{folder}: no tokenizer.json, nor GPT-2's encoder.json and vocab.bpe (vocab.json and merges.txt)"
        )
    return os.path.join(folder, found[0])
