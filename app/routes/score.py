"""`POST /score`."""

from collections.abc import Mapping
from typing import cast

from flask import Blueprint, Response, request

from app.scoring import Request
from app.service import Service


def blueprint(service: Service) -> Blueprint:
    """The door to scoring; the way of a request is in `app.scoring`."""
    routes = Blueprint("score", __name__)

    @routes.post("/score")
    def score() -> Response:
        reply = service.scorer.score(Request(cast(Mapping[str, str], request.headers), request.stream.read))
        return Response(reply.body, reply.status, reply.headers)

    return routes
