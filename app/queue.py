"""The queue in front of the model: how many run, how many may wait, and for how long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from app.errors import DeadlineExceeded, QueueFull


class InferenceQueue:
    """Lets `concurrency` requests run at once and `max_size` wait, first come, first served."""

    def __init__(self, concurrency: int, max_size: int) -> None:
        self._slots = threading.Semaphore(concurrency)
        self._lock = threading.Lock()
        self.waiting = 0
        self._max_size = max_size

    @contextmanager
    def slot(self, deadline: float) -> Iterator[None]:
        """Waits for a place at the model and holds it.

        Args:
            deadline: when waiting ends, in seconds of the monotonic clock.

        Raises:
            QueueFull: `max_size` requests wait already.
            DeadlineExceeded: the deadline passed before there was a place.
        """
        if not self._slots.acquire(blocking=False):
            self._wait(deadline)
        try:
            if monotonic() > deadline:
                raise DeadlineExceeded("the request's deadline passed before the model ran")
            yield
        finally:
            self._slots.release()

    def _wait(self, deadline: float) -> None:
        with self._lock:
            if self.waiting >= self._max_size:
                raise QueueFull(f"{self._max_size} requests wait for the model already")
            self.waiting += 1
        try:
            acquired = self._slots.acquire(timeout=max(0.0, deadline - monotonic()))
        finally:
            with self._lock:
                self.waiting -= 1
        if not acquired:
            raise DeadlineExceeded("the request's deadline passed before the model ran")
