"""How certain the difference of two models on the same rows is."""

import math

import numpy as np
import pytest
from scipy import stats

from model_loader.mean_intervals import student
from model_loader.paired_intervals import mean_difference


def test_student_is_scipys() -> None:
    """The interval of a mean is that of the paired t-test."""
    differences = np.random.default_rng(1).normal(0.1, 0.5, 40)
    mean, low, high = mean_difference(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert mean == pytest.approx(differences.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 1000])
def test_quantiles(degrees: int) -> None:
    """The quantiles are right to a thousandth from three degrees on."""
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


def test_one_row() -> None:
    """One row says nothing."""
    assert mean_difference(np.array([0.5])) == (0.5, -math.inf, math.inf)


def test_models_that_agree() -> None:
    """Models that agree on few rows may differ; the more rows, the less."""
    _, low, high = mean_difference(np.zeros(10))
    assert -high == low < -0.1
    _, low, _ = mean_difference(np.zeros(1000))
    assert -0.01 < low < 0


@pytest.mark.parametrize(
    ("wins", "losses", "is_better"), [(4, 0, False), (6, 0, True), (6, 3, False), (30, 12, True)]
)
def test_few_different_rows(wins: int, losses: int, is_better: bool) -> None:
    """A handful of rows on which the models differ does not make one better, as the sign test has it."""
    differences = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 100)
    assert (mean_difference(differences)[1] > 0) is is_better
    assert bool(stats.binomtest(wins, wins + losses).pvalue < 0.05) is is_better


@pytest.mark.parametrize(
    ("rows", "discordant", "difference"), [(50, 0.1, 0.0), (200, 0.05, 0.02), (500, 0.3, 0.1)]
)
def test_coverage(rows: int, discordant: float, difference: float) -> None:
    """Of 2,000 intervals at least 94 % have the true difference."""
    shares = [1 - discordant, (discordant + difference) / 2, (discordant - difference) / 2]
    random = np.random.default_rng(1)
    found = [mean_difference(random.choice([0.0, 1.0, -1.0], rows, p=shares)) for _ in range(2000)]
    assert sum(low <= difference <= high for _, low, high in found) >= 0.94 * 2000
