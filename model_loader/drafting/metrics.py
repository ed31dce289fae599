"""Metrics of a model's predictions, defined as in scikit-learn.

https://scikit-learn.org/stable/modules/model_evaluation.html
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Return the mean of -ln p of the true class; p is at least the smallest float64 above 1, less 1.

    Args:
        columns: the column of the true class, shape (rows,).
        probabilities: shape (rows, classes).
    """
    limit = np.finfo(np.float64).eps
    of_truth = probabilities[np.arange(len(columns)), columns]
    return float(-np.log(np.clip(of_truth, limit, 1 - limit)).mean())


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
