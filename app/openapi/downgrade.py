"""Our OpenAPI 3.1 document in the versions before it, for tools that read no newer one.

https://spec.openapis.org/oas/v3.0.4, https://spec.openapis.org/oas/v2.0. What a version cannot say is
left out. 2.0 knows no alternatives and is given the first: of the forms the columnar, of a float the number.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

NOT_IN_3_0 = {"propertyNames", "const"}
OF_3_1 = "#/components/schemas/"


def to_3_0(document: Mapping[str, Any]) -> Json:
    """The document in OpenAPI 3.0."""
    converted: Json = _walk_3_0(document, in_names=False)
    for name, schema in converted["components"]["schemas"].items():
        if name.endswith("OfAnyShape"):  # many a tool of that time follows a schema into itself without end
            schema["anyOf"][1]["items"] = {}
    return converted | {"openapi": "3.0.3"}


def _walk_3_0(node: Any, *, in_names: bool) -> Any:
    """Converts what it finds.

    Args:
        in_names: whether the keys are names of somebody's choice, and none of the specification.
    """
    if isinstance(node, list):
        return [_walk_3_0(item, in_names=False) for item in node]
    if not isinstance(node, dict):
        return node
    if in_names:
        return {name: _walk_3_0(item, in_names=False) for name, item in node.items()}
    converted = {
        key: item if key in ("value", "enum") else _walk_3_0(item, in_names=key in ("properties", "schemas"))
        for key, item in node.items()
        if key not in NOT_IN_3_0
    }
    if "const" in node:
        converted |= {"type": "boolean" if node["const"] is True else "string", "enum": [node["const"]]}
    if isinstance(node.get("type"), list):
        converted |= _types(converted.pop("type"))
    if {"type": "null"} in _bare(node.get("anyOf", [])):
        others = [item for item in node["anyOf"] if item.get("type") != "null"]
        converted |= {"anyOf": _walk_3_0(others, in_names=False), "nullable": True}
    if "$ref" in converted and len(converted) > 1:
        converted["allOf"] = [{"$ref": converted.pop("$ref")}]
    return converted


def _bare(items: list[Json]) -> list[Json]:
    return [{"type": item.get("type")} for item in items]


def _types(types: list[str]) -> Json:
    named = [{"type": name} for name in types if name != "null"]
    one: Json = {"anyOf": named} if len(named) > 1 else dict(named[0])
    return one | ({"nullable": True} if "null" in types else {})


def to_2_0(document: Mapping[str, Any]) -> Json:
    """The document in Swagger 2.0."""
    older = to_3_0(document)
    parts = older["components"]
    schemes = {name: _scheme(scheme) for name, scheme in parts.get("securitySchemes", {}).items()}
    return {
        "swagger": "2.0",
        "info": older["info"],
        "paths": {
            path: {method: _operation(operation, parts["headers"]) for method, operation in methods.items()}
            for path, methods in older["paths"].items()
        },
        "definitions": {name: _schema(schema) for name, schema in parts["schemas"].items()},
        **({"securityDefinitions": schemes} if schemes else {}),
    }


def _scheme(scheme: Json) -> Json:
    if scheme["type"] == "apiKey":
        return scheme
    note = "`Bearer` and the key."
    return {"type": "apiKey", "in": "header", "name": "Authorization", "description": note}


def _operation(operation: Json, headers: Json) -> Json:
    converted = {key: item for key, item in operation.items() if key != "requestBody"}
    converted["parameters"] = [
        {**{key: item for key, item in parameter.items() if key != "schema"}, **parameter["schema"]}
        for parameter in operation["parameters"]
    ]
    if body := operation.get("requestBody"):
        media_type, media = next(iter(body["content"].items()))
        body = {"name": "body", "in": "body", "required": True, "schema": _schema(media["schema"])}
        converted |= {"consumes": [media_type], "parameters": [*converted["parameters"], body]}
    converted["produces"] = sorted(
        {kind for reply in operation["responses"].values() for kind in reply.get("content", ())}
    )
    converted["responses"] = {
        status: _response(reply, headers) for status, reply in operation["responses"].items()
    }
    return converted


def _response(reply: Json, headers: Json) -> Json:
    if "content" not in reply:
        return {"description": reply["description"]}
    media_type, media = next(iter(reply["content"].items()))
    converted = {"description": reply["description"], "schema": _schema(media["schema"])}
    converted["headers"] = {
        name: _header(headers[header["$ref"].rpartition("/")[2]] if "$ref" in header else header)
        for name, header in reply["headers"].items()
    }
    if examples := list(media.get("examples", {}).values()):
        converted["examples"] = {media_type: examples[0]["value"]}
    return converted


def _header(header: Json) -> Json:
    return {"description": header["description"], **header["schema"]}


def _schema(schema: Any) -> Any:
    """A schema of 3.0 in 2.0: without `nullable` and `not`, and with the first of its alternatives."""
    if isinstance(schema, list):
        return [_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted: Json = {}
    for key, item in schema.items():
        if key in ("anyOf", "oneOf"):
            converted |= _schema(item[0])
        elif key == "$ref":
            converted[key] = item.replace(OF_3_1, "#/definitions/")
        elif key == "properties":
            converted[key] = {name: _schema(value) for name, value in item.items()}
        elif key not in ("nullable", "not"):
            converted[key] = item if key == "enum" else _schema(item)
    if "$ref" in converted and len(converted) > 1:
        converted["allOf"] = [{"$ref": converted.pop("$ref")}]
    return converted
