"""Checks of named values against input or output specs: names and shapes."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from model_loader.package import TensorSpec

PREVIEW_CHARACTERS = 40


class InputSpecs(dict[str, TensorSpec]):
    """The inputs of a model: name → spec.

    Attributes:
        weights: names of the graph's inputs that are weights, which a request cannot replace.
    """

    def __init__(self, specs: Iterable[TensorSpec], weights: Iterable[str] = ()) -> None:
        super().__init__((spec.name, spec) for spec in specs)
        self.weights = frozenset(weights)


def unknown_input(name: str, specs: Mapping[str, TensorSpec]) -> InvalidRequest:
    """Return the error for a name that is not one of the inputs."""
    if isinstance(specs, InputSpecs) and name in specs.weights:
        return InvalidRequest(
            f"input {preview(name)} is a weight of the model, which a request cannot replace: leave it out, "
            "or start the service with ALLOW_INITIALIZER_INPUTS=on"
        )
    return InvalidRequest(f"unknown input {preview(name)}; the model has {', '.join(map(repr, specs))}")


def check_names(given: Set[str], specs: Mapping[str, TensorSpec]) -> None:
    """Check that every name is an input, and that no input without a default is missing.

    Raises:
        InvalidRequest: a name is unknown or missing.
    """
    if given == specs.keys():
        return
    unknown = sorted(given - specs.keys())
    if unknown:
        raise unknown_input(unknown[0], specs)
    for spec in specs.values():
        if spec.name not in given and not spec.optional:
            message = f"missing input '{spec.name}': expected {describe(spec)}"
            raise InvalidRequest(message, name=spec.name, rule="missing")


def check_shapes(inputs: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> None:
    """Check every array's shape, and that a symbolic dimension has the same size in all of them.

    Args:
        inputs: name → array; sequences and maps have no shape and are skipped.
        specs: name → spec.

    Raises:
        InvalidRequest: a shape does not fit its spec.
    """
    symbols: dict[str, tuple[int, str]] = {}
    for name, value in inputs.items():
        spec = specs[name]
        if spec.shape is None or not isinstance(value, np.ndarray):
            continue
        if len(value.shape) != len(spec.shape):
            raise invalid_input(spec, f"shape {list(value.shape)}")
        for size, expected in zip(value.shape, spec.shape, strict=True):
            if isinstance(expected, str):
                known, source = symbols.setdefault(expected, (size, name))
                if known != size:
                    where = f" where input '{source}' has {expected} = {known}"
                    raise invalid_input(spec, f"shape {list(value.shape)}{where}")
            elif expected is not None and expected != size:
                raise invalid_input(spec, f"shape {list(value.shape)}")


def single_input(specs: Mapping[str, TensorSpec]) -> TensorSpec | None:
    """Return the input that a value without a name is for: the only one without a default."""
    required = [spec for spec in specs.values() if not spec.optional] or list(specs.values())
    return required[0] if len(required) == 1 else None


def describe(spec: TensorSpec) -> str:
    """Return a spec as text: `FP32 [batch, 13]`."""
    if spec.shape is None:
        return spec.datatype
    return f"{spec.datatype} [{', '.join('?' if size is None else str(size) for size in spec.shape)}]"


def invalid_input(spec: TensorSpec, got: str, column: int | None = None) -> InvalidRequest:
    """Return the error for an input that does not fit its spec."""
    message = f"input '{spec.name}': expected {describe(spec)}, got {got}"
    return InvalidRequest(message, name=spec.name, column=column)


def preview(value: Any) -> str:
    """Return a JSON value for an error message, shortened: a request may contain megabytes of it."""
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
            return repr(value) if len(value) <= PREVIEW_CHARACTERS else f"{value[:PREVIEW_CHARACTERS]!r}…"
    text = str(value)
    return text if len(text) <= PREVIEW_CHARACTERS else f"{text[:PREVIEW_CHARACTERS]}…"
