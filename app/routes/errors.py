"""What every reply of every route carries, and errors as JSON."""

from collections.abc import Mapping
from time import monotonic
from typing import cast

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from app.errors import RequestError
from app.observability.logging import logger
from app.observability.request_record import RecordBatch, RequestRecord
from app.scoring.request_ids import OWN, read_ids
from app.scoring.scorer import Reply
from app.service import Service

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def init_app(app: Flask, service: Service) -> None:
    """Adds ids, model headers, the log line and error bodies to all routes that scoring does not answer."""

    @app.before_request
    def begin() -> None:
        # It becomes a label of the HTTP metrics, and whoever calls could make one up for every request.
        if request.method not in METHODS:
            request.method = "OTHER"
        if request.path in service.routes and request.method == "POST":
            return
        g.ids, fault = read_ids(cast(Mapping[str, str], request.headers))
        g.record = RequestRecord(g.ids[OWN], monotonic(), _route())
        g.record.traceparent = request.headers.get("traceparent", "")
        if fault:
            raise fault

    @app.after_request
    def finish(response: Response) -> Response:
        if "record" in g:
            for name, value in service.scorer.headers(g.ids).items():
                response.headers.setdefault(name, value)
            g.record.status = response.status_code
            g.record.duration = monotonic() - g.record.started
            service.log_request(RecordBatch([g.record]))
        return response

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return _response(service, error.status, str(error), error.headers)

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> Response:
        status = error.code or 500
        messages = {
            404: f"no such route: {request.path[:100]}",
            405: f"{request.path[:100]} does not take {request.method}",
        }
        headers = {k.lower(): v for k, v in error.get_headers() if k.lower() in ("allow", "location")}
        return _response(service, status, messages.get(status, error.description or error.name), headers)

    @app.errorhandler(Exception)
    def crashed(error: Exception) -> Response:
        logger.error("unexpected error", exc_info=error)
        return _response(service, 500, "internal error; the log has the rest", {})


def _response(service: Service, status: int, message: str, headers: Mapping[str, str]) -> Response:
    ids = g.ids if "ids" in g else read_ids(cast(Mapping[str, str], request.headers))[0]
    reply: Reply = service.scorer.refuse(status, message, ids, headers)
    return Response(reply.body, reply.status, reply.headers)


def _route() -> str:
    return request.url_rule.rule if request.url_rule else "unknown"
