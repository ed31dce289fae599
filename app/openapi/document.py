"""The OpenAPI document of the model served.

https://spec.openapis.org/oas/v3.1.1. A protocol's paths are a line in `document`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from app import errors
from app.errors import InvalidRequest
from app.model.samples import Sample
from app.model.served_model import ServedModel
from app.openapi import open_inference as openapi_v2
from app.openapi import score as schemas
from app.openapi.examples import example
from app.openapi.parts import SCORING, get, header, json, ref, refusals, response
from app.openapi.score import closed
from app.protocols import npy, score
from app.scoring.request_ids import CLIENT_REQUEST_ID, MAX_CHARACTERS, MS_REQUEST_ID, REQUEST_ID
from app.settings import Settings
from app.tensors.from_json import from_json
from app.tensors.io_spec import single_input
from model_loader.package import TensorSpec

# An image as nested lists would be most of the document.
MAX_EXAMPLE_BYTES = 16 * 1024
PAGE = {"text/html": {"schema": {"type": "string"}}}
EXAMPLE_ID = "6f1d3a0c5b7e4d2f9a8b1c0d2e3f4a5b"

DESCRIPTION = """\
Model `{name}`, version {version}, `{digest}`.

JSON has no NaN and no infinities: they are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, and `null`
is read as NaN. An integer type takes only integral numbers, with a decimal point only below 2^53. A named
dimension has one size in all inputs of a request, and the rows of an array one length. Nothing is cast,
truncated, reshaped or padded in silence.

