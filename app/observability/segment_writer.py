"""Segments of JSON Lines on disk, which `python -m monitor ship` moves to the store.

    name=<model>/kind=prediction/<host>-<worker>-<start>-<number>.jsonl.open    a worker appends to it
    name=<model>/kind=prediction/<host>-<worker>-<start>-<number>.jsonl         closed: it can be shipped
    name=<model>/kind=feedback/…

`worker` is its process id and 32 random bits: in two pods the host's name, the process id and the moment may
be the same, and segments of one name would be one object in the store. `start` is when the segment was
opened, in UTC: `20260102T030405678Z`. The worker holds a lock (flock) on its open segment: one that nobody
has locked is of a worker that has ended, and complete but for its last line.
"""

import fcntl
import os
import re
import secrets
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from app.observability.spool_usage import START_FORMAT, SpoolUsage

OPEN_SUFFIX = ".open"
MAX_SEGMENT_BYTES = 64 * 2**20


class SegmentWriter:
    """Appends lines to segments in a directory, and waits for the disk. For one thread at a time."""

    def __init__(self, directory: Path, usage: SpoolUsage, segment_s: float) -> None:
        """
        Args:
            segment_s: age in seconds at which a segment is closed.
        """
        self.directory = directory
        self._usage = usage
        self._segment_s = segment_s
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:100] or "host"
        self._prefix = f"{host}-{os.getpid()}x{secrets.token_hex(4)}"
        self._number = 0
        self._file: int | None = None
        self._path = Path()
        self._segment_bytes = 0
        self._opened = 0.0
        # A hook's child process would keep the lock on the segment, even after this process has ended.
        os.register_at_fork(after_in_child=self._release)

    def write(self, lines: bytes) -> bool:
        """Append lines to the segment, all or none, and return whether that succeeded."""
        if not self._usage.reserve(len(lines)):
            return False
        try:
            self._append(self._open_segment(), lines)
        except OSError:  # no space, or the directory cannot be written to
            self._usage.release(len(lines))
            return False
        self._segment_bytes += len(lines)
        if self._segment_bytes >= MAX_SEGMENT_BYTES:
            self.close()
        return True

    def close_if_old(self) -> None:
        """Close a segment that has reached its age."""
        if self._file is not None and time.monotonic() - self._opened >= self._segment_s:
            self.close()

    def close(self) -> None:
        """Close the segment, and rename it; one whose directory has gone is given up."""
        if self._file is not None:
            with suppress(OSError):
                self._path.rename(self._path.with_name(self._path.name.removesuffix(OPEN_SUFFIX)))
            self._release()

    def _append(self, file: int, lines: bytes) -> None:
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            try:
                os.ftruncate(file, self._segment_bytes)
                os.lseek(file, self._segment_bytes, os.SEEK_SET)
            except OSError:
                self.close()  # a line that is appended to a torn one would be torn too
            raise

    def _open_segment(self) -> int:
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._release()  # somebody has removed it: what is appended would be lost
        if self._file is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            start = datetime.now(UTC).strftime(START_FORMAT)[:-3]
            name = f"{self._prefix}-{start}Z-{self._number}.jsonl"
            # Locked before it has its name: otherwise the shipper could take it for that of an ended worker.
            unlocked = self.directory / f".{name}"
            file = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            path = self.directory / f"{name}{OPEN_SUFFIX}"
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                unlocked.rename(path)
            except OSError:
                os.close(file)
                with suppress(OSError):
                    unlocked.unlink()
                raise
            self._file, self._path, self._segment_bytes, self._opened = file, path, 0, time.monotonic()
            self._number += 1
        return self._file

    def _release(self) -> None:
        """Close the file and so release the lock."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                os.close(file)
