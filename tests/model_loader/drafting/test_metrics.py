"""Metrics of drafts, compared with scikit-learn's."""

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.calibration
import sklearn.metrics
from numpy.typing import NDArray

from model_loader.drafting.metrics import (
    CALIBRATION_BINS,
    calibration_error,
    classification_intervals,
    classification_metrics,
    column_indices,
    regression_intervals,
    regression_metrics,
)

CASES = 30
LABELS: dict[str, list[Any]] = {
    "binary": [0, 1],
    "integers": [3, 5, 11, 40],
    "strings": ["barolo", "lambrusco", "prosecco"],
    "booleans": [False, True],
    "many": list(range(25)),
}


def sklearn_metrics(
    truth: NDArray[Any], predicted: NDArray[Any], probabilities: NDArray[np.float64], classes: list[Any]
) -> dict[str, float]:
    """Return the same metrics by scikit-learn; it has the calibration error's bins, without their weights."""
    confidence = probabilities.max(axis=1)
    correct = np.array(classes, truth.dtype)[probabilities.argmax(axis=1)] == truth
    share, mean = sklearn.calibration.calibration_curve(correct, confidence, n_bins=CALIBRATION_BINS)
    counts = np.histogram(confidence, np.nextafter(np.linspace(0, 1, CALIBRATION_BINS + 1), 2))[0]
    error = (counts[counts > 0] * np.abs(share - mean)).sum() / len(truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about labels that are only predicted
        return {
            "accuracy": sklearn.metrics.accuracy_score(truth, predicted),
            "macro_f1": sklearn.metrics.f1_score(truth, predicted, average="macro"),
            "log_loss": sklearn.metrics.log_loss(truth, probabilities, labels=classes),
            "calibration_error": error,
        }


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("missing", [False, True], ids=["all classes", "a class is missing"])
def test_classification(kind: str, missing: bool) -> None:
    """Every metric equals scikit-learn's, also if the truth lacks a class, and for certain answers."""
    classes = LABELS[kind]
    rng = np.random.default_rng(len(kind))
    for rows in rng.integers(2, 200, CASES):
        sharpness = rng.choice([0.1, 1.0, 30.0])
        probabilities = rng.dirichlet(np.full(len(classes), sharpness), rows)
        probabilities[0] = np.eye(len(classes))[0]  # a probability of 0 and 1
        choices = classes[:-1] if missing else classes
        truth = np.array(classes, object)[rng.integers(0, len(choices), rows)]
        predicted = np.array(classes, object)[probabilities.argmax(axis=1)]
        plain = np.array(truth.tolist()), np.array(predicted.tolist())
        expected = sklearn_metrics(*plain, probabilities, classes)
        assert classification_metrics(truth, predicted, probabilities, classes) == pytest.approx(
            expected, rel=1e-9, abs=1e-9
        )


def test_regression() -> None:
    """Every metric equals scikit-learn's, for values of any size and for a constant truth."""
    rng = np.random.default_rng(1)
    for rows in rng.integers(2, 200, CASES):
        scale = 10.0 ** rng.integers(-6, 7)
        truth = rng.normal(size=rows) * scale
        for actual in (truth, np.full(rows, truth[0])):
            predicted = actual + rng.normal(size=rows) * scale * rng.choice([0.0, 0.1, 3.0])
            expected = {
                "mae": sklearn.metrics.mean_absolute_error(actual, predicted),
                "rmse": sklearn.metrics.root_mean_squared_error(actual, predicted),
                "r2": sklearn.metrics.r2_score(actual, predicted),
            }
            assert regression_metrics(actual, predicted) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_intervals_of_classification() -> None:
    """Accuracy has Wilson's interval and log loss Student's, as SciPy calculates them."""
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 150)
    truth, predicted = rng.integers(0, 3, 150), probabilities.argmax(axis=1)
    losses = -np.log(probabilities[np.arange(150), truth])
    rate = scipy.stats.binomtest(int((truth == predicted).sum()), 150).proportion_ci(method="wilson")
    mean = scipy.stats.t.interval(0.95, 149, losses.mean(), scipy.stats.sem(losses))
    intervals = classification_intervals(truth, predicted, probabilities, [0, 1, 2])
    assert intervals["accuracy"] == pytest.approx((rate.low, rate.high), abs=1e-9)
    assert intervals["log_loss"] == pytest.approx(mean, rel=1e-4)
    assert classification_intervals(truth, predicted, probabilities, [0, 1, 7]).keys() == {"accuracy"}


def test_intervals_of_regression() -> None:
    """The mean error has Student's interval, and so has the squared one before its root; one row has none."""
    rng = np.random.default_rng(3)
    truth, predicted = rng.normal(size=(2, 80))
    errors = np.abs(predicted - truth)
    intervals = regression_intervals(truth, predicted)
    for name, values, root in (("mae", errors, 1.0), ("rmse", errors**2, 0.5)):
        low, high = scipy.stats.t.interval(0.95, 79, values.mean(), scipy.stats.sem(values))
        assert intervals[name] == pytest.approx((low**root, high**root), rel=1e-4)
    assert regression_intervals(rng.normal(size=(80, 2)), rng.normal(size=(80, 2))).keys() == {"mae"}
    assert regression_intervals(truth[:1], predicted[:1]) == {}


def test_calibration_of_two_bins() -> None:
    """Two rows of 0.9, one of them right, and two of 0.6, both right, are off by 0.4 in each bin."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration_error(np.array([0, 1, 0, 0]), probabilities) == pytest.approx((0.4 + 0.4) / 2)


def test_unknown_label() -> None:
    """A label that the model does not have leaves log loss out; every other metric counts it as an error."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    truth, predicted = np.array([0, 7]), np.array([0, 1])
    metrics = classification_metrics(truth, predicted, probabilities, [0, 1])
    assert "log_loss" not in metrics
    assert metrics["accuracy"] == 0.5
    assert metrics["macro_f1"] == pytest.approx(1 / 3)
    assert metrics["calibration_error"] == pytest.approx((0.1 + 0.8) / 2)
    assert column_indices(truth, [0, 1]).tolist() == [0, -1]


def test_one_row() -> None:
    """R² is not defined for one row and is left out."""
    assert regression_metrics(np.array([1.0]), np.array([3.0])) == {"mae": 2.0, "rmse": 2.0}
