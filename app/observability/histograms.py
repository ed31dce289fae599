"""Prometheus histograms that take many observations at once.

`Histogram.observe` takes one value and writes two numbers to shared memory. For the values of every scored
request that would cost more than some models. prometheus_client has no public function for several values, so
this file, and no other, uses its private attributes.
"""

from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from app.tensors.datatypes import Array


class BatchHistogram:
    """A histogram that observes arrays of values."""

    def __init__(self, histogram: Any) -> None:
        """
        Args:
            histogram: a `prometheus_client.Histogram`, or a child of one for a set of labels.
        """
        self._histogram = histogram
        self._bounds = np.array(histogram._upper_bounds)

    def observe(self, values: Array) -> None:
        """Add observations.

        Args:
            values: shape (n,), float64; NaN is skipped.
        """
        # A bucket counts the values up to its bound. The last bound is infinite; NaN is sorted to the end.
        ordered = np.sort(values)
        cumulative = ordered.searchsorted(self._bounds, "right")
        total = int(cumulative[-1])
        if total:
            below = 0
            for bucket, up_to in zip(self._histogram._buckets, cumulative.tolist(), strict=True):
                if up_to > below:
                    bucket.inc(up_to - below)
                    below = up_to
            self._histogram._sum.inc(float(ordered[:total].sum()))


def find_collector(registry: CollectorRegistry, name: str) -> Any:
    """Return the registered metric with this name.

    Raises:
        KeyError: there is none.
    """
    return registry._names_to_collectors[name]
