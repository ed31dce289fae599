"""`/model`: the served model's metadata."""

from collections.abc import Mapping
from typing import cast

import orjson
from flask import Blueprint, Response, g, request

from app.service import Service


def blueprint(service: Service) -> Blueprint:
    """Return the route `/model`. The metadata does not change, so the response is encoded once."""
    routes = Blueprint("model", __name__)
    model = service.model
    body = orjson.dumps(
        {
            "name": model.name,
            "version": model.version,
            "digest": model.package.digest,
            "signed": model.package.signed,
            "inputs": [spec.to_json() for spec in model.inputs.values()],
            "features": model.features,
            "outputs": [spec.to_json() for spec in model.outputs.values()],
            "manifest": model.package.manifest.document,
        }
    )

    @routes.get("/model")
    def describe() -> Response:
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return Response(body, content_type="application/json")

    return routes
