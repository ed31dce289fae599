"""`/healthz` and `/readyz`, Kubernetes' liveness and readiness probes; `/ping`, MLflow's and SageMaker's.

`/` is the check of Azure ML's inference server; `app.routes.home`, registered before, also answers browsers.
"""

from flask import Blueprint, Response, jsonify

from app.errors import NotReady
from app.service import Service


def blueprint(service: Service) -> Blueprint:
    """Return the health routes. A service exists only after its model has passed the self-test."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="alive")

    @routes.get("/")
    def healthy() -> Response:
        return Response("Healthy", content_type="text/plain; charset=utf-8")

    @routes.get("/readyz")
    @routes.get("/ping")
    def readyz() -> Response:
        if service.draining.is_set():
            raise NotReady("draining: the process is shutting down")
        return jsonify(status="ready")

    return routes
