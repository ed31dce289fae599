"""Parts of an OpenAPI document that every path is made of.

https://spec.openapis.org/oas/v3.1.1, sections 4.8.10 to 4.8.21
"""

from collections.abc import Mapping
from typing import Any

from app import errors
from app.errors import RequestError
from app.openapi.score import Schema

JSON = "application/json"
# What can go wrong with a scoring request, of whatever protocol.
SCORING = (
    errors.InvalidRequest,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.InferenceFailed,
    errors.QueueFull,
    errors.DeadlineExceeded,
)


def get(id_: str, summary: str, content: Mapping[str, Any], *kinds: type[RequestError]) -> dict[str, Any]:
    """A GET that answers with `content`, unless one of the refusals does."""
    responses = {"200": response("Yes." if "Whether" in summary else f"{summary}.", content)}
    return {
        "operationId": id_,
        "tags": ["About"],
        "summary": summary,
        "responses": {**responses, **refusals(*kinds)},
    }


def refusals(*kinds: type[RequestError]) -> dict[str, Any]:
    """The responses of these errors, by status."""
    return {str(kind.status): invalid_input(kind) for kind in kinds}


def invalid_input(kind: type[RequestError]) -> dict[str, Any]:
    """The response of one error."""
    extra = {name: header("", {"const": value}) for name, value in kind.headers.items()}
    return response((kind.__doc__ or "").strip(), json(ref("schemas", "Error")), extra)


def response(description: str, content: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Schema:
    """A response, with the headers that all have."""
    names = ("x-request-id", "x-ms-request-id", "x-model-version", "x-model-digest")
    headers = {name: ref("headers", name) for name in names}
    return {"description": description, "headers": {**headers, **(extra or {})}, "content": content}


def header(description: str, schema: Schema) -> Schema:
    """A header of a reply."""
    return {"description": description, "required": True, "schema": schema}


def json(schema: Schema, examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of a body that is JSON."""
    media = {"schema": schema} | ({"examples": examples} if examples else {})
    return {JSON: media}


def ref(kind: str, name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}
