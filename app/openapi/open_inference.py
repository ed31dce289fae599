"""Paths of the Open Inference Protocol in the OpenAPI document.

Descriptions state what a schema cannot: `data` has as many elements as `shape` requires, every input is given
once, and the bytes after the JSON are tensors.
"""

from typing import Any

from app import errors
from app.model.served_model import ServedModel
from app.openapi import parts, score
from app.openapi.parts import Schema
from app.protocols.open_inference_types import datatype, is_supported, output_datatype
from model_loader.package import TensorSpec

BINARY = "application/octet-stream"
DESCRIPTION = """\
The Open Inference Protocol. Every input without a default must be given once. `data` is flat or nested like
`shape`, and has as many elements. With the binary tensor extension, the header
`inference-header-content-length` has the length of the JSON. The tensors' bytes follow the JSON; each tensor
has `binary_data_size` of them."""


def paths(model: ServedModel) -> dict[str, Any]:
    """Return the paths.

    Inference is omitted if the protocol does not support the model's required inputs, or any output.
    """
    base, versioned = f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/{model.version}"
    found = _server()
    for suffix, form, path in (("", "V2", base), ("Version", "V2, by version", versioned)):
        found |= _model(model, path, suffix, form)
        if is_supported(model):
            found[f"{path}/infer"] = {"post": _infer(model, f"v2Infer{suffix}", f"Infer ({form})")}
    return found


def _server() -> dict[str, Any]:
    """Return the paths about the server."""
    server = {"name": {"type": "string"}, "version": {"const": "2"}, "extensions": {"type": "array"}}
    live = parts.json(parts.closed_object({"live": {"const": True}}))
    ready = parts.json(parts.closed_object({"ready": {"const": True}}))
    metadata = parts.json(parts.closed_object(server))
    return {
        "/v2": {
            "get": parts.get(
                "v2",
                "Get server metadata (V2)",
                "The server's name, its protocol version and its extensions.",
                metadata,
            )
        },
        "/v2/health/live": {"get": parts.get("v2Live", "Check liveness (V2)", "The process is alive.", live)},
        "/v2/health/ready": {
            "get": parts.get(
                "v2Ready",
                "Check readiness (V2)",
                "The service is ready for requests.",
                ready,
                errors.NotReady,
            )
        },
    }


def _model(model: ServedModel, path: str, suffix: str, form: str) -> dict[str, Any]:
    """Return the paths of the model's metadata and readiness.

    Args:
        path: of the model, or of its version.
        suffix: of the operations' ids.
        form: of the path, for the operations' summaries.
    """
    name = {"const": model.name}
    tensor = {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    }
    tensors = {"type": "array", "items": parts.closed_object(tensor)}
    about = "Of the columns, for a map from class to score."
    classes = {"type": "array", "items": {"type": ["string", "integer"]}, "description": about}
    output = parts.closed_object(
        tensor | {"parameters": parts.closed_object({"classes": classes})}, list(tensor)
    )
    metadata = {
        "name": name,
        "versions": {"type": "array", "items": {"const": model.version}},
        "platform": {"const": "onnxruntime_onnx"},
        "inputs": tensors,
        "outputs": {"type": "array", "items": output},
    }
    ready = parts.json(parts.closed_object({"name": name, "ready": {"const": True}}))
    get_metadata = parts.get(
        f"v2Model{suffix}",
        f"Get model metadata ({form})",
        "The model's inputs and outputs.",
        parts.json(parts.closed_object(metadata)),
    )
    get_ready = parts.get(
        f"v2Model{suffix}Ready",
        f"Check the model's readiness ({form})",
        "The model is ready for requests.",
        ready,
        errors.NotReady,
    )
    return {path: {"get": get_metadata | {"x-guarded": True}}, f"{path}/ready": {"get": get_ready}}


def _infer(model: ServedModel, operation_id: str, summary: str) -> dict[str, Any]:
    binary = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": operation_id,
        "tags": ["Scoring"],
        "summary": summary,
        "description": DESCRIPTION,
        "requestBody": {"required": True, "content": parts.json(_request(model)) | binary},
        "responses": {
            "200": parts.response("The model's outputs.", parts.json(_response(model)) | binary),
            **parts.error_responses(*parts.SCORING_ERRORS),
        },
        "x-guarded": True,
    }


def _request(model: ServedModel) -> Schema:
    flag = {"type": "boolean"}
    output = {
        "type": "object",
        "properties": {
            "name": {"enum": [name for name, spec in model.outputs.items() if output_datatype(spec)]},
            "parameters": {"type": ["object", "null"], "properties": {"binary_data": flag}},
        },
        "required": ["name"],
    }
    tensors = [_tensor(spec) for spec in model.inputs.values() if datatype(spec)]
    # Only a list can leave out the outputs that the protocol does not support.
    is_optional = all(map(output_datatype, model.outputs.values()))
    outputs = {"type": ["array", "null"]} if is_optional else {"type": "array", "minItems": 1}
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"], "properties": {"binary_data_output": flag}},
            "inputs": {
                "type": "array",
                "items": {"oneOf": tensors} if tensors else {},
                "maxItems": len(tensors),
            },
            "outputs": outputs | {"items": output},
        },
        "required": ["inputs"] if is_optional else ["inputs", "outputs"],
    }


def _tensor(spec: TensorSpec) -> Schema:
    sizes: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    element = f"{score.element_name(spec.datatype, in_request=True)}OfAnyShape"
    if spec.shape is not None:
        sizes |= {"minItems": len(spec.shape), "maxItems": len(spec.shape)}
    return {
        "type": "object",
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": datatype(spec)},
            "shape": sizes,
            "data": {"type": "array", "items": parts.schema_ref(element)},
            "parameters": {
                "type": ["object", "null"],
                "properties": {"binary_data_size": {"type": "integer"}},
            },
        },
        "required": ["name", "datatype", "shape"],
    }


def _response(model: ServedModel) -> Schema:
    datatypes = {
        name: datatype for name, spec in model.outputs.items() if (datatype := output_datatype(spec))
    }
    tensor = {
        "name": {"enum": list(datatypes)},
        "datatype": {"enum": sorted(set(datatypes.values()))},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    }
    about = {"id": {"type": "string"}, "model_name": {"const": model.name}}
    outputs = {"type": "array", "items": parts.closed_object(tensor, ["name", "datatype", "shape"])}
    return parts.closed_object({**about, "model_version": {"const": model.version}, "outputs": outputs})
