"""Buffered observations of a Prometheus histogram."""

from typing import Any

import numpy as np

from app.tensors.datatypes import Array

# What may wait to be counted, of a histogram and of drift: more would be a burden on memory, and counting it
# on the requests that come meanwhile; less is more work, most of it the same for one value as for a thousand.
MOST_TALLY_BYTES = 2**13


class HistogramBuffer:
    """Observations of a histogram that it does not have yet: each number of its own is a write to a file."""

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self._bounds = np.array(histogram._upper_bounds)
        self._pending = bytearray()
        # How many lie up to each bound.
        self._up_to = np.zeros(len(self._bounds), np.int64)
        self._sum = 0.0

    def add(self, values: Array) -> None:
        """Takes observations, of which NaN is none, as float64."""
        self._pending += values.tobytes()
        if len(self._pending) >= MOST_TALLY_BYTES:
            self._count()

    def _count(self) -> None:
        # A bucket holds what is at most its bound, and the last bound is infinite. To look for a few bounds
        # among sorted values, NaN at their end, is less work than to look for each value among the bounds.
        ordered, self._pending = np.sort(np.frombuffer(self._pending)), bytearray()
        up_to = ordered.searchsorted(self._bounds, "right")
        self._up_to += up_to
        self._sum += float(ordered[: up_to[-1]].sum())

    def flush(self) -> int:
        """Hands on what was taken; returns how many observations."""
        self._count()
        numbers = np.diff(self._up_to, prepend=0).tolist()
        for bucket, number in zip(self._histogram._buckets, numbers, strict=True):
            if number:
                bucket.inc(number)
        self._histogram._sum.inc(self._sum)
        self._up_to[:], self._sum = 0, 0.0
        return sum(numbers)
