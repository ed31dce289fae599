"""An example request of the model served, for people to start from."""

from typing import Any

import orjson

from app.model.samples import Sample
from app.model.served_model import ServedModel
from model_loader.package import TensorSpec

MAX_CURL_CHARACTERS = 1500


def example(model: ServedModel, samples: tuple[Sample, ...]) -> dict[str, Any]:
    """The body of a request: the first sample, by column where the model names its columns; else zeros."""
    features = model.features
    if not samples:
        required = [spec for spec in model.inputs.values() if not spec.optional]
        return {"inputs": {spec.name: _zeros(spec) for spec in required}}
    inputs = samples[0].inputs
    if features:
        (rows,) = inputs.values()
        return {"instances": [dict(zip(features, row, strict=True)) for row in rows[:1]]}
    return {"inputs": inputs}


def curl(model: ServedModel, samples: tuple[Sample, ...], port: int) -> str:
    """A command for a shell that scores the example, or shows the model where the example is long."""
    body = orjson.dumps(example(model, samples)).decode().replace("'", "'\\''")
    if len(body) > MAX_CURL_CHARACTERS:
        return f"curl -s localhost:{port}/model"
    return f"curl -s localhost:{port}/score -H 'content-type: application/json' -d '{body}'"


def _zeros(spec: TensorSpec) -> Any:
    kind = spec.datatype.partition("(")[0]
    if kind == "seq":
        return []
    if kind == "map":  # with a key, since models fail on an empty one
        return {"0": "" if spec.datatype.endswith("STRING)") else 0}
    value: Any = {"STRING": "", "BOOL": False}.get(spec.datatype, 0)
    for size in reversed(spec.shape or ()):
        value = [value] * (size if isinstance(size, int) else 1)
    return value
