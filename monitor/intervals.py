"""Intervals of 95 % by resampling counts.

A figure that is a function of a table of counts, such as macro F1, is calculated again for tables that are
drawn from the one that was counted. That is the bootstrap over rows, at a cost that does not grow with their
number. Rates and means have the intervals of `model_loader.mean_intervals`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.mean_intervals import LEVEL, Interval

RESAMPLES = 1000
MULTIPLES = np.linspace(0, 2, 41)
DISTANCE_LEVEL = 0.96
SEED = 0
Floats = NDArray[np.float64]


def generator(*key: Any) -> np.random.Generator:
    """Return a generator whose numbers depend on nothing but the key, so that a report can be repeated."""
    return np.random.default_rng([SEED, *(ord(letter) for letter in repr(key))])


def resample(counts: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw tables of as many rows, with the shares of `counts`; shape (RESAMPLES, cells)."""
    total = int(counts.sum())
    return random.multinomial(total, counts / total, size=RESAMPLES)


def percentile(values: Sequence[float] | Floats) -> Interval:
    """Return the middle 95 % of resampled figures."""
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def of_table(
    counts: NDArray[np.int64], figure: Callable[[Floats], Floats], random: np.random.Generator
) -> Interval:
    """Return the percentile interval of a figure of a table of counts.

    Args:
        counts: shape (cells,).
        figure: from tables of shape (tables, cells) to values of shape (tables,).
    """
    return percentile(figure(resample(counts, random).astype(np.float64)))


def of_distances(gaps: Floats, spread: Floats, counts: Floats, random: np.random.Generator) -> Interval:
    """Return the interval of Σ counts · |gap| / Σ counts, not below 0.

    Chance makes the sum too large on average, so it is no centre. Instead, the sum is simulated for gaps that
    are a multiple of those found; a multiple is in the interval if what was found is likely with it.

    Args:
        gaps: mean difference in each bin, shape (bins,).
        spread: variance of the differences in each bin.
        counts: rows of each bin.
    """
    total = counts.sum()
    value = float(counts @ np.abs(gaps) / total)
    drawn = random.multinomial(int(total), counts / total, size=RESAMPLES)
    # A bin with few rows may have no spread, which says nothing of its gap.
    errors = np.sqrt(np.maximum(spread, 1 / (counts + 2)) / np.maximum(counts - 1, 1))
    noise = random.standard_normal(drawn.shape) * errors * np.sqrt(counts / np.maximum(drawn, 1))
    sums = [(np.abs(multiple * gaps + noise) * drawn).sum(axis=1) / total for multiple in MULTIPLES]
    # The gaps found are uncertain themselves: tests/monitor/test_intervals.py has the coverage.
    likely_low, likely_high = np.quantile(sums, ((1 - DISTANCE_LEVEL) / 2, (1 + DISTANCE_LEVEL) / 2), axis=1)
    low, high = np.interp(value, likely_high, MULTIPLES), np.interp(value, likely_low, MULTIPLES)
    return float(low) * value, float(high) * value
