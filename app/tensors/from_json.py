"""JSON values to the arrays that ONNX Runtime takes, and back.

Nothing is cast, truncated, reshaped or padded in silence: a value either is one of the tensor's type, or the
request is refused with the position of the value.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from app.tensors.datatypes import DATATYPES, INTEGERS, NON_FINITE, Array, all_finite
from app.tensors.io_spec import check_names, check_shapes, invalid_input, preview
from model_loader.package import TensorSpec

# NumPy makes them of Python's numbers, and tells when one does not fit; None becomes NaN.
FLOATS = {np.float32, np.float64}
# The first float that two integers share.
EXACT = 2.0**53
RAGGED = "rows of different lengths, or nested too deep"


def inputs_from_json(
    values: Mapping[str, Any], specs: Mapping[str, TensorSpec], *, all_numeric: bool = False
) -> dict[str, Any]:
    """Named JSON values as what ONNX Runtime takes, checked against the inputs' names, types and shapes.

    Args:
        values: name → value, as orjson or `app.tensors.fast_json` reads it.
        specs: the model's inputs.
        plain: whether it is known that no value holds a boolean or a string.

    Raises:
        InvalidRequest: a name, a value or a shape does not fit.
    """
    check_names(values.keys(), specs)
    inputs = {name: from_json(value, specs[name], all_numeric=all_numeric) for name, value in values.items()}
    check_shapes(inputs, specs)
    return inputs


def from_json(value: Any, spec: TensorSpec, *, all_numeric: bool = False) -> Any:
    """What ONNX Runtime takes for one JSON value.

    Args:
        value: as orjson or `app.tensors.fast_json` reads it.
        spec: the tensor, sequence, map or optional that it is for.
        plain: whether it is known that `value` holds no boolean and no string. NumPy takes `true` among
            numbers for 1, and strings into an array in which each takes as much memory as the longest; so
            without that knowledge every element is looked at first.

    Returns:
        an array in the spec's dtype; a list of these for a sequence; a dict for a map; None for an optional
        that is null.

    Raises:
        InvalidRequest: a value is not of the type or out of its range, rows differ in length.
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
    """A map's key; an integer has one spelling, so that no two keys are the same one."""
    if key_type == "STRING":
        return key
    least, most = INTEGERS[key_type]
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,19}", key) or not least <= int(key) <= most:
        raise invalid_input(spec, f"the key {preview(key)}")
    return int(key)


def _tensor(value: Any, spec: TensorSpec, *, all_numeric: bool) -> Array:
    dtype = DATATYPES[spec.datatype]
    if all_numeric and dtype.type in FLOATS and type(value) is list:
        # At once, for nearly all requests; what is wrong with the others is looked for below.
        with suppress(FloatingPointError, TypeError, ValueError), np.errstate(over="raise"):
            array = np.asarray(value, dtype)
            if array.size:
                return array
    array = _nested(value, spec, None if all_numeric else object)
    if array.size == 0:
        return np.empty(_completed(array.shape, spec), dtype)
    if spec.datatype in INTEGERS and array.dtype.kind in "iu":
        least, most = INTEGERS[spec.datatype]
        if least <= array.min() and array.max() <= most:
            return array.astype(dtype, copy=False)
    elif dtype.kind not in "bO" and array.dtype.kind in "iuf" and spec.datatype not in INTEGERS:
        with np.errstate(over="ignore"):
            cast = array.astype(dtype, copy=False)
        if all_finite(cast):
            return cast
    return _elements(_nested(value, spec, object), spec, dtype)


def _nested(value: Any, spec: TensorSpec, dtype: type | None) -> Array:
    try:
        return np.asarray(value, dtype)
    except ValueError as exc:
        raise invalid_input(spec, RAGGED) from exc


def _completed(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """`[]` for `[batch, 13]` is (0, 13): nested lists end where a dimension is 0."""
    if spec.shape is None or len(shape) >= len(spec.shape):
        return shape
    return (*shape, *(size if isinstance(size, int) else 0 for size in spec.shape[len(shape) :]))


def _elements(array: Array, spec: TensorSpec, dtype: np.dtype[Any]) -> Array:
    """An array of JSON values in the dtype; every element is looked at, and the first wrong one is named."""
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
    for lost, note in (
        (np.isfinite(numbers) & ~np.isfinite(cast), ", out of range"),
        (np.isinf(numbers) & ~np.isinf(cast), ", which the type does not have"),
    ):
        if lost.any():
            raise _first_invalid(array, int(lost.argmax()), spec, note)
    return cast.reshape(array.shape)


def _first_invalid(array: Array, index: int, spec: TensorSpec, note: str) -> InvalidRequest:
    element = array.ravel()[index]
    if isinstance(element, list):
        return invalid_input(spec, RAGGED)
    position = [int(i) for i in np.unravel_index(index, array.shape)]
    return invalid_input(spec, f"{preview(element)} at {position}{note}")


def _converter(datatype: str) -> Callable[[Any], Any]:
    """A function that gives an element in Python's type, or raises TypeError, or ValueError with a reason."""
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


def _integer(least: int, most: int, element: Any) -> int:
    if type(element) is float and element.is_integer():
        # orjson reads integers beyond 64 bits as floats, whose last digits are not the request's.
        if abs(element) >= EXACT:
            raise ValueError(f"out of range {least} to {most}, or too large to be exact with a decimal point")
        element = int(element)
    if type(element) is not int:
        raise TypeError
    if not least <= element <= most:
        raise ValueError(f"out of range {least} to {most}")
    return element


def _float(element: Any) -> float:
    if type(element) is float or type(element) is int:
        return element
    if element is None:
        return np.nan
    if type(element) is str and element in NON_FINITE:
        return NON_FINITE[element]
    raise TypeError
