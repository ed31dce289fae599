"""The self-test: the model must answer its own samples as the training framework did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.errors import InvalidRequest, ModelError, RequestError
from app.model import load, load_baked, open_package
from app.served import Served
from app.settings import Settings
from app.tensors import from_json, inputs_from_json, to_json
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


def run(model: Served, samples: Sequence[Sample]) -> None:
    """Runs the model on every sample; this also warms it up.

    Raises:
        ModelError: an answer is not within the sample's tolerance, or there is none; the message names the
            sample, the output, what was expected and what came.
    """
    for index, sample in enumerate(samples):
        try:
            outputs = model.infer(inputs_from_json(sample.inputs, model.inputs))
            for name, expected in sample.outputs.items():
                if name not in model.outputs:
                    raise ModelError(f"{model.package}: sample {index}: the model has no output {name!r}")
                wanted = from_json(expected, model.outputs[name])
                if not matches(outputs[name], wanted, sample.rtol, sample.atol):
                    got = orjson.dumps(to_json(outputs[name]), option=orjson.OPT_SERIALIZE_NUMPY).decode()
                    raise ModelError(
                        f"{model.package}: sample {index}: output '{name}': expected "
                        f"{_short(str(expected))}, got {_short(got)} (rtol {sample.rtol}, atol {sample.atol})"
                    )
        except RequestError as exc:
            kind = "does not fit the model" if isinstance(exc, InvalidRequest) else "failed"
            raise ModelError(f"{model.package}: sample {index} {kind}: {exc}") from exc


@dataclass(frozen=True)
class Proven:
    """A model that answered its samples.

    Attributes:
        setback: why it is not in its baked form, where there is one.
    """

    model: Served
    samples: tuple[Sample, ...]
    is_baked: bool
    setback: str | None = None


def prove(settings: Settings) -> Proven:
    """Loads the model and runs it on its samples: in its baked form, or else as it was published.

    Args:
        settings: resolved.

    Raises:
        ModelError: the package is not what its manifest says, cannot be loaded, or does not answer.
    """
    package = open_package(settings.model_path)
    samples = read_samples(package)
    setback = None
    try:
        if found := load_baked(package, settings):
            baked = Served(found)
            run(baked, samples)
            return Proven(baked, samples, is_baked=True)
    except ModelError as exc:
        setback = str(exc)
    model = Served(load(package, settings))
    run(model, samples)
    return Proven(model, samples, is_baked=False, setback=setback)


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


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
