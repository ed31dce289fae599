"""The bins of `training.baseline`."""

import numpy as np
import pytest

from training.baseline import category_bins, numeric_bins


def test_deciles() -> None:
    """Values all different: ten bins from the smallest to the largest, a tenth in each."""
    bins = numeric_bins(np.arange(101, dtype=np.float32))
    assert bins["edges"] == list(range(0, 101, 10))
    assert bins["shares"] == pytest.approx([*[10 / 101] * 9, 11 / 101])


def test_an_edge_opens_a_bin() -> None:
    """A value on an edge belongs to the bin above it, the largest of all to the last."""
    bins = numeric_bins(np.array([0, 1, 1, 2], np.float32))
    assert bins == {"edges": [0, 1, 2], "shares": [0.25, 0.75]}


def test_ends_widen() -> None:
    """What is possible, though it was not seen, is inside."""
    bins = numeric_bins(np.array([0.25, 0.5, 0.75], np.float32), ends=(0.0, 1.0))
    assert (bins["edges"][0], bins["edges"][-1]) == (0.0, 1.0)
    assert sum(bins["shares"]) == pytest.approx(1)


def test_edges_are_float32() -> None:
    """An edge is the same number in float32 and in float64."""
    edges = np.array(numeric_bins(np.array([0.1, 0.2, 0.3], np.float32))["edges"])
    assert np.array_equal(edges, edges.astype(np.float32))


def test_category_never_seen() -> None:
    """A category that the training data lacks has a bin all the same."""
    bins = category_bins(np.array([0, 2, 2, 2]), [0, 1, 2])
    assert bins == {"categories": [0, 1, 2], "shares": [0.25, 0, 0.75]}
