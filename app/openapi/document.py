"""The OpenAPI document of the served model.

https://spec.openapis.org/oas/v3.1.1. A protocol adds its paths in `build`.
"""

from typing import Any

from app import errors
from app.model.served_model import ServedModel
from app.openapi import (
    examples,
    feedback,
    open_inference,  # part: v2
    open_inference_extensions,  # part: v2
    parts,
    predict,
    recent,
    score,
)
from app.protocols import csv_table, invocations, npy
from app.protocols import predict as predict_protocol
from app.protocols import score as score_protocol
from app.scoring.request_ids import (
    CLIENT_REQUEST_ID,
    MAX_CHARACTERS,
    MS_REQUEST_ID,
    PREDICTION_ID,
    REQUEST_ID,
)
from app.settings import Settings
from app.tensors.io_spec import single_input
from model_loader.package import TensorSpec
from model_loader.package.samples import Sample

HTML = {"text/html": {"schema": {"type": "string"}}}

DESCRIPTION = """\
Model `{name}`, version {version}, `{digest}`.

JSON has no NaN and no infinities: they are written as the strings `"NaN"`, `"Infinity"` and `"-Infinity"`.
`null` is read as NaN. Integer types accept integral numbers only; a number with a decimal point must be below
2^53. A named dimension has the same size in all inputs of a request, and the rows of an array have the same
length. Values are never silently cast, truncated, reshaped or padded.

An unknown route returns 404. A method that a route does not support returns 405 with an `allow` header. Both
have the same body as all other errors."""


def build(model: ServedModel, samples: tuple[Sample, ...], settings: Settings) -> dict[str, Any]:
    """Return the document as OpenAPI 3.1."""
    has_keys = settings.api_keys_file is not None
    digest = model.package.digest
    components: dict[str, Any] = {
        "schemas": {
            **score.component_schemas(model),
            "ScoreRequest": score.request_schema(model, with_tables=True),
            "ScoreReply": score.response_schema(model, score_protocol.REPLY),
            "InvocationsReply": score.response_schema(model, invocations.REPLY),
            "PredictRequest": score.request_schema(model, with_tables=False),
            "PredictReply": score.response_schema(model, predict_protocol.REPLY),
            "Error": score.error_schema(model),
        },
        "headers": {
            "x-request-id": parts.header("The request's id, or a generated one.", {"type": "string"}),
            PREDICTION_ID: parts.header("A unique id, which feedback refers to.", {"type": "string"}),
            MS_REQUEST_ID: parts.header("The id by which the client knows the request.", {"type": "string"}),
            "x-model-version": parts.header("The model's version.", {"const": model.version}),
            "x-model-digest": parts.header("The model's digest.", {"const": digest}),
        },
    }
    if has_keys:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
    scoring = {
        **_score(model, samples),
        **predict.paths(model),
        **open_inference.paths(model),  # part: v2
        **open_inference_extensions.paths(model),  # part: v2
    }
    reported = feedback.paths(model) if settings.capture_dir else {}
    paths = {**scoring, **reported, **_model(model), **_monitoring(), **recent.paths(), **_documentation()}
    for path in paths.values():
        for operation in path.values():
            _complete(operation, has_keys=has_keys)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": model.name,
            "version": model.version,
            "description": DESCRIPTION.format(name=model.name, version=model.version, digest=digest),
        },
        "paths": paths,
        "components": components,
    }


def _score(model: ServedModel, samples: tuple[Sample, ...]) -> dict[str, Any]:
    requests, responses = examples.by_form(model, samples)
    request = parts.json(parts.schema_ref("ScoreRequest"), requests)
    request |= _csv(model) | _npy(single_input(model.inputs))
    response = parts.json(parts.schema_ref("ScoreReply"), responses)
    invoked = parts.json(parts.schema_ref("InvocationsReply"))
    return {
        "/score": {
            "post": parts.scoring(
                "score",
                "Score",
                "By columns (`inputs`) or by rows (`instances`), as TensorFlow Serving's predict API; or a "
                "table, as pandas, MLflow and Azure Machine Learning write it.",
                request,
                response | _npy(*model.outputs.values()),
            )
        },
        "/invocations": {
            "post": parts.scoring(
                "invocations",
                "Score, as MLflow and SageMaker",
                "The same as `/score`; the response to `inputs` has the outputs as `predictions`.",
                request,
                invoked | _npy(*model.outputs.values()),
            )
        },
    }


def _csv(model: ServedModel) -> dict[str, Any]:
    """Return the content of a body in CSV; empty if the model's inputs cannot be written as CSV."""
    if not score.has_tables(model) or any("(" in spec.datatype for spec in model.inputs.values()):
        return {}
    about = "A table in UTF-8, with the names of its columns in the first line."
    return {csv_table.MEDIA_TYPE: {"schema": {"type": "string", "description": about}}}


