"""Outputs of the training framework, compared with those of ONNX Runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.casts import cast
from model_loader.drafting.columns import find
from model_loader.drafting.json_values import to_json
from model_loader.drafting.session import Output
from model_loader.drafting.tables import Table
from model_loader.drafting.task import probabilities_of, zipmap_classes
from model_loader.errors import DraftError
from model_loader.package import TensorSpec

Array = NDArray[Any]
# A framework has float64 inputs, a graph float32: a row at a tree's threshold can be on its other side.
MAX_DIFFERENT_SHARE = 0.01


@dataclass(frozen=True)
class Difference:
    """How an output of ONNX Runtime differs from that of the framework.

    Attributes:
        different: whether a row differs by more than the tolerance, shape (rows,).
        largest: greatest absolute difference of a float; None for labels.
        row: the row with that difference, or the first one with another label.
    """

    output: str
    different: NDArray[np.bool_]
    largest: float | None
    row: int

    def __str__(self) -> str:
        count = f"{int(self.different.sum())} of {len(self.different)} rows differ"
        return count if self.largest is None else f"{count}, the largest difference is {self.largest:.3g}"


def read_predictions(
    table: Table,
    specs: Sequence[TensorSpec],
    outputs: Mapping[str, Output],
    classes: Sequence[Any],
    rows: int,
) -> dict[str, Output]:
    """Return the framework's outputs that a table has, in the types and shapes of the model's.

    Args:
        table: columns named as outputs; a column for each class is named as the class, or as
            `<output>_<class>` or `<output>_<index>`. The only column for the only output can have any name.
        specs: the model's outputs.
        outputs: name → values of ONNX Runtime for all rows.
        classes: the labels in the order of the probabilities.
        rows: number of rows of the data.

    Raises:
        DraftError: there is no column for any output, or one with another number of rows or values.
    """
    if table.rows != rows:
        raise DraftError(f"{table.name} has {table.rows} rows: expected {rows}, one for each row of the data")
    found: dict[str, Output] = {}
    for spec in specs:
        if spec.name in outputs and (values := _values(table, spec, outputs, classes)) is not None:
            # Rows at the end are left out if the model takes only batches of one size.
            actual = outputs[spec.name]
            found[spec.name] = aligned(spec.name, values[: len(actual)], actual)
    if not found:
        raise DraftError(
            f"{table.name}: expected columns named as the outputs, {', '.join(outputs)}, with _0, _1, … "
            f"for each class; got {', '.join(table.columns)}"
        )
    return found


def aligned(name: str, values: Any, actual: Output) -> Output:
    """Return the framework's values of an output in the type and shape of the model's.

    Raises:
        DraftError: their number, or a type, is another.
    """
    array = np.asarray(values)
    if isinstance(actual, list):
        classes = zipmap_classes(actual)
        if array.shape != (len(actual), len(classes)):
            raise DraftError(
                f"output '{name}': expected {len(actual)} rows of {len(classes)} classes, got {array.shape}"
            )
        return [dict(zip(classes, row, strict=True)) for row in array.astype(np.float32).tolist()]
    if array.size != actual.size or len(array) != len(actual):
        raise DraftError(f"output '{name}': expected the shape {list(actual.shape)}, got {list(array.shape)}")
    array = array.reshape(actual.shape)
    if actual.dtype.kind in "OU":
        return array.astype(str).astype(object)
    if array.dtype.kind in "OU" or (
        actual.dtype.kind in "iub" and (array != array.astype(actual.dtype)).any()
    ):
        raise DraftError(
            f"output '{name}' has values of {actual.dtype}: expected the same, got {array.ravel()[0]!r}"
        )
    with np.errstate(over="ignore"):
        return array.astype(actual.dtype)


def compare(name: str, expected: Output, actual: Output, rtol: float, atol: float) -> Difference:
    """Compare an output of ONNX Runtime with that of the framework, row by row."""
    if isinstance(actual, np.ndarray) and actual.dtype.kind != "f":
        unequal = np.not_equal(np.asarray(expected), actual).reshape(len(actual), -1)
        different = np.asarray(unequal.any(axis=1))
        return Difference(name, different, None, int(different.argmax()))
    one = probabilities_of(expected).reshape(len(expected), -1)
    other = probabilities_of(actual).reshape(len(actual), -1)
    close = np.isclose(other, one, rtol, atol, equal_nan=True)
    with np.errstate(invalid="ignore"):
        gaps = np.where(close & ~np.isfinite(one), 0, np.abs(one - other)).max(axis=1, initial=0)
    gaps[np.isnan(gaps)] = np.inf
    return Difference(name, np.asarray(~close.all(axis=1)), float(gaps.max(initial=0)), int(gaps.argmax()))


def check_difference(difference: Difference, expected: Output, actual: Output) -> None:
    """Refuse a model that answers too many rows differently from its framework.

    Raises:
        DraftError: more than MAX_DIFFERENT_SHARE of the rows differ.
    """
    if difference.different.mean() <= MAX_DIFFERENT_SHARE:
        return
    row = difference.row
    raise DraftError(
        f"output '{difference.output}': {difference}, in row {row + 1}: the framework gave "
        f"{_preview(expected, row)}, ONNX Runtime {_preview(actual, row)}. Are the rows in the same order, "
        "and is the export of this model? For a quantized model, give the accepted tolerance with --atol"
    )


def _values(
    table: Table, spec: TensorSpec, outputs: Mapping[str, Output], classes: Sequence[Any]
) -> Array | None:
    actual = outputs[spec.name]
    datatype = "FP64" if isinstance(actual, list) or actual.dtype.kind == "f" else spec.datatype
    columns = list(table.columns)
    width = len(zipmap_classes(actual)) if isinstance(actual, list) else actual[:1].size
    column = find(spec.name, columns)
    if column is None and len(outputs) == len(columns) == width == 1:
        column = columns[0]
    if column is not None:
        return cast(column, table.columns[column], datatype, is_text=table.is_text)
    if datatype != "FP64" or width < 2:
        return None
    labels = [*classes] if len(classes) == width else []
    for names in (
        [f"{spec.name}_{label}" for label in labels],
        [f"{spec.name}_{index}" for index in range(width)],
        [str(label) for label in labels],
    ):
        found = [name for name in names if name in table.columns]
        if found and len(found) == width:
            values = [cast(name, table.columns[name], datatype, is_text=table.is_text) for name in found]
            return np.stack(values, axis=1)
    return None


def _preview(value: Output, row: int) -> str:
    return f"{to_json(value[row : row + 1])[0]!r:.120}"
