"""Files in and out. What is read is a regular file, and known from then on; what is written is there whole or not at
all: under a temporary name, hashed on the way, synced, renamed. An output is never a device or pipe, never a file that
the command reads, never one that it writes under another name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from knapsack.common.errors import DataError, UsageError

CHUNK = 1 << 20
KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISSOCK, "a socket"))


class _Command:
    """What the command at hand has read and writes: two names of one file are one file."""

    def __init__(self, running: bool = False) -> None:
        self.running = running
        self.inputs: dict[tuple[int, int], str] = {}
        self.outputs: dict[str, str] = {}  # by real path: the name given
        self.made: list[str] = []  # folders and whole files, in order
        self.shared: set[str] = set()  # those that shards of other commands in the same folder may need


_command = _Command()


def begin_command() -> None:
    global _command
    _command = _Command(running=True)


def end_command(undo: bool) -> None:
    """`undo`: what the command has made is half of something; it takes it away, the latest first."""
    global _command
    for path in reversed(_command.made) if undo else ():
        with contextlib.suppress(OSError):
            if os.path.isdir(path):
                os.rmdir(path)
            elif path not in _command.shared or not has_shards(os.path.dirname(path)):
                os.unlink(path)
    _command = _Command()


def has_shards(folder: str) -> bool:
    """Finished or begun."""
    names = (name for name in os.listdir(folder) if name.endswith((".bin", ".bin.tmp")))
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def share(path: str) -> None:
    """Shards that come into the folder meanwhile may need this file."""
    _command.shared.add(os.path.realpath(path))


def make_folder(path: str) -> None:
    path = os.path.realpath(path or ".")
    missing = []
    while not os.path.exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            _command.made.append(folder)
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def irregular(path: str) -> str | None:
    """What else than a file or folder is there, without opening it: opening a pipe may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return next((kind for test, kind in KINDS if test(mode)), None)


def know_input(path: str) -> str:
    """Refuses what is no regular file, and notes that the command reads it. Gives the path back. What is not there is
    for whoever opens it to say."""
    if kind := irregular(path):
        raise DataError(f"{path}: expected a file, found {kind}; write it to a file first")
    with contextlib.suppress(OSError):
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode) and _command.running:
            _command.inputs[found.st_dev, found.st_ino] = path
    return path


def open_input(path: str) -> BinaryIO:
    """Every input is opened here, or goes through know_input() first."""
    return open(know_input(path), "rb")


def refuse_input(path: str) -> None:
    """An output must not be a file that this command reads, under whatever name."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(path)
        if name := _command.inputs.get((found.st_dev, found.st_ino)):
            same = "" if name == path else f" (the same file as {name})"
            raise UsageError(f"{path}: an input of this command{same}; choose another name for the output")


def check_output(path: str) -> None:
    """Refuses what a finished file must not replace, and names that no JSON file could repeat."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path!r}: the name of an output is not UTF-8; choose another") from None
    if kind := irregular(path):
        raise UsageError(f"{path}: the output is {kind}, which a finished file would replace; choose a file")
    if os.path.isdir(path):
        raise UsageError(f"{path}: the output is a folder; choose a file")
    refuse_input(path)


def sync_folder(folder: str) -> None:
    """A rename is on the disk only when its folder is."""
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """The system does not say which file did not fit on the disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


class AtomicFile:
    """Written as PATH.tmp (its folder is made), appears as PATH at commit(). Hashes what passes through. `with
    AtomicFile(path) as file:` removes what was not committed. A link is followed."""

    def __init__(self, path: str) -> None:
        self.path, self.real = path, os.path.realpath(path)
        self.hash = hashlib.sha256()
        check_output(path)
        check_output(self.temporary)
        if (other := _command.outputs.get(self.real)) is not None:
            raise UsageError(f"{path}: another output of this command ({other}) is the same file; choose another name")
        make_folder(os.path.dirname(self.real))
        self.file: BinaryIO = open(self.temporary, "wb", buffering=CHUNK)
        self.renamed = False
        if _command.running:
            _command.outputs[self.real] = path

    @property
    def temporary(self) -> str:
        return self.real + ".tmp"

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, data: bytes | memoryview | np.ndarray) -> int:
        view = data if isinstance(data, bytes) else memoryview(np.ascontiguousarray(data)).cast("B")
        self.hash.update(view)
        with naming(self.path):
            return self.file.write(view)

    def sync(self) -> None:
        with naming(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()

    def rename(self) -> None:
        refuse_input(self.path)  # inputs that were opened since
        os.replace(self.temporary, self.real)
        self.renamed = True
        _command.made.append(self.real)

    def commit(self) -> None:
        self.sync()
        self.rename()
        sync_folder(os.path.dirname(self.real))

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # on a full disk closing fails again
            self.file.close()
        if not self.renamed:
            _command.outputs.pop(self.real, None)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.temporary)


def write_file(path: str, data: bytes) -> None:
    """A whole file at once."""
    with AtomicFile(path) as file:
        file.write(data)
        file.commit()


class FileGroup:
    """Files that belong together: none appears before all are on the disk. `with FileGroup() as group:` removes what
    was not committed."""

    def __init__(self) -> None:
        self.files: list[AtomicFile] = []

    def __enter__(self) -> FileGroup:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.discard()

    def open(self, path: str) -> AtomicFile:
        self.files.append(AtomicFile(path))
        return self.files[-1]

    def write(self, path: str, data: bytes) -> None:
        self.open(path).write(data)

    def commit(self) -> None:
        for file in self.files:
            file.sync()
        for file in self.files:
            file.rename()
        for folder in sorted({os.path.dirname(file.real) for file in self.files}):
            sync_folder(folder)


def write_files(contents: dict[str, bytes]) -> None:
    """Whole files at once, all or none."""
    with FileGroup() as group:
        for path, data in contents.items():
            group.write(path, data)
        group.commit()


def parse_json(text: str | bytes, place: str) -> Any:
    """Whatever its depth and its numbers: what cannot be read is a DataError at `place`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise DataError(f"{place}: JSON of too many lists or objects inside each other") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 (byte {error.start})") from None
    except ValueError:  # a whole number of thousands of digits
        raise DataError(f"{place}: JSON with a number that is too long") from None


def dump_json(value: Any) -> bytes:
    """Half a surrogate pair, as in a name that is not UTF-8, becomes its JSON escape."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
