"""The routes that score, of every protocol."""

import socket
from collections.abc import Generator, Mapping
from time import monotonic
from typing import Any, cast

from flask import Blueprint, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from app.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, RequestError
from app.scoring.scorer import Read, Reply, Wait
from app.service import Service

CHUNK_BYTES = 64 * 1024


def blueprint(service: Service) -> Blueprint:
    """The door to scoring; the way of a request is in `app.scoring.scorer`."""
    routes = Blueprint("score", __name__)

    def score(**_names: str) -> Response:
        route = service.routes.get(request.path)
        if route is None:
            raise ModelNotFound(
                f"no such model or version: {request.path[:100]}; {service.model.package} is served"
            )
        reply = _drive(service.scorer.answer(route, cast(Mapping[str, str], request.headers)))
        return Response(reply.body, reply.status, reply.headers)

    for rule in {route.rule for route in service.routes.values()}:
        routes.add_url_rule(rule, "score", score, methods=["POST"])
    return routes


def _drive(steps: Generator[Wait, Any, Reply]) -> Reply:
    """Goes the way of a request in this thread, which waits where there is something to wait for."""
    try:
        wait = next(steps)
        while True:
            try:
                outcome = _read(wait) if isinstance(wait, Read) else wait.result()
            except RequestError as exc:
                wait = steps.throw(exc)
            else:
                wait = steps.send(outcome)
    except StopIteration as end:
        reply: Reply = end.value
        return reply


def _read(wanted: Read) -> bytes:
    """At most so many bytes of the body, which must be there by the deadline.

    Without it, as many stalled clients as there are threads would stop the worker.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    body = bytearray()
    try:
        while len(body) < wanted.max_bytes:
            if connection:
                connection.settimeout(max(0.001, wanted.deadline - monotonic()))
            chunk = request.stream.read(min(CHUNK_BYTES, wanted.max_bytes - len(body)))
            if not chunk:
                break
            body += chunk
    except TimeoutError as exc:
        raise DeadlineExceeded("the body did not arrive before the request's deadline") from exc
    except (OSError, ClientDisconnected, ParseException) as exc:
        raise InvalidRequest("the body ended early, or its chunks are malformed") from exc
    finally:
        if connection:
            connection.settimeout(None)
    return bytes(body)
