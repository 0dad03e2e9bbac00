"""Files that are there whole or not at all: written under a temporary name, hashed on the way, synced, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any, BinaryIO

import numpy as np

CHUNK = 1 << 20


def sync_folder(folder: str) -> None:
    """A rename is on the disk only when its folder is."""
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicFile:
    """Written as PATH.tmp (its folder is made), appears as PATH at commit(). Hashes what passes through. `with
    AtomicFile(path) as file:` removes what was not committed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.hash = hashlib.sha256()
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.file: BinaryIO = open(path + ".tmp", "wb", buffering=CHUNK)

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, data: bytes | memoryview | np.ndarray) -> int:
        view = data if isinstance(data, bytes) else memoryview(np.ascontiguousarray(data)).cast("B")
        self.hash.update(view)
        return self.file.write(view)

    def sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def rename(self) -> None:
        os.replace(self.path + ".tmp", self.path)

    def commit(self) -> None:
        self.sync()
        self.rename()
        sync_folder(os.path.dirname(self.path))

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # on a full disk closing fails again
            self.file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path + ".tmp")


def write_file(path: str, data: bytes) -> None:
    """A whole file at once."""
    with AtomicFile(path) as file:
        file.write(data)
        file.commit()


def dump_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
