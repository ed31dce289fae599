"""The evaluation of a model on the target: its classes and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.casts import cast
from model_loader.drafting.metrics import classification_metrics, regression_metrics
from model_loader.drafting.session import Output
from model_loader.drafting.tables import Table
from model_loader.drafting.task import Task, find_task, labels_of, probabilities_of, zipmap_classes
from model_loader.errors import DraftError

Array = NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model's predictions.

    Attributes:
        classes: the label of each column of the probabilities, or else every label; empty: not known.
        names: what the target has for each of the `classes`, if the model has only indices.
        metrics: name → value; None: not calculated.
        notes: what was assumed, or why there are no metrics, a sentence each.
    """

    task: Task
    classes: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    metrics: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()


def evaluate(
    outputs: Mapping[str, Output], table: Table, target: str | None, classes: Sequence[Any] | None
) -> Evaluation:
    """Find the classes, and calculate the metrics on the target.

    Args:
        outputs: name → values for all rows.
        target: the column of `table` that has the truth, or None.
        classes: the labels in the order of the model's probabilities, if they are known.

    Raises:
        DraftError: the target is not a column, or does not fit the predictions.
    """
    task = find_task(outputs, target)
    truth, present = _truth(table, target)
    if truth is not None and task.number and _is_binary(outputs[task.number], truth[present], table):
        return _evaluate_binary(task.number, outputs, table, target, present)
    if task.number or not task.output:
        return _evaluate_number(task, outputs, table, target, present)
    labels = labels_of(outputs[task.label]) if task.label else None
    known = zipmap_classes(outputs[task.probabilities]) if task.probabilities else ()
    kind = _label_kind(labels, known or classes or ())
    names: tuple[str, ...] = ()
    if target is not None and truth is not None:
        truth, names = _truth_labels(target, truth[present], kind, table, labels)
    found = tuple(known) or _find_classes(task, outputs, labels, truth, classes)
    indices = ", ".join(f"{index} is '{name}'" for index, name in enumerate(names))
    notes = (
        (f"the target's names are taken as the model's labels in sorted order: {indices:.200}",)
        if names
        else ()
    )
    evaluation = Evaluation(task, found, names if found == tuple(range(len(names))) else (), notes=notes)
    if truth is None:
        return evaluation
    return replace(evaluation, **_metrics(task, outputs, labels, truth, present, found, notes))


def _metrics(
    task: Task,
    outputs: Mapping[str, Output],
    labels: Array | None,
    truth: Array,
    present: NDArray[np.bool_],
    classes: tuple[Any, ...],
    notes: tuple[str, ...],
) -> dict[str, Any]:
    source = task.probabilities or task.scores
    columns = probabilities_of(outputs[source])[present] if source else None
    if labels is not None:
        predicted = labels[present]
    elif columns is not None and classes:
        predicted = np.array(classes, truth.dtype)[columns.argmax(axis=1)]
    else:
        return {"notes": (*notes, f"no metrics: the labels of the columns of '{source}' are not known")}
    if task.scores:
        notes = (
            *notes,
            f"no log loss: '{task.scores}' has scores, not probabilities; add a softmax to the graph",
        )
    elif columns is not None and not classes:
        notes = (*notes, f"no log loss: the labels of the columns of '{source}' are not known")
    probabilities = columns if task.probabilities and classes else None
    unknown = sorted({*truth.tolist()} - {*classes}, key=str) if probabilities is not None else []
    if unknown:
        notes = (*notes, f"no log loss: the model has no class {unknown[0]!r}, which the target has")
    return {"metrics": classification_metrics(truth, predicted, probabilities, classes), "notes": notes}


def _truth(table: Table, target: str | None) -> tuple[Array | None, NDArray[np.bool_]]:
    """Return the values of the target, and which of them are not missing."""
    if target is None:
        return None, np.ones(table.rows, bool)
    if target not in table.columns:
        raise DraftError(
            f"{table.name} has no column '{target}' for the target; it has {', '.join(table.columns)}"
        )
    values = table.columns[target].reshape(-1)
    if len(values) != table.rows:
        raise DraftError(
            f"target '{target}': expected one value for each row, got {table.columns[target].shape}"
        )
    missing = [value is None or value != value for value in values.tolist()]
    if all(missing):
        raise DraftError(f"target '{target}' has only missing values")
    return values, ~np.array(missing)


