"""Paths of Triton's extensions of the Open Inference Protocol in the OpenAPI document."""

from typing import Any

from app import errors
from app.model.served_model import ServedModel
from app.openapi import parts
from app.openapi.parts import Schema

_COUNT: Schema = {"type": "integer", "minimum": 0}
_DURATION = parts.closed_object({"count": _COUNT, "ns": _COUNT})
_STATISTICS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_CACHE = ("cache_hit", "cache_miss")


def paths(model: ServedModel) -> dict[str, Any]:
    """Return the paths of statistics, configuration and repository."""
    base = f"/v2/models/{model.name}"
    stats, config = _stats(model), _config(model)
    found = {"/v2/models/stats": _get("v2Stats", "Get statistics (V2)", stats)}
    for suffix, form, path in (
        ("", "V2", base),
        ("Version", "V2, by version", f"{base}/versions/{model.version}"),
    ):
        found[f"{path}/stats"] = _get(f"v2ModelStats{suffix}", f"Get the model's statistics ({form})", stats)
        found[f"{path}/config"] = _get(
            f"v2ModelConfig{suffix}", f"Get the model's configuration ({form})", config
        )
    found["/v2/repository/index"] = {"post": _index(model)}
    for action in ("load", "unload"):
        found[f"/v2/repository/models/{model.name}/{action}"] = {"post": _control(action)}
    return found


def _get(operation_id: str, summary: str, schema: Schema) -> dict[str, Any]:
    about = "As in Triton's extension of the protocol."
    return {"get": parts.get(operation_id, summary, about, parts.json(schema)) | {"x-guarded": True}}


def _stats(model: ServedModel) -> Schema:
    statistics = {
        "name": {"const": model.name},
        "version": {"const": model.version},
        "last_inference": {**_COUNT, "description": "In milliseconds since the epoch; 0 without any."},
        "inference_count": {**_COUNT, "description": "Rows of all inferences."},
        "execution_count": {**_COUNT, "description": "Inferences."},
        "inference_stats": parts.closed_object(dict.fromkeys((*_STATISTICS, *_CACHE), _DURATION)),
        "batch_stats": {"type": "array", "maxItems": 0, "items": {"type": "object"}},
    }
    return parts.closed_object(
        {"model_stats": {"type": "array", "items": parts.closed_object(statistics), "maxItems": 1}}
    )


def _config(model: ServedModel) -> Schema:
    tensor = {
        "name": {"type": "string"},
        "data_type": {"type": "string", "pattern": "^TYPE_"},
        "dims": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    }
    tensors = {
        "type": "array",
        "items": {"type": "object", "properties": tensor, "required": list(tensor)},
    }
    config = {
        "name": {"const": model.name},
        "platform": {"const": "onnxruntime_onnx"},
        "max_batch_size": {**_COUNT, "description": "0 if the tensors have no batch dimension."},
        "input": tensors,
        "output": tensors,
    }
    return {"type": "object", "properties": config, "required": list(config)}


def _index(model: ServedModel) -> dict[str, Any]:
    entry = {
        "name": {"const": model.name},
        "version": {"const": model.version},
        "state": {"enum": ["READY", "UNAVAILABLE"]},
        "reason": {"type": "string"},
    }
    return {
        "operationId": "v2Index",
        "tags": ["About"],
        "summary": "List the models (V2)",
        "responses": {
            "200": parts.response(
                "The served model and its state.",
                parts.json({"type": "array", "items": parts.closed_object(entry), "maxItems": 1}),
            ),
        },
        "x-guarded": True,
    }


def _control(action: str) -> dict[str, Any]:
    return {
        "operationId": f"v2{action.capitalize()}",
        "tags": ["About"],
        "summary": f"Refused: {action} a model (V2)",
        "description": "Not supported: a process serves one model.",
        "responses": parts.error_responses(errors.InvalidRequest),
        "x-guarded": True,
    }
