"""Prometheus metrics of the model; those of HTTP come from prometheus-flask-exporter.

With several workers PROMETHEUS_MULTIPROC_DIR names a directory that they share, and any of them can answer
for all: counters and histograms add up, gauges are the same in every live worker.
https://prometheus.github.io/client_python/multiprocess/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
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
        self._children: dict[tuple[Any, ...], Any] = {}
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
        changes = [(self._child(self._requests, str(record.status), record.caller)._value, 1.0)]
        if record.error:
            changes.append((self._child(self._rejected, record.error.reason)._value, 1.0))
        if result := record.result:
            changes += _observed(self._queue, result.queue_duration)
            if result.leads:
                changes += _observed(self._infer, result.infer_duration)
                changes += _observed(self._rows, result.batch_rows)
        self._add(changes)

    def init_app(self, app: Flask) -> None:
        """Adds `/metrics` and the HTTP metrics to the application."""
        PrometheusMetrics(app, registry=self.registry, group_by="url_rule")
        # The exporter keeps no reference to its two metrics, and the fast lane counts in them too.
        collectors: dict[str, Any] = self.registry._names_to_collectors
        self._http_duration = collectors["flask_http_request_duration_seconds"]
        self._http_total = collectors["flask_http_request_total"]

    def count_http(self, record: Record) -> None:
        """Counts a scored request as the exporter does those that Flask sees; an observer for other doors."""
        status = str(record.status)
        child = self._child(self._http_duration, "POST", record.route, status)
        total = self._child(self._http_total, "POST", status)
        self._add([*_observed(child, record.duration), (total._value, 1.0)])

    def _child(self, metric: Any, *labels: str) -> Any:
        child = self._children.get((metric, *labels))
        if child is None:
            child = self._children[metric, *labels] = metric.labels(*labels)
        return child

    def _add(self, changes: Iterable[tuple[Any, float]]) -> None:
        if self.defer is None:
            for value, amount in changes:
                value.inc(amount)
            return
        pending = self._pending
        if not pending:
            self.defer(self.flush)
        for value, amount in changes:
            pending[value] = pending.get(value, 0.0) + amount

    def flush(self) -> None:
        """Writes what was put off, in the thread that counts."""
        for value, amount in self._pending.items():
            value.inc(amount)
        self._pending.clear()


def _observed(histogram: Any, value: float) -> list[tuple[Any, float]]:
    """What an observation adds to which of a histogram's numbers."""
    bucket = histogram._buckets[bisect_left(histogram._upper_bounds, value)]
    return [(histogram._sum, value), (bucket, 1.0)]
