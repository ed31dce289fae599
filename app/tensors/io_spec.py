"""Whether named inputs fit a model's signature: names and shapes."""

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from model_loader.package import TensorSpec

SHOWN_CHARACTERS = 40


def check_names(given: Set[str], specs: Mapping[str, TensorSpec]) -> None:
    """Checks that every name is an input, and that none is missing that has no default.

    Raises:
        InvalidRequest: a name is unknown, or one is missing.
    """
    if given == specs.keys():
        return
    unknown = sorted(given - specs.keys())
    if unknown:
        raise InvalidRequest(
            f"unknown input {preview(unknown[0])}; the model has {', '.join(map(repr, specs))}"
        )
    for spec in specs.values():
        if spec.name not in given and not spec.optional:
            raise InvalidRequest(f"missing input '{spec.name}': expected {describe(spec)}")


def check_shapes(inputs: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> None:
    """Checks every array's shape, and that a symbol has one size in all of them.

    Args:
        inputs: name → array; sequences and maps, which have no shape, are passed over.

    Raises:
        InvalidRequest: a shape does not fit the model's.
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
    """The input that a bare value is for: the only one that has no default."""
    required = [spec for spec in specs.values() if not spec.optional] or list(specs.values())
    return required[0] if len(required) == 1 else None


def describe(spec: TensorSpec) -> str:
    """`FP32 [batch, 13]`."""
    if spec.shape is None:
        return spec.datatype
    return f"{spec.datatype} [{', '.join('?' if size is None else str(size) for size in spec.shape)}]"


def invalid_input(spec: TensorSpec, got: str) -> InvalidRequest:
    """The error for an input that is not what the model expects."""
    return InvalidRequest(f"input '{spec.name}': expected {describe(spec)}, got {got}")


def preview(value: Any) -> str:
    """A JSON value for a message: cut short, since a request may hold megabytes of it."""
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
            return repr(value) if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]!r}…"
    return str(value)
