"""Example requests and responses of the served model."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols.predictions import encode
from app.protocols.score import REPLY, decode_json
from app.tensors.from_json import from_json
from model_loader.package.samples import Sample

MAX_CURL_CHARACTERS = 1500
# A larger example, such as an image as nested lists, would make up most of the OpenAPI document.
MAX_EXAMPLE_BYTES = 16 * 1024
MAX_SAMPLES = 20
# Member → form.
FORMS = {"inputs": "columns", "instances": "rows", "dataframe_split": "table"}
EXAMPLE_ID = "6f1d3a0c5b7e4d2f9a8b1c0d2e3f4a5b"


def request(model: ServedModel, samples: tuple[Sample, ...]) -> dict[str, Any] | None:
    """Return the body of an example request; None if no request is known that the model answers.

    It is the first sample, by column name if the model has feature names and the sample no other inputs.
    Without samples it is the model's example.
    """
    if not samples:
        return None if model.example is None else {"inputs": model.example}
    features, inputs = model.features, samples[0].inputs
    if features and len(inputs) == 1:
        (rows,) = inputs.values()
        return {"instances": [dict(zip(features, row, strict=True)) for row in rows[:1]]}
    return {"inputs": inputs}


def sample_inputs(model: ServedModel, samples: tuple[Sample, ...]) -> list[Mapping[str, Any]]:
    """Return the inputs of the samples, or else of the model's example, as far as they are small."""
    known = [sample.inputs for sample in samples] or ([] if model.example is None else [model.example])
    found, size = [], 0
    for inputs in known[:MAX_SAMPLES]:
        length = len(orjson.dumps(inputs))
        if size + length <= MAX_EXAMPLE_BYTES:
            found.append(inputs)
            size += length
    return found


def curl(model: ServedModel, samples: tuple[Sample, ...], port: int) -> str:
    """Return a shell command that scores the example request.

    It gets `/model` if there is no example, or if the example is too long.
    """
    example = request(model, samples)
    body = orjson.dumps(example).decode().replace("'", "'\\''")
    if example is None or len(body) > MAX_CURL_CHARACTERS:
        return f"curl -s localhost:{port}/model"
    return f"curl -s localhost:{port}/score -H 'content-type: application/json' -d '{body}'"


def by_form(model: ServedModel, samples: tuple[Sample, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return examples of requests and of responses for the OpenAPI document.

    Returns:
        for requests and for responses: `columns`, `rows` or `table` → example object.
    """
    requests: dict[str, Any] = {}
    responses: dict[str, Any] = {}
    for body in _bodies(model, samples):
        form = FORMS[next(iter(body))]
        data = orjson.dumps(body)
        try:
            _, rows = decode_json(data, model.inputs, model.features, max_values=len(data))
            response = _response(model, samples, rows)
        except InvalidRequest:
            continue  # the model does not support this form
        if len(data) <= MAX_EXAMPLE_BYTES:
            requests.setdefault(form, {"summary": f"By {form}", "value": body})
        if response and len(response) <= MAX_EXAMPLE_BYTES:
            responses.setdefault(form, {"summary": f"By {form}", "value": orjson.loads(response)})
    return requests, responses


def _bodies(model: ServedModel, samples: tuple[Sample, ...]) -> Iterable[dict[str, Any]]:
    """Yield the example request, then the first sample by columns, by rows and as a table."""
    if example := request(model, samples):
        yield example
    if samples:
        inputs = samples[0].inputs
        yield {"inputs": inputs}
        if all(isinstance(value, list) for value in inputs.values()):
            columns = zip(*inputs.values(), strict=False)
            rows = [[*row] for row in columns]
            yield {"instances": [dict(zip(inputs, row, strict=True)) for row in rows]}
            has_features = model.features and len(inputs) == 1
            names, data = (model.features, next(iter(inputs.values()))) if has_features else ([*inputs], rows)
            yield {"dataframe_split": {"columns": names, "data": data}}


def _response(model: ServedModel, samples: tuple[Sample, ...], rows: int | None) -> bytes | bytearray | None:
    """Return the response to the first sample; None if the sample does not have all outputs.

    Raises:
        InvalidRequest: an output does not have one element per instance.
    """
    if not samples or samples[0].outputs.keys() != model.outputs.keys():
        return None
    outputs = {name: from_json(samples[0].outputs[name], spec) for name, spec in model.outputs.items()}
    if rows is not None:
        outputs = {name: _first_rows(value, rows) for name, value in outputs.items()}
    about = {"id": EXAMPLE_ID, "model_name": model.name, "model_version": model.version}
    return encode(REPLY, rows, outputs, about)[1]


def _first_rows(value: Any, rows: int) -> Any:
    has_rows = isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim)
    return value[:rows] if has_rows else value
