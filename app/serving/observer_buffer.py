"""Finished requests, buffered until observers receive them."""

import asyncio
from collections.abc import Sequence
from math import log1p
from random import random
from time import monotonic

import numpy as np

from app.observability.request_record import RecordBatch, RequestRecord
from app.scoring.scorer import Observer, show

# How many requests, bytes of their bodies and outputs, and seconds counting and logging may be behind. The
# fewer at once, the more often counting drives what answers out of the processor's caches; the more, the
# longer others wait for it. What is kept must fit where malloc finds it again at once: see GLIBC_TUNABLES in
# the Dockerfile.
LATER_RECORDS = 512
LATER_BYTES = 2**20
LATER_S = 0.05
# Tensors are most of what is kept, and drift is about shares, not numbers. A token bucket of twice a burst
# says of how many requests they may be. Down to its half all are kept; from there the chance of each falls
# with what is left, whatever its place among those that come together.
TENSORS_PER_S = 100
BURST_TENSORS = 2048


class ObserverBuffer:
    """Shows observers requests together, a little later than they are answered.

    Of a hundred together each costs a tenth of what one alone does.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, observers: Sequence[Observer], max_tokens: float
    ) -> None:
        self._loop, self._observers, self._max_tokens = loop, observers, max_tokens
        self._records: list[RequestRecord] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tokens = max_tokens
        self._refilled = monotonic()
        # Which of those that wait, counted from 1, is the next whose tensors are kept; and the next that
        # there is anything to do for.
        self._next_kept = self._due = 0

    def add(self, record: RequestRecord) -> None:
        """Keeps a request until it is shown."""
        self._records.append(record)
        if len(self._records) < self._due:
            record.inputs = record.outputs = None
        else:
            self._look_at(record)

    def _look_at(self, record: RequestRecord) -> None:
        """Does what is due to the first, to those whose tensors are kept, and to the last that may wait."""
        number = len(self._records)
        if self._timer is None:
            self._timer = self._loop.call_later(LATER_S, self.close)
            self._refill()
            self._next_kept = number + self._gap()
        if number < self._next_kept:
            record.inputs = record.outputs = None
        else:
            self._bytes += _size(record)
            if record.outputs is not None:
                self._tokens -= 1
                self._next_kept = number + 1 + self._gap()
        if number == LATER_RECORDS or self._bytes > LATER_BYTES:
            self._bytes = 0
            self._loop.call_soon(self._show)
        self._due = max(number + 1, min(self._next_kept, LATER_RECORDS))

    def _refill(self) -> None:
        before, self._refilled = self._refilled, monotonic()
        tokens = self._tokens + (self._refilled - before) * TENSORS_PER_S
        self._tokens = min(tokens, self._max_tokens)

    def _gap(self) -> int:
        """How many are passed over, where each request has the same chance to be kept."""
        chance = max(self._tokens, 1) / BURST_TENSORS
        return int(log1p(-random()) / log1p(-chance)) if chance < 1 else 0  # noqa: S311

    def _show(self) -> None:
        records, self._records, self._bytes = self._records, [], 0
        self._next_kept -= len(records)
        self._due = 0
        if records:
            show(self._observers, RecordBatch(records))

    def close(self) -> None:
        """Shows those that wait."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._show()


def _size(record: RequestRecord) -> int:
    """The bytes of a request's body, and of the arrays that it was answered with."""
    outputs = record.outputs.values() if record.outputs else ()
    return record.body_bytes + sum(value.nbytes for value in outputs if isinstance(value, np.ndarray))
