"""`/`: a sign of life for a probe, the documentation for a browser."""

from flask import Blueprint, Response, request


def blueprint() -> Blueprint:
    """The root."""
    routes = Blueprint("home", __name__)

    @routes.get("/")
    def home() -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return Response(status=302, headers={"location": "docs", "vary": "accept"})
        return Response("Healthy", content_type="text/plain; charset=utf-8", headers={"vary": "accept"})

    return routes
