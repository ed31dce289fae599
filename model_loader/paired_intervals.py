"""Two models on the same rows: the mean difference of their scores, and how certain it is.

The rows are the same, so what makes some of them harder than others cancels out. Scores that are 0 or 1, as
whether an answer is right, have the interval of Agresti and Min, which also says something where both models
agree on every row: https://doi.org/10.1002/sim.1781. Other scores have Student's. Rows of one request may
be alike: an interval by requests is used if it is wider.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.mean_intervals import Z, student

# Rows that Agresti and Min add: half a row in each cell of the table of right and wrong.
ADDED = 2.0


def mean_difference(
    differences: NDArray[np.float64], requests: NDArray[Any] | None = None
) -> tuple[float, float, float]:
    """Return the mean of paired differences, and the ends of its interval of 95 %.

    Args:
        differences: of the scores of each row, shape (rows,); at least one.
        requests: what identifies the request of each row, shape (rows,); None: each row has its own.
    """
    mean, low, high = _by_rows(differences)
    if requests is None:
        return mean, low, high
    _, request = np.unique(requests, return_inverse=True)
    sums = np.bincount(request, differences - mean)
    count = len(sums)
    if count == len(differences):
        return mean, low, high
    if count == 1:
        # One request says nothing about others.
        bound = max(1.0, float(np.abs(differences).max()))
        return mean, -bound, bound
    half = student(count - 1) * math.sqrt(float(sums @ sums) * count / (count - 1)) / len(differences)
    return mean, min(low, mean - half), max(high, mean + half)


def _by_rows(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    count = len(differences)
    mean = float(differences.mean())
    if np.isin(differences, (-1, 0, 1)).all():
        total, discordant = float(differences.sum()), float(np.abs(differences).sum()) + ADDED / 2
        size = count + ADDED
        half = Z * math.sqrt(max(discordant - total**2 / size, 0.0)) / size
        middle = total / size
        # The mean itself may lie off the middle.
        return mean, max(-1.0, min(middle - half, mean)), min(1.0, max(middle + half, mean))
    if count < 2:
        return mean, -math.inf, math.inf
    half = student(count - 1) * math.sqrt(float(differences.var(ddof=1)) / count)
    return mean, mean - half, mean + half
