"""The model as it is served: seen through the team's transform, where there is one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from app.errors import InferenceFailed, ModelError, RequestError
from app.model import Model
from app.tensors import DATATYPES
from app.transform import Named, Transform
from model_loader.package import Package, TensorSpec


class Served:
    """What requests and replies are made of.

    Attributes:
        model: which answers.
        package: where it came from, and its digest.
        name: that the package carries.
        version: as the protocols spell it, a string.
        inputs: name → spec of what a request may carry.
        outputs: name → spec of what is answered.
        features: column names of a single two-dimensional input, where the model has them.
        is_plain: whether requests carry what the model takes and get what it gives.
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
        self.is_plain = not transform.before and not transform.after
        self._before, self._after = transform.before, transform.after
        if bool(transform.inputs and not transform.before) or bool(transform.outputs and not transform.after):
            raise ModelError("app/transform.py: inputs need before, outputs need after")
        if manifest.transformed and self.is_plain:
            raise ModelError(
                f"{self.package}: its samples are in the terms of a transform; app/transform.py has none"
            )

    def before(self, inputs: Named) -> Named:
        """The model's inputs for those of a request.

        Raises:
            RequestError: the transform refuses them, or failed.
        """
        return _call(self._before, inputs) if self._before else inputs

    def after(self, outputs: Named) -> Named:
        """What is answered for the model's outputs.

        Raises:
            RequestError: the transform failed.
        """
        return _call(self._answered, outputs) if self._after else outputs

    def _answered(self, outputs: Named) -> Named:
        answered = self._after(outputs) if self._after else outputs
        if answered.keys() != self.outputs.keys():
            raise KeyError(f"expected {', '.join(self.outputs)}, got {', '.join(map(str, answered))}")
        return {
            name: np.asarray(answered[name], DATATYPES[spec.datatype])
            if spec.datatype in DATATYPES
            else answered[name]
            for name, spec in self.outputs.items()
        }

    def infer(self, inputs: Named) -> Named:
        """Answers once, by itself.

        Raises:
            RequestError: transform or model refuse the inputs, or failed.
        """
        return self.after(self.model.infer(self.before(inputs)))


def _by_name(specs: Sequence[TensorSpec] | None) -> Mapping[str, TensorSpec]:
    return {spec.name: spec for spec in specs or ()}


def _call(function: Callable[[Named], Named], values: Named) -> Mapping[str, Any]:
    try:
        return function(values)
    except RequestError:
        raise
    except Exception as exc:  # a team's own code may raise anything
        raise InferenceFailed("the transform failed; the log has the rest") from exc
