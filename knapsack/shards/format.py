"""What dev/formats.md, 1 to 3, fixes: numbers and names that the writers and the reader share."""

from __future__ import annotations

import numpy as np

FORMAT_VERSION = 1
IDX_MAGIC = b"MMIDIDX\0\0"
IDX_HEADER = "<9sQBQQ"  # magic, version, dtype code, sequences, document ends
DTYPE_CODES = {8: np.dtype("<u2"), 4: np.dtype("<i4")}

# question sets: the columns of .q.npy, all u32
QUESTION_COLUMNS = ("relation", "attribute", "template", "kind", "entity", "group", "candidates", "aliases")
UNKNOWN_POPULARITY = 2**32 - 1
SEEN, HELDOUT, QUESTION = KINDS = ("seen", "heldout", "question")  # of the templates in which facts are asked
REDRAWN: dict[str, int | str] = {"wordings": "redrawn", "orders": "redrawn"}


def token_dtype(vocab_size: int) -> np.dtype:
    return DTYPE_CODES[8] if vocab_size <= 65536 else DTYPE_CODES[4]