An unknown route is answered with 404, a method that a route does not take with 405 and `allow`; the bodies
are those of every error."""


def document(model: ServedModel, samples: tuple[Sample, ...], settings: Settings) -> dict[str, Any]:
    """The document, in version 3.1."""
    is_guarded = settings.api_keys_file is not None
    digest = model.package.digest
    parts: dict[str, Any] = {
        "schemas": {
            **schemas.components(model),
            "ScoreRequest": schemas.request(model),
            "ScoreReply": schemas.reply(model),
            "Error": schemas.error(model),
        },
        "headers": {
            "x-request-id": header("That of the request, or a new one.", {"type": "string"}),
            MS_REQUEST_ID: header("The id that the client knows the request by.", {"type": "string"}),
            "x-model-version": header("The model's version.", {"const": model.version}),
            "x-model-digest": header("The model's digest.", {"const": digest}),
        },
    }
    if is_guarded:
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
    scoring = {**_score(model, samples), **openapi_v2.paths(model)}
    paths = {**scoring, **_about(model), **_health(), **_documents()}
    for path in paths.values():
        for operation in path.values():
            _complete(operation, is_guarded=is_guarded)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": model.name,
            "version": model.version,
            "description": DESCRIPTION.format(name=model.name, version=model.version, digest=digest),
        },
        "paths": paths,
        "components": parts,
    }


def _score(model: ServedModel, samples: tuple[Sample, ...]) -> dict[str, Any]:
    asked, answered = _examples(model, samples)
    operation = {
        "operationId": "score",
        "tags": ["Scoring"],
        "summary": "Score",
        "description": "TensorFlow Serving's convention: by columns or by rows.",
        "requestBody": {
            "required": True,
            "content": json(ref("schemas", "ScoreRequest"), asked) | _npy(single_input(model.inputs)),
        },
        "responses": {
            "200": response(
                "The model's answer.",
                json(ref("schemas", "ScoreReply"), answered) | _npy(*model.outputs.values()),
            ),
            **refusals(*SCORING),
        },
        "x-guarded": True,
    }
    return {"/score": {"post": operation}}


def _npy(*specs: TensorSpec | None) -> dict[str, Any]:
    """The content of a body in NumPy's format, where there is one tensor to be in it."""
    match specs:
        case [TensorSpec(name=name, datatype=datatype)] if "(" not in datatype:
            about = f"'{name}' as `numpy.save` writes it."
            return {npy.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary", "description": about}}}
    return {}


def _about(model: ServedModel) -> dict[str, Any]:
    spec = {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": ["array", "null"], "items": {"type": ["integer", "string", "null"]}},
        "optional": {"const": True},
    }
    specs = {"type": "array", "items": closed(spec, ["name", "datatype", "shape"])}
    about = {
        "name": {"const": model.name},
        "version": {"const": model.version},
        "digest": {"const": model.package.digest},
        "signed": {"type": "boolean", "description": "Whether the manifest's signature was verified."},
        "inputs": specs,
        "features": {"type": ["array", "null"], "items": {"type": "string"}},
        "outputs": specs,
        "manifest": {"type": ["object", "null"]},
    }
    shown = get("model", "Which model this is", json(closed(about)))
    return {"/model": {"get": shown | {"x-guarded": True}}}


def _health() -> dict[str, Any]:
    alive = json(closed({"status": {"const": "alive"}}))
    ready = json(closed({"status": {"const": "ready"}}))
    metrics = {
        media: {"schema": {"type": "string"}} for media in ("text/plain", "application/openmetrics-text")
    }
    sign = {"text/plain": {"schema": {"const": "Healthy"}}}
    home = get("home", "A sign of life; a page to who asks for HTML", sign | PAGE)
    return {
        "/healthz": {"get": get("healthz", "Whether the process lives", alive)},
        "/readyz": {"get": get("readyz", "Whether it should get requests", ready, errors.NotReady)},
        "/metrics": {"get": get("metrics", "Prometheus metrics", metrics)},
        "/": {"get": home},
    }


def _documents() -> dict[str, Any]:
    version = {
        "name": "version",
        "in": "query",
        "schema": {"type": "string", "enum": ["2", "3", "3.1"], "default": "2"},
    }
    anything = json({"type": "object"})
    swagger = get("swagger", "This document in an older version", anything, InvalidRequest)
    return {
        "/openapi.json": {"get": get("openapi", "This document", anything) | {"x-guarded": True}},
        "/swagger.json": {"get": swagger | {"parameters": [version], "x-guarded": True}},
        "/docs": {"get": get("docs", "This document as a page", PAGE)},
    }


def _complete(operation: dict[str, Any], *, is_guarded: bool) -> None:
    """Adds to an operation what all have, and to a guarded one what the key brings."""
    schema = {"type": "string", "maxLength": MAX_CHARACTERS}
    ids = [
        {"name": name, "in": "header", "schema": schema, "description": "Echoed, if it is printable."}
        for name in (REQUEST_ID, CLIENT_REQUEST_ID)
    ]
    operation["parameters"] = [*operation.get("parameters", ()), *ids]
    operation["responses"] |= refusals(errors.HeaderTooLarge)
    if operation.pop("x-guarded", False) and is_guarded:
        operation["security"] = [{"bearer": []}, {"key": []}]
        operation["responses"] |= refusals(errors.Unauthorized)


def _examples(model: ServedModel, samples: tuple[Sample, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Examples of requests and of replies, by their form: the first sample, or zeros where there is none."""
    asked: dict[str, Any] = {}
    answered: dict[str, Any] = {}
    for body in _bodies(model, samples):
        form = "columns" if "inputs" in body else "rows"
        data = orjson.dumps(body)
        try:
            _, rows = score.decode_json(data, model.inputs, model.features)
            answer = _answer(model, samples, rows)
        except InvalidRequest:
            continue  # it has not this form
        if len(data) <= MAX_EXAMPLE_BYTES:
            asked.setdefault(form, {"summary": f"By {form}", "value": body})
        if answer and len(answer) <= MAX_EXAMPLE_BYTES:
            answered.setdefault(form, {"summary": f"By {form}", "value": orjson.loads(answer)})
    return asked, answered


def _bodies(model: ServedModel, samples: tuple[Sample, ...]) -> Iterable[dict[str, Any]]:
    """Requests: that which people start from, then the first sample in the forms that it may have."""
    yield example(model, samples)
    if samples:
        inputs = samples[0].inputs
        yield {"inputs": inputs}
        if all(isinstance(value, list) for value in inputs.values()):
            columns = zip(*inputs.values(), strict=False)
            yield {"instances": [dict(zip(inputs, row, strict=True)) for row in columns]}


def _answer(model: ServedModel, samples: tuple[Sample, ...], rows: int | None) -> bytes | None:
    """The reply to the first sample; None where it has not all outputs.

    Raises:
        InvalidRequest: the outputs have not one element an instance.
    """
    if not samples or samples[0].outputs.keys() != model.outputs.keys():
        return None
    outputs = {name: from_json(samples[0].outputs[name], spec) for name, spec in model.outputs.items()}
    if rows is not None:
        outputs = {name: _first(value, rows) for name, value in outputs.items()}
    about = {"id": EXAMPLE_ID, "model_name": model.name, "model_version": model.version}
    return score.encode(rows, outputs, about)[1]


def _first(value: Any, rows: int) -> Any:
    return (
        value[:rows] if isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim) else value
    )
