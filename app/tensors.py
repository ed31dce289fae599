"""JSON values to the arrays that ONNX Runtime takes, and back.

Nothing is cast, truncated, reshaped or padded in silence: a value either is one of the tensor's type, or the
request is refused with the position of the value.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from app.signature import check_names, check_shapes, refusal
from model_loader.package import TensorSpec

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

# https://protobuf.dev/programming-guides/json/: how JSON, which has no such numbers, spells them.
NON_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}

# Integer datatype → least and greatest value: UINT8 → (0, 255).
_INTEGERS = {
    name: (0, 2**bits - 1) if name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for name in DATATYPES
    if "INT" in name
    for bits in (int(name.partition("INT")[2]),)
}


def inputs_from_json(
    values: Mapping[str, Any], specs: Mapping[str, TensorSpec], *, booleans: bool = True
) -> dict[str, Any]:
    """Named JSON values as what ONNX Runtime takes, checked against the inputs' names, types and shapes.

    Raises:
        InvalidRequest: a name, a value or a shape does not fit.
    """
    check_names(values, specs)
    inputs = {name: from_json(value, specs[name], booleans=booleans) for name, value in values.items()}
    check_shapes(inputs, specs)
    return inputs


def from_json(value: Any, spec: TensorSpec, *, booleans: bool = True) -> Any:
    """What ONNX Runtime takes for the JSON `value`.

    Args:
        value: as orjson reads it.
        spec: the tensor, sequence, map or optional that it is for.
        booleans: whether `value` may hold a boolean. NumPy takes `true` among numbers for 1, so every value
            is looked at unless the caller knows that there is none.

    Returns:
        an array in the spec's dtype; a list of these for a sequence; a dict for a map; None for an optional
        that is null.

    Raises:
        InvalidRequest: a value is not of the type or out of its range, rows differ in length.
    """
    outer, _, inner = spec.datatype.removesuffix(")").partition("(")
    if not inner:
        return _tensor(value, spec, booleans=booleans)
    if outer == "optional":
        element = TensorSpec(spec.name, inner, spec.shape)
        return None if value is None else from_json(value, element, booleans=booleans)
    if outer == "seq":
        if not isinstance(value, list):
            raise refusal(spec, _shown(value))
        element = TensorSpec(spec.name, inner, None)
        return [from_json(item, element, booleans=booleans) for item in value]
    return _map(value, spec, *inner.split(", "))


def _map(value: Any, spec: TensorSpec, key_type: str, value_type: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise refusal(spec, _shown(value))
    element = TensorSpec(spec.name, value_type, None)
    result = {}
    for key, item in value.items():
        if key_type != "STRING" and not key.removeprefix("-").isdecimal():
            raise refusal(spec, f"the key {_shown(key)}")
        array = _tensor(item, element)
        if array.ndim:
            raise refusal(spec, f"{_shown(item)} for the key {_shown(key)}")
        result[key if key_type == "STRING" else int(key)] = array.item()
    return result


def _tensor(value: Any, spec: TensorSpec, *, booleans: bool = True) -> Array:
    dtype = DATATYPES[spec.datatype]
    try:
        array = np.array(value) if dtype.kind != "O" else np.array(value, dtype=object)
    except ValueError as exc:
        raise refusal(spec, "rows of different lengths, or nested too deep") from exc
    if array.size == 0:
        return np.empty(_completed(array.shape, spec), dtype)
    if dtype.kind == "b":
        return array if array.dtype.kind == "b" else _elements(value, spec, dtype)
    if spec.datatype in _INTEGERS:
        fast = array.dtype.kind in "iu" and not booleans
        least, most = _INTEGERS[spec.datatype]
        if fast and least <= array.min() and array.max() <= most:
            return array.astype(dtype, copy=False)
        return _elements(value, spec, dtype)
    if array.dtype.kind in "iuf" and not booleans:
        with np.errstate(over="ignore"):
            cast = array.astype(dtype, copy=False)
        if np.isfinite(cast).all():
            return cast
    return _elements(value, spec, dtype)


def _completed(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """`[]` for `[batch, 13]` is (0, 13): nested lists end where a dimension is 0."""
    if spec.shape is None or len(shape) >= len(spec.shape):
        return shape
    return (*shape, *(size if isinstance(size, int) else 0 for size in spec.shape[len(shape) :]))


def _elements(value: Any, spec: TensorSpec, dtype: np.dtype[Any]) -> Array:
    """The slow way: every element is looked at, so that the first wrong one can be named."""
    try:
        array = np.array(value, dtype=object)
    except ValueError as exc:
        raise refusal(spec, "rows of different lengths, or nested too deep") from exc
    convert = _converter(spec.datatype, dtype)
    flat = np.empty(array.size, dtype)
    for index, element in enumerate(array.flat):
        if isinstance(element, list):
            raise refusal(spec, "rows of different lengths, or nested too deep")
        try:
            flat[index] = convert(element)
        except (TypeError, ValueError) as exc:
            position = [int(i) for i in np.unravel_index(index, array.shape)]
            note = f", {exc}" if isinstance(exc, ValueError) else ""
            raise refusal(spec, f"{_shown(element)} at {position}{note}") from exc
    return flat.reshape(array.shape)


def _converter(datatype: str, dtype: np.dtype[Any]) -> Callable[[Any], Any]:
    """A function that gives the element in the dtype, or raises TypeError (not one) or ValueError (range)."""
    if datatype == "STRING":
        return _string
    if datatype == "BOOL":
        return _bool
    if datatype in _INTEGERS:
        least, most = _INTEGERS[datatype]
        return lambda element: _integer(element, least, most)
    return lambda element: _float(element, dtype)


def _string(element: Any) -> str:
    if not isinstance(element, str):
        raise TypeError
    return element


def _bool(element: Any) -> bool:
    if not isinstance(element, bool):
        raise TypeError
    return element


def _integer(element: Any, least: int, most: int) -> int:
    if isinstance(element, bool) or not isinstance(element, int | float):
        raise TypeError
    if isinstance(element, float) and not element.is_integer():
        raise TypeError
    if not least <= element <= most:
        raise ValueError(f"out of range {least} to {most}")
    return int(element)


def _float(element: Any, dtype: np.dtype[Any]) -> Any:
    if element is None:
        element = np.nan
    elif isinstance(element, str):
        if element not in NON_FINITE:
            raise TypeError
        element = NON_FINITE[element]
    elif isinstance(element, bool) or not isinstance(element, int | float):
        raise TypeError
    with np.errstate(over="ignore"):
        cast = np.asarray(element, np.float64).astype(dtype)
    if not np.isfinite(cast) and np.isfinite(element):
        raise ValueError("out of range")
    if np.isinf(element) and not np.isinf(cast):
        raise ValueError("which the type does not have")
    return cast


def _shown(value: Any) -> str:
    """A JSON value, short enough for a message."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case list():
            return "an array"
        case dict():
            return "an object"
        case str():
            return repr(value) if len(value) <= 40 else f"{value[:40]!r}…"
    return str(value)


def to_json(value: Any) -> Any:
    """What orjson writes, with OPT_SERIALIZE_NUMPY, for an output of ONNX Runtime.

    Args:
        value: an array of any of the DATATYPES, a sequence (list) or a map (dict) of these, or None.

    Returns:
        an array that orjson can write as it stands, or the same as nested lists, where NaN and the
        infinities are strings.
    """
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(np.asarray(item)) for key, item in value.items()}
    if value is None:
        return None
    return _array_to_json(value)


def _array_to_json(array: Array) -> Any:
    if array.dtype.kind in "OUS":
        return array.tolist()
    if array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.int8 if array.dtype.name.endswith("int4") else np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        flat = [element if np.isfinite(element) else _spelled(element) for element in array.ravel()]
        spelled = np.empty(len(flat), object)
        spelled[:] = flat
        return spelled.reshape(array.shape).tolist()
    if array.ndim == 0:
        return array[()] if array.dtype.kind == "f" else array.item()
    return np.asarray(array, order="C")


def _spelled(element: Any) -> str:
    if np.isnan(element):
        return "NaN"
    return "Infinity" if element > 0 else "-Infinity"
