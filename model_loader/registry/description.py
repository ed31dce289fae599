"""Whether what a trainer says of a model fits the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import SAMPLES_FILE, ModelIO, TensorSpec
from model_loader.package.samples import Sample


def check_samples(samples: Sequence[Sample], signature: ModelIO) -> None:
    """Check that samples name the model's inputs and outputs.

    Raises:
        PackageError: a sample names something that the model does not have, or lacks an input.
    """
    for index, sample in enumerate(samples):
        where = f"{SAMPLES_FILE}: sample {index}"
        _check_names(where, "input", sample.inputs, signature.inputs)
        _check_names(where, "output", sample.outputs, signature.outputs)
        for spec in signature.inputs:
            if spec.name not in sample.inputs and not spec.optional:
                raise PackageError(f"{where}: input '{spec.name}' is missing")


def _check_names(where: str, kind: str, values: Mapping[str, Any], specs: Sequence[TensorSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in values:
        if name not in known:
            raise PackageError(f"{where}: the model has no {kind} '{name}'; it has {', '.join(known)}")
