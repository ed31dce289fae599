"""An example of a request, found by trying simple values: what a model accepts is not in its graph."""

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from time import perf_counter
from typing import Any

from app.errors import RequestError
from app.model.served_model import ServedModel
from app.tensors.from_json import inputs_from_json
from model_loader.package import TensorSpec

# Sizes of dimensions that are free, beyond the first: images must not be smaller than a convolution.
SIZES = (1, 8, 32, 224)
# The number and the text of every element. Some models fail on zeros, on an empty text or on unknown words.
ELEMENTS = ((0, ""), (1, "1"), (2, "text"))
# Bounds of the search: the elements of a tensor, and the time after which no other values are tried.
MAX_ELEMENTS = 2**20
SEARCH_S = 2.0


def find_example(served: ServedModel) -> Mapping[str, Any] | None:
    """Return inputs, as JSON values, that the model answers; None if it refuses all that are tried."""
    began = perf_counter()
    required = [spec for spec in served.inputs.values() if not spec.optional]
    for inputs in _candidates(required):
        try:
            served.infer(inputs_from_json(inputs, served.inputs))
        except RequestError:
            if perf_counter() - began > SEARCH_S:
                break
        else:
            return inputs
    return None


def _candidates(specs: list[TensorSpec]) -> Iterator[dict[str, Any]]:
    """Yield inputs of one row, each different from the one before."""
    # A symbol that is the first dimension of any input counts rows.
    rows = {spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str)}
    previous = None
    for size, (number, text) in product(SIZES, ELEMENTS):
        shapes = [_sizes(spec, rows, size) for spec in specs]
        if max(map(prod, shapes), default=0) > MAX_ELEMENTS:
            return
        inputs = {
            spec.name: _value(spec.datatype, shape, number, text)
            for spec, shape in zip(specs, shapes, strict=True)
        }
        if inputs != previous:
            yield inputs
        previous = inputs


def _sizes(spec: TensorSpec, rows: set[str], size: int) -> list[int]:
    """Return a shape of one row, with `size` in place of its other free dimensions."""
    return [
        given if isinstance(given, int) else 1 if axis == 0 or given in rows else size
        for axis, given in enumerate(spec.shape or ())
    ]


def _value(datatype: str, shape: list[int], number: int, text: str) -> Any:
    outer, _, inner = datatype.removesuffix(")").partition("(")
    if outer == "seq":
        return [_value(inner, [], number, text)] if number else []
    if outer == "map":  # with one key: models fail on an empty map
        return {str(number): _value(inner.partition(", ")[2], [], number, text)}
    value: Any = {"STRING": text, "BOOL": bool(number)}.get(datatype, number)
    for size in reversed(shape):
        value = [value] * size
    return value
