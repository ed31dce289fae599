"""Instant queries to a Prometheus server.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

import http.client
import json
import math
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any

from release.errors import NotEnoughData

TIMEOUT_S = 30


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it could send the token to another server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Return nothing, so that urllib raises the redirect as an HTTPError."""


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus server. PROMETHEUS_TOKEN, if set, is sent as a bearer token.

    Attributes:
        url: base URL of the server, without `/api/v1/query`.
    """

    url: str

    def scalar(self, query: str) -> float | None:
        """Return the single value of a query, or None if the vector is empty or the value is NaN.

        Raises:
            NotEnoughData: the server is unreachable, rejects the query, or does not answer like Prometheus.
        """
        return self.vector(query, "").get("")

    def vector(self, query: str, label: str) -> Mapping[str, float]:
        """Return the values of a query by the value of `label`. NaN is left out.

        Raises:
            NotEnoughData: as for `scalar`.
        """
        values: dict[str, float] = {}
        try:
            match json.loads(self._send(query)):
                case {"status": "success", "data": {"resultType": "vector", "result": list(result)}}:
                    for sample in result:
                        key = sample["metric"].get(label, "")
                        if key in values:
                            raise NotEnoughData(
                                f"Prometheus at {self.url} returned more than one value for: {query}"
                            )
                        if not math.isnan(value := float(sample["value"][1])):
                            values[key] = value
                    return values
                case {"status": "error", "error": str(error)}:
                    raise NotEnoughData(f"Prometheus at {self.url} rejected the query: {error}")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
            raise NotEnoughData(f"{self.url} did not answer like Prometheus: {exc}") from exc
        raise NotEnoughData(f"{self.url} did not answer like Prometheus: expected a vector")

    def _send(self, query: str) -> bytes:
        headers = {}
        if token := os.environ.get("PROMETHEUS_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(  # noqa: S310 (the command line accepts http and https only)
            f"{self.url}/api/v1/query", urllib.parse.urlencode({"query": query}).encode(), headers
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as exc:
            # Prometheus describes an error in a query in the body of a 400 or 422.
            with exc:
                if exc.headers.get_content_type() == "application/json":
                    return exc.read()
            raise NotEnoughData(f"Prometheus at {self.url} answered {exc.code} {exc.reason}") from exc
        except (OSError, http.client.HTTPException) as exc:
            reason: Any = getattr(exc, "reason", None) or exc
            raise NotEnoughData(f"Prometheus at {self.url} is unreachable: {reason}") from exc
