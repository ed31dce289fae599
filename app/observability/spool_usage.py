"""The size and age of the spool, measured by threads that may wait for the disk."""

import math
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import NamedTuple

START_FORMAT = "%Y%m%dT%H%M%S%f"
# How often the spool is measured; other workers write to it too.
MEASURE_S = 1.0
_SEGMENT = re.compile(r"[^.].*-(\d{8}T\d{9})Z-\d+\.jsonl(?:\.open)?")


class SpoolState(NamedTuple):
    """The state of a spool.

    Attributes:
        size: of its files in bytes.
        oldest: when its oldest segment was opened, in seconds since 1970; NaN if it is empty.
    """

    size: int
    oldest: float


class SpoolUsage:
    """What all segments need of the disk, as last measured, and what this worker has written since.

    Attributes:
        state: as last measured; reading it never waits.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        """
        Args:
            max_bytes: limit of the size of all files in `root`.
        """
        self.state = SpoolState(0, math.nan)
        self._root = root
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._used_bytes = 0
        self._measured = -math.inf

    def refresh(self) -> None:
        """Measure the spool, if that is due."""
        with self._lock:
            self._refresh()

    def reserve(self, size: int) -> bool:
        """Count bytes as used, and return True, if there is room for them."""
        with self._lock:
            self._refresh()
            if self._used_bytes + size > self._max_bytes:
                return False
            self._used_bytes += size
            return True

    def release(self, size: int) -> None:
        """Release reserved bytes that were not written."""
        with self._lock:
            self._used_bytes = max(0, self._used_bytes - size)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._measured >= MEASURE_S:
            self.state = measure(self._root)
            self._used_bytes, self._measured = self.state.size, now


def measure(directory: Path) -> SpoolState:
    """Return the state of the files in a directory and the directories in it."""
    size, starts = 0, []
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # shipped meanwhile
                size += Path(parent, name).stat().st_size
                if found := _SEGMENT.fullmatch(name):
                    starts.append(found[1])
    oldest = math.nan
    if starts:
        with suppress(ValueError):  # a 13th month, which we have not named
            oldest = datetime.strptime(min(starts), START_FORMAT).replace(tzinfo=UTC).timestamp()
    return SpoolState(size, oldest)
