"""Samples of a package: reading them, and comparing outputs with the expected ones."""

from typing import Any

import numpy as np

from app.errors import ModelError
from model_loader.package import Package, PackageError, samples
from model_loader.package.samples import Sample


def read_samples(package: Package) -> tuple[Sample, ...]:
    """Return the package's samples, or an empty tuple if it has no `samples.json`.

    Raises:
        ModelError: the file is not a list of samples.
    """
    try:
        return samples.read_samples(package)
    except PackageError as exc:
        raise ModelError(str(exc)) from exc


def matches(actual: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Return whether an output is the expected one: floats within the tolerances, everything else equal.

    Args:
        actual: array, list, dict or None, as from ONNX Runtime.
        expected: of the same types.
        rtol: relative tolerance.
        atol: absolute tolerance.
    """
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(
            matches(one, other, rtol, atol) for one, other in zip(actual, expected, strict=True)
        )
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            matches(actual[key], expected[key], rtol, atol) for key in expected
        )
    if actual is None or expected is None:
        return actual is expected
    one, other = np.asarray(actual), np.asarray(expected)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "OUSbiu":
        return bool((one == other).all())
    return bool(np.allclose(one.astype(np.float64), other.astype(np.float64), rtol, atol, equal_nan=True))
