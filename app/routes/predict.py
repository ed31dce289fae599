"""`/v1`: status and names of TensorFlow Serving and KServe's V1; prediction is in `app.routes.score`.

https://www.tensorflow.org/tfx/serving/api_rest, "Model status API"
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from collections.abc import Mapping
from typing import cast

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.routing import BaseConverter

from app.errors import ModelNotFound, NotReady
from app.service import Service

MODELS = "/v1/models"
MODEL = f"{MODELS}/<name>"


class Name(BaseConverter):
    """A name in a path. It has no colon, so that `<name>` and `<name>:predict` are different routes."""

    regex = "[^/:]+"
    part_isolating = True  # it does not match a slash


def blueprint(service: Service) -> Blueprint:
    """Return the routes for the models' names and their status."""
    routes = Blueprint("predict", __name__)
    routes.record_once(lambda state: state.app.url_map.converters.update(default=Name))
    model = service.model

    @routes.get(MODELS)
    def names() -> Response:
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        return jsonify(models=[model.name])

    @routes.get(MODEL)
    @routes.get(f"{MODEL}/versions/<version>")
    def status(name: str, version: str | None = None) -> Response:
        """Return what TensorFlow Serving's clients read, and what KServe's do."""
        if name != model.name or version not in (None, model.version):
            requested = name[:100] if version is None else f"{name[:100]}, version {version[:100]}"
            raise ModelNotFound(f"expected {model.name}, version {model.version}, got {requested}")
        if service.draining.is_set():
            raise NotReady("draining: the process is shutting down")
        state = {"version": model.version, "state": "AVAILABLE"}
        ok = {"error_code": "OK", "error_message": ""}
        return jsonify(name=model.name, ready=True, model_version_status=[state | {"status": ok}])

    return routes
