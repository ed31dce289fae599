"""Compare two models by their scores of the same rows.

Not in `model_loader.evaluation_file`: NumPy takes a while to load, and `gate` reads the file without it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.evaluation_file import Better, Comparison
from model_loader.paired_intervals import mean_difference


def compare(
    metric: str,
    better: Better,
    champion: NDArray[np.float64],
    challenger: NDArray[np.float64],
    slice_: str | None = None,
    requests: NDArray[Any] | None = None,
) -> Comparison:
    """Compare two models by their scores of the same rows.

    Args:
        champion, challenger: the score of each row, whose mean is the metric, shape (rows,).
        requests: what identifies the request of each row, shape (rows,); None: each row has its own.
    """
    sign = 1 if better == "higher" else -1
    difference, low, high = mean_difference(sign * (challenger - champion), requests)
    means = float(champion.mean()), float(challenger.mean())
    return Comparison(metric, better, slice_, len(champion), *means, difference, low, high)
