"""Rows as estimators take them, and as the inputs of a graph."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.errors import DraftError

INPUT, TEXT = "x", "text"


@dataclass(frozen=True)
class Rows:
    """Rows for an estimator.

    Attributes:
        inputs: name of the graph's input → array: `x`, FP32 [batch, columns]; or a name for each column,
            [batch, 1]; or strings, [batch].
        given: the same rows as they were given.
        values: the same rows with numbers and booleans cast to float32, as the graph calculates with them.
        features: column names of `x`, or None.
    """

    inputs: dict[str, NDArray[Any]]
    given: Any
    values: Any
    features: tuple[str, ...] | None = None

    @property
    def rounded(self) -> Any:
        """The `values` in the types that were given, for estimators that refuse others than those of fit."""
        return self.values.astype(self.given.dtypes if is_table(self.given) else self.given.dtype)


def is_table(x: Any) -> bool:
    """Return whether `x` has named columns: whether it is a DataFrame."""
    return hasattr(x, "columns")


def is_matrix(x: Any) -> bool:
    """Return whether all columns of the DataFrame `x` are numbers, which are not categories."""
    return all(
        _kind(x[name]) in ("float", "integer") and not hasattr(x[name].dtype, "categories")
        for name in x.columns
    )


def read_matrix(x: Any) -> Rows:
    """Return rows as one input, FP32 [batch, columns]. The columns of a DataFrame become the features.

    Raises:
        DraftError: x is not two-dimensional, or has values that are neither numbers nor booleans.
    """
    if is_table(x):
        _check_names(x)
        for name in x.columns:
            if _kind(x[name]) == "string" or hasattr(x[name].dtype, "categories"):
                raise DraftError(
                    f"column '{name}' is of type {x[name].dtype}: this model takes numbers; "
                    "encode it in a scikit-learn pipeline that ends in the model, and draft the pipeline"
                )
        values = x.astype("float32")
        return Rows({INPUT: values.to_numpy(np.float32)}, x, values, tuple(x.columns))
    array = np.asarray(x)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DraftError(
            "expected x to be a DataFrame or a two-dimensional array of numbers, "
            f"got {type(x).__name__} of shape {list(array.shape)} and type {array.dtype}"
        )
    numbers = array.astype(np.float32)
    return Rows({INPUT: numbers}, array, numbers)


def read_columns(x: Any) -> Rows:
    """Return the rows of the DataFrame `x` as an input for each column, [batch, 1].

    Raises:
        DraftError: a value is neither a number nor a boolean nor a string.
    """
    _check_names(x)
    kinds = {name: _kind(x[name]) for name in x.columns}
    numbers = {name: "float32" for name, kind in kinds.items() if kind != "string"}
    return Rows({name: _column(x[name], kind) for name, kind in kinds.items()}, x, x.astype(numbers))


def read_texts(x: Any) -> Rows:
    """Return a sequence of strings as one input, STRING [batch]; a Series gives it its name.

    Raises:
        DraftError: a value is not a string.
    """
    name = str(getattr(x, "name", None) or TEXT)
    texts = _strings(name, np.asarray(x, object))
    return Rows({name: texts}, texts, texts)


def _check_names(x: Any) -> None:
    names = list(x.columns)
    if not all(isinstance(name, str) for name in names):
        raise DraftError(
            f"expected the columns of x to have names that are strings, got {names!s:.80}: fit with named "
            "columns, or give x.to_numpy()"
        )
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DraftError(f"expected the columns of x to have different names, got '{twice}' twice")


def _kind(column: Any) -> str:
    dtype = column.dtype
    if hasattr(dtype, "categories"):
        dtype = dtype.categories.dtype
    match dtype.kind:
        case "f":
            return "float"
        case "i" | "u" | "b" if column.isna().any():
            return "float"
        case "i" | "u":
            return "integer"
        case "b":
            return "boolean"
        case "O" | "U" | "T":
            return "string"
    raise DraftError(
        f"column '{column.name}' is of type {column.dtype}: a graph takes numbers, booleans and strings; "
        "leave it out if the model does not use it, or make a number of it before the model is fitted"
    )


def _column(column: Any, kind: str) -> NDArray[Any]:
    if kind == "string":
        return _strings(str(column.name), column.to_numpy(object)).reshape(-1, 1)
    datatype = {"float": np.float32, "integer": np.int64, "boolean": np.bool_}[kind]
    array: NDArray[Any] = column.to_numpy(datatype).reshape(-1, 1)
    return array


def _strings(name: str, array: NDArray[np.object_]) -> NDArray[np.object_]:
    for row, value in enumerate(array):
        if not isinstance(value, str):
            raise DraftError(
                f"'{name}': expected strings, got {value!r} in row {row}. A graph has no missing strings: "
                "replace them before the model is fitted, for example by fillna('')"
            )
    return array
