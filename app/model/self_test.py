"""The self-test: compare the model's outputs with those of the training framework."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.errors import InvalidRequest, ModelError, RequestError
from app.model.onnx_model import load, load_optimized, open_package
from app.model.samples import matches, read_samples
from app.model.served_model import ServedModel
from app.settings import Settings
from app.tensors.from_json import from_json, inputs_from_json
from app.tensors.to_json import to_json
from model_loader.package.samples import Sample


def run(model: ServedModel, samples: Sequence[Sample]) -> None:
    """Run the model on every sample and compare its outputs; this also warms it up.

    Raises:
        ModelError: an output differs by more than the sample's tolerance, or the model fails on a sample. The
            message names the sample and the output, with the expected and the actual value.
    """
    for index, sample in enumerate(samples):
        try:
            outputs = model.infer(inputs_from_json(sample.inputs, model.inputs))
            for name, expected in sample.outputs.items():
                if name not in model.outputs:
                    raise ModelError(f"{model.package}: sample {index}: the model has no output {name!r}")
                expected_output = from_json(expected, model.outputs[name])
                if not matches(outputs[name], expected_output, sample.rtol, sample.atol):
                    got = orjson.dumps(to_json(outputs[name]), option=orjson.OPT_SERIALIZE_NUMPY).decode()
                    raise ModelError(
                        f"{model.package}: sample {index}: output '{name}': expected "
                        f"{_shorten(str(expected))}, got {_shorten(got)} "
                        f"(rtol {sample.rtol}, atol {sample.atol})"
                    )
        except RequestError as exc:
            problem = "does not fit the model" if isinstance(exc, InvalidRequest) else "failed"
            raise ModelError(f"{model.package}: sample {index} {problem}: {exc}") from exc


@dataclass(frozen=True)
class VerifiedModel:
    """A model that passed its self-test.

    Attributes:
        samples: the samples of the self-test.
        is_optimized: whether this is the optimized model.
        fallback_reason: why the optimized model is not used; None if it is used, or if there is none.
    """

    model: ServedModel
    samples: tuple[Sample, ...]
    is_optimized: bool
    fallback_reason: str | None = None


def load_and_verify(settings: Settings) -> VerifiedModel:
    """Load the model and run its self-test.

    Uses the optimized model if there is one and it passes, otherwise the model as it was published.

    Args:
        settings: resolved settings.

    Raises:
        ModelError: the package does not match its manifest, or its model cannot be loaded or fails the
            self-test.
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


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
