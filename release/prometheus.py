"""Instant queries to Prometheus.

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
    """Follows no redirect, which would take the token to where it does not belong."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Leaves the redirect as the error that it then is."""


@dataclass(frozen=True)
class Prometheus:
    """A server, by the URL that `/api/v1/query` comes after. PROMETHEUS_TOKEN is sent where it is set."""

    url: str

    def scalar(self, query: str) -> float | None:
        """The one number that a query gives, or None where there is none: an empty vector, or NaN.

        Raises:
            NotEnoughData: the server cannot be reached, or does not answer as Prometheus does.
        """
        numbers = self.vector(query, "")
        return numbers.get("")

    def vector(self, query: str, label: str) -> Mapping[str, float]:
        """The numbers that a query gives, by the value of `label`; those that are NaN are left out.

        Raises:
            NotEnoughData: as `scalar`.
        """
        numbers: dict[str, float] = {}
        try:
            match json.loads(self._ask(query)):
                case {"status": "success", "data": {"resultType": "vector", "result": list(result)}}:
                    for sample in result:
                        key = sample["metric"].get(label, "")
                        if key in numbers:
                            raise NotEnoughData(f"Prometheus at {self.url} has two answers to: {query}")
                        if not math.isnan(value := float(sample["value"][1])):
                            numbers[key] = value
                    return numbers
                case {"status": "error", "error": str(error)}:
                    raise NotEnoughData(f"Prometheus at {self.url} refuses the query: {error}")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
            raise NotEnoughData(f"what answers at {self.url} is not Prometheus: {exc}") from exc
        raise NotEnoughData(f"what answers at {self.url} is not Prometheus: it sent no vector")

    def _ask(self, query: str) -> bytes:
        headers = {}
        if token := os.environ.get("PROMETHEUS_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(  # noqa: S310 (the command line takes http and https only)
            f"{self.url}/api/v1/query", urllib.parse.urlencode({"query": query}).encode(), headers
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as reply:
                content: bytes = reply.read()
                return content
        except urllib.error.HTTPError as exc:
            # Prometheus says what is wrong with a query in the body of a 400 or 422.
            with exc:
                if exc.headers.get_content_type() == "application/json":
                    return exc.read()
            raise NotEnoughData(f"Prometheus at {self.url} answers {exc.code} {exc.reason}") from exc
        except (OSError, http.client.HTTPException) as exc:
            reason: Any = getattr(exc, "reason", None) or exc
            raise NotEnoughData(f"Prometheus at {self.url} cannot be reached: {reason}") from exc
