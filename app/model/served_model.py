"""The model as it is served: seen through the team's transform, where there is one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from app.errors import InferenceFailed, ModelError, RequestError
from app.model.onnx_model import Model
from app.tensors.datatypes import DATATYPES, INTEGERS, Array
from app.tensors.io_spec import check_names, check_shapes
from app.transform import NamedValues, Transform
from model_loader.package import Package, TensorSpec

TransformStep: TypeAlias = Callable[[NamedValues], NamedValues]


class ServedModel:
    """What requests and replies are made of.

    Attributes:
        model: which answers.
        package: where it came from, and its digest.
        name: that the package carries.
        version: as the protocols spell it, a string.
        inputs: name → spec of what a request may carry.
        outputs: name → spec of what is answered.
        features: column names of a single two-dimensional input, where the model has them.
        before: makes the model's inputs of a request's; None where they are the same. Raises RequestError.
        after: makes what is answered of the model's outputs; likewise.
    """

    def __init__(self, model: Model) -> None:
        """
        Raises:
            ModelError: samples or transform are missing for the other.
        """
        transform = Transform(model.package)
        manifest = model.package.manifest
        self.model = model
        self.package: Package = model.package
        self.name = manifest.name
        self.version = str(manifest.version)
        self.inputs = _by_name(transform.inputs) or model.inputs
        self.outputs = _by_name(transform.outputs) or model.outputs
        self.features = None if transform.inputs else manifest.features
        self.before = _guarded(transform.before, model.inputs)
        self.after = _guarded(transform.after, self.outputs)
        if bool(transform.inputs and not transform.before) or bool(transform.outputs and not transform.after):
            raise ModelError("app/transform.py: inputs need before, outputs need after")
        if manifest.transformed and not self.before and not self.after:
            raise ModelError(
                f"{self.package}: its samples are in the terms of a transform; app/transform.py has none"
            )

    def infer(self, inputs: NamedValues) -> NamedValues:
        """Answers once, by itself.

        Raises:
            RequestError: transform or model refuse the inputs, or failed.
        """
        outputs = self.model.infer(self.before(inputs) if self.before else inputs)
        return self.after(outputs) if self.after else outputs


def _by_name(specs: Sequence[TensorSpec] | None) -> Mapping[str, TensorSpec]:
    return {spec.name: spec for spec in specs or ()}


def _guarded(function: TransformStep | None, specs: Mapping[str, TensorSpec]) -> TransformStep | None:
    """A half of a transform whose mistakes are told, and whose results are what it says they are."""
    if function is None:
        return None

    def call(values: NamedValues) -> NamedValues:
        try:
            result = function(values)
        except RequestError:
            raise
        except Exception as exc:  # a team's own code may raise anything
            raise InferenceFailed("the transform failed; the log has the rest") from exc
        try:
            return _checked(result, specs)
        except (RequestError, TypeError, ValueError, AttributeError) as exc:
            raise InferenceFailed(f"the transform failed: {exc}") from exc

    return call


def _checked(values: NamedValues, specs: Mapping[str, TensorSpec]) -> NamedValues:
    check_names(values.keys(), specs)
    checked = {
        name: _array(values[name], spec) if spec.datatype in DATATYPES else values[name]
        for name, spec in specs.items()
        if name in values
    }
    check_shapes(checked, specs)
    return checked


def _array(value: Any, spec: TensorSpec) -> Array:
    """An array or list in the spec's dtype, unless that would change what it says."""
    dtype = DATATYPES[spec.datatype]
    array = np.asarray(value, object if dtype.kind == "O" else None)
    if dtype.kind == "O":
        fits = all(isinstance(item, str) for item in array.flat)
    elif array.dtype == dtype or not array.size:
        fits = True
    elif spec.datatype in INTEGERS and array.dtype.kind in "iu":
        least, most = INTEGERS[spec.datatype]
        fits = bool(least <= array.min() and array.max() <= most)
    else:
        fits = spec.datatype not in INTEGERS and dtype.kind != "b" and array.dtype.kind in "iuf"
    if not fits:
        raise TypeError(f"'{spec.name}': expected {spec.datatype}, got {array.dtype} that does not fit")
    return array.astype(dtype, copy=False)
