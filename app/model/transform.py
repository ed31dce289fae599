"""The base class of pre- and post-processing hooks."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from model_loader.package import Package, TensorSpec

# Name → array in the spec's dtype and shape; strings are arrays of objects.
NamedValues: TypeAlias = Mapping[str, Any]


class Transform:
    """No pre- or post-processing: requests have the model's inputs, responses its outputs.

    A subclass overrides `before`, `after` or both; a hook that is not overridden costs nothing. Several
    threads call the hooks at the same time.

    Attributes:
        inputs: specs of a request's inputs; None: the model's inputs. Requires `before`.
        outputs: specs of a response's outputs; None: the model's outputs. Requires `after`.
    """

    inputs: Sequence[TensorSpec] | None = None
    outputs: Sequence[TensorSpec] | None = None

    def __init__(self, package: Package) -> None:
        """
        Args:
            package: the model package, with its other files and its manifest (`package.manifest.classes`).
        """

    def before(self, inputs: NamedValues) -> NamedValues:
        """Convert a request's inputs to the model's.

        Raises:
            InvalidRequest: an error that the caller can correct: the response has status 400 and this
                message. Any other exception results in status 500 and is written to the log.
        """
        return inputs

    def after(self, outputs: NamedValues) -> NamedValues:
        """Convert the model's outputs to the response's, as arrays or lists.

        Raises:
            InvalidRequest: as of `before`.
        """
        return outputs
