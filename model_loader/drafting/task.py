"""What a model predicts, found in its outputs: labels with their probabilities, or a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.columns import simplified
from model_loader.drafting.session import Output

# Of the sum of a row's probabilities: what float16 and a softmax of many classes leave.
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Task:
    """The outputs of a model that have its predictions; each is the name of an output, or None.

    Attributes:
        label: one label for each row.
        probabilities: one probability for each row and class.
        scores: numbers for each row and class that are not probabilities, as logits.
        number: one float for each row; only if there is none of the others.
    """

    label: str | None = None
    probabilities: str | None = None
    scores: str | None = None
    number: str | None = None

    @property
    def output(self) -> str | None:
        """The output that the target is the truth of."""
        return self.label or self.probabilities or self.scores or self.number


def find_task(outputs: Mapping[str, Output], target: str | None, *, is_continuous: bool = False) -> Task:
    """Find the outputs with the predictions.

    Args:
        is_continuous: whether the truth is numbers that cannot be labels.
        outputs: name → values for all rows.
        target: the name of the truth. Of several outputs of a kind, the one that has it in its name is taken.
    """

    def choose(fits: Any) -> str | None:
        names = [name for name, value in outputs.items() if fits(value)]
        if len(names) > 1 and target is not None:
            names = [name for name in names if simplified(target) in simplified(name)]
        return names[0] if len(names) == 1 else None

    label, probabilities = choose(is_label), choose(is_probabilities)
    if (label or probabilities) and not is_continuous:
        return Task(label, probabilities)
    if number := choose(is_number):
        return Task(number=number)
    return Task(scores=choose(is_scores))


def labels_of(value: Output) -> NDArray[Any]:
    """Return an output of labels as an array, shape (rows,)."""
    return np.asarray(value).reshape(-1)


def probabilities_of(value: Output) -> NDArray[np.float64]:
    """Return an output with a number for each class as an array, shape (rows, classes)."""
    if isinstance(value, list):
        return np.array([list(row.values()) for row in value], np.float64)
    return value.astype(np.float64)


def is_label(value: Output) -> bool:
    """Return whether an output has one integer, string or boolean for each row."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "iubOU" and value.size == len(value)


def is_number(value: Output) -> bool:
    """Return whether an output has one float for each row."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size == len(value)


def is_scores(value: Output) -> bool:
    """Return whether an output has several floats for each row."""
    return (
        isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 2 and value.shape[1] > 1
    )


def is_probabilities(value: Output) -> bool:
    """Return whether an output is a ZipMap, or has rows of floats from 0 to 1 that add up to 1."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, dict) for row in value)
    if not is_scores(value):
        return False
    in_range = bool(((value >= 0) & (value <= 1 + SUM_TOLERANCE)).all())
    return in_range and bool((abs(value.astype(np.float64).sum(axis=1) - 1) <= SUM_TOLERANCE).all())


def zipmap_classes(value: Output) -> Sequence[Any]:
    """Return the keys of a ZipMap, in its order; empty for an array."""
    return tuple(value[0]) if isinstance(value, list) and isinstance(value[0], dict) else ()
