"""The paths of the Open Inference Protocol in the OpenAPI document.

What a schema cannot say stands in a description: that `data` has as many elements as `shape` wants, that
every input is given once, and what the bytes after the JSON are.
"""

from typing import Any

from app import errors
from app.model.served_model import ServedModel
from app.openapi.parts import SCORING, get, json, ref, refusals, response
from app.openapi.score import Schema, closed, name_of
from app.protocols.open_inference import NAMES, datatype
from model_loader.package import TensorSpec

BINARY = "application/octet-stream"
DESCRIPTION = """\
The Open Inference Protocol. Every input that has no default is given, once; `data` is flat or nested like
`shape`, and has as many elements. With the binary extension the header `inference-header-content-length` has
the length of the JSON, and the tensors' bytes follow it, each as long as its `binary_data_size`."""


def paths(model: ServedModel) -> dict[str, Any]:
    """Health, metadata and, where the protocol has words for all of the model's types, inference."""
    name = {"const": model.name}
    base, versioned = f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/{model.version}"
    server = closed(
        {"name": {"const": "scorebox"}, "version": {"const": "2"}, "extensions": {"type": "array"}}
    )
    tensor = closed(
        {
            "name": {"type": "string"},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        }
    )
    metadata = closed(
        {
            "name": name,
            "versions": {"type": "array", "items": {"const": model.version}},
            "platform": {"const": "onnxruntime_onnx"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": tensor},
        }
    )
    ready = closed({"name": name, "ready": {"const": True}})
    live, all_ready = closed({"live": {"const": True}}), closed({"ready": {"const": True}})
    found: dict[str, Any] = {
        "/v2": {"get": get("v2", "The server", json(server))},
        "/v2/health/live": {"get": get("v2Live", "Whether the process lives", json(live))},
        "/v2/health/ready": {
            "get": get("v2Ready", "Whether it should get requests", json(all_ready), errors.NotReady)
        },
    }
    has_words = all(datatype(spec) for spec in (*model.inputs.values(), *model.outputs.values()))
    for suffix, path in (("", base), ("Version", versioned)):
        is_ready = get(f"v2Model{suffix}Ready", "Whether the model answers", json(ready), errors.NotReady)
        shown = get(f"v2Model{suffix}", "The model's inputs and outputs", json(metadata))
        found[path] = {"get": shown | {"x-guarded": True}}
        found[f"{path}/ready"] = {"get": is_ready}
        if has_words:
            found[f"{path}/infer"] = {"post": _infer(model, f"v2Infer{suffix}")}
    return found


def _infer(model: ServedModel, id_: str) -> dict[str, Any]:
    binary = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": id_,
        "tags": ["Scoring"],
        "summary": "Infer",
        "description": DESCRIPTION,
        "requestBody": {"required": True, "content": json(_request(model)) | binary},
        "responses": {
            "200": response("The model's outputs.", json(_reply(model)) | binary),
            **refusals(*SCORING),
        },
        "x-guarded": True,
    }


def _request(model: ServedModel) -> Schema:
    flag = {"type": "boolean"}
    output = {
        "type": "object",
        "properties": {
            "name": {"enum": list(model.outputs)},
            "parameters": {"type": ["object", "null"], "properties": {"binary_data": flag}},
        },
        "required": ["name"],
    }
    tensors = [_tensor(spec) for spec in model.inputs.values()]
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"], "properties": {"binary_data_output": flag}},
            "inputs": {"type": "array", "items": {"oneOf": tensors}, "maxItems": len(tensors)},
            "outputs": {"type": ["array", "null"], "items": output},
        },
        "required": ["inputs"],
    }


def _tensor(spec: TensorSpec) -> Schema:
    sizes: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    element = f"{name_of(spec.datatype, taken=True)}OfAnyShape"
    if spec.shape is not None:
        sizes |= {"minItems": len(spec.shape), "maxItems": len(spec.shape)}
    return {
        "type": "object",
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": datatype(spec)},
            "shape": sizes,
            "data": {"type": "array", "items": ref("schemas", element)},
            "parameters": {
                "type": ["object", "null"],
                "properties": {"binary_data_size": {"type": "integer"}},
            },
        },
        "required": ["name", "datatype", "shape"],
    }


def _reply(model: ServedModel) -> Schema:
    tensor = {
        "name": {"enum": list(model.outputs)},
        "datatype": {"enum": sorted({NAMES[spec.datatype] for spec in model.outputs.values()})},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    }
    about = {"id": {"type": "string"}, "model_name": {"const": model.name}}
    outputs = {"type": "array", "items": closed(tensor, ["name", "datatype", "shape"])}
    return closed({**about, "model_version": {"const": model.version}, "outputs": outputs})
