"""`/model`: the served model's metadata."""

from collections.abc import Mapping
from typing import cast

import orjson
from flask import Blueprint, Response, g, request

from app.openapi import examples, feedback
from app.service import Service
from model_loader.package.schema import read_schema_document
from model_loader.package.service_file import TEMPLATE_VERSION


def blueprint(service: Service) -> Blueprint:
    """Return the route `/model`. The metadata does not change, so the response is encoded once."""
    routes = Blueprint("model", __name__)
    model = service.model
    body = orjson.dumps(
        {
            "service": {"name": service.names.name, "template_version": TEMPLATE_VERSION},
            "name": model.name,
            "version": model.version,
            "digest": model.package.digest,
            "signed": model.package.signed,
            "inputs": [spec.to_json() for spec in model.inputs.values()],
            "features": model.features,
            "outputs": [spec.to_json() for spec in model.outputs.values()],
            "schema": read_schema_document(model.package),
            "manifest": model.package.manifest.document,
            "samples": examples.sample_inputs(model, service.samples),
            "feedback": feedback.metrics(model) if service.capture else {},
        }
    )

    @routes.get("/model")
    def describe() -> Response:
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return Response(body, content_type="application/json")

    return routes
