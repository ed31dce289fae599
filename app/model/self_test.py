"""The self-test: the model must answer its own samples as the training framework did."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.errors import InvalidRequest, ModelError, RequestError
from app.model.onnx_model import load, load_optimized, open_package
from app.model.samples import Sample, matches, read_samples
from app.model.served_model import ServedModel
from app.settings import Settings
from app.tensors.from_json import from_json, inputs_from_json
from app.tensors.to_json import to_json


def run(model: ServedModel, samples: Sequence[Sample]) -> None:
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
class VerifiedModel:
    """A model that answered its samples.

    Attributes:
        setback: why it is not in its optimized model, where there is one.
    """

    model: ServedModel
    samples: tuple[Sample, ...]
    is_optimized: bool
    fallback_reason: str | None = None


def load_and_verify(settings: Settings) -> VerifiedModel:
    """Loads the model and runs it on its samples: in its optimized model, or else as it was published.

    Args:
        settings: resolved.

    Raises:
        ModelError: the package is not what its manifest says, cannot be loaded, or does not answer.
    """
    package = open_package(settings.model_path)
    samples = read_samples(package)
    fallback_reason = None
    try:
        if found := load_optimized(package, settings):
            optimized = ServedModel(found)
            run(optimized, samples)
            return VerifiedModel(optimized, samples, is_optimized=True)
    except ModelError as exc:
        fallback_reason = str(exc)
    model = ServedModel(load(package, settings))
    run(model, samples)
    return VerifiedModel(model, samples, is_optimized=False, fallback_reason=fallback_reason)


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
