"""Whether what a trainer says of a model fits the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import MANIFEST_FILE, SAMPLES_FILE, ModelIO, TensorSpec, is_number


def check_features(features: Sequence[Any], signature: ModelIO) -> None:
    """Column names are those of a single two-dimensional input.

    Raises:
        PackageError: they are not names, there is no such input, or it has another width.
    """
    if not all(isinstance(name, str) for name in features) or len(set(features)) != len(features):
        raise PackageError(f"{MANIFEST_FILE}: expected features to be different names, got {features!r}")
    match [spec for spec in signature.inputs if not spec.optional]:
        case [TensorSpec(shape=(_, width))]:
            if isinstance(width, int) and width != len(features):
                raise PackageError(
                    f"{MANIFEST_FILE}: expected {width} features, as wide as the input, got {len(features)}"
                )
        case _:
            raise PackageError(
                f"{MANIFEST_FILE}: features name the columns of a single two-dimensional input"
            )


def check_samples(document: Any, signature: ModelIO | None) -> None:
    """`samples.json` is a list, `[{"inputs": {…}, "outputs": {…}, "rtol": 1e-4, "atol": 1e-5}, …]`.

    Args:
        signature: the model's; None where they are in the terms of the service's transform.

    Raises:
        PackageError: it is not, or names what the model does not have; the message has the sample's number.
    """
    if not isinstance(document, list) or not document:
        raise PackageError(f"{SAMPLES_FILE}: expected a list of at least one sample")
    for index, sample in enumerate(document):
        _check_sample(f"{SAMPLES_FILE}: sample {index}", sample, signature)


def _check_sample(where: str, sample: Any, signature: ModelIO | None) -> None:
    match sample:
        case {"inputs": {**inputs}, "outputs": {**outputs}, **tolerances} if outputs:
            if signature:
                _check_names(f"{where}: input", inputs, signature.inputs)
                _check_names(f"{where}: output", outputs, signature.outputs)
        case _:
            raise PackageError(f"{where}: expected inputs and outputs, each an object of names and values")
    for spec in signature.inputs if signature else ():
        if spec.name not in inputs and not spec.optional:
            raise PackageError(f"{where}: input '{spec.name}' is missing")
    for name, value in tolerances.items():
        if name not in ("rtol", "atol") or not is_number(value) or value < 0:
            raise PackageError(
                f"{where}: expected rtol and atol, numbers of 0 or more, got {name} = {value!r}"
            )


def _check_names(where: str, values: Mapping[Any, Any], specs: Sequence[TensorSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in values:
        if name not in known:
            raise PackageError(f"{where} '{name}' is none of the model's, {', '.join(known)}")
