"""Queries to a Prometheus server.

https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

import http.client
import json
import math
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any

from release.errors import NotEnoughData, ReleaseError

TIMEOUT_S = 30


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it could send the token to another server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Return nothing, so that urllib raises the redirect as an HTTPError."""


@dataclass(frozen=True)
class Series:
    """A time series of a query's result.

    Attributes:
        labels: with the metric's name as `__name__`, unless the query removes it.
        samples: time in Unix seconds and value, in ascending order of time, without NaN; one for a vector.
    """

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        """The last value."""
        return self.samples[-1][1]


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus server. PROMETHEUS_TOKEN, if set, is sent as a bearer token.

    Attributes:
        url: base URL of the server, without `/api/v1/query`.
    """

    url: str

    def vector(self, query: str) -> list[Series]:
        """Return the series of a query whose value is not NaN.

        Raises:
            NotEnoughData: the server is unreachable, rejects the query, or does not answer like Prometheus.
        """
        return self._query(query, "vector")

    def matrix(self, query: str) -> list[Series]:
        """Return the samples that a query with a range, such as `name[5m]`, selects.

        Raises:
            NotEnoughData: as for `vector`.
        """
        return self._query(query, "matrix")

    def _query(self, query: str, expected: str) -> list[Series]:
        content = self._send(query)
        try:
            match json.loads(content):
                case {"status": "success", "data": {"resultType": str(kind), "result": list(result)}} if (
                    kind == expected
                ):
                    series = [_parse(each, expected) for each in result]
                    return [each for each in series if each.samples]
                case {"status": "error", "error": str(error)}:
                    raise NotEnoughData(f"Prometheus at {self.url} rejected the query: {error}")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
            raise NotEnoughData(f"{self.url} did not answer like Prometheus: {exc!r}") from exc
        raise NotEnoughData(f"{self.url} did not answer like Prometheus: expected a {expected}")

    def _send(self, query: str) -> bytes:
        request = urllib.request.Request(  # noqa: S310 (the command line accepts http and https only)
            f"{self.url}/api/v1/query", urllib.parse.urlencode({"query": query}).encode(), _authorization()
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
                raise NotEnoughData(f"Prometheus at {self.url} answered {exc.code} {exc.reason}") from exc
        except (OSError, http.client.HTTPException) as exc:
            reason: Any = getattr(exc, "reason", None) or exc
            raise NotEnoughData(f"Prometheus at {self.url} is unreachable: {reason}") from exc


def _authorization() -> dict[str, str]:
    """Return the header with PROMETHEUS_TOKEN, if it is set.

    Raises:
        ReleaseError: the token has characters that a header cannot have; the message does not show it.
    """
    # A file with a token ends with a newline.
    token = os.environ.get("PROMETHEUS_TOKEN", "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise ReleaseError("PROMETHEUS_TOKEN: expected printable ASCII characters without spaces")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _parse(series: Any, kind: str) -> Series:
    """Parse one series of a response; a malformed one raises an exception that `_query` wraps."""
    samples = [series["value"]] if kind == "vector" else series["values"]
    pairs = [(float(time), float(value)) for time, value in samples]
    labels = {str(name): str(value) for name, value in series["metric"].items()}
    return Series(labels, tuple((time, value) for time, value in pairs if not math.isnan(value)))
