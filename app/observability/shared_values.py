"""Values of metrics in files that all workers share.

prometheus_client gives each process files of its own, `TYPE_PID.db`. They remain when the process ends, since
counters must not decrease. They are also sparse: if the file system is full, a write to their memory ends the
process with SIGBUS. Here a worker continues the files of one that has ended, so that their number is limited,
and claims space before it uses it.

prometheus_client has no public function for either, so this file uses its private attributes.
"""

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from app.errors import StartupError
from app.observability.logging import logger

INITIAL_BYTES = 2**14
# A value's length, padding and two numbers.
ENTRY_BYTES = 4 + 8 + 16


class ClaimedDict(MmapedDict):
    """A file of values whose space is claimed before it is used."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        """
        Raises:
            StartupError: there is no space for the file.
        """
        try:
            _create(Path(filename))
        except OSError as exc:
            raise StartupError(f"no space for the metrics: {exc.strerror}: {filename}") from exc
        self._has_space = True
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def read_value(self, key: str) -> tuple[float, float]:
        """Return the value and the time of a key; zeros if there is no space for it."""
        return super().read_value(key) if self._claim(key) else (0.0, 0.0)  # type: ignore[no-untyped-call]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Set the value of a key, if there is space for it."""
        if self._claim(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _claim(self, key: str) -> bool:
        """Return whether there is space for a key, after claiming it if the key is new."""
        if key in self._positions:
            return True
        if self._used + len(key.encode()) + ENTRY_BYTES > self._capacity:
            try:
                # MmapedDict doubles the file.
                _allocate(self._fname, os.O_RDWR, 2 * self._capacity)
            except OSError as exc:
                if self._has_space:
                    logger.error("no space for the metrics, new series are not counted: %s", exc)
                self._has_space = False
                return False
        self._has_space = True
        return True


def _create(path: Path) -> None:
    """Create a file of values, unless it exists; it appears with its space, since any worker may read it."""
    if path.exists():
        return
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        _allocate(str(unfinished), os.O_RDWR | os.O_CREAT, INITIAL_BYTES)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _allocate(path: str, flags: int, size: int) -> None:
    file = os.open(path, flags, 0o666)
    try:
        os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)


def share_values(directory: Path) -> None:
    """Make the metrics that are created from now on write to claimed files in a directory.

    Raises:
        StartupError: the directory cannot be written to.
    """
    try:
        slot = next(number for number in count() if _try_lock(directory / f"slot_{number}.lock"))
    except OSError as exc:
        raise StartupError(f"the directory of the metrics cannot be written to: {exc}") from exc
    kept, live = values.MultiProcessValue(lambda: slot), values.MultiProcessValue()  # type: ignore[no-untyped-call]

    def value(*args: Any, multiprocess_mode: str = "", **kwargs: Any) -> Any:
        """Return a value. Its file ends with the worker if it is a gauge of live workers, else it is kept."""
        kind = live if multiprocess_mode.startswith("live") else kept
        return kind(*args, multiprocess_mode=multiprocess_mode, **kwargs)

    values.MmapedDict = ClaimedDict  # type: ignore[attr-defined]
    values.ValueClass = value


def _try_lock(path: Path) -> bool:
    """Lock a file until this process ends, however it ends; return False if another process has locked it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True
