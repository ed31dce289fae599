"""Paths of TensorFlow Serving's REST API and KServe's V1 protocol in the OpenAPI document."""

from typing import Any

from app import errors
from app.model.served_model import ServedModel
from app.openapi import parts

DESCRIPTION = """\
The form is that of TensorFlow Serving's predict API and of KServe's V1 protocol: by columns (`inputs`) or by
rows (`instances`). The values of a single output have no name."""


def paths(model: ServedModel) -> dict[str, Any]:
    """Return the paths."""
    names = parts.json(parts.closed_object({"models": {"type": "array", "items": {"const": model.name}}}))
    get_names = parts.get("v1Models", "Get the models' names (V1)", "The name of the model.", names)
    found: dict[str, Any] = {"/v1/models": {"get": get_names | {"x-guarded": True}}}
    base = f"/v1/models/{model.name}"
    versioned = f"{base}/versions/{model.version}"
    for suffix, form, path in (("", "V1", base), ("Version", "V1, by version", versioned)):
        found[path] = {
            "get": parts.get(
                f"v1Model{suffix}",
                f"Check the model's status ({form})",
                "The model is ready for requests.",
                parts.json(_status(model)),
                errors.NotReady,
            )
        }
        found[f"{path}:predict"] = {
            "post": parts.scoring(
                f"v1Predict{suffix}",
                f"Predict ({form})",
                DESCRIPTION,
                parts.json(parts.schema_ref("PredictRequest")),
                parts.json(parts.schema_ref("PredictReply")),
            )
        }
    return found


def _status(model: ServedModel) -> parts.Schema:
    ok = parts.closed_object({"error_code": {"const": "OK"}, "error_message": {"const": ""}})
    version = {"version": {"const": model.version}, "state": {"const": "AVAILABLE"}, "status": ok}
    return parts.closed_object(
        {
            "name": {"const": model.name},
            "ready": {"const": True},
            "model_version_status": {"type": "array", "items": parts.closed_object(version)},
        }
    )