def _npy(*specs: TensorSpec | None) -> dict[str, Any]:
    """Return the content of a body in NumPy's format; empty unless the body has a single tensor."""
    match specs:
        case [TensorSpec(name=name, datatype=datatype)] if "(" not in datatype:
            about = f"'{name}' in the format of `numpy.save`."
            return {npy.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary", "description": about}}}
    return {}


def _model(model: ServedModel) -> dict[str, Any]:
    spec = {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": ["array", "null"], "items": {"type": ["integer", "string", "null"]}},
        "optional": {"const": True},
    }
    specs = {"type": "array", "items": parts.closed_object(spec, ["name", "datatype", "shape"])}
    text = {"type": "string"}
    about = {
        "service": parts.closed_object({"name": text, "template_version": text}),
        "name": {"const": model.name},
        "version": {"const": model.version},
        "digest": {"const": model.package.digest},
        "signed": {"type": "boolean", "description": "Whether the manifest's signature was verified."},
        "inputs": specs,
        "features": {"type": ["array", "null"], "items": {"type": "string"}},
        "outputs": specs,
        "schema": {"type": ["object", "null"], "description": "The package's schema.json."},
        "manifest": {"type": ["object", "null"]},
        "samples": {"type": "array", "items": {"type": "object"}, "description": "Inputs of some requests."},
        "feedback": {"type": "object", "description": "Metric → JSON schema of what can be reported."},
    }
    operation = parts.get(
        "model",
        "Get the model's metadata",
        "The model's version, digest, inputs, outputs, schema and manifest.",
        parts.json(parts.closed_object(about)),
    )
    return {"/model": {"get": operation | {"x-guarded": True}}}


def _monitoring() -> dict[str, Any]:
    alive = parts.json(parts.closed_object({"status": {"const": "alive"}}))
    ready = parts.json(parts.closed_object({"status": {"const": "ready"}}))
    text = {"schema": {"type": "string"}}
    metrics = {"text/plain": text, "application/openmetrics-text": text}
    healthy = {"text/plain": {"schema": {"const": "Healthy"}}}
    home = "`Healthy`; the model's page if the request accepts HTML."
    return {
        "/healthz": {"get": parts.get("healthz", "Check liveness", "The process is alive.", alive)},
        "/readyz": {
            "get": parts.get(
                "readyz", "Check readiness", "The service is ready for requests.", ready, errors.NotReady
            )
        },
        "/ping": {
            "get": parts.get(
                "ping",
                "Check readiness, as MLflow and SageMaker",
                "The service is ready for requests.",
                ready,
                errors.NotReady,
            )
        },
        "/metrics": {"get": parts.get("metrics", "Get Prometheus metrics", "Prometheus metrics.", metrics)},
        "/": {"get": parts.get("home", "Check health, or open the model's page", home, healthy | HTML)},
    }


def _documentation() -> dict[str, Any]:
    version = {
        "name": "version",
        "in": "query",
        "schema": {"type": "string", "enum": ["2", "3", "3.1"], "default": "2"},
        "description": "Version of the OpenAPI specification.",
    }
    anything = parts.json({"type": "object"})
    openapi = parts.get("openapi", "Get this document", "This document in OpenAPI 3.1.", anything)
    swagger = parts.get(
        "swagger",
        "Get this document in another version",
        "This document in Swagger 2.0, OpenAPI 3.0 or OpenAPI 3.1.",
        anything,
        errors.InvalidRequest,
    )
    return {
        "/openapi.json": {"get": openapi | {"x-guarded": True}},
        "/swagger.json": {"get": swagger | {"parameters": [version], "x-guarded": True}},
        "/docs": {"get": parts.get("docs", "View this document", "A page with this document.", HTML)},
    }


def _complete(operation: dict[str, Any], *, has_keys: bool) -> None:
    """Add what all operations have in common, and authentication to guarded ones."""
    schema = {"type": "string", "maxLength": MAX_CHARACTERS}
    ids = [
        {"name": name, "in": "header", "schema": schema, "description": "Echoed if printable."}
        for name in (REQUEST_ID, CLIENT_REQUEST_ID)
    ]
    operation["parameters"] = [*operation.get("parameters", ()), *ids]
    operation["responses"] |= parts.error_responses(errors.HeaderTooLarge)
    if operation.pop("x-guarded", False) and has_keys:
        operation["security"] = [{"bearer": []}, {"key": []}]
        operation["responses"] |= parts.error_responses(errors.Unauthorized)
