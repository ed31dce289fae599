"""Conversion of the OpenAPI 3.1 document to older versions, for tools that do not support 3.1.

https://spec.openapis.org/oas/v3.0.4, https://spec.openapis.org/oas/v2.0. What a version cannot express is
left out. 2.0 has no alternatives and gets the first of them: a request's columnar form, a float as a number.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

NOT_IN_3_0 = {"propertyNames", "const", "prefixItems"}
SCHEMAS_3_1 = "#/components/schemas/"


def to_3_0(document: Mapping[str, Any]) -> Json:
    """Convert the document to OpenAPI 3.0."""
    converted: Json = _convert_to_3_0(document, in_names=False)
    for name, schema in converted["components"]["schemas"].items():
        if name.endswith("OfAnyShape"):  # many tools for 3.0 do not terminate on recursive schemas
            schema["anyOf"][1]["items"] = {}
    return converted | {"openapi": "3.0.3"}


def _convert_to_3_0(node: Any, *, in_names: bool) -> Any:
    """Convert a node of the document.

    Args:
        in_names: whether the node's keys are names of properties or schemas, not keywords.
    """
    if isinstance(node, list):
        return [_convert_to_3_0(item, in_names=False) for item in node]
    if not isinstance(node, dict):
        return node
    if in_names:
        return {name: _convert_to_3_0(item, in_names=False) for name, item in node.items()}
    converted = {
        key: item
        if key in ("value", "enum")
        else _convert_to_3_0(item, in_names=key in ("properties", "schemas"))
        for key, item in node.items()
        if key not in NOT_IN_3_0
    }
    if "const" in node:
        converted |= {"type": "boolean" if node["const"] is True else "string", "enum": [node["const"]]}
    if isinstance(node.get("type"), list):
        converted |= _type_list(converted.pop("type"))
    if {"type": "null"} in _types_of(node.get("anyOf", [])):
        others = [item for item in node["anyOf"] if item.get("type") != "null"]
        converted |= {"anyOf": _convert_to_3_0(others, in_names=False), "nullable": True}
    if "$ref" in converted and len(converted) > 1:
        converted["allOf"] = [{"$ref": converted.pop("$ref")}]
    return converted


def _types_of(items: list[Json]) -> list[Json]:
    return [{"type": item.get("type")} for item in items]


def _type_list(types: list[str]) -> Json:
    named = [{"type": name} for name in types if name != "null"]
    schema: Json = {"anyOf": named} if len(named) > 1 else dict(named[0])
    return schema | ({"nullable": True} if "null" in types else {})


def to_2_0(document: Mapping[str, Any]) -> Json:
    """Convert the document to Swagger 2.0."""
    version_3_0 = to_3_0(document)
    components = version_3_0["components"]
    schemes = {name: _scheme(scheme) for name, scheme in components.get("securitySchemes", {}).items()}
    return {
        "swagger": "2.0",
        "info": version_3_0["info"],
        "paths": {
            path: {
                method: _operation(operation, components["headers"]) for method, operation in methods.items()
            }
            for path, methods in version_3_0["paths"].items()
        },
        "definitions": {name: _schema(schema) for name, schema in components["schemas"].items()},
        **({"securityDefinitions": schemes} if schemes else {}),
    }


def _scheme(scheme: Json) -> Json:
    if scheme["type"] == "apiKey":
        return scheme
    description = "`Bearer` and the key, separated by a space."
    return {"type": "apiKey", "in": "header", "name": "Authorization", "description": description}


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
        {kind for response in operation["responses"].values() for kind in response.get("content", ())}
    )
    converted["responses"] = {
        status: _response(response, headers) for status, response in operation["responses"].items()
    }
    return converted


def _response(response: Json, headers: Json) -> Json:
    if "content" not in response:
        return {"description": response["description"]}
    media_type, media = next(iter(response["content"].items()))
    converted = {"description": response["description"], "schema": _schema(media["schema"])}
    converted["headers"] = {
        name: _header(headers[header["$ref"].rpartition("/")[2]] if "$ref" in header else header)
        for name, header in response["headers"].items()
    }
    if examples := list(media.get("examples", {}).values()):
        converted["examples"] = {media_type: examples[0]["value"]}
    return converted


def _header(header: Json) -> Json:
    return {"description": header["description"], **header["schema"]}


def _schema(schema: Any) -> Any:
    """Convert a schema of 3.0 to 2.0: without `nullable` and `not`, and with the first alternative only."""
    if isinstance(schema, list):
        return [_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted: Json = {}
    for key, item in schema.items():
        if key in ("anyOf", "oneOf"):
            converted |= _schema(item[0])
        elif key == "$ref":
            converted[key] = item.replace(SCHEMAS_3_1, "#/definitions/")
        elif key == "properties":
            converted[key] = {name: _schema(value) for name, value in item.items()}
        elif key not in ("nullable", "not"):
            converted[key] = item if key == "enum" else _schema(item)
    if "$ref" in converted and len(converted) > 1:
        converted["allOf"] = [{"$ref": converted.pop("$ref")}]
    return converted
