"""Prometheus metrics of the model; those of HTTP come from prometheus-flask-exporter.

With several workers PROMETHEUS_MULTIPROC_DIR names a directory that they share, and any of them can answer
for all: counters and histograms add up, gauges are the same in every live worker.
https://prometheus.github.io/client_python/multiprocess/
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics

from app.scoring import Record
from app.selftest import Proven

# From 10 µs: the tree models that this serves answer in tens of microseconds, large networks in seconds.
SECONDS = (
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    5e-3,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The model's metrics: an observer of scored requests, and the route `/metrics`.

    Attributes:
        defer: calls a function a little later, in the thread that counts. With it, counts are added up here
            until then: the ten that a request makes, each of them a write to memory that all workers share,
            cost half as much as scoring a row.
    """

    def __init__(self, proven: Proven) -> None:
        self.defer: Callable[[Callable[[], None]], Any] | None = None
        self._pending: dict[Any, float] = {}
        self._children: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self.registry = CollectorRegistry()
        self._infer = Histogram(
            "model_infer_duration_seconds", "Time the model ran.", buckets=SECONDS, registry=self.registry
        )
        self._queue = Histogram(
            "model_queue_duration_seconds",
            "Time a request waited for the model.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "model_batch_rows", "Rows that the model ran on at once.", buckets=ROWS, registry=self.registry
        )
        self._requests = Counter(
            "model_requests", "Scoring requests.", ["status", "caller"], registry=self.registry
        )
        self._rejected = Counter(
            "model_rejected", "Scoring requests not answered.", ["reason"], registry=self.registry
        )
        self._describe(proven)

    def _describe(self, proven: Proven) -> None:
        model, manifest = proven.model, proven.model.package.manifest
        info = self._gauge("model_info", "The model served.", ["name", "version", "digest"])
        info.labels(manifest.name, model.version, model.package.digest).set(1)
        baked = self._gauge("model_baked", "1 if the model is served in its baked form, else 0.")
        baked.set(proven.is_baked)
        if manifest.trained:
            gauge = self._gauge("model_trained_timestamp_seconds", "When the model was trained.")
            gauge.set(manifest.trained.timestamp())
        evaluation = self._gauge("model_evaluation", "The model's metrics, from its evaluation.", ["metric"])
        for metric, value in manifest.metrics.items():
            evaluation.labels(metric).set(value)

    def _gauge(self, name: str, help_text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(name, help_text, labels or [], registry=self.registry, multiprocess_mode="livemax")

    def __call__(self, record: Record) -> None:
        """Counts one scored request."""
        self._count(self._requests, str(record.status), record.caller)
        if record.error:
            self._count(self._rejected, record.error.reason)
        if record.result:
            self._observe(self._queue, record.result.queue_duration)
            if record.result.leads:
                self._observe(self._infer, record.result.infer_duration)
                self._observe(self._rows, record.result.batch_rows)

    def init_app(self, app: Flask) -> None:
        """Adds `/metrics` and the HTTP metrics to the application."""
        PrometheusMetrics(app, registry=self.registry, group_by="url_rule")
        # The exporter keeps no reference to its two metrics, and the fast lane counts in them too.
        collectors: dict[str, Any] = self.registry._names_to_collectors
        self._http_duration = collectors["flask_http_request_duration_seconds"]
        self._http_total = collectors["flask_http_request_total"]

    def count_http(self, method: str, route: str, status: int, duration: float) -> None:
        """Counts an HTTP request that Flask does not see, as the exporter counts those that it does.

        Args:
            duration: in seconds.
        """
        self._observe(self._http_duration, duration, method, route, str(status))
        self._count(self._http_total, method, str(status))

    def _count(self, counter: Any, *labels: str) -> None:
        self._add(self._child(counter, labels)._value, 1)

    def _observe(self, histogram: Any, value: float, *labels: str) -> None:
        child = self._child(histogram, labels)
        self._add(child._sum, value)
        self._add(child._buckets[bisect_left(child._upper_bounds, value)], 1)

    def _child(self, metric: Any, labels: tuple[str, ...]) -> Any:
        child = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels) if labels else metric
        return child

    def _add(self, value: Any, amount: float) -> None:
        if self.defer is None:
            value.inc(amount)
            return
        if not self._pending:
            self.defer(self.flush)
        self._pending[value] = self._pending.get(value, 0.0) + amount

    def flush(self) -> None:
        """Writes what was put off, in the thread that counts."""
        for value, amount in self._pending.items():
            value.inc(amount)
        self._pending.clear()
