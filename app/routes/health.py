"""`/healthz` and `/readyz`: what Kubernetes asks."""

from flask import Blueprint, Response, jsonify

from app.errors import NotReady
from app.service import Service


def blueprint(service: Service) -> Blueprint:
    """The health routes. That there is a service at all means that its model passed the self-test."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="alive")

    @routes.get("/readyz")
    def readyz() -> Response:
        if service.draining.is_set():
            raise NotReady("draining: the process was told to stop")
        return jsonify(status="ready")

    return routes
