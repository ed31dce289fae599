"""Building blocks of the OpenAPI document.

https://spec.openapis.org/oas/v3.1.1, sections 4.8.10 to 4.8.24
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from app import errors
from app.errors import RequestError

Schema: TypeAlias = dict[str, Any]

JSON = "application/json"
# Errors of scoring requests in any protocol.
SCORING_ERRORS = (
    errors.InvalidRequest,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.TooManyRequests,
    errors.InferenceFailed,
    errors.QueueFull,
    errors.DeadlineExceeded,
)


def get(
    operation_id: str, summary: str, description: str, content: Mapping[str, Any], *kinds: type[RequestError]
) -> dict[str, Any]:
    """Return a GET operation.

    Args:
        summary: what the operation does.
        description: what the response with status 200 contains.
        content: media type → schema and examples of that response.
        kinds: errors that the operation may return.
    """
    return {
        "operationId": operation_id,
        "tags": ["About"],
        "summary": summary,
        "responses": {"200": response(description, content), **error_responses(*kinds)},
    }


def scoring(
    operation_id: str,
    summary: str,
    description: str,
    request: Mapping[str, Any],
    reply: Mapping[str, Any],
    *kinds: type[RequestError],
) -> dict[str, Any]:
    """Return a POST operation that scores.

    Args:
        request, reply: media type → schema and examples.
        kinds: errors other than those of every scoring request.
    """
    return {
        "operationId": operation_id,
        "tags": ["Scoring"],
        "summary": summary,
        "description": description,
        "requestBody": {"required": True, "content": request},
        "responses": {
            "200": response("The model's outputs.", reply),
            **error_responses(*SCORING_ERRORS, *kinds),
        },
        "x-guarded": True,
    }


def error_responses(*kinds: type[RequestError]) -> dict[str, Any]:
    """Return the responses of errors by status."""
    return {str(kind.status): _error_response(kind) for kind in kinds}


def _error_response(kind: type[RequestError]) -> dict[str, Any]:
    headers = {
        name: header("", {"type": "integer", "minimum": 1} if name == "retry-after" else {"const": value})
        for name, value in kind.headers.items()
    }
    return response((kind.__doc__ or "").strip(), json(schema_ref("Error")), headers)


def response(
    description: str, content: Mapping[str, Any], headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a response with the headers common to all responses, and additional ones."""
    names = ("x-request-id", "x-prediction-id", "x-ms-request-id", "x-model-version", "x-model-digest")
    common = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"description": description, "headers": {**common, **(headers or {})}, "content": content}


def header(description: str, schema: Schema) -> dict[str, Any]:
    """Return a response header."""
    return {"description": description, "required": True, "schema": schema}


def json(schema: Schema, examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of a JSON body."""
    media = {"schema": schema} | ({"examples": examples} if examples else {})
    return {JSON: media}


def schema_ref(name: str) -> Schema:
    """Return a reference to a schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed_object(properties: Mapping[str, Any], required: Iterable[str] | None = None) -> Schema:
    """Return the schema of an object with no other properties than these.

    Args:
        properties: name → schema.
        required: names of the required properties; default: all.
    """
    names = list(properties if required is None else required)
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    # OpenAPI 3.0 and 2.0 do not allow an empty list.
    return schema | ({"required": names} if names else {})


def exactly(size: int) -> Schema:
    """Return what limits an array to a number of items."""
    return {"minItems": size, "maxItems": size}
