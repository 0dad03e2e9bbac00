"""Lines of plain and packed files; a packed file that is cut off, or has something else after its end, is an error."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from knapsack.common.errors import DataError, ScriptError

BLOCK = 1 << 18
PACKED_BLOCK = 1 << 12  # which may unpack to hundreds of times as much
LONGEST_WINDOW = 1 << 31  # of zstd --long=31; memory goes up to what the file says, not to this


def unpack(name: str, raw: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a plain, .gz, .bz2 or .zst file, from 1 on, without their ends."""
    for number, line, _ in unpack_parts(name, raw, None):
        yield number, line


def unpack_parts(name: str, raw: BinaryIO, limit: int | None) -> Iterator[tuple[int, bytes, bool]]:
    """The same with long lines in parts of about `limit` bytes: number of the line, bytes, whether the line ends
    there."""
    number = 1
    try:
        for line, ends in split_lines(open_packed(name, raw), limit):
            yield number, line, ends
            number += ends
    except packing_errors(name) as error:
        if getattr(error, "errno", None) is not None:  # the disk's, not the packer's
            raise
        raise DataError(f"{name}:{number}: packed data are broken or cut off ({error})") from None


def open_packed(name: str, raw: BinaryIO) -> Any:
    """A stream with read(size) of what a .gz, .tgz, .bz2 or .zst file holds, or the file itself."""
    ending = os.path.splitext(name.lower())[1]
    if ending in (".gz", ".tgz"):
        return gzip.GzipFile(fileobj=raw)
    if ending == ".bz2":
        return Frames(bz2.BZ2Decompressor, raw)
    if ending == ".zst":
        return Frames(zstandard_module(name).ZstdDecompressor(max_window_size=LONGEST_WINDOW).decompressobj, raw)
    return raw


def packing_errors(name: str) -> tuple[type[Exception], ...]:
    """What reading such a stream raises where its data are broken; an OSError with a number is the disk's."""
    others = (zstandard_module(name).ZstdError,) if name.lower().endswith(".zst") else ()
    return EOFError, OSError, zlib.error, *others


def zstandard_module(name: str) -> Any:
    try:
        import zstandard
    except ImportError:
        raise ScriptError(
            f"{name}: reading .zst needs the Python package 'zstandard' (pip install zstandard)"
        ) from None
    return zstandard


class Frames:
    """read() over one or more frames, each with a decompressor of its own. The libraries' readers take a file that is
    cut off for a shorter one (zstandard), or end without a word at a damaged frame (bz2.BZ2File); here both are
    errors."""

    def __init__(self, make: Callable[[], Any], raw: BinaryIO) -> None:
        self.make, self.raw = make, raw
        self.frame, self.pending, self.in_frame = make(), b"", False

    def read(self, size: int) -> bytes:
        out = b""
        while not out:
            data = self.pending or self.raw.read(PACKED_BLOCK)
            if not data and self.in_frame:
                raise EOFError("the last frame does not end")
            if not data:
                return b""
            out, self.in_frame, self.pending = self.frame.decompress(data), True, b""
            if self.frame.eof:
                self.pending = self.frame.unused_data
                self.frame, self.in_frame = self.make(), False
        return out


def split_lines(stream: Any, limit: int | None) -> Iterator[tuple[bytes, bool]]:
    """Time and memory of a long line are linear: its blocks are joined once."""
    parts: list[bytes] = []
    size = 0
    while block := stream.read(BLOCK):
        first, *lines = block.split(b"\n")
        parts.append(first)
        size += len(first)
        if lines:
            yield b"".join(parts), True
            yield from ((line, True) for line in lines[:-1])
            parts, size = [lines[-1]], len(lines[-1])
        if limit is not None and size >= limit:
            yield b"".join(parts), False
            parts, size = [], 0
    if size:
        yield b"".join(parts), True


def decode(name: str, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}:{number}: not UTF-8 (byte {error.start} of the line)") from None
