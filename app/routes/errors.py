"""Response headers, log line and error bodies of all routes that do not score."""

from collections.abc import Mapping
from time import monotonic
from typing import cast

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, NotFound

from app.errors import InternalError, RequestError
from app.observability.logging import logger
from app.observability.request_record import RequestRecord
from app.routes.score import is_asgi
from app.scoring.request_ids import REQUEST_ID, read_ids
from app.service import Service

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def init_app(app: Flask, service: Service) -> None:
    """Add ids, model headers, the log line and error bodies to all routes that do not score."""

    @app.before_request
    def start_record() -> None:
        # The method becomes a label of the HTTP metrics, and clients could invent one for every request.
        if request.method not in METHODS:
            request.method = "OTHER"
        path = _requested_path()
        if path in service.routes and request.method == "POST" and not is_asgi():
            return
        # Werkzeug removes leading slashes; `//score` must not be taken for `/score`.
        if path != request.path:
            request.url_rule, request.routing_exception = None, NotFound()
        g.ids, id_error = read_ids(cast(Mapping[str, str], request.headers))
        rule = request.url_rule.rule if request.url_rule else "unknown"
        g.record = RequestRecord(g.ids[REQUEST_ID], monotonic(), rule)
        g.record.traceparent = request.headers.get("traceparent", "")
        if id_error:
            raise id_error

    @app.after_request
    def finish_record(response: Response) -> Response:
        if "record" in g:
            for name, value in {**service.scorer.common_headers, **g.ids}.items():
                response.headers.setdefault(name, value)
            g.record.status = response.status_code
            g.record.duration = monotonic() - g.record.started
            service.request_log([g.record])
        return response

    @app.errorhandler(RequestError)
    def on_request_error(error: RequestError) -> Response:
        return _response(service, error.status, str(error), error.headers)

    @app.errorhandler(HTTPException)
    def on_http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        messages = {
            404: f"no such route: {_requested_path()[:100]}",
            405: f"{request.path[:100]} does not support {request.method}",
        }
        headers = {k.lower(): v for k, v in error.get_headers() if k.lower() in ("allow", "location")}
        return _response(service, status, messages.get(status, error.description or error.name), headers)

    @app.errorhandler(Exception)
    def on_exception(error: Exception) -> Response:
        response = _response(service, 500, str(InternalError()), {})
        logger.error("request %s failed", response.headers[REQUEST_ID], exc_info=error)
        return response


def _requested_path() -> str:
    """Return the decoded path, with all its leading slashes; Werkzeug's has one."""
    return request.environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace") or "/"


def _response(service: Service, status: int, message: str, headers: Mapping[str, str]) -> Response:
    ids = g.ids if "ids" in g else read_ids(cast(Mapping[str, str], request.headers))[0]
    response = service.scorer.error_response(status, message, ids, headers)
    common_headers = service.scorer.common_headers
    return Response(bytes(response.body), response.status, {**common_headers, **response.headers})
