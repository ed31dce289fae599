"""Metrics of a model's predictions, defined as in scikit-learn.

https://scikit-learn.org/stable/modules/model_evaluation.html
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.mean_intervals import Interval, of_mean, wilson

Array = NDArray[Any]
Floats = NDArray[np.float64]
CALIBRATION_BINS = 15


def classification_metrics(
    truth: Array, predicted: Array, probabilities: Floats | None, classes: Sequence[Any]
) -> dict[str, float]:
    """Return accuracy, macro F1, log loss and calibration error.

    Args:
        truth: true labels, shape (rows,).
        predicted: predicted labels, shape (rows,).
        probabilities: shape (rows, classes); None: without log loss and calibration error.
        classes: the label of each column of `probabilities`.
    """
    metrics = {"accuracy": accuracy(truth, predicted), "macro_f1": macro_f1(truth, predicted)}
    if probabilities is not None:
        columns = column_indices(truth, classes)
        # A label that the model does not know has no probability.
        if (columns >= 0).all():
            metrics["log_loss"] = log_loss(columns, probabilities)
        metrics["calibration_error"] = calibration_error(columns, probabilities)
    return metrics


def classification_intervals(
    truth: Array, predicted: Array, probabilities: Floats | None, classes: Sequence[Any]
) -> dict[str, tuple[float, float]]:
    """Return the intervals of 95 % of accuracy and log loss, which are means over the rows.

    The arguments are those of `classification_metrics`.
    """
    intervals = {"accuracy": wilson(int((truth == predicted).sum()), len(truth))}
    if probabilities is not None:
        columns = column_indices(truth, classes)
        if (columns >= 0).all():
            intervals["log_loss"] = _of_mean(log_losses(columns, probabilities))
    return _known(intervals)


def regression_intervals(truth: Floats, predicted: Floats) -> dict[str, tuple[float, float]]:
    """Return the intervals of 95 % of the mean absolute error, and of the root of the mean squared error.

    Args:
        truth: shape (rows,), or (rows, targets), which have an interval of the first metric only.
        predicted: of the same shape.
    """
    error = (predicted - truth).reshape(len(truth), -1)
    intervals = {"mae": _of_mean(np.abs(error).mean(axis=1))}
    if error.shape[1] == 1:
        low, high = _of_mean(error[:, 0] ** 2)
        if low is not None and high is not None:
            intervals["rmse"] = max(low, 0.0) ** 0.5, high**0.5
    return _known(intervals)


def regression_metrics(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Return the mean absolute error, the root of the mean squared error, and R², which takes two rows.

    Args:
        truth: shape (rows,), or (rows, targets): the metrics are then means over the targets.
        predicted: of the same shape.
    """
    error = predicted - truth
    metrics = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean(axis=0)).mean())}
    if len(truth) == 1:
        return metrics
    columns = zip(truth.reshape(len(truth), -1).T, predicted.reshape(len(truth), -1).T, strict=True)
    return metrics | {"r2": float(np.mean([r2(*column) for column in columns]))}


def accuracy(truth: Array, predicted: Array) -> float:
    """Return the share of rows with the right label."""
    return float((truth == predicted).mean())


def macro_f1(truth: Array, predicted: Array) -> float:
    """Return the mean of the classes' F1: 2·TP / (2·TP + FP + FN), over all true and predicted labels."""
    scores = []
    for label in {*truth.tolist(), *predicted.tolist()}:
        true, found = truth == label, predicted == label
        # The denominator is 2·TP + FP + FN; a label in the set is in one of the two.
        scores.append(2 * np.count_nonzero(true & found) / (np.count_nonzero(true) + np.count_nonzero(found)))
    return float(np.mean(scores))


def log_loss(columns: NDArray[np.intp], probabilities: Floats) -> float:
    """Return the mean of `log_losses`."""
    return float(log_losses(columns, probabilities).mean())


def log_losses(columns: NDArray[np.intp], probabilities: Floats) -> Floats:
    """Return -ln p of the true class, shape (rows,); p is at least the smallest float64 above 1, less 1.

    Args:
        columns: the column of the true class, shape (rows,).
        probabilities: shape (rows, classes).
    """
    limit = np.finfo(np.float64).eps
    of_truth = probabilities[np.arange(len(columns)), columns]
    losses: Floats = -np.log(np.clip(of_truth, limit, 1 - limit))
    return losses


def calibration_error(columns: NDArray[np.intp], probabilities: Floats) -> float:
    """Return the expected calibration error of the class with the highest probability, from 0 to 1.

    Σ over bins b of n_b / n · |accuracy_b - confidence_b|, where the confidence of a row is its highest
    probability, and the bins are (0, 1/15], (1/15, 2/15], …: https://arxiv.org/abs/1706.04599, equation 3.

    Args:
        columns: the column of the true class, shape (rows,); -1 if there is none.
        probabilities: shape (rows, classes).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == columns
    inner_edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.searchsorted(inner_edges, confidence)
    gaps = np.bincount(bins, correct.astype(np.float64) - confidence, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(columns))


def r2(truth: Floats, predicted: Floats) -> float:
    """Return 1 - Σ(truth - predicted)² / Σ(truth - mean)²; for a constant truth, 1 if all fit, else 0."""
    residual = float(((truth - predicted) ** 2).sum())
    total = float(((truth - truth.mean()) ** 2).sum())
    if not total:
        return 0.0 if residual else 1.0
    return 1 - residual / total


def column_indices(labels: Array, classes: Sequence[Any]) -> NDArray[np.intp]:
    """Return the index of each label in `classes`, -1 if it is not there."""
    index = {label: position for position, label in enumerate(classes)}
    return np.array([index.get(label, -1) for label in labels.tolist()], np.intp)


def _of_mean(values: Floats) -> Interval:
    variance = float(values.var(ddof=1)) if len(values) > 1 else None
    return of_mean(float(values.mean()), variance, len(values))


def _known(intervals: Mapping[str, Interval]) -> dict[str, tuple[float, float]]:
    return {
        name: (low, high) for name, (low, high) in intervals.items() if low is not None and high is not None
    }
