"""The evaluation of a model on the target: its classes and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.casts import cast
from model_loader.drafting.labels import find_classes, label_datatype, predicted_labels, true_labels
from model_loader.drafting.metrics import (
    classification_intervals,
    classification_metrics,
    regression_intervals,
    regression_metrics,
)
from model_loader.drafting.session import Output, rows_of
from model_loader.drafting.tables import Table
from model_loader.drafting.task import Task, find_task, probabilities_of
from model_loader.errors import DraftError

Array = NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model's predictions.

    Attributes:
        classes: the label of each column of the probabilities, or else every label; empty: not known.
        names: what the target has for each of the `classes`, if the model has only indices.
        metrics: name → value; None: not calculated.
        intervals: metric → the ends of its interval of 95 %, of those that have one.
        notes: what was assumed, or why there are no metrics, a sentence each.
    """

    task: Task
    classes: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    metrics: Mapping[str, float] | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def evaluate(
    outputs: Mapping[str, Output], table: Table, target: str | None, classes: Sequence[Any] | None
) -> Evaluation:
    """Find the classes, and calculate the metrics on the rows that have a target.

    Args:
        outputs: name → values for all rows.
        target: the column of `table` that has the truth, or None.
        classes: the labels in the order of the model's probabilities, if they are known.

    Raises:
        DraftError: the target is not a column, or does not fit the predictions.
    """
    if target is None:
        task = find_task(outputs, None)
        return Evaluation(task, () if task.number else find_classes(task, outputs, None, classes))
    truth, present = _truth(table, target)
    outputs = {name: rows_of(value, present) for name, value in outputs.items()}
    numbers = _as_numbers(truth, is_text=table.is_text)
    is_continuous = numbers is not None and bool((numbers % 1 > 0).any())
    task = find_task(outputs, target, is_continuous=is_continuous)
    if truth.ndim > 1:
        return _evaluate_numbers(task, task.scores, truth, outputs)
    if task.number and numbers is not None and _are_shares(outputs[task.number], numbers):
        return _evaluate_probability(task.number, numbers.astype(np.int64), outputs)
    if task.number:
        truth = cast(target, truth, "FP64", is_text=table.is_text)
        # Texts such as NA are missing numbers too.
        known = ~np.isnan(truth)
        return _evaluate_numbers(
            task, task.number, truth[known], {task.number: rows_of(outputs[task.number], known)}
        )
    if task.scores and is_continuous:
        return Evaluation(Task(), notes=(f"no metrics: output '{task.scores}' has several numbers in a row",))
    if task.output is None:
        names = ", ".join(outputs)
        return Evaluation(
            task, notes=(f"no metrics: none of {names} is clearly the prediction of '{target}'",)
        )
    datatype = label_datatype(task, outputs, classes)
    if datatype == "INT64" and numbers is not None:
        # Texts such as NA are missing labels.
        known = ~np.isnan(numbers)
        truth, outputs = truth[known], {name: rows_of(value, known) for name, value in outputs.items()}
    labels, names_of_labels = true_labels(target, truth, datatype, is_text=table.is_text)
    return _evaluate_labels(task, labels, names_of_labels, outputs, classes)


def check_target(table: Table, target: str | None) -> None:
    """Refuse a target that the data does not have.

    Raises:
        DraftError: the message has the columns of the data.
    """
    if target is not None and target not in table.columns:
        raise DraftError(
            f"{table.name} has no column '{target}' for the target; it has {', '.join(table.columns):.1000}"
        )


