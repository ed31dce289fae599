"""What chance alone does to drift, and the least shift that stands out from it.

The rules of `monitoring/rules.yaml` calculate the same in PromQL; a test compares them. With k bins, N rows
in the baseline and n rows now, PSI / (1/n + 1/N) has a χ² distribution with k - 1 degrees of freedom if
nothing has drifted: both shares vary around the true one.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.float64] | NDArray[np.int64]

HOURS_A_YEAR = 8760
# What is beyond chance is real, but may be too little to matter. This PSI is about a shift of a third of a
# standard deviation.
LEAST_PSI_EXCESS = 0.1
LEAST_SHARE_EXCESS = 0.01
# With fewer rows, PSI does not have the distribution of χ².
MIN_ROWS = 200
# A count of 0 has no logarithm. With half a row more in each bin, small shares keep PSI's distribution.
SMOOTHING = 0.5
# A new row is below the minimum or above the maximum of N rows with a probability of 2 / (N + 1).
EXTREMES = 2

# The case of `detectable_shift`: ten bins of equal shares, and an hour at a request per second, of which the
# alert's `for` takes five minutes.
ROWS_AN_HOUR = 3600
MINUTES_TO_FIND = 55
BINS = 10
POWER = 0.9
LARGEST_SHIFT = 3.0


def limit_z(distributions: int) -> float:
    """Return the standard deviations that chance exceeds less than once in a year's hours.

    Args:
        distributions: number of features and outputs, which share the chance.
    """
    return math.sqrt(2 * math.log(HOURS_A_YEAR * distributions))


def chi_square_quantile(degrees_of_freedom: Array | float, z: float) -> Array:
    """Return the quantile of χ² that corresponds to `z` of the normal distribution (Wilson and Hilferty)."""
    degrees = np.asarray(degrees_of_freedom, float)
    term = 2 / (9 * degrees)
    quantile: Array = degrees * np.maximum(1 - term + z * np.sqrt(term), 0) ** 3
    return quantile


def psi(counts: Numbers, baseline: Numbers) -> Array:
    """Return the population stability index of rows in bins.

    Args:
        counts: rows now, shape (…, bins), without `missing` and `outside`.
        baseline: rows of the baseline, of a shape that fits.

    Returns:
        shape (…)
    """
    observed, expected = _smoothed(counts), _smoothed(baseline)
    index: Array = ((observed - expected) * np.log(observed / expected)).sum(-1)
    return index


def chance(rows: Numbers | float, baseline_rows: Numbers | float) -> Array:
    """Return 1/n + 1/N, the PSI that chance gives per degree of freedom."""
    return np.asarray(1 / np.asarray(rows, float) + 1 / np.asarray(baseline_rows, float))


def is_drift(index: Array, rows: Numbers, baseline_rows: float, bins: int, z: float) -> NDArray[np.bool_]:
    """Return where a PSI is beyond chance and large enough to matter.

    Args:
        index: PSI.
        rows: rows now, in the baseline's bins.
        baseline_rows: rows of the baseline, in its bins.
    """
    unit = chance(np.maximum(rows, 1), baseline_rows)
    limit = unit * chi_square_quantile(bins - 1, z)
    matters = index - (bins - 1) * unit > LEAST_PSI_EXCESS
    found: NDArray[np.bool_] = (index > limit) & matters & (rows >= MIN_ROWS)
    return found


def lowest_share(count: Numbers | float, rows: Numbers | float, z: float) -> Array:
    """Return the lower bound of a share, from the count of a Poisson distribution."""
    return _bound(np.asarray(count, float), -z) / rows


def highest_share(count: Numbers | float, rows: Numbers | float, z: float) -> Array:
    """Return the upper bound of a share in the baseline; a count of 0 is taken as certain."""
    return _bound(np.asarray(count, float), z) / rows


def detectable_shift(rows: int, distributions: int) -> float | None:
    """Return the least shift of a normal feature that the alert finds within an hour, in nine cases of ten.

    Args:
        rows: rows of the baseline.
        distributions: number of features and outputs.

    Returns:
        In standard deviations, a multiple of 0.05; None if it is more than three.
    """
    if rows <= BINS:
        return None
    degrees = BINS - 1
    unit = float(chance(ROWS_AN_HOUR, rows))
    limit = unit * float(chi_square_quantile(degrees, limit_z(distributions)))
    least = max(limit, LEAST_PSI_EXCESS + degrees * unit)
    deviations = NormalDist().inv_cdf(POWER)
    for step in range(1, round(LARGEST_SHIFT / 0.05) + 1):
        shift = step * 0.05
        index = _index_of_shift(shift, MINUTES_TO_FIND / 60, rows)
        # The distribution of a PSI that is not 0 is that of a noncentral χ².
        spread = unit * math.sqrt(2 * degrees + 4 * index / unit)
        if index + degrees * unit - deviations * spread > least:
            return round(shift, 2)
    return None


def _index_of_shift(shift: float, part: float, rows: int) -> float:
    """Return the true PSI if a part of the window has shifted by some standard deviations.

    Args:
        rows: of the baseline, whose first and last edge are its extremes.
    """
    normal = NormalDist()
    extreme = normal.inv_cdf(1 - 1 / (rows + 1))
    edges = [-extreme, *(normal.inv_cdf(i / BINS) for i in range(1, BINS)), extreme]
    shifted, expected = (np.diff([normal.cdf(edge - by) for edge in edges]) for by in (shift, 0))
    now = part * shifted + (1 - part) * expected
    now, expected = now / now.sum(), expected / expected.sum()
    return float(((now - expected) * np.log(now / expected)).sum())


def _smoothed(counts: Numbers) -> Array:
    smoothed = np.asarray(counts, float) + SMOOTHING
    shares: Array = smoothed / smoothed.sum(-1, keepdims=True)
    return shares


def _bound(count: Array, z: float) -> Array:
    count = np.maximum(count, 1e-9)
    bound: Array = count * np.maximum(1 - 1 / (9 * count) + z / (3 * np.sqrt(count)), 0) ** 3
    return bound
