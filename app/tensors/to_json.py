"""Model outputs to JSON values."""

from typing import Any

import numpy as np

from app.tensors.datatypes import Array, all_finite


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


def _non_finite_name(element: Any) -> str:
    if np.isnan(element):
        return "NaN"
    return "Infinity" if element > 0 else "-Infinity"
