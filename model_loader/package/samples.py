"""`samples.json`: requests with the outputs that the training framework returned.

[{"inputs": {"x": [[13.64, 3.1]]}, "outputs": {"label": [0]}, "rtol": 1e-4, "atol": 1e-5}, …]

This is the only check of the file itself. Names, types and shapes are those of requests, so the service
checks them as it does for requests.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from model_loader.errors import PackageError
from model_loader.package.json_file import is_number
from model_loader.package.manifest_fields import SAMPLES_FILE
from model_loader.package.verify import Package

# The source of samples whose outputs ONNX Runtime returned itself.
ONNXRUNTIME = "onnxruntime"
RTOL = 1e-3
ATOL = 1e-5


@dataclass(frozen=True)
class Sample:
    """A request and the expected outputs, in the JSON of `/score`.

    Attributes:
        inputs: name → value.
        outputs: name → expected value; at least one.
        rtol: relative tolerance of floating-point outputs, at least 0 and below 1.
        atol: absolute tolerance of floating-point outputs, at least 0.
        source: what calculated the outputs, if it is recorded.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    rtol: float = RTOL
    atol: float = ATOL
    source: str | None = None


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
        document = orjson.loads(content.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as exc:
        raise PackageError(f"{where} is not JSON: {exc}") from exc
    if not isinstance(document, list):
        raise PackageError(f"{where}: expected a list of samples, got {type(document).__name__}")
    return tuple(_sample(f"{where}: sample {index}", sample) for index, sample in enumerate(document))


def _sample(where: str, sample: Any) -> Sample:
    match sample:
        case {"inputs": dict(inputs), "outputs": dict(outputs)} if outputs:
            others = {name: sample[name] for name in sample.keys() - {"inputs", "outputs"}}
        case _:
            raise PackageError(f"{where}: expected inputs and outputs, each an object of names and values")
    for name, value in others.items():
        match name:
            # With a relative tolerance of 1, an output of zeros would be as good as any.
            case "rtol" if not is_number(value) or not 0 <= value < 1:
                raise PackageError(
                    f"{where}: expected rtol to be a number from 0 to below 1, got {value!r:.40}"
                )
            case "atol" if not is_number(value) or value < 0:
                raise PackageError(f"{where}: expected atol to be a number of 0 or more, got {value!r:.40}")
            case "source" if not isinstance(value, str):
                raise PackageError(f"{where}: expected source to be a text, got {value!r:.40}")
            case "rtol" | "atol" | "source":
                pass
            case _:
                raise PackageError(
                    f"{where}: unknown field {name!r:.40}; the fields are inputs, outputs, rtol, atol, source"
                )
    return Sample(inputs, outputs, **others)
