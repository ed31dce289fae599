"""`samples.json`: requests with the outputs that the training framework gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.errors import ModelError
from model_loader.package import SAMPLES_FILE, Package

RTOL = 1e-3
ATOL = 1e-5


@dataclass(frozen=True)
class Sample:
    """A request with the outputs that the training framework gave, in `/score`'s JSON."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    rtol: float = RTOL
    atol: float = ATOL


def read_samples(package: Package) -> tuple[Sample, ...]:
    """The package's samples; none where it has no `samples.json`.

    Raises:
        ModelError: the file is not a list of samples.
    """
    path = package.path / SAMPLES_FILE
    if package.path.is_file() or not path.is_file():
        return ()
    try:
        samples = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as exc:
        raise ModelError(f"{package}: {SAMPLES_FILE} is not JSON: {exc}") from exc
    if not isinstance(samples, list):
        raise ModelError(f"{package}: {SAMPLES_FILE} is not a list of samples")
    return tuple(_sample(f"{package}: sample {index}", sample) for index, sample in enumerate(samples))


def _sample(where: str, sample: Any) -> Sample:
    fields = sample if isinstance(sample, dict) else {}
    inputs, outputs = fields.get("inputs"), fields.get("outputs")
    if not isinstance(inputs, dict) or not isinstance(outputs, dict) or not outputs:
        raise ModelError(f"{where}: expected inputs and outputs, each an object of names and values")
    tolerances = {name: value for name, value in fields.items() if name not in ("inputs", "outputs")}
    for name, value in tolerances.items():
        if name not in ("rtol", "atol") or type(value) not in (int, float):
            raise ModelError(f"{where}: expected rtol and atol to be numbers, got {name!r}: {value!r}")
    return Sample(inputs, outputs, **tolerances)


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