def _label_kind(labels: Array | None, classes: Sequence[Any]) -> str | None:
    """Return the datatype of the labels, or None if the outputs do not show it."""
    found = labels[0] if labels is not None and len(labels) else next(iter(classes), None)
    if found is None:
        return None
    if isinstance(found, bool | np.bool_):
        return "BOOL"
    return "STRING" if isinstance(found, str) else "INT64"


def _truth_labels(
    target: str, truth: Array, kind: str | None, table: Table, labels: Array | None
) -> tuple[Array, tuple[str, ...]]:
    """Return the truth as labels of the model, and the names of these labels if the model has only indices.

    The model of a framework that takes only integers as labels has the index of each name in sorted order.
    """
    try:
        return cast(target, truth, kind or "INT64", is_text=table.is_text), ()
    except DraftError:
        if kind == "BOOL" or truth.dtype.kind != "O":
            raise
    names = sorted({str(value) for value in truth})
    if kind is None:
        return truth.astype(str).astype(object), ()
    if labels is not None and not 0 <= labels.min() <= labels.max() < len(names):
        raise DraftError(
            f"target '{target}' has {len(names)} names, and the model's labels are {labels.min()} to "
            f"{labels.max()}: give a target with the labels of the model"
        )
    return np.array([names.index(str(value)) for value in truth]), tuple(names)


def _find_classes(
    task: Task,
    outputs: Mapping[str, Output],
    labels: Array | None,
    truth: Array | None,
    given: Sequence[Any] | None,
) -> tuple[Any, ...]:
    """Return the labels in the order of the columns; empty if that order is not known.

    Training frameworks sort the labels. The model's own answers show whether that is so here.
    """
    seen = {*(labels.tolist() if labels is not None else ()), *(truth.tolist() if truth is not None else ())}
    source = task.probabilities or task.scores
    if source is None:
        return tuple(given or sorted(seen))
    columns = probabilities_of(outputs[source])
    candidates = [tuple(given or ()), tuple(sorted(seen)), tuple(range(columns.shape[1]))]
    best = columns.argmax(axis=1).tolist()
    for candidate in candidates:
        if len(candidate) != columns.shape[1] or not seen <= {*candidate}:
            continue
        if (
            labels is None
            or np.mean([candidate[i] == label for i, label in zip(best, labels, strict=True)]) > 0.5
        ):
            return candidate
    return ()


def _is_binary(output: Output, truth: Array, table: Table) -> bool:
    """Return whether an output of one float may be the probability of a target that is 0 or 1."""
    values = np.asarray(output)
    try:
        numbers = cast("", truth, "FP64", is_text=table.is_text)
    except DraftError:
        return False
    return bool(((values >= 0) & (values <= 1)).all()) and set(numbers.tolist()) == {0.0, 1.0}


def _evaluate_binary(
    output: str, outputs: Mapping[str, Output], table: Table, target: str | None, present: NDArray[np.bool_]
) -> Evaluation:
    truth = cast(str(target), table.columns[str(target)].reshape(-1)[present], "INT64", is_text=table.is_text)
    positive = np.asarray(outputs[output], np.float64).reshape(-1)[present]
    probabilities = np.stack([1 - positive, positive], axis=1)
    metrics = classification_metrics(truth, (positive > 0.5).astype(np.int64), probabilities, (0, 1))
    note = f"output '{output}' is taken as the probability that the target is 1"
    return Evaluation(Task(probabilities=output), (0, 1), metrics=metrics, notes=(note,))


def _evaluate_number(
    task: Task, outputs: Mapping[str, Output], table: Table, target: str | None, present: NDArray[np.bool_]
) -> Evaluation:
    if target is None:
        return Evaluation(task)
    if task.number is None:
        names = ", ".join(outputs)
        return Evaluation(
            task, notes=(f"no metrics: none of the outputs {names} is clearly the prediction of '{target}'",)
        )
    truth = cast(target, table.columns[target].reshape(-1)[present], "FP64", is_text=table.is_text)
    predicted = np.asarray(outputs[task.number], np.float64).reshape(-1)[present]
    return Evaluation(task, metrics=regression_metrics(truth, predicted))
