"""Outputs as the model returns them: a graph may declare a wrong shape, or none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from app.errors import RequestError
from app.model.job import Inputs
from app.model.onnx_model import Model
from app.model.warm_up import is_batch, repeat_rows
from model_loader.package import TensorSpec

ROWS = (1, 2, 3)
# Requests to observe, and the time after which no more are run.
MAX_REQUESTS = 8
OBSERVE_S = 1.0


class _Observation:
    """The sizes in one request and its outputs.

    Attributes:
        symbols: symbolic dimension of an input → its size.
        free: (input, axis) of a dimension without a fixed size → its size.
        shapes: name of an output → its shape.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], inputs: Inputs, outputs: Mapping[str, Any]) -> None:
        self.symbols: dict[str, int] = {}
        self.free: dict[tuple[str, int], int] = {}
        for name, value in inputs.items():
            for axis, size in enumerate(np.shape(value) if isinstance(value, np.ndarray) else ()):
                declared = specs[name].shape
                expected = declared[axis] if declared else None
                if isinstance(expected, str):
                    self.symbols[expected] = size
                if not isinstance(expected, int):
                    self.free[name, axis] = size
        self.shapes = {name: value.shape for name, value in outputs.items() if isinstance(value, np.ndarray)}

    def fits(self, expected: int | str | None, size: int) -> bool:
        """Return whether the size of an output's dimension is the declared one."""
        if isinstance(expected, str):
            return self.symbols.get(expected, size) == size
        return expected is None or expected == size


def observed_outputs(model: Model, requests: Sequence[Inputs]) -> list[TensorSpec]:
    """Run the model, and return the outputs whose declared shape is missing or wrong, with the observed one.

    Dimensions that the outputs do not contradict are returned as declared. Another one has a fixed size if it
    is the same in several requests, while every free dimension of the inputs differs.

    Args:
        model: the model.
        requests: inputs that it answers, before any variation.
    """
    observations: list[_Observation] = []
    began = perf_counter()
    for inputs in _variations(model, requests):
        if perf_counter() - began > OBSERVE_S:
            break
        try:
            observations.append(_Observation(model.inputs, inputs, model.infer(inputs)))
        except RequestError:
            continue  # other sizes than those of a request may not suit the model
    described = [_described(spec, observations) for spec in model.outputs.values()]
    return [spec for spec in described if spec != model.outputs[spec.name]]


def _variations(model: Model, requests: Sequence[Inputs]) -> Iterator[Inputs]:
    """Yield the first requests, and the first one with other sizes."""
    yield from requests[:MAX_REQUESTS]
    for first in requests[:1]:
        if is_batch(model, first):
            yield from (repeat_rows(first, rows) for rows in ROWS)
        axes = {
            name: _free_axes(model, name) for name, value in first.items() if isinstance(value, np.ndarray)
        }
        if any(axes.values()):
            yield {name: _doubled(value, axes.get(name, ())) for name, value in first.items()}


def _free_axes(model: Model, name: str) -> Sequence[int]:
    """Return an input's dimensions without a fixed size, except those that count rows."""
    rows = {spec.shape[0] for spec in model.inputs.values() if spec.shape and spec.shape[0] is not None}
    sizes = enumerate(model.inputs[name].shape or ())
    return [axis for axis, size in sizes if axis and not isinstance(size, int) and size not in rows]


def _doubled(value: Any, axes: Sequence[int]) -> Any:
    for axis in axes:
        value = value.repeat(2, axis)
    return value


def _described(spec: TensorSpec, observations: Sequence[_Observation]) -> TensorSpec:
    seen = [found for found in observations if spec.name in found.shapes]
    if "(" in spec.datatype or not seen:
        return spec
    shapes = [found.shapes[spec.name] for found in seen]
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        return replace(spec, shape=None)
    has_rank = spec.shape is not None and len(spec.shape) == rank
    declared = spec.shape if spec.shape and has_rank else (None,) * rank
    is_sure = _all_differ(observations)
    found_shape = tuple(
        expected
        if has_rank and all(found.fits(expected, found.shapes[spec.name][axis]) for found in seen)
        else _size({shape[axis] for shape in shapes}, is_sure=is_sure)
        for axis, expected in enumerate(declared)
    )
    return replace(spec, shape=found_shape or None)


def _size(sizes: set[int], *, is_sure: bool) -> int | None:
    return min(sizes) if is_sure and len(sizes) == 1 else None


def _all_differ(observations: Sequence[_Observation]) -> bool:
    """Return whether every free dimension of the inputs had different sizes in several requests."""
    free: dict[tuple[str, int], set[int]] = {}
    for found in observations:
        for key, size in found.free.items():
            free.setdefault(key, set()).add(size)
    return len(observations) > 1 and all(len(sizes) > 1 for sizes in free.values())
