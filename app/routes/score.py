"""Scoring through Flask alone, for Flask's test client and any WSGI server.

Under `app.serving.asgi` the ASGI application answers these paths, and this view refuses every request.
"""

from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast

from flask import Blueprint, Response, g, request
from prometheus_flask_exporter import PrometheusMetrics
from werkzeug.exceptions import NotFound

from app.errors import (
    LATE_BODY,
    MALFORMED_BODY,
    MISSED_DEADLINE,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
)
from app.scoring.scorer import Route
from app.service import Service

CHUNK_BYTES = 64 * 1024
T = TypeVar("T")


class WsgiRequest(NamedTuple):
    """The current request as `app.scoring.scorer.Request`; waiting blocks its thread."""

    route: Route
    headers: Mapping[str, str]
    address: str

    async def body(self, max_bytes: int, deadline: float, reserve: Callable[[int], None] | None) -> bytearray:
        """Read the body, or its first bytes.

        A read blocks as long as the WSGI server lets it; the deadline is checked between reads.
        """
        body = bytearray()
        while len(body) < max_bytes and (chunk := _read(min(CHUNK_BYTES, max_bytes - len(body)))):
            if reserve:
                reserve(len(chunk))
            body += chunk
            if monotonic() > deadline:
                raise DeadlineExceeded(LATE_BODY)
        return body

    async def wait(self, future: Future[T], deadline: float) -> T:
        """Wait for a future; see `app.scoring.scorer.Request`."""
        try:
            return future.result(deadline - monotonic())
        except TimeoutError as exc:
            future.cancel()
            raise DeadlineExceeded(MISSED_DEADLINE) from exc


def blueprint(service: Service, exporter: PrometheusMetrics) -> Blueprint:
    """Return the scoring routes.

    Args:
        exporter: is told not to count these requests, since `service.metrics` counts them.
    """
    routes = Blueprint("score", __name__)

    @exporter.do_not_track()  # type: ignore[untyped-decorator]
    def score() -> Response:
        if is_asgi():
            raise NotFound
        route = service.routes[request.path]
        headers = cast(Mapping[str, str], request.headers)
        response = run(service.scorer.answer(WsgiRequest(route, headers, request.remote_addr or "")))
        headers = {**service.scorer.common_headers, **response.headers}
        return Response(bytes(response.body), response.status, headers)

    def other_model(**_names: str) -> Response:
        g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        raise ModelNotFound(
            f"Request for unknown model: {request.path[:100]}; {service.model.package} is served"
        )

    for path, route in service.routes.items():
        routes.add_url_rule(path, "score", score, methods=["POST"])
        if route.rule != path:
            routes.add_url_rule(route.rule, "other_model", other_model, methods=["POST"])
    return routes


def is_asgi() -> bool:
    """Return whether the current request comes from the ASGI application, by a2wsgi's mark."""
    return "asgi.scope" in request.environ


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine whose awaits block instead of yielding to an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits for an event loop")


def _read(size: int) -> bytes:
    try:
        return request.stream.read(size)
    except Exception as exc:  # each WSGI server has exceptions of its own for a malformed body
        raise InvalidRequest(MALFORMED_BODY) from exc
