"""Tests that may be looked at any number of times, by likelihood ratios.

A test multiplies, look by look, how much more probable the counts are under an alternative than under the
null hypothesis. Under the null hypothesis the expectation of this product never exceeds 1, so the probability
that it ever reaches 1/p is at most p, however many looks there are: Ville's inequality. The mean of several
such products is one too, whatever their dependence, so several alternatives cost no error rate, only power.
https://arxiv.org/abs/2210.01948 (Ramdas, Grünwald, Vovk, Shafer: Game-theoretic statistics and safe
anytime-valid inference)
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Alternatives: the odds are this many times what the null hypothesis allows. Since 2 is the smallest, odds of
# less than 1.4 times the allowed ones are never evidence against the canary, however many requests there are.
FACTORS = (2.0, 4.0, 8.0, 32.0)
# Terms of a sum that are more standard deviations than this from the largest are negligible.
DEVIATIONS = 12
# For a look with more requests to the canary than this, only these terms are summed.
WINDOW_FROM = 200
# Bounds the memory for a look with very many requests.
MAX_TERMS = 500_000


class Counts(NamedTuple):
    """Requests, or values, and how many of them are cases of each test, such as errors.

    Attributes:
        total: number of requests.
        cases: shape (tests,), each from 0 to `total`.
    """

    total: int
    cases: Integers

    def others(self) -> "Counts":
        """Return the counts of what is not a case."""
        return Counts(self.total, self.total - self.cases)


class OddsTests:
    """Tests that the odds of a case are at most `tolerance` times as high at the canary as at other pods.

    Whatever the common rate is, the canary's number of cases, given both totals and the number of all cases,
    has Fisher's noncentral hypergeometric distribution, whose parameter is the ratio of the odds. The rate
    may change between looks.
    """

    def __init__(self, tests: int, tolerance: float) -> None:
        self._ratios = tolerance * np.array([1.0, *FACTORS])
        self._log_evidence = np.zeros((len(FACTORS), tests))

    @property
    def log_evidence(self) -> float:
        """Logarithm of the evidence against the null hypothesis, over all tests and looks."""
        return log_mean(self._log_evidence)

    def observe(self, canary: Counts, other: Counts, weight: float = 1.0) -> None:
        """Add what was counted since the last look.

        Args:
            weight: at most 1, for values that are not independent: 1/n if n of them count as one.
        """
        informative = (canary.cases + other.cases > 0) & (
            canary.cases + other.cases < canary.total + other.total
        )
        if not (canary.total and other.total and informative.any()):
            return
        cases = canary.cases[informative]
        sums = _log_sums(canary.total, other.total, cases + other.cases[informative], self._ratios)
        logs = np.log(self._ratios)[:, None] * cases - sums
        self._log_evidence[:, informative] += weight * (logs[1:] - logs[0])


class RateTests:
    """Tests that the canary's rate of cases is at most a fixed limit."""

    def __init__(self, limits: Floats) -> None:
        """
        Args:
            limits: shape (tests,), each above 0 and below 1.
        """
        odds = limits / (1 - limits)
        alternatives = np.array(FACTORS)[:, None] * odds
        alternatives /= 1 + alternatives
        self._case = np.log(alternatives / limits)
        self._other = np.log1p(-alternatives) - np.log1p(-limits)
        self._log_evidence = np.zeros_like(alternatives)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the evidence against the null hypothesis, over all tests and looks."""
        return log_mean(self._log_evidence)

    def observe(self, canary: Counts, weight: float = 1.0) -> None:
        """Add what was counted since the last look; `weight` as for `OddsTests`."""
        others = canary.total - canary.cases
        self._log_evidence += weight * (canary.cases * self._case + others * self._other)


def log_mean(logs: Floats | Iterable[float]) -> float:
    """Return the logarithm of the mean of the numbers with these logarithms."""
    values = np.asarray(logs if isinstance(logs, np.ndarray) else list(logs)).ravel()
    largest = float(values.max())
    return largest + math.log(float(np.exp(values - largest).mean()))


def upper_bound(rate: float, total: float, error: float) -> float:
    """Return a rate that the true one exceeds with a probability of at most `error`, by Chernoff's bound.

    Args:
        rate: observed share of the cases.
        total: number of observations.
        error: above 0, at most 1.
    """
    if not total:
        return 1.0
    low, high = rate, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if total * _divergence(rate, middle) > -math.log(error):
            high = middle
        else:
            low = middle
    return high


def _divergence(observed: float, assumed: float) -> float:
    """Return the Kullback-Leibler divergence of two rates. The second is above 0 and below 1."""
    divergence = observed * math.log(observed / assumed) if observed else 0.0
    if observed < 1:
        divergence += (1 - observed) * math.log((1 - observed) / (1 - assumed))
    return divergence


def _log_sums(canary: int, other: int, cases: Integers, ratios: Floats) -> Floats:
    """Return the logarithms of the normalising sums of Fisher's noncentral hypergeometric distribution.

    Args:
        canary, other: numbers of requests.
        cases: of both together, shape (tests,).
        ratios: of the odds, ascending.

    Returns:
        shape (ratios, tests)
    """
    first, last = np.maximum(0, cases - other), np.minimum(canary, cases)
    if canary > WINDOW_FROM:
        first = np.maximum(first, _window(canary, other, cases, ratios[0])[0])
        last = np.minimum(last, _window(canary, other, cases, ratios[-1])[1])
    x = first[:, None] + np.arange(int((last - first).max()) + 1)
    if x.size > MAX_TERMS and len(cases) > 1:
        halves = np.array_split(cases, 2)
        return np.hstack([_log_sums(canary, other, half, ratios) for half in halves])
    is_used = x <= last[:, None]
    x = np.minimum(x, last[:, None])
    rest = cases[:, None] - x
    logs = _log_factorials((canary + other).bit_length())
    terms = -(logs[x] + logs[canary - x] + logs[rest] + logs[other - rest])
    terms[~is_used] = -np.inf
    terms = terms + np.log(ratios)[:, None, None] * x
    largest = terms.max(axis=2, keepdims=True)
    return np.asarray(largest[..., 0] + np.log(np.exp(terms - largest).sum(axis=2)))


@lru_cache(maxsize=2)
def _log_factorials(bits: int) -> Floats:
    """Return the logarithms of n! for each n of at most so many bits."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 2**bits)))])


def _window(canary: int, other: int, cases: Integers, ratio: float) -> tuple[Integers, Integers]:
    """Return the first and last number of cases that contribute to a sum, near the distribution's mode."""
    b = ratio * (canary + cases) + other - cases
    mode = 2 * ratio * canary * cases / (b + np.sqrt(b * b - 4 * (ratio - 1) * ratio * canary * cases))
    cells = np.stack([mode, canary - mode, cases - mode, other - cases + mode])
    deviation = 1 / np.sqrt((1 / np.maximum(cells, 0.5)).sum(axis=0))
    width = DEVIATIONS * deviation + 20
    return np.floor(mode - width).astype(np.int64), np.ceil(mode + width).astype(np.int64)
