"""The training data's distribution in bins, so that drift can be counted while serving.

`model_loader.package.baseline` reads it, and says what stands in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = np.linspace(0, 1, 11)


def numeric_bins(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> dict[str, list[float]]:
    """Bins with about a tenth of `values` each; fewer where many values are the same.

    Args:
        values: of any shape, in the unit of the feature or output, with at least two different ones.
        ends: the first and last edge, where more is possible than was seen; else the extremes of `values`.

    Returns:
        `edges`, which are float32 numbers written out in full, so that a comparison in either precision
        puts a value into the same bin; and `shares`.
    """
    # Without interpolation an edge is a value that was seen, hence a float32.
    edges = np.unique(np.quantile(values, QUANTILES, method="inverted_cdf"))
    if ends is not None:
        edges[[0, -1]] = ends
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.astype(float).tolist(), "shares": (counts / values.size).tolist()}


def category_bins(values: NDArray[Any], categories: Sequence[Any]) -> dict[str, list[Any]]:
    """A bin for each of `categories`, with its share of `values`."""
    shares = [np.count_nonzero(values == category) / values.size for category in categories]
    return {"categories": list(categories), "shares": shares}
