"""Intervals of 95 % cover the truth in 93 to 97 % of simulated sets."""

from collections.abc import Callable

import duckdb
import numpy as np
import pytest
from scipy import stats

from model_loader import mean_intervals
from model_loader.mean_intervals import student
from monitor.database import connect, run
from monitor.measures import Measure, measure
from tests.monitor.simulated import softmax

SETS, ROWS = 1000, 600


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 100, 10_000])
def test_student(degrees: int) -> None:
    """The quantile is Student's."""
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (437, 1000)])
def test_wilson(successes: int, count: int) -> None:
    """The interval of a rate is Wilson's."""
    expected = stats.binomtest(successes, count).proportion_ci(method="wilson")
    assert mean_intervals.wilson(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_none_and_all() -> None:
    """The bounds of no row and of all rows are exactly 0 and 1, which limits are compared with."""
    for count in range(1, 200):
        assert (mean_intervals.wilson(0, count)[0], mean_intervals.wilson(count, count)[1]) == (0, 1)


def test_too_few_rows() -> None:
    """What has no interval has none."""
    assert mean_intervals.wilson(0, 0) == (None, None)
    assert mean_intervals.of_mean(1.0, None, 1) == (None, None)


def covered(
    found: dict[tuple[int, object], tuple[Measure, ...]], truth: dict[str, float]
) -> dict[str, float]:
    """Return the share of sets whose interval has the truth, by metric."""
    hits = dict.fromkeys(truth, 0)
    for measures in found.values():
        for each in measures:
            if each.metric in truth and each.low is not None and each.high is not None:
                hits[each.metric] += each.low <= truth[each.metric] <= each.high
    return {name: count / SETS for name, count in hits.items()}


def scored(connection: duckdb.DuckDBPyConnection, **columns: object) -> None:
    """Create the table `scored`, a set for each value of `key`."""
    for name, values in columns.items():
        connection.register(f"numpy_{name}", {"v": values})
    names = ", ".join(f"numpy_{name}.v AS {name}" for name in columns)
    joined = " POSITIONAL JOIN ".join(f"numpy_{name}" for name in columns)
    run(connection, f"CREATE TABLE scored AS SELECT 1 AS version, {names} FROM {joined}")


def class_sample(rows: int, random: np.random.Generator, certainty: float) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and probabilities of a model that is too sure of itself."""
    scores = random.normal(size=(rows, 3)) * 1.5
    truth = (random.random((rows, 1)) > softmax(scores * certainty).cumsum(axis=1)).sum(axis=1)
    return truth, softmax(scores)


def class_columns(truth: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of `scored`."""
    of_truth = p[np.arange(len(truth)), truth]
    return {
        "truth": truth, "predicted": p.argmax(axis=1), "top": p.argmax(axis=1), "confidence": p.max(axis=1),
        "loss": -np.log(of_truth), "brier": (p * p).sum(axis=1) - 2 * of_truth + 1,
        "bin": np.searchsorted(np.linspace(0, 1, 16)[1:-1], p.max(axis=1)),
    }  # fmt: skip


def sets(
    columns: Callable[[int, np.random.Generator], dict[str, np.ndarray]],
) -> tuple[dict[str, float], ...]:
    """Return the truth, of very many rows, and the coverage of SETS sets."""
    random = np.random.default_rng(11)
    classes = {1: ("0", "1", "2")} if "bin" in columns(1, random) else {1: ()}
    with connect() as connection:
        scored(connection, **columns(3_000_000, random))
        truth = {each.metric: each.value for each in measure(connection, classes, "true")[1, None].measures}
        run(connection, "DROP TABLE scored")
        scored(connection, key=np.repeat(np.arange(SETS), ROWS), **columns(SETS * ROWS, random))
        groups = measure(connection, classes, "true", "key")
    found = {key: group.measures for key, group in groups.items()}
    return truth, covered(found, truth)


@pytest.mark.parametrize("certainty", [0.6, 0.9])
def test_coverage_of_classes(certainty: float) -> None:
    """The intervals of all metrics of classes, of a model whose probabilities are more or less wrong."""
    truth, shares = sets(lambda rows, random: class_columns(*class_sample(rows, random, certainty)))
    print(truth, shares)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


def test_coverage_of_numbers() -> None:
    """The intervals of all metrics of numbers."""

    def columns(rows: int, random: np.random.Generator) -> dict[str, np.ndarray]:
        truth = random.gamma(4, 10, rows)
        return {"truth_value": truth, "value": truth + random.normal(1, 3 + truth / 20, rows)}

    _, shares = sets(columns)
    print(shares)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
