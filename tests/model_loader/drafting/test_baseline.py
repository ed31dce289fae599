"""The bins of `model_loader.drafting.baseline`."""

import numpy as np
import pytest

from model_loader.drafting.baseline import category_bins, numeric_bins


def test_deciles() -> None:
    """Different values make ten bins from the smallest to the largest, with a tenth in each."""
    bins = numeric_bins(np.arange(101, dtype=np.float32))
    assert bins["edges"] == list(range(0, 101, 10))
    assert bins["shares"] == pytest.approx([*[10 / 101] * 9, 11 / 101])


def test_value_on_an_edge() -> None:
    """A value on an edge is in the bin above it; the largest value is in the last bin."""
    bins = numeric_bins(np.array([0, 1, 1, 2], np.float32))
    assert bins == {"edges": [0, 1, 2], "shares": [0.25, 0.75]}


def test_ends() -> None:
    """The first and last edge can be given; the shares still add up to 1."""
    bins = numeric_bins(np.array([0.25, 0.5, 0.75], np.float32), ends=(0.0, 1.0))
    assert (bins["edges"][0], bins["edges"][-1]) == (0.0, 1.0)
    assert sum(bins["shares"]) == pytest.approx(1)


def test_edges_are_float32() -> None:
    """An edge is the same number in float32 and in float64."""
    edges = np.array(numeric_bins(np.array([0.1, 0.2, 0.3], np.float32))["edges"])
    assert np.array_equal(edges, edges.astype(np.float32))


def test_unused_category() -> None:
    """A category that does not occur in the training data has a bin with share 0."""
    bins = category_bins(np.array([0, 2, 2, 2]), [0, 1, 2])
    assert bins == {"categories": [0, 1, 2], "shares": [0.25, 0, 0.75]}
