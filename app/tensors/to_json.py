"""Model outputs to JSON values."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from app.tensors.datatypes import Array, all_finite

# Larger arrays are written in slices: orjson needs 60 bytes for each row, and lets no other thread run.
SLICE_ELEMENTS = 64 * 1024


# How a response in JSON spells NaN, see NON_FINITE.
NAN = b'"NaN"'


def has_nan(value: Any) -> bool:
    """Return whether an output of ONNX Runtime has a NaN: no other value differs from itself."""
    if isinstance(value, list):
        return any(map(has_nan, value))
    if isinstance(value, dict):
        return any(item != item for item in value.values())
    return bool(np.any(value != value))


def to_json(value: Any, *, finite: bool = False) -> Any:
    """Convert an output of ONNX Runtime to a value that orjson serializes with OPT_SERIALIZE_NUMPY.

    Args:
        value: an array of any of the DATATYPES, a sequence (list) or a map (dict) of these, or None.
        finite: whether to assume that all numbers are finite; orjson writes `null` for those that are not.

    Returns:
        an array if orjson can serialize it, otherwise nested lists, with NaN and infinities as strings.
    """
    if isinstance(value, list):
        return [to_json(item, finite=finite) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(np.asarray(item), finite=finite) for key, item in value.items()}
    if value is None:
        return None
    return _array_to_json(value, finite=finite)


def _array_to_json(array: Array, *, finite: bool) -> Any:
    if array.dtype.kind in "OUS":
        return array.tolist()
    if array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.int8 if array.dtype.name.endswith("int4") else np.float32)
    if not finite and array.dtype.kind == "f" and not all_finite(array):
        flat = [item if np.isfinite(item) else _non_finite_name(item) for item in array.ravel()]
        elements = np.empty(len(flat), object)
        elements[:] = flat
        return elements.reshape(array.shape).tolist()
    if array.ndim == 0:
        return array[()] if array.dtype.kind == "f" else array.item()
    return np.asarray(array, order="C")


def is_larger(values: Iterable[Any], elements: int) -> bool:
    """Return whether an output has more elements."""
    for value in values:
        if isinstance(value, np.ndarray):
            if value.size > elements:
                return True
        elif isinstance(value, list) and len(value) > elements:
            return True
    return False


def append_json(text: bytearray, value: Any, *, finite: bool = False) -> None:
    """Append an output of ONNX Runtime as JSON.

    Args:
        finite: see `to_json`.
    """
    if not isinstance(value, np.ndarray) or value.ndim == 0 or value.size <= SLICE_ELEMENTS:
        text += orjson.dumps(to_json(value, finite=finite), option=orjson.OPT_SERIALIZE_NUMPY)
        return
    rows = max(1, SLICE_ELEMENTS * len(value) // value.size)
    for begin in range(0, len(value), rows):
        part = to_json(value[begin : begin + rows], finite=finite)
        text += b"," if begin else b"["
        text += orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    text += b"]"


def _non_finite_name(element: Any) -> str:
    if np.isnan(element):
        return "NaN"
    return "Infinity" if element > 0 else "-Infinity"
