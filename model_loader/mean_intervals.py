"""Intervals of 95 % of a rate, which are Wilson's, and of a mean, which are Student's."""

import math
from statistics import NormalDist

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
Interval = tuple[float | None, float | None]
UNKNOWN: Interval = (None, None)


def wilson(successes: float, count: int) -> Interval:
    """Return Wilson's interval of a rate: https://doi.org/10.1214/ss/1009213286, equation 4."""
    if not count:
        return UNKNOWN
    share, ratio = successes / count, Z**2 / count
    middle = (share + ratio / 2) / (1 + ratio)
    half = Z * math.sqrt(share * (1 - share) / count + ratio / count / 4) / (1 + ratio)
    # Exactly 0 and 1 without rounding, since limits are compared with them.
    low = max(0.0, middle - half) if successes else 0.0
    return low, min(1.0, middle + half) if successes < count else 1.0


def of_mean(mean: float, variance: float | None, count: int) -> Interval:
    """Return Student's interval of a mean.

    Args:
        variance: of the values, with count - 1 degrees of freedom; None: of fewer than two values.
    """
    if variance is None or count < 2:
        return UNKNOWN
    half = student(count - 1) * math.sqrt(variance / count)
    return mean - half, mean + half


def student(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's distribution.

    One and two degrees have a closed form; from three on, the expansion in 1 / degrees is right to 1e-3:
    https://dlmf.nist.gov, and Abramowitz and Stegun, 26.7.5.
    """
    if degrees == 1:
        return math.tan(math.pi * LEVEL / 2)
    if degrees == 2:
        return LEVEL * math.sqrt(2 / (1 - LEVEL**2))
    z, n = Z, degrees
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / n**power for power, term in enumerate(terms)))
