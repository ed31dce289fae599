"""Samples of a package, as the service reads and compares them."""

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


def matches(got: Any, wanted: Any, rtol: float, atol: float) -> bool:
    """Whether an output equals another: exactly, but for floats, which may differ a little."""
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(
            matches(one, other, rtol, atol) for one, other in zip(got, wanted, strict=True)
        )
    if isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(matches(got[k], wanted[k], rtol, atol) for k in wanted)
    if got is None or wanted is None:
        return got is wanted
    one, other = np.asarray(got), np.asarray(wanted)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "OUSbiu":
        return bool((one == other).all())
    return bool(np.allclose(one.astype(np.float64), other.astype(np.float64), rtol, atol, equal_nan=True))
