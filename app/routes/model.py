"""`/model`: which model answers."""

from collections.abc import Mapping
from typing import cast

import orjson
from flask import Blueprint, Response, g, request

from app.service import Service


def blueprint(service: Service) -> Blueprint:
    """The model's manifest, digest and inputs and outputs. They do not change, so the reply is made once."""
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
