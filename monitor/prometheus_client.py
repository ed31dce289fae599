"""Requests to the API of a Prometheus server.

https://prometheus.io/docs/prometheus/latest/querying/api
"""

import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import IO, Any

from monitor.errors import AlertsError

TIMEOUT_S = 30


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it could send the token to another server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Return nothing, so that urllib raises the redirect as an HTTPError."""


def query(url: str, query: str) -> list[Any]:
    """Return the series of an instant query.

    Args:
        url: of the server, without `/api/v1`; PROMETHEUS_TOKEN, if set, is sent as a bearer token.

    Raises:
        AlertsError: the token is invalid, or the server is unreachable, rejects the query, or does not answer
            like Prometheus.
    """
    return _read(url, "query", {"query": query}, "vector")


def query_range(url: str, query: str, start: float, end: float, step: float) -> list[Any]:
    """Return the series of a query over a range of time, in Unix seconds; otherwise like `query`."""
    parameters = {"query": query, "start": start, "end": end, "step": step}
    return _read(url, "query_range", parameters, "matrix")


def unexpected(url: str, reason: object) -> AlertsError:
    """Return the error of a server that does not answer like Prometheus."""
    return AlertsError(f"{url} did not answer like Prometheus: {reason}")


def _read(url: str, path: str, parameters: Mapping[str, Any], kind: str) -> list[Any]:
    content = _send(f"{url}/api/v1/{path}", url, parameters)
    try:
        match json.loads(content):
            case {"status": "success", "data": {"resultType": str(found), "result": list(series)}} if (
                found == kind
            ):
                return series
            case {"status": "error", "error": str(error)}:
                raise AlertsError(f"Prometheus at {url} rejected the query: {error}")
    except (ValueError, RecursionError) as exc:
        raise unexpected(url, repr(exc)) from exc
    raise unexpected(url, f"expected a {kind}")


def _send(address: str, url: str, parameters: Mapping[str, Any]) -> bytes:
    request = urllib.request.Request(  # noqa: S310 (the command line accepts http and https only)
        address, urllib.parse.urlencode(parameters).encode(), _authorization()
    )
    try:
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as exc:
            # Prometheus describes an error in a query in the body of a 400 or 422.
            with exc:
                if exc.headers.get_content_type() == "application/json":
                    return exc.read()
            raise AlertsError(f"Prometheus at {url} answered {exc.code} {exc.reason}") from exc
    except (OSError, http.client.HTTPException) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise AlertsError(f"Prometheus at {url} is unreachable: {reason}") from exc


def _authorization() -> dict[str, str]:
    """Return the header with PROMETHEUS_TOKEN; none if it is not set.

    Raises:
        AlertsError: it cannot be in a header; the message does not have it.
    """
    # A file with a token ends with a newline.
    token = os.environ.get("PROMETHEUS_TOKEN", "").strip()
    if not token:
        return {}
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise AlertsError("PROMETHEUS_TOKEN has a space or a character that is not ASCII: expected a token")
    return {"Authorization": f"Bearer {token}"}
