"""JSON values to the arrays that ONNX Runtime takes.

Nothing is silently cast, truncated, reshaped or padded: if a value is not of the tensor's type, the request
is rejected with the position of the value.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from app.tensors.datatypes import DATATYPES, INTEGERS, NON_FINITE, Array, all_finite
from app.tensors.io_spec import check_names, check_shapes, invalid_input, preview
from model_loader.package import TensorSpec

# NumPy converts Python numbers to these types itself: it raises if one does not fit, and None becomes NaN.
FLOATS = {np.float32, np.float64}
# From 2^53 on, several integers have the same float.
INEXACT_FROM = 2.0**53
RAGGED = "rows of different lengths, or nested too deep"


def inputs_from_json(
    values: Mapping[str, Any],
    specs: Mapping[str, TensorSpec],
    *,
    all_numeric: bool = False,
    is_rows: bool = False,
) -> dict[str, Any]:
    """Convert named JSON values for ONNX Runtime, and check them against the inputs' names, types and shapes.

    Args:
        values: name → value, as returned by orjson or `app.tensors.fast_json`.
        specs: the model's inputs.
        all_numeric: see `from_json`.
        is_rows: whether a value is a list of what each row has; a row's scalar fits an input of [batch, 1].

    Raises:
        InvalidRequest: a name, a value or a shape does not fit.
    """
    check_names(values.keys(), specs)
    inputs = {name: from_json(value, specs[name], all_numeric=all_numeric) for name, value in values.items()}
    if is_rows:
        for name, value in inputs.items():
            shape = specs[name].shape
            if (
                shape
                and len(shape) == 2
                and shape[1] == 1
                and isinstance(value, np.ndarray)
                and value.ndim == 1
            ):
                inputs[name] = value.reshape(-1, 1)
    check_shapes(inputs, specs)
    return inputs


def from_json(value: Any, spec: TensorSpec, *, all_numeric: bool = False) -> Any:
    """Convert one JSON value for ONNX Runtime.

    Args:
        value: as returned by orjson or `app.tensors.fast_json`.
        spec: the tensor, sequence, map or optional to convert it to.
        all_numeric: whether the caller knows that `value` contains neither booleans nor strings. NumPy
            converts a `true` among numbers to 1, and gives each string of an array as much memory as the
            longest one; without that knowledge, every element is checked first.

    Returns:
        an array in the spec's dtype; a list of arrays for a sequence; a dict for a map; None for an optional
        that is null.

    Raises:
        InvalidRequest: a value has the wrong type or is out of range, or rows differ in length.
    """
    if spec.datatype in DATATYPES:
        return _tensor(value, spec, all_numeric=all_numeric)
    outer, _, inner = spec.datatype.removesuffix(")").partition("(")
    if outer == "optional":
        element = TensorSpec(spec.name, inner, spec.shape)
        return None if value is None else from_json(value, element, all_numeric=all_numeric)
    if outer == "seq":
        if not isinstance(value, list):
            raise invalid_input(spec, preview(value))
        element = TensorSpec(spec.name, inner, None)
        return [from_json(item, element, all_numeric=all_numeric) for item in value]
    return _map(value, spec, *inner.split(", "))


def _map(value: Any, spec: TensorSpec, key_type: str, value_type: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise invalid_input(spec, preview(value))
    element = TensorSpec(spec.name, value_type, None)
    result = {}
    for key, item in value.items():
        array = _tensor(item, element, all_numeric=False)
        if array.ndim:
            raise invalid_input(spec, f"{preview(item)} for the key {preview(key)}")
        result[_key(key, spec, key_type)] = array.item()
    return result


def _key(key: str, spec: TensorSpec, key_type: str) -> str | int:
    """Return a map's key in its type; integers have one valid spelling each, so that keys stay distinct."""
    if key_type == "STRING":
        return key
    minimum, maximum = INTEGERS[key_type]
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,19}", key) or not minimum <= int(key) <= maximum:
        raise invalid_input(spec, f"the key {preview(key)}")
    return int(key)


def _tensor(value: Any, spec: TensorSpec, *, all_numeric: bool) -> Array:
    dtype = DATATYPES[spec.datatype]
    if not all_numeric and dtype.kind != "O":
        all_numeric = _has_only_numbers(value)
    if all_numeric and dtype.type in FLOATS and type(value) is list:
        # One conversion, enough for nearly all requests. The code below finds what is wrong with the others.
        with suppress(FloatingPointError, TypeError, ValueError), np.errstate(over="raise"):
            array = np.asarray(value, dtype)
            if array.size:
                return array
    array = _nested(value, spec, None if all_numeric else object)
    if array.size == 0:
        return np.empty(_complete_shape(array.shape, spec), dtype)
    if spec.datatype in INTEGERS and array.dtype.kind in "iu":
        minimum, maximum = INTEGERS[spec.datatype]
        if minimum <= array.min() and array.max() <= maximum:
            return array.astype(dtype, copy=False)
    elif dtype.kind not in "bO" and array.dtype.kind in "iuf" and spec.datatype not in INTEGERS:
        with np.errstate(over="ignore"):
            cast = array.astype(dtype, copy=False)
        if all_finite(cast):
            return cast
    return _elements(_nested(value, spec, object), spec, dtype)


