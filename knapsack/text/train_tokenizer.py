"""Trains a small byte-level BPE vocabulary, GPT-2 style; id 0 is <|endoftext|>. Writes a folder that --tokenizer takes.

  knapsack tokenizer web.txt.zst@20M synbio.txt --vocab-size 2048 --out data/bpe2048
  knapsack tokenizer web.txt.zst@20M synbio.txt --vocab-size 2048 --special '<|bio|>' --out data/tagged

INPUT@SIZE takes documents until SIZE bytes (such as 20M) are reached; INPUT@F with F below 1 takes that share of the
documents, chosen by their hash. So a vocabulary can be trained on the mixture that the model will see.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from knapsack.common.arguments import make_parser, parse_count
from knapsack.common.errors import DataError, UsageError
from knapsack.common.files import write_files
from knapsack.common.survival import warn
from knapsack.common.tokenizer import (
    END_OF_TEXT,
    byte_level_bpe,
    hugging_face,
    library_threads,
    load_tokenizer,
    transformers_config,
)
from knapsack.text.documents import Inputs, document_hash

LARGEST_VOCABULARY = 10_000_000  # the library sets memory aside for all of them at once
SMALLEST_VOCABULARY = 257  # all bytes and <|endoftext|>


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("tokenizer", __doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT[@SIZE|@F]", help="files as in knapsack text")
    parser.add_argument("--vocab-size", type=parse_count, required=True, metavar="V", help="ids in all, at least 257")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="TOKEN",
        help="a further special token (ids from 1 on), such as one for knapsack synbio --tag; may be given again",
    )
    parser.add_argument("--key", help="JSON key of the text (default: text, else content)")
    parser.add_argument("--skip-bad", action="store_true", help="skip lines and records that cannot be read")
    options = parser.parse_args(argv)
    special = [END_OF_TEXT, *options.special]
    for number, token in enumerate(special):
        if token in special[:number] or len(token) < 2 or token != token.strip() or not token.isprintable():
            parser.error(
                f"--special '{token}': expected tokens of two signs or more, with no space at their ends, each once"
            )
    smallest = SMALLEST_VOCABULARY + len(options.special)
    if options.vocab_size > LARGEST_VOCABULARY:
        parser.error(f"--vocab-size must be at most {LARGEST_VOCABULARY:,}")
    if options.vocab_size < smallest:
        parser.error(f"--vocab-size must be at least {smallest}: all bytes and {', '.join(special)}")
    return options


def parse_input(text: str) -> tuple[str, float, int | None]:
    """File, share of its documents, bytes to take at most."""
    name, at, amount = text.rpartition("@")
    if not at or os.path.exists(text):
        return text, 1.0, None
    try:
        share = float(amount)
        if 0.0 < share <= 1.0:
            return name, share, None
    except ValueError:
        pass
    try:
        return name, 1.0, parse_count(amount)
    except argparse.ArgumentTypeError:
        raise UsageError(f"{text}: after '@' expected a share in (0, 1] or a size such as 20M") from None


class Sample:
    """The documents of one input that the vocabulary is trained on."""

    def __init__(self, text: str, key: str | None, skip_bad: bool) -> None:
        name, self.share, self.limit = parse_input(text)
        self.inputs = Inputs([name], key, skip_bad)

    def texts(self) -> Iterator[str]:
        """Long documents in pieces, unless their hash is asked for."""
        taken = 0
        whole = self.share < 1.0
        for text in self.inputs.documents() if whole else (piece.text for piece in self.inputs.pieces()):
            if whole and document_hash(text) >= self.share * 2.0**64:
                continue
            yield text
            taken += len(text.encode())
            if self.limit is not None and taken >= self.limit:
                return


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    hf = hugging_face()
    tokenizer = byte_level_bpe(hf.models.BPE())
    trainer = hf.trainers.BpeTrainer(
        vocab_size=options.vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT, *options.special],
        initial_alphabet=sorted(hf.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=sys.stderr.isatty(),
    )
    samples = [Sample(text, options.key, options.skip_bad) for text in options.inputs]
    with library_threads():
        tokenizer.train_from_iterator((text for sample in samples for text in sample.texts()), trainer)
    size = tokenizer.get_vocab_size()
    if size == SMALLEST_VOCABULARY + len(options.special) < options.vocab_size:
        raise DataError(f"{', '.join(options.inputs)}: no text to learn a vocabulary from")
    files = {"tokenizer.json": tokenizer.to_str(pretty=True).encode()}
    files["tokenizer_config.json"] = transformers_config(END_OF_TEXT)
    write_files({os.path.join(options.out, name): data for name, data in files.items()})
    load_tokenizer(options.out)
    warn(said for sample in samples for said in sample.inputs.warnings())
    print(f"{options.out}: {size} ids")
    if size < options.vocab_size:
        print(f"warning: the text yields only {size} of {options.vocab_size} ids", file=sys.stderr)
