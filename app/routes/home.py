"""`/`: a sign of life for whoever asks."""

from flask import Blueprint, Response


def blueprint() -> Blueprint:
    """The root."""
    routes = Blueprint("home", __name__)

    @routes.get("/")
    def home() -> Response:
        return Response("Healthy", content_type="text/plain; charset=utf-8")

    return routes
