"""The distribution of the training data in bins, which the service measures drift against.

The format is described in `model_loader.package.baseline`, which reads it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = np.linspace(0, 1, 11)


def numeric_bins(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> dict[str, list[float]]:
    """Return bins with about a tenth of `values` each, or fewer bins if many values are equal.

    Args:
        values: of any shape, in the unit of the feature or output, with at least two different values.
        ends: the first and last edge, if the possible range is larger; default: the extremes of `values`.

    Returns:
        `edges` and `shares`. The edges are float32 numbers, so that comparisons in float32 and in float64
        give the same bin.
    """
    # Without interpolation, every edge is one of the values, so it is a float32 number.
    edges = np.unique(np.quantile(values, QUANTILES, method="inverted_cdf"))
    if ends is not None:
        edges[[0, -1]] = ends
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.astype(float).tolist(), "shares": (counts / values.size).tolist()}


def category_bins(values: NDArray[Any], categories: Sequence[Any]) -> dict[str, list[Any]]:
    """Return a bin for each of `categories`, with its share of `values`."""
    shares = [np.count_nonzero(values == category) / values.size for category in categories]
    return {"categories": list(categories), "shares": shares}
