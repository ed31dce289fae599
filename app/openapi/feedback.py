"""`POST /feedback` in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from app import errors
from app.model.served_model import ServedModel
from app.openapi import parts
from app.openapi.examples import EXAMPLE_ID
from app.protocols.feedback import MAX_ROW, PREDICTION_ID
from model_loader.package.feedback_values import MAX_TEXT_CHARACTERS, feedback_metrics
from model_loader.package.schema import FeedbackSchema, read_schema


def metrics(model: ServedModel) -> dict[str, parts.Schema]:
    """Return metric → JSON schema of its values, of what can be reported."""
    declared = feedback_metrics(read_schema(model.package), model.outputs.values())
    return {name: _value(metric) for name, metric in declared.items()}


def paths(model: ServedModel) -> dict[str, Any]:
    """Return the path of feedback; none if nothing can be reported."""
    reported = metrics(model)
    if not reported:
        return {}
    item = parts.closed_object(
        {
            "id": {"type": "string", "pattern": f"^{PREDICTION_ID.pattern}$"},
            "row": {"type": "integer", "minimum": 0, "maximum": MAX_ROW, "default": 0},
            **reported,
        },
        ["id"],
    )
    # Beside the id at least one metric.
    item["minProperties"] = 2
    accepted = parts.json(parts.closed_object({"accepted": {"type": "integer", "minimum": 1}}))
    kinds = (
        errors.InvalidRequest,
        errors.BodyTooLarge,
        errors.UnsupportedMediaType,
        errors.SpoolFull,
        errors.DeadlineExceeded,
    )
    operation = {
        "operationId": "feedback",
        "tags": ["Feedback"],
        "summary": "Report what turned out to be true",
        "description": "`id` is the answer's `x-prediction-id`, `row` the row of a request with several.",
        "requestBody": {
            "required": True,
            "content": parts.json(
                {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]},
                {"one": {"summary": "One answer", "value": _example(reported)}},
            ),
        },
        "responses": {
            "202": parts.response("The values are kept.", accepted),
            **parts.error_responses(*kinds),
        },
        "x-guarded": True,
    }
    return {"/feedback": {"post": operation}}


def _example(reported: Mapping[str, parts.Schema]) -> dict[str, Any]:
    """Return a value of each metric, of an answer that there may be."""
    values = {"number": 1.0, "boolean": True}
    return {"id": EXAMPLE_ID} | {
        name: schema["enum"][0] if "enum" in schema else values.get(str(schema.get("type")), "label")
        for name, schema in reported.items()
    }


def _value(metric: FeedbackSchema) -> parts.Schema:
    about = {"description": metric.description} if metric.description else {}
    if metric.classes:
        return {"enum": list(metric.classes), **about}
    if metric.type == "label":
        return {"type": ["string", "integer", "boolean"], "maxLength": MAX_TEXT_CHARACTERS, **about}
    return {"type": metric.type, **about}