def _evaluate_labels(
    task: Task,
    truth: Array,
    names: tuple[str, ...],
    outputs: Mapping[str, Output],
    given: Sequence[Any] | None,
) -> Evaluation:
    classes = find_classes(task, outputs, truth, given)
    source = task.probabilities or task.scores
    columns = probabilities_of(outputs[source]) if source else None
    predicted = predicted_labels(task, outputs)
    notes = []
    _check_labels(truth, names, predicted, None if columns is None else columns.shape[1])
    if names and predicted is not None and not 0 <= predicted.min() <= predicted.max() < len(names):
        raise DraftError(
            f"the target has {len(names)} names, and the model's labels are {predicted.min()} to "
            f"{predicted.max()}: give a target with the labels of the model"
        )
    if names:
        listed = ", ".join(f"{index} is '{name}'" for index, name in enumerate(names))
        notes.append(f"the target's names are taken as the model's labels in sorted order: {listed:.200}")
        names = names if classes == tuple(range(len(names))) else ()
    if source and not classes:
        notes.append(f"the labels of the columns of '{source}' are not known: no log loss")
    if task.scores:
        notes.append(
            f"'{task.scores}' has scores, not probabilities: no log loss; add a softmax to the graph"
        )
    if predicted is None:
        if columns is None or not classes:
            return Evaluation(task, notes=tuple(notes))
        predicted = np.array(classes, truth.dtype)[columns.argmax(axis=1)]
    probabilities = columns if task.probabilities and classes else None
    unknown = sorted({*truth.tolist()} - {*classes}, key=str) if probabilities is not None else []
    if unknown:
        notes.append(f"the target has the label {unknown[0]!r}, which the model does not have: no log loss")
    rows = truth, predicted, probabilities, classes
    metrics, intervals = classification_metrics(*rows), classification_intervals(*rows)
    return Evaluation(task, classes, names, metrics, intervals, tuple(notes))


def _check_labels(truth: Array, names: tuple[str, ...], predicted: Array | None, width: int | None) -> None:
    """Refuse a truth that has no label of the model, or more labels than the model."""
    if width is None:
        return
    if len(names) > width:
        raise DraftError(
            f"the target has {len(names)} names, and the model has {width} classes: {', '.join(names):.200}"
        )
    if predicted is None:
        return
    labels, answers = ({*values.tolist()} for values in (truth, predicted))
    if not labels & answers and len(labels | answers) > width:
        first, other = (
            ", ".join(repr(label) for label in sorted(values)[:5]) for values in (labels, answers)
        )
        raise DraftError(
            f"the target has none of the labels that the model answers: expected {other}, got {first}"
        )


def _evaluate_probability(output: str, truth: Array, outputs: Mapping[str, Output]) -> Evaluation:
    positive = np.asarray(outputs[output], np.float64).reshape(-1)
    probabilities = np.stack([1 - positive, positive], axis=1)
    rows = truth, (positive > 0.5).astype(np.int64), probabilities, (0, 1)
    note = f"output '{output}' is taken as the probability that the target is 1"
    return Evaluation(
        Task(probabilities=output),
        (0, 1),
        metrics=classification_metrics(*rows),
        intervals=classification_intervals(*rows),
        notes=(note,),
    )


def _evaluate_numbers(
    task: Task, output: str | None, truth: Array, outputs: Mapping[str, Output]
) -> Evaluation:
    """Evaluate an output of one number, or of several, for each row."""
    if output is None or np.size(outputs[output]) != truth.size:
        return Evaluation(
            task, notes=(f"no metrics: no output has numbers of the target's shape {truth.shape}",)
        )
    predicted = np.asarray(outputs[output], np.float64).reshape(truth.shape)
    if not np.isfinite(predicted).all():
        count = np.count_nonzero(~np.isfinite(predicted))
        return Evaluation(task, notes=(f"no metrics: {count} predictions of '{output}' are not finite",))
    numbers = truth.astype(np.float64)
    # Feedback is one number: it cannot be the truth of several.
    return Evaluation(
        Task(number=output) if truth.ndim == 1 else Task(),
        metrics=regression_metrics(numbers, predicted),
        intervals=regression_intervals(numbers, predicted),
    )


def _truth(table: Table, target: str) -> tuple[Array, NDArray[np.bool_]]:
    """Return the values of the target that are not missing, and which rows have one."""
    check_target(table, target)
    values = table.columns[target]
    values = values.reshape(-1) if values.size == table.rows else values
    missing = [value is None or value != value for value in values.reshape(table.rows, -1)[:, 0].tolist()]
    if all(missing):
        raise DraftError(f"target '{target}' has only missing values")
    present = ~np.array(missing)
    return values[present], present


def _as_numbers(truth: Array, *, is_text: bool) -> Array | None:
    """Return the truth as numbers, or None if it has other texts."""
    try:
        return cast("target", truth, "FP64", is_text=is_text)
    except DraftError:
        return None


def _are_shares(output: Output, truth: Array) -> bool:
    """Return whether an output of one float may be the probability of a truth that is 0 or 1."""
    values = np.asarray(output)
    return bool(((values >= 0) & (values <= 1)).all()) and {*truth.tolist()} == {0.0, 1.0}
