"""Hashes of files, calculated once for all workers of a container.

Each file has a record in the directory that the workers share, locked while a worker hashes the file. It is
valid as long as the file has the inode, size and times that it had then, so a reload hashes what has changed.
`gunicorn.conf.py` removes the records of an earlier start.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from model_loader.package import FileEntry, hash_file
from model_loader.package.verify import HashFile

# Files of at least this size are hashed while the model is loaded, all others before.
LARGE_BYTES = 64 * 2**20
# A file system's clock may stand still for so long: a file may change again without another time.
CLOCK_NS = 100_000_000


class FileHashes:
    """Hashes of files, remembered by this process and, in a shared directory, by all."""

    def __init__(self, directory: Path | None) -> None:
        """
        Args:
            directory: that the workers share; None: there is only one process.
        """
        self._directory = directory
        self._known: dict[Path, tuple[list[int], FileEntry]] = {}

    def hash_file(self, path: Path) -> FileEntry:
        """Return the sha256 and size of a file, from the record if it has not changed since.

        Raises:
            OSError: the file cannot be read.
        """
        state, entry = self._known.get(path, (None, None))
        if entry is None or state != _state(path):
            state, entry = _shared(path, self._directory) if self._directory else _hashed(path)
            self._known[path] = state, entry
        return entry

    def small_files(self, expected: Mapping[Path, FileEntry]) -> HashFile:
        """Return a function that hashes small files only.

        Of a large file that has the expected size, it returns what is expected.
        """

        def hash_small(path: Path) -> FileEntry:
            entry = expected.get(path)
            if entry and entry.bytes >= LARGE_BYTES and entry.bytes == path.stat().st_size:
                return entry
            return self.hash_file(path)

        return hash_small


def _shared(path: Path, directory: Path) -> tuple[list[int], FileEntry]:
    """Return the hash in the file's record, or calculate it while the other processes wait for it."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    try:
        record = (directory / f"hash-{name}").open("a+b", buffering=0)
    except OSError:  # the file system may be full
        return _hashed(path)
    with record:
        fcntl.flock(record, fcntl.LOCK_EX)
        record.seek(0)
        if (found := _read(record.read())) and found[0] == _state(path):
            return found
        state, entry = _hashed(path)
        if time.time_ns() - max(state[-2:]) > CLOCK_NS:
            with suppress(OSError):
                record.truncate(0)
                record.write(json.dumps([state, vars(entry)]).encode())
        return state, entry


def _hashed(path: Path) -> tuple[list[int], FileEntry]:
    """Hash a file; return its state before, and its hash."""
    state = _state(path)
    return state, hash_file(path)


def _state(path: Path) -> list[int]:
    """Return what differs if a file was replaced or written to; the last two are times in nanoseconds."""
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _read(record: bytes) -> tuple[list[int], FileEntry] | None:
    """Return a record; None if there is none, or if a process ended while writing it."""
    try:
        state, entry = json.loads(record)
        return state, FileEntry(**entry)
    except (ValueError, TypeError):
        return None
