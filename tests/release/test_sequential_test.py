"""The sequential tests: their error rate, and the formulas behind it."""

import math

import numpy as np
import pytest

from release.sequential_test import FACTORS, Counts, OddsTests, RateTests, log_mean, upper_bound

LOOKS, RUNS = 24, 400


def counts(total: int, *cases: int) -> Counts:
    """Return counts of as many tests as there are numbers of cases."""
    return Counts(total, np.array(cases))


def hypergeometric(canary: int, other: int, cases: int, ratio: float) -> dict[int, float]:
    """Return the probability of each number of cases at the canary, by summing binomial coefficients."""
    possible = range(max(0, cases - other), min(canary, cases) + 1)
    weights = {x: math.comb(canary, x) * math.comb(other, cases - x) * ratio**x for x in possible}
    return {x: weight / sum(weights.values()) for x, weight in weights.items()}


@pytest.mark.parametrize(("canary", "other", "cases"), [(12, 12, 5), (30, 200, 7), (30, 3, 20), (5, 5, 9)])
def test_odds(canary: int, other: int, cases: int) -> None:
    """The evidence is a mean of likelihood ratios; if the odds are those allowed, its expectation is 1."""
    allowed = hypergeometric(canary, other, cases, 1.5)
    alternatives = [hypergeometric(canary, other, cases, 1.5 * factor) for factor in FACTORS]
    expectation = 0.0
    for x, probability in allowed.items():
        tests = OddsTests(1, 1.5)
        tests.observe(counts(canary, x), counts(other, cases - x))
        ratios = [each[x] / probability for each in alternatives]
        assert tests.log_evidence == pytest.approx(math.log(sum(ratios) / len(ratios)))
        expectation += probability * math.exp(tests.log_evidence)
    assert expectation == pytest.approx(1)


def test_large_looks() -> None:
    """A look with very many requests neither overflows nor is a surprise if the odds are equal."""
    tests = OddsTests(40, 1.0)
    cases = np.linspace(0, 200_000, 40).astype(int)
    tests.observe(Counts(200_000, cases), Counts(2_000_000, 10 * cases))
    assert -math.inf < tests.log_evidence < 0
    tests.observe(Counts(200_000, cases // 2), Counts(2_000_000, cases))
    assert tests.log_evidence > 1000


@pytest.mark.parametrize("pair", [((0, 0), (10, 3)), ((10, 3), (0, 0)), ((10, 0), (10, 0)), ((9, 9), (3, 3))])
def test_no_information(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Without requests of both sides, or if all or none of them are cases, the evidence remains 1."""
    tests = OddsTests(1, 1.0)
    tests.observe(counts(*pair[0]), counts(*pair[1]))
    assert tests.log_evidence == 0


def test_weight() -> None:
    """Values that are always alike in tens are no more evidence than a tenth of them."""
    alone, tenfold = OddsTests(1, 1.0), OddsTests(1, 1.0)
    alone.observe(counts(30, 12), counts(300, 20))
    tenfold.observe(counts(300, 120), counts(3000, 200), 0.1)
    assert tenfold.log_evidence == pytest.approx(alone.log_evidence, rel=0.05)


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_rate(rate: float) -> None:
    """The evidence against a fixed limit has the expectation 1 at the limit."""
    expectation = 0.0
    for x in range(21):
        tests = RateTests(np.array([rate]))
        tests.observe(counts(20, x))
        probability = math.comb(20, x) * rate**x * (1 - rate) ** (20 - x)
        expectation += probability * math.exp(tests.log_evidence)
    assert expectation == pytest.approx(1)


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_error_rate(level: float) -> None:
    """Equal rates reach 1/level at any look in at most a share of `level` of the watches."""
    random = np.random.default_rng(5)
    exceeded = 0
    for _ in range(RUNS):
        tests, highest = OddsTests(3, 1.0), 0.0
        for _ in range(LOOKS):
            # The common rates may be different in each look.
            rates = random.uniform(0, 0.3, 3)
            canary, other = int(random.poisson(12)), int(random.poisson(130))
            tests.observe(
                Counts(canary, random.binomial(canary, rates)), Counts(other, random.binomial(other, rates))
            )
            highest = max(highest, tests.log_evidence)
        exceeded += highest >= -math.log(level)
    assert exceeded / RUNS <= level


def test_log_mean() -> None:
    """The mean is that of the numbers, also of ones that are too large for a float."""
    assert log_mean([math.log(2), math.log(4)]) == pytest.approx(math.log(3))
    assert log_mean([2000.0, 0.0]) == pytest.approx(2000 - math.log(2))


@pytest.mark.parametrize(("cases", "total"), [(0, 10), (3, 50), (50, 50), (250, 500)])
def test_upper_bound(cases: int, total: int) -> None:
    """At the bound, so few cases have at most the given probability."""
    bound = upper_bound(cases / total, total, 0.05)
    assert cases / total < bound <= 1 or cases == total
    probability = sum(math.comb(total, k) * bound**k * (1 - bound) ** (total - k) for k in range(cases + 1))
    assert probability <= 0.05 or bound == 1


def test_upper_bound_of_nothing() -> None:
    """Without observations any rate is possible."""
    assert upper_bound(0.0, 0, 0.05) == 1
