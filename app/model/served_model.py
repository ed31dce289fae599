"""The model as the service exposes it: with the team's pre- and post-processing hooks, if any."""

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
    """A model with the transform's hooks around it.

    Attributes:
        model: the ONNX model.
        package: the model package, with its digest.
        name: the package's name.
        version: the package's version, as a string, as in the protocols.
        inputs: name → spec of a request's inputs.
        outputs: name → spec of a response's outputs.
        features: column names of a single two-dimensional input, if the package has them.
        before: pre-processing hook, which converts a request's inputs to the model's and may raise
            RequestError; None if there is none.
        after: post-processing hook, which converts the model's outputs to the response's and may raise
            RequestError; None if there is none.
        example: inputs as JSON values that the model is known to answer; None if none are known.
    """

    def __init__(self, model: Model) -> None:
        """
        Raises:
            ModelError: the transform defines inputs or outputs without their hook, or the package's samples
                need a transform and there is none.
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
        self.before = _checked_step(transform.before, model.inputs)
        self.after = _checked_step(transform.after, self.outputs)
        self.example: Mapping[str, Any] | None = None
        if bool(transform.inputs and not transform.before) or bool(transform.outputs and not transform.after):
            raise ModelError("app/transform.py: inputs require before, outputs require after")
        if manifest.transformed and not self.before and not self.after:
            raise ModelError(f"{self.package}: its samples need a transform; app/transform.py has none")

    def infer(self, inputs: NamedValues) -> NamedValues:
        """Run the hooks and the model once, in the caller's thread.

        Raises:
            RequestError: a hook rejects the values, or a hook or the model fails.
        """
        outputs = self.model.infer(self.before(inputs) if self.before else inputs)
        return self.after(outputs) if self.after else outputs


def _by_name(specs: Sequence[TensorSpec] | None) -> Mapping[str, TensorSpec]:
    return {spec.name: spec for spec in specs or ()}


def _checked_step(function: TransformStep | None, specs: Mapping[str, TensorSpec]) -> TransformStep | None:
    """Wrap a hook: turn its exceptions into InferenceFailed and check its results against the specs."""
    if function is None:
        return None

    def checked_step(values: NamedValues) -> NamedValues:
        try:
            result = function(values)
        except RequestError:
            raise
        except Exception as exc:  # a team's own code may raise anything
            raise InferenceFailed("the transform failed; see the log for details") from exc
        try:
            return _check_values(result, specs)
        except (RequestError, TypeError, ValueError, AttributeError) as exc:
            raise InferenceFailed(f"the transform failed: {exc}") from exc

    return checked_step


def _check_values(values: NamedValues, specs: Mapping[str, TensorSpec]) -> NamedValues:
    check_names(values.keys(), specs)
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
    """
    dtype = DATATYPES[spec.datatype]
    array = np.asarray(value, object if dtype.kind == "O" else None)
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
