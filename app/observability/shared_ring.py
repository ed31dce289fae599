"""Sums of the recent past, step by step, in a file of each worker that all workers read."""

import os
from pathlib import Path
from threading import Lock
from time import time

import numpy as np
import numpy.typing as npt

from app.observability.logging import logger

Numbers = npt.NDArray[np.float64]


class SharedRing:
    """Columns of numbers for each of the last steps of time.

    A row is the number of a step, counted from the epoch, and the columns. A row whose number is not that of
    its step is of an earlier round, and counts as zeros.
    """

    def __init__(self, name: str, directory: Path | None, *, steps: int, step_s: int, columns: int) -> None:
        """
        Args:
            name: of the ring; its files are `NAME-PID`.
            directory: where all workers have their files; None: there is one process only.
            steps: how many are kept, the current one included.
        """
        self.steps, self.step_s = steps, step_s
        self._rows = np.zeros((steps, 1 + columns))
        self._lock = Lock()
        self._changed: set[int] = set()
        self._has_space = True
        self._pattern = f"{name}-*"
        self._directory = directory
        self._file: int | None = None
        if directory:
            self._remove_old(directory)
            self._file = _open(directory / f"{name}-{os.getpid()}")

    def add(self, values: Numbers, peaks: Numbers | None = None) -> None:
        """Add numbers to the current step.

        Args:
            values: shape (n,), added to the first columns.
            peaks: shape (m,), the last columns become at least these.
        """
        with self._lock:
            row = self._current()
            row[1 : 1 + len(values)] += values
            if peaks is not None:
                np.maximum(row[-len(peaks) :], peaks, out=row[-len(peaks) :])
            self._changed.add(int(row[0]) % self.steps)

    def write(self) -> None:
        """Write what has changed, for the other workers to read."""
        with self._lock:
            changed, self._changed = self._changed, set()
            if self._file is None:
                return
            try:
                for index in changed:
                    os.pwrite(self._file, self._rows[index].tobytes(), index * self._rows[index].nbytes)
            except OSError as exc:
                if self._has_space:
                    logger.error("no space for the page's last hour, it is not kept: %s", exc)
                self._has_space = False
                return
            self._has_space = True

    def read(self) -> tuple[int, Numbers]:
        """Return the sums over all workers.

        Returns:
            the time at which the first step began, in seconds since the epoch, and the columns of all steps:
            shape (steps, columns), the current step last.
        """
        self.write()
        last = int(time() // self.step_s)
        numbers = np.arange(last - self.steps + 1, last + 1)
        columns = np.zeros((self.steps, self._rows.shape[1] - 1))
        for rows in self._all_rows():
            ordered = rows[numbers % self.steps]
            columns += np.where((ordered[:, 0] == numbers)[:, None], ordered[:, 1:], 0)
        return int(numbers[0]) * self.step_s, columns

    def _current(self) -> Numbers:
        number = int(time() // self.step_s)
        row: Numbers = self._rows[number % self.steps]
        if row[0] != number:
            row[:] = 0
            row[0] = number
        return row

    def _all_rows(self) -> list[Numbers]:
        """Return the rows of each worker."""
        if self._directory is None:
            return [self._rows]
        found = []
        for path in self._directory.glob(self._pattern):
            try:
                content = np.fromfile(path)
            except FileNotFoundError:  # another worker has removed it
                continue
            rows = np.zeros(self._rows.size)
            rows[: content.size] = content[: rows.size]
            found.append(rows.reshape(self._rows.shape))
        return found

    def _remove_old(self, directory: Path) -> None:
        """Remove the files of workers that ended before the first step."""
        for path in directory.glob(self._pattern):
            try:
                if path.stat().st_mtime < time() - self.steps * self.step_s:
                    path.unlink()
            except FileNotFoundError:  # another worker has removed it
                continue


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as exc:
        logger.error("no space for the page's last hour, it is not kept: %s", exc)
        return None
