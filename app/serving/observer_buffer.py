"""Finished requests, buffered until their responses are sent."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from app.observability.request_record import MAX_BATCH, Observer, RequestRecord, notify

# Flush after MAX_BATCH records, this many bytes or seconds, whichever comes first. Small batches evict the
# request path from the CPU cache more often; large ones block the event loop longer.
FLUSH_BYTES = 2**20
FLUSH_S = 0.02


class ObserverBuffer:
    """Notifies observers of finished requests in small batches, from the event loop."""

    def __init__(self, observers: Sequence[Observer], needs_tensors: Callable[[], bool]) -> None:
        """
        Args:
            needs_tensors: whether an observer needs the inputs and outputs of the next batch; otherwise they
                are released at once, and the next request uses the same memory.
        """
        self._observers = observers
        self._needs_tensors = needs_tensors
        self._records: list[RequestRecord] = []
        self._has_tensors = False
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def append(self, record: RequestRecord) -> None:
        """Buffer a request. Called from the event loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
            self._has_tensors = self._needs_tensors()
        self._records.append(record)
        if self._has_tensors:
            self._bytes += _size(record)
        else:
            record.inputs = record.outputs = record.given = record.answer = None
        if len(self._records) == MAX_BATCH or self._bytes >= FLUSH_BYTES:
            self._bytes = 0
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Notify the observers of all buffered requests."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        records, self._records, self._bytes = self._records, [], 0
        if records:
            notify(self._observers, records)


def _size(record: RequestRecord) -> int:
    """Return the bytes of a request's body and of the model's output arrays."""
    outputs = record.outputs.values() if record.outputs else ()
    return record.body_bytes + sum(value.nbytes for value in outputs if isinstance(value, np.ndarray))
