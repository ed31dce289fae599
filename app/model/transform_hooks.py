"""A transform's hooks, with checks of what they return."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from app.errors import InferenceFailed, ModelError, RequestError
from app.model.transform import NamedValues, Transform
from app.tensors.datatypes import DATATYPES, INTEGERS, Array
from app.tensors.io_spec import check_shapes, describe
from model_loader.package import Package, TensorSpec

TransformStep: TypeAlias = Callable[[NamedValues], NamedValues]
Specs: TypeAlias = Mapping[str, TensorSpec]


@dataclass(frozen=True)
class TransformHooks:
    """A transform of a model package.

    Attributes:
        inputs: name → spec of a request's inputs; empty: the model's.
        outputs: name → spec of a response's outputs; empty: the model's.
        before: pre-processing hook; None if there is none.
        after: post-processing hook; None if there is none.
    """

    inputs: Specs
    outputs: Specs
    before: TransformStep | None
    after: TransformStep | None


def create_hooks(
    transform_class: type[Transform], package: Package, inputs: Specs, outputs: Specs
) -> TransformHooks:
    """Create a transform and wrap its hooks.

    Args:
        transform_class: the transform.
        package: the package that it is for.
        inputs: the model's inputs.
        outputs: the model's outputs.

    Raises:
        ModelError: it cannot be created, has inputs or outputs without their hook, or has no hook although
            the package's samples need one.
    """
    name = f"the transform {transform_class.__qualname__}"
    try:
        transform = transform_class(package)
    except Exception as exc:  # a team's own code may raise anything
        raise ModelError(f"{package}: {name} does not start: {type(exc).__name__}: {exc}") from exc
    declared_inputs, declared_outputs = _by_name(transform, "inputs"), _by_name(transform, "outputs")
    has_before = transform_class.before is not Transform.before
    has_after = transform_class.after is not Transform.after
    for declared, attribute, has_hook, hook in (
        (declared_inputs, "inputs", has_before, "before"),
        (declared_outputs, "outputs", has_after, "after"),
    ):
        if declared and not has_hook:
            raise ModelError(f"{name} has {attribute} and no method {hook}: {attribute} require {hook}")
    if package.manifest.transformed and not has_before and not has_after:
        raise ModelError(f"{package}: its samples need a transform; app/transform.py has none")
    return TransformHooks(
        declared_inputs,
        declared_outputs,
        _checked_step(transform.before, "before", "input of the model", inputs) if has_before else None,
        _checked_step(transform.after, "after", "output", declared_outputs or outputs) if has_after else None,
    )


def _by_name(transform: Transform, attribute: str) -> Specs:
    """Return the specs that a transform declares.

    Raises:
        ModelError: something is no TensorSpec.
    """
    specs = getattr(transform, attribute) or ()
    for spec in specs:
        if not isinstance(spec, TensorSpec):
            name = type(transform).__qualname__
            raise ModelError(f"the transform {name}: {attribute}: expected a TensorSpec, got {spec!r}")
    return {spec.name: spec for spec in specs}


def _checked_step(function: TransformStep, hook: str, kind: str, specs: Specs) -> TransformStep:
    """Wrap a hook: turn its exceptions into InferenceFailed and check its results against the specs."""

    def checked_step(values: NamedValues) -> NamedValues:
        try:
            result = function(values)
        except RequestError:
            raise
        except Exception as exc:  # a team's own code may raise anything
            raise InferenceFailed("the transform failed; see the log for details") from exc
        try:
            return _check_values(result, kind, specs)
        except (RequestError, TypeError, ValueError) as exc:
            # Shapes are checked as those of a request, whose messages name an input.
            found = str(exc).removeprefix("input ")
            raise InferenceFailed(f"the transform failed: {hook} returned {found}") from exc

    return checked_step


def _check_values(values: NamedValues, kind: str, specs: Specs) -> NamedValues:
    """Return what a hook returned as arrays of the specs.

    Raises:
        TypeError: it is not a mapping, or a value has another type.
        ValueError: a name is unknown or missing, or a value is no array.
        InvalidRequest: a shape does not fit.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{type(values).__name__}: expected a mapping from names to arrays")
    for name in values:
        if name not in specs:
            raise ValueError(f"{name!r}, which is no {kind}: expected {', '.join(map(repr, specs))}")
    for spec in specs.values():
        if spec.name not in values and not spec.optional:
            raise ValueError(f"no {spec.name!r}: expected {describe(spec)}")
    checked = {
        name: _to_array(values[name], spec) if spec.datatype in DATATYPES else values[name]
        for name, spec in specs.items()
        if name in values
    }
    check_shapes(checked, specs)
    return checked


def _to_array(value: Any, spec: TensorSpec) -> Array:
    """Return an array or list in the spec's dtype.

    Raises:
        TypeError: the conversion would change values.
        ValueError: it is no array.
    """
    dtype = DATATYPES[spec.datatype]
    try:
        array = np.asarray(value, object if dtype.kind == "O" else None)
    except ValueError as exc:
        raise ValueError(f"'{spec.name}': expected {describe(spec)}, got rows of different lengths") from exc
    if dtype.kind == "O":
        fits = all(isinstance(item, str) for item in array.flat)
    elif array.dtype == dtype or not array.size:
        fits = True
    elif spec.datatype in INTEGERS and array.dtype.kind in "iu":
        minimum, maximum = INTEGERS[spec.datatype]
        fits = bool(minimum <= array.min() and array.max() <= maximum)
    else:
        fits = spec.datatype not in INTEGERS and dtype.kind != "b" and array.dtype.kind in "iuf"
    if not fits:
        raise TypeError(f"'{spec.name}': expected {spec.datatype}, got {array.dtype} values that do not fit")
    return array.astype(dtype, copy=False)
