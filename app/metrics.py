"""Prometheus metrics of the model; those of HTTP come from prometheus-flask-exporter.

With several workers PROMETHEUS_MULTIPROC_DIR names a directory that they share, and any of them can answer
for all: counters and histograms add up, gauges are the same in every live worker.
https://prometheus.github.io/client_python/multiprocess/
"""

from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics

from app.model import Model
from app.scoring import Record

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
    """The model's metrics: an observer of scored requests, and the route `/metrics`."""

    def __init__(self, model: Model) -> None:
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
        self._describe(model)

    def _describe(self, model: Model) -> None:
        manifest = model.package.manifest
        info = self._gauge("model_info", "The model served.", ["name", "version", "digest"])
        info.labels(manifest.name, model.version, model.package.digest).set(1)
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
        self._requests.labels(str(record.status), record.caller).inc()
        if record.error:
            self._rejected.labels(record.error.reason).inc()
        if record.result:
            self._queue.observe(record.result.queue_duration)
            if record.result.leads:
                self._infer.observe(record.result.infer_duration)
                self._rows.observe(record.result.batch_rows)

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
        self._http_duration.labels(method, route, str(status)).observe(duration)
        self._http_total.labels(method, str(status)).inc()
