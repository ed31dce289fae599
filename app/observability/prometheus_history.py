"""The last hour over all replicas, and the model's quality, from Prometheus, for the page at `/`.

https://prometheus.io/docs/prometheus/latest/querying/api
"""

import json
import math
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from threading import Lock
from time import monotonic, time
from typing import Any, TypeVar
from urllib.parse import urlencode

STEP_S, WINDOW_S = 30, 3600
# For all queries of a reading together: it occupies one of two threads that answer what is not scoring.
TIMEOUT_S = 2.0
MAX_BYTES = 4 * 2**20
CHUNK_BYTES = 64 * 1024
# Pages that are open at the same time share an answer, and wait for a Prometheus that hangs once.
MAX_AGE_S = 15.0
# What parts of a document raise that have another type than Prometheus's.
MISFITS = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
DURATIONS = 'flask_http_request_duration_seconds_bucket{method="POST",status="200"%s}'
SHED = '{reason=~"queue_full|over_share|deadline"%s}'

T = TypeVar("T")


class PrometheusError(Exception):
    """Prometheus is unreachable, or does not answer like Prometheus; the message says which."""


_NOT_YET = PrometheusError("Prometheus has not been read yet")


class PrometheusHistory:
    """Reads the history of one service from Prometheus."""

    def __init__(self, url: str, selector: str) -> None:
        """
        Args:
            selector: matchers of the service's labels, separated by commas; may be empty.
        """
        self._url = url
        self._and = f",{selector}" if selector else ""
        self._all = f"{{{selector}}}"
        self._lock = Lock()
        self._deadline = 0.0
        self._cached: dict[str, tuple[float, Any]] = {}

    def last_hour(self) -> dict[str, Any]:
        """Return the same as `RecentRequests.last_hour`.

        Raises:
            PrometheusError: there is no answer.
        """
        return self._remember("hour", self._read_hour)

    def quality(self) -> list[dict[str, Any]]:
        """Return the monitor's measures: metric, version, window, value, low, high, rows and limits.

        Raises:
            PrometheusError: there is no answer.
        """
        return self._remember("quality", self._read_quality)

    def _remember(self, name: str, read: Callable[[], T]) -> T:
        """Return what was read lately, or raise what was raised lately; else read.

        While another thread reads, the outcome before that is used: only one thread waits for Prometheus.
        """
        at, outcome = self._cached.get(name, (-math.inf, _NOT_YET))
        if monotonic() - at > MAX_AGE_S and self._lock.acquire(blocking=False):
            try:
                outcome = self._read(read)
                self._cached[name] = (monotonic(), outcome)
            finally:
                self._lock.release()
        if isinstance(outcome, PrometheusError):
            raise PrometheusError(str(outcome))
        remembered: T = outcome
        return remembered

    def _read(self, read: Callable[[], T]) -> T | PrometheusError:
        self._deadline = monotonic() + TIMEOUT_S
        try:
            return read()
        except PrometheusError as exc:
            return exc.with_traceback(None)

    def _read_hour(self) -> dict[str, Any]:
        requests = "sum(rate(model_requests_total{%s}[2m]))"
        series = {
            "requests": requests % self._and.lstrip(","),
            "client_errors": requests % f'status=~"4.."{self._and}',
            "server_errors": requests % f'status=~"5.."{self._and}',
            "shed": f"sum(rate(model_rejected_total{SHED % self._and}[2m]))",
            "queue_rows": f"sum(model_queue_rows{self._all})",
        }
        hour: dict[str, Any] = {}
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            query = f"histogram_quantile({share}, sum by (le) (rate({DURATIONS % self._and}[%s])))"
            series[name] = query % "2m"
            hour[name] = self._instant(query % "1h")
        end = int(time())
        steps = {name: self._range(query, end) for name, query in series.items()}
        for name in ("requests", "client_errors", "server_errors", "shed"):
            # No error has been counted yet, so there is no series: the rate is 0 wherever requests are known.
            steps[name] = [
                0.0 if value is None and known is not None else value
                for value, known in zip(steps[name], steps["requests"], strict=True)
            ]
            hour[name] = round(sum(value or 0 for value in steps[name]) * STEP_S)
        return {
            "source": "prometheus",
            "from": end - WINDOW_S,
            "step_s": STEP_S,
            "steps": steps,
            "hour": hour,
        }

    def _read_quality(self) -> list[dict[str, Any]]:
        names = ("metric", "version", "window")
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for metric in ("model_quality", "model_quality_rows"):
            for labels, value in self._query(f"{metric}{self._all}"):
                key = tuple(labels.get(name, "") for name in names)
                entry = found.setdefault(key, dict(zip(names, key, strict=True)))
                entry[labels.get("bound", "rows")] = value
        # A limit is of a version, in all windows.
        for labels, value in self._query(f"model_quality_limit{self._all}"):
            for entry in found.values():
                if (entry["metric"], entry["version"]) == (labels.get("metric"), labels.get("version")):
                    entry["limit"] = value
        return [entry for entry in found.values() if "value" in entry]

    def _instant(self, query: str) -> float | None:
        values = [value for _, value in self._query(query)]
        return values[0] if values else None

    def _query(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series that has a number now."""
        try:
            found = [
                ({name: str(text) for name, text in each["metric"].items()}, float(each["value"][1]))
                for each in self._get("query", {"query": query})
            ]
        except MISFITS as exc:
            raise PrometheusError(f"Prometheus sent a result that is not its own: {exc!r}") from exc
        return [(labels, value) for labels, value in found if math.isfinite(value)]

    def _range(self, query: str, end: int) -> list[float | None]:
        """Return the values of a query with one series; None where it has none."""
        start = end - WINDOW_S
        values: list[float | None] = [None] * (WINDOW_S // STEP_S + 1)
        result = self._get("query_range", {"query": query, "start": start, "end": end, "step": STEP_S})
        try:
            for at, value in result[0]["values"] if result else ():
                if math.isfinite(number := float(value)):
                    values[round((float(at) - start) / STEP_S)] = float(f"{number:.4g}")
        except MISFITS as exc:
            raise PrometheusError(f"Prometheus sent a result that is not its own: {exc!r}") from exc
        return values

    def _get(self, path: str, parameters: dict[str, Any]) -> list[Any]:
        url = f"{self._url}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with _OPENER.open(url, timeout=self._remaining()) as response:
                content = self._content(response)
            result = json.loads(content)["data"]["result"]
        except (OSError, HTTPException) as exc:
            raise PrometheusError(f"Prometheus at {self._url} is unreachable: {exc}") from exc
        except (*MISFITS, RecursionError) as exc:
            raise PrometheusError(f"{self._url} does not answer like Prometheus") from exc
        if not isinstance(result, list):
            raise PrometheusError(f"{self._url} does not answer like Prometheus")
        return result

    def _content(self, response: HTTPResponse) -> bytes:
        # A socket's timeout is of each packet, and packets may come slowly.
        content = b""
        while len(content) < MAX_BYTES and (chunk := response.read1(CHUNK_BYTES)):
            content += chunk
            self._remaining()
        return content

    def _remaining(self) -> float:
        """Return the seconds until the deadline.

        Raises:
            TimeoutError: there are none.
        """
        seconds = self._deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError(f"no answer to all queries within {TIMEOUT_S:g} s")
        return seconds


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: it could lead anywhere in the cluster."""

    def redirect_request(self, *_: Any) -> None:
        """Return nothing, so that urllib raises the redirect as an HTTPError."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
