"""A histogram observed by the array has the values of one observed one by one."""

import re

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from app.observability.histograms import BatchHistogram, find_collector
from app.observability.metrics import SECONDS


def lines(registry: CollectorRegistry) -> list[str]:
    """Return the samples of a registry, as Prometheus reads them."""
    return re.findall(r"^h_(?!created).*", generate_latest(registry).decode(), re.MULTILINE)


@pytest.mark.parametrize(
    "batches",
    [
        [[0.25]],
        [[0.0, 2**-15, 0.5, 3.0, 99.0], [0.25, 2**-9, 10.0], [0.25]],
        [[float("nan")], [float("nan"), 1.0], []],
        [[1e-5, 2.5e-5, 10.0, 10.000001], [-1.0]],
    ],
)
def test_observe(batches: list[list[float]]) -> None:
    """Buckets, sum and count are the same; NaN is skipped."""
    one, other = CollectorRegistry(), CollectorRegistry()
    by_array = BatchHistogram(Histogram("h", "", buckets=SECONDS, registry=one))
    one_by_one = Histogram("h", "", buckets=SECONDS, registry=other)
    for batch in batches:
        by_array.observe(np.array(batch))
        for value in batch:
            if not np.isnan(value):
                one_by_one.observe(value)
    assert lines(one) == lines(other)


def test_labels() -> None:
    """A child for a set of labels is observed like a histogram without labels."""
    registry = CollectorRegistry()
    histogram = Histogram("h", "", ["route"], registry=registry)
    BatchHistogram(histogram.labels("/score")).observe(np.array([1.0, 2.0]))
    assert registry.get_sample_value("h_sum", {"route": "/score"}) == 3.0
    assert registry.get_sample_value("h_count", {"route": "/score"}) == 2.0


def test_layout_of_prometheus_client() -> None:
    """The private attributes that are used are there, and mean what is expected of them."""
    registry = CollectorRegistry()
    histogram = Histogram("h", "", buckets=(1, 2), registry=registry)
    assert histogram._upper_bounds == [1.0, 2.0, float("inf")]
    histogram.observe(1.5)
    assert [bucket.get() for bucket in histogram._buckets] == [0.0, 1.0, 0.0]
    assert histogram._sum.get() == 1.5
    counter = Counter("c", "", registry=registry)
    assert find_collector(registry, "c_total") is counter
    with pytest.raises(KeyError):
        find_collector(registry, "missing")
