"""Datatypes of tensors: their NumPy types and value ranges."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DATATYPES: Mapping[str, np.dtype[Any]] = {
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
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "STRING": np.dtype(np.object_),
    "UINT4": np.dtype(ml_dtypes.uint4),
    "INT4": np.dtype(ml_dtypes.int4),
    "FP8E4M3FN": np.dtype(ml_dtypes.float8_e4m3fn),
    "FP8E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "FP8E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "FP8E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
# JSON has no such numbers; these strings are protobuf's, https://protobuf.dev/programming-guides/json/.
NON_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
# Below NumPy's own limits, 64 dimensions and the address space.
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**40
# Integer datatype → minimum and maximum: UINT8 → (0, 255).
INTEGERS = {
    name: (0, 2**bits - 1) if name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for name in DATATYPES
    if "INT" in name
    for bits in (int(name.partition("INT")[2]),)
}


def elements_of(shape: Sequence[int]) -> int | None:
    """Return how many elements a shape has; None for a shape that is invalid or too large."""
    if len(shape) > MAX_DIMENSIONS or (shape and min(shape) < 0):
        return None
    # Python's integers do not overflow. A 0 counts as 1 for the limit: NumPy also rejects [0, 2**62, 2**62].
    count = prod(shape)
    return count if (count or prod(size or 1 for size in shape)) <= MAX_ELEMENTS else None


def all_finite(array: Array) -> bool:
    """Return whether an array has neither NaN nor infinities."""
    # `.all()` has a fixed cost that is high compared with everything else done for a small tensor.
    return b"\0" not in np.isfinite(array).tobytes()
