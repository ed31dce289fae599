"""`samples.json`: requests with the outputs that the training framework returned.

[{"inputs": {"x": [[13.64, 3.1]]}, "outputs": {"label": [0]}, "rtol": 1e-4, "atol": 1e-5}, …]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from model_loader.errors import PackageError
from model_loader.package.manifest import SAMPLES_FILE, is_number
from model_loader.package.verify import Package

RTOL = 1e-3
ATOL = 1e-5


@dataclass(frozen=True)
class Sample:
    """A request and the expected outputs, in the JSON of `/score`.

    Attributes:
        inputs: name → value.
        outputs: name → expected value; at least one.
        rtol: relative tolerance of floating-point outputs, at least 0.
        atol: absolute tolerance of floating-point outputs, at least 0.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    rtol: float = RTOL
    atol: float = ATOL


def read_samples(package: Package) -> tuple[Sample, ...]:
    """Return the package's samples, or an empty tuple if it has no `samples.json`.

    Raises:
        PackageError: the file is not a list of samples; the message names the package.
    """
    path = package.path / SAMPLES_FILE
    if package.path.is_file() or not path.is_file():
        return ()
    return parse_samples(path.read_bytes(), f"{package}: {SAMPLES_FILE}")


def parse_samples(content: bytes, where: str) -> tuple[Sample, ...]:
    """Parse the bytes of a `samples.json`.

    Args:
        where: the name of the file in messages.

    Raises:
        PackageError: the content is not a list of samples; the message has the sample's number.
    """
    # The parser of `/score`: a sample that it rejects could never be sent as a request.
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise PackageError(f"{where} is not JSON: {exc}") from exc
    if not isinstance(document, list):
        raise PackageError(f"{where}: expected a list of samples, got {type(document).__name__}")
    return tuple(_sample(f"{where}: sample {index}", sample) for index, sample in enumerate(document))


def _sample(where: str, sample: Any) -> Sample:
    match sample:
        case {"inputs": dict(inputs), "outputs": dict(outputs)} if outputs:
            tolerances = {name: sample[name] for name in sample.keys() - {"inputs", "outputs"}}
        case _:
            raise PackageError(f"{where}: expected inputs and outputs, each an object of names and values")
    for name, value in tolerances.items():
        if name not in ("rtol", "atol") or not is_number(value) or value < 0:
            raise PackageError(
                f"{where}: expected rtol and atol to be numbers of 0 or more, got {name} = {value!r}"
            )
    return Sample(inputs, outputs, **tolerances)