def _has_only_numbers(value: Any) -> bool:
    """Return whether a list, flat or nested once, certainly contains neither booleans nor strings."""
    if type(value) is not list:
        return False
    types = {*map(type, value)}
    if types <= {list, tuple}:
        types = {*map(type, chain.from_iterable(value))}
    return types <= {int, float, NoneType}


def _nested(value: Any, spec: TensorSpec, dtype: type | None) -> Array:
    try:
        return np.asarray(value, dtype)
    except ValueError as exc:
        raise invalid_input(spec, RAGGED) from exc


def _complete_shape(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """Return the whole shape of an empty array: nested lists end at a dimension of 0.

    `[]` for `[batch, 13]` has the shape (0, 13).
    """
    if spec.shape is None or len(shape) >= len(spec.shape):
        return shape
    return (*shape, *(size if isinstance(size, int) else 0 for size in spec.shape[len(shape) :]))


def _elements(array: Array, spec: TensorSpec, dtype: np.dtype[Any]) -> Array:
    """Convert an array of JSON values element by element, and name the first invalid one.

    Raises:
        InvalidRequest: an element has the wrong type or is out of range.
    """
    elements = array.ravel().tolist()
    converted: list[Any] = []
    try:
        converted.extend(map(_converter(spec.datatype), elements))
    except (TypeError, ValueError) as exc:
        note = f", {exc}" if isinstance(exc, ValueError) else ""
        raise _first_invalid(array, len(converted), spec, note) from exc
    if dtype.kind == "O":
        return array
    if spec.datatype in INTEGERS or dtype.kind == "b":
        return (
            np.array(converted, np.int8 if spec.datatype.endswith("INT4") else dtype)
            .astype(dtype)
            .reshape(array.shape)
        )
    numbers = np.array(converted, np.float64)
    with np.errstate(over="ignore"):
        cast = numbers.astype(dtype)
    for invalid, note in (
        (np.isfinite(numbers) & ~np.isfinite(cast), ", out of range"),
        (np.isinf(numbers) & ~np.isinf(cast), ", which the type does not have"),
    ):
        if invalid.any():
            raise _first_invalid(array, int(invalid.argmax()), spec, note)
    return cast.reshape(array.shape)


def _first_invalid(array: Array, index: int, spec: TensorSpec, note: str) -> InvalidRequest:
    element = array.ravel()[index]
    if isinstance(element, list):
        return invalid_input(spec, RAGGED)
    if isinstance(element, dict) and element.keys() == {"b64"}:
        note = ": 'b64' is not supported; send text as a string, or BYTES in the Open Inference Protocol"
    position = [int(i) for i in np.unravel_index(index, array.shape)]
    column = position[1] if len(position) == 2 else None
    return invalid_input(spec, f"{preview(element)} at {position}{note}", column)


def _converter(datatype: str) -> Callable[[Any], Any]:
    """Return a function that converts an element to Python's type.

    It raises TypeError for a wrong type, and ValueError with a reason for a wrong value.
    """
    if datatype == "STRING":
        return _string
    if datatype == "BOOL":
        return _bool
    if datatype in INTEGERS:
        return partial(_integer, *INTEGERS[datatype])
    return _float


def _string(element: Any) -> str:
    if type(element) is not str:
        raise TypeError
    return element


def _bool(element: Any) -> bool:
    if type(element) is not bool:
        raise TypeError
    return element


def _integer(minimum: int, maximum: int, element: Any) -> int:
    if type(element) is float and element.is_integer():
        # orjson reads integers of more than 64 bits as floats, and their last digits are lost.
        if abs(element) >= INEXACT_FROM:
            raise ValueError(
                f"out of range {minimum} to {maximum}, or too large to be exact with a decimal point"
            )
        element = int(element)
    if type(element) is not int:
        raise TypeError
    if not minimum <= element <= maximum:
        raise ValueError(f"out of range {minimum} to {maximum}")
    return element


def _float(element: Any) -> float:
    if type(element) is float or type(element) is int:
        return element
    if element is None:
        return np.nan
    if type(element) is str and element in NON_FINITE:
        return NON_FINITE[element]
    raise TypeError
