"""What knowledge sources and question sets of every kind share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SEEN, HELDOUT, QUESTION = KINDS = ("seen", "heldout", "question")
REDRAWN = {"wordings": "redrawn", "orders": "redrawn"}


@dataclass
class Batch:
    """Sequences one after another. `spans` (sequences, 2) is where the value stands; questions have none."""

    tokens: np.ndarray
    lengths: np.ndarray
    spans: np.ndarray | None
    text_bytes: int

    def split(self) -> list[np.ndarray]:
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])


@dataclass
class Written:
    """What the summary says about a file."""

    documents: int
    tokens: int
    document_tokens: float = 0.0  # of a composed document, on average, without EOT
