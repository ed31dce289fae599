"""The labels of a classifier: in its answers, in the target, and of each of its probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.casts import cast
from model_loader.drafting.session import Output
from model_loader.drafting.task import Task, labels_of, probabilities_of, zipmap_classes
from model_loader.errors import DraftError

Array = NDArray[Any]


def predicted_labels(task: Task, outputs: Mapping[str, Output]) -> Array | None:
    """Return the labels that the model gives, shape (rows,), or None if it gives only probabilities."""
    return labels_of(outputs[task.label]) if task.label else None


def label_datatype(task: Task, outputs: Mapping[str, Output], given: Sequence[Any] | None) -> str | None:
    """Return the datatype of the model's labels, or None if neither its outputs nor `given` show it."""
    labels = predicted_labels(task, outputs)
    known = [
        *(labels[:1].tolist() if labels is not None else ()),
        *_zipmap_classes(task, outputs),
        *(given or ()),
    ]
    if not known:
        return None
    if isinstance(known[0], bool):
        return "BOOL"
    return "STRING" if isinstance(known[0], str) else "INT64"


def true_labels(
    target: str, truth: Array, datatype: str | None, *, is_text: bool
) -> tuple[Array, tuple[str, ...]]:
    """Return the truth as labels of the model, and the names of these labels if the model has only indices.

    Frameworks that take only integers as labels get the index of each name in sorted order.

    Args:
        target: the name of the truth, for messages.
        datatype: of the model's labels; None: as the truth is.

    Raises:
        DraftError: the truth has other labels than the model.
    """
    try:
        return cast(target, truth, datatype or "INT64", is_text=is_text), ()
    except DraftError:
        if datatype == "BOOL" or truth.dtype.kind != "O":
            raise
    names = sorted({str(value) for value in truth})
    if datatype is None:
        return truth.astype(str).astype(object), ()
    return np.array([names.index(str(value)) for value in truth]), tuple(names)


def find_classes(
    task: Task, outputs: Mapping[str, Output], truth: Array | None, given: Sequence[Any] | None
) -> tuple[Any, ...]:
    """Return the labels in the order of the probabilities' columns; empty if that order is not known.

    Training frameworks sort the labels. The model's own answers show whether that is so here.
    """
    if known := _zipmap_classes(task, outputs):
        return tuple(known)
    labels = predicted_labels(task, outputs)
    if labels is not None and labels.dtype.kind in "iu":
        # The graph has 0 and 1 where the estimator has False and True.
        given = [int(label) if isinstance(label, bool) else label for label in given or ()]
    seen = {*(() if labels is None else labels.tolist()), *(() if truth is None else truth.tolist())}
    source = task.probabilities or task.scores
    if source is None:
        # Texts or integers of each row are not labels unless something says so.
        return tuple(given or (sorted(seen) if truth is not None else ()))
    columns = probabilities_of(outputs[source])
    width, best = columns.shape[1], columns.argmax(axis=1).tolist()
    # Numbers of each row are not scores of classes unless something says so.
    indices = tuple(range(width)) if seen or task.probabilities else ()
    for classes in (tuple(given or ()), tuple(sorted(seen)), indices):
        if len(classes) == width and seen <= {*classes}:
            agree = [classes[i] for i in best] == np.asarray(labels, object) if labels is not None else [True]
            if np.mean(agree) > 0.5:
                return classes
    return ()


def _zipmap_classes(task: Task, outputs: Mapping[str, Output]) -> Sequence[Any]:
    return zipmap_classes(outputs[task.probabilities]) if task.probabilities else ()
