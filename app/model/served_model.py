"""The model as the service exposes it: with the team's pre- and post-processing hooks, if any."""

from collections.abc import Mapping
from typing import Any

from app.model.onnx_model import Model
from app.model.transform import NamedValues, Transform
from app.model.transform_hooks import create_hooks
from model_loader.package import Package


class ServedModel:
    """A model with the transform's hooks around it.

    Attributes:
        model: the ONNX model.
        package: the model package, with its digest.
        name: the package's name.
        version: the package's version, as a string, as in the protocols.
        inputs: name → spec of a request's inputs.
        outputs: name → spec of a response's outputs.
        has_own_inputs: whether `inputs` are the transform's; otherwise they are the model's.
        has_own_outputs: the same of `outputs`.
        features: column names of a single two-dimensional input, if the package has them.
        before: pre-processing hook, which converts a request's inputs to the model's and may raise
            RequestError; None if there is none.
        after: post-processing hook, which converts the model's outputs to the response's and may raise
            RequestError; None if there is none.
        example: inputs as JSON values that the model is known to answer; None if none are known.
    """

    def __init__(self, model: Model, transform: type[Transform]) -> None:
        """
        Raises:
            ModelError: the transform cannot be created, has inputs or outputs without their hook, or has none
                although the package's samples need one.
        """
        manifest = model.package.manifest
        hooks = create_hooks(transform, model.package, model.inputs, model.outputs)
        self.model = model
        self.package: Package = model.package
        self.name = manifest.name
        self.version = str(manifest.version)
        self.inputs = hooks.inputs or model.inputs
        self.outputs = hooks.outputs or model.outputs
        self.has_own_inputs, self.has_own_outputs = bool(hooks.inputs), bool(hooks.outputs)
        self.features = None if hooks.inputs else manifest.features
        self.before = hooks.before
        self.after = hooks.after
        self.example: Mapping[str, Any] | None = None

    def infer(self, inputs: NamedValues) -> NamedValues:
        """Run the hooks and the model once, in the caller's thread.

        Raises:
            RequestError: a hook rejects the values, or a hook or the model fails.
        """
        outputs = self.model.infer(self.before(inputs) if self.before else inputs)
        return self.after(outputs) if self.after else outputs
