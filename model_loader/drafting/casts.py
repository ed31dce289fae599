"""Casts of a column's values to the datatype of a tensor, which name the first value that does not fit."""

import re
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.errors import DraftError

Array = NDArray[Any]
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "STRING": np.dtype(np.object_),
}
# What spreadsheets and pandas write for a missing number in CSV, besides nothing.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "#n/a"})
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def cast(column: str, values: Array, datatype: str, *, is_text: bool = False) -> Array:
    """Convert values to a tensor's datatype.

    Args:
        column: name, for messages.
        values: numbers, booleans or objects: strings and None.
        is_text: whether the texts in `values` are numbers and booleans in writing, as in CSV.

    Returns:
        an array of the same shape. A missing value is NaN in floats, and the empty string in strings.

    Raises:
        DraftError: the datatype is not one of DTYPES, or a value does not fit; the message has its row.
    """
    if datatype not in DTYPES:
        raise DraftError(f"column '{column}' cannot be drafted as {datatype}: expected {', '.join(DTYPES)}")
    dtype = DTYPES[datatype]
    if dtype.kind == "O":
        return _strings(column, values)
    if dtype.kind == "b":
        return _booleans(column, values, is_text=is_text)
    numbers = _numbers(column, values, datatype, is_text=is_text)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            floats = numbers.astype(dtype)
        _check(
            column,
            values,
            np.isfinite(numbers) & ~np.isfinite(floats),
            f"a number in the range of {datatype}",
        )
        return floats
    if numbers.dtype.kind == "f":
        _check(column, values, np.isnan(numbers), f"a value: {datatype} has no missing values")
        _check(column, values, numbers != np.rint(numbers), f"an integer, because the model has {datatype}")
    limits = np.iinfo(dtype.name)
    # The largest integer of 64 bits is not a float; the next one is.
    too_large = numbers > limits.max if numbers.dtype.kind in "iu" else numbers >= float(limits.max) + 1
    _check(column, values, (numbers < limits.min) | too_large, f"an integer in the range of {datatype}")
    return numbers.astype(dtype)


def missing_count(values: Array) -> int:
    """Return how many values are missing: NaN or None."""
    if values.dtype.kind == "O":
        return sum(value is None for value in values.ravel())
    return int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0


def _strings(column: str, values: Array) -> Array:
    if values.dtype.kind in "iu":
        return values.astype(str).astype(object)
    expected = "a text: save the column as text, so that its spelling is known"
    if values.dtype.kind != "O":
        _check(column, values, np.ones(values.shape, bool), expected)
    _check(
        column, values, _are(values, lambda value: value is not None and not isinstance(value, str)), expected
    )
    strings = values.copy()
    strings[_are(values, lambda value: value is None)] = ""
    return strings


def _booleans(column: str, values: Array, *, is_text: bool) -> Array:
    if values.dtype.kind == "b":
        return values
    if is_text:
        found = [BOOLEANS.get(str(value).strip().lower()) for value in values.ravel()]
        values_or_none = np.array(found, object).reshape(values.shape)
    else:
        values_or_none = values.astype(object)
    wrong = _are(values_or_none, lambda value: value not in (True, False))
    _check(column, values, wrong, "true or false")
    return values_or_none.astype(bool)


def _numbers(column: str, values: Array, datatype: str, *, is_text: bool) -> Array:
    """Return integers or float64."""
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind in "bf":
        return values.astype(np.float64)
    if "FP" in datatype:
        # One conversion, enough for nearly all columns. The code below finds what is wrong with the others.
        with suppress(TypeError, ValueError):
            if is_text or not any(isinstance(value, str) for value in values.ravel()):
                return values.astype(np.float64)
    if is_text:
        numbers = [None if _is_missing(value) else value for value in values.ravel()]
        texts = np.array(numbers, object).reshape(values.shape)
        wrong = _are(texts, lambda value: value is not None and not _is_number(value))
    else:
        texts = values
        wrong = _are(
            values, lambda value: value is not None and not isinstance(value, int | float | np.number)
        )
    comma = any(re.fullmatch(r"\s*-?\d[\d.]*,[\d.,]*\d\s*", str(text)) for text in values[wrong])
    hint = "; write decimals with a point, and no separators of thousands" if comma else ""
    _check(column, values, wrong, f"a number, because the model has {datatype}", hint)
    # Integers of more than 53 bits are not exact as floats.
    if "INT" in datatype and all(_is_integer(value) for value in texts.ravel()):
        return np.array([int(value) for value in texts.ravel()]).reshape(values.shape)
    return texts.astype(np.float64)


def _is_missing(value: Any) -> bool:
    return value is None or value.strip().lower() in MISSING


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) or (
        isinstance(value, str) and bool(re.fullmatch(r"\s*[+-]?\d{1,19}\s*", value))
    )


def _are(values: Array, is_so: Any) -> NDArray[np.bool_]:
    return np.array([bool(is_so(value)) for value in values.ravel()], bool).reshape(values.shape)


def _check(column: str, values: Array, wrong: NDArray[np.bool_], expected: str, hint: str = "") -> None:
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    got = values[index]
    got = got.item() if isinstance(got, np.generic) else got
    raise DraftError(f"column '{column}', row {index[0] + 1}: expected {expected}, got {got!r:.60}{hint}")
