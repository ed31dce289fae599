"""Prometheus metrics of the model; those of HTTP come from prometheus-flask-exporter.

With several workers PROMETHEUS_MULTIPROC_DIR names a directory that they share, and any of them can answer
for all: counters and histograms add up, gauges are the same in every live worker.
https://prometheus.github.io/client_python/multiprocess/
"""

from collections import Counter as TallyCounter
from collections.abc import Callable, Sequence
from itertools import groupby
from math import nan
from pathlib import Path
from resource import RUSAGE_SELF, getpagesize, getrusage
from threading import RLock
from typing import Any

import numpy as np
from flask import Flask, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics

from app.model.batcher import Batcher
from app.model.self_test import VerifiedModel
from app.observability.drift import Drift
from app.observability.histogram_buffer import HistogramBuffer
from app.observability.request_record import RecordBatch

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
MOST_DRIFT_BYTES = 2**16
STATM = Path("/proc/self/statm")
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The model's metrics: an observer of scored requests, and the route `/metrics`.

    Attributes:
        defer: calls a function a little later, in the thread that counts. With it, requests are put by until
            then and counted together: one by one, their dozen numbers, each of them a write to memory that
            all workers share, would cost as much as scoring a row.
        counts_http: whether scored requests are counted as the exporter does those that Flask sees; a door
            sets it that answers them without Flask.
    """

    def __init__(self, proven: VerifiedModel, batcher: Batcher) -> None:
        """
        Raises:
            ModelError: the model's baseline is not one.
        """
        self.defer: Callable[[Callable[[], None]], Any] | None = None
        self.counts_http = False
        self.drift = Drift(proven.model.model)
        self._batcher = batcher
        self._outcomes: TallyCounter[tuple[int, str, str | None]] = TallyCounter()
        self._http: dict[tuple[str, int], HistogramBuffer] = {}
        self._is_deferred = False
        self._lock = RLock()
        self.registry = CollectorRegistry()
        self._requests = self._counter("model_requests", "Scoring requests.", "status", "caller")
        self._rejected = self._counter("model_rejected", "Scoring requests not answered.", "reason")
        self._phases = [
            HistogramBuffer(self._histogram(name, help_text, buckets))
            for name, help_text, buckets in (
                ("model_decode_duration_seconds", "Time from a body to the model's inputs.", SECONDS),
                ("model_queue_duration_seconds", "Time a request waited for the model.", SECONDS),
                ("model_infer_duration_seconds", "Time the model ran.", SECONDS),
                ("model_encode_duration_seconds", "Time from the model's outputs to a reply.", SECONDS),
                ("model_batch_rows", "Rows that the model ran on at once.", ROWS),
            )
        ]
        self._now = [
            self._gauge(
                "model_requests_in_flight", "Requests that wait for the model or run.", mode="livesum"
            ),
            self._gauge("model_queue_rows", "Rows that wait for the model.", mode="livesum"),
            self._gauge("worker_resident_memory_bytes", "Memory of a worker.", mode="liveall"),
            self._gauge("worker_cpu_seconds", "CPU time that a worker has used.", mode="liveall"),
        ]
        # With the dead among them, whose counts remain too.
        started = self._gauge("process_start_time_seconds", "When the first worker was started.", mode="min")
        started.set_to_current_time()
        self._bins = self._describe_drift()
        self._counts = np.zeros(len(self._bins), np.int64)
        self._describe(proven)

    def _describe(self, proven: VerifiedModel) -> None:
        model, manifest = proven.model, proven.model.package.manifest
        info = self._gauge("model_info", "The model served.", "name", "version", "digest")
        info.labels(manifest.name, model.version, model.package.digest).set(1)
        optimized = self._gauge("model_optimized", "1 if the model is served in its optimized model, else 0.")
        optimized.set(proven.is_optimized)
        if manifest.trained:
            gauge = self._gauge("model_trained_timestamp_seconds", "When the model was trained.")
            gauge.set(manifest.trained.timestamp())
        evaluation = self._gauge("model_evaluation", "The model's metrics, from its evaluation.", "metric")
        for metric, value in manifest.metrics.items():
            evaluation.labels(metric).set(value)

    def _describe_drift(self) -> list[Any]:
        """The counters of the baseline's bins, and what it expects of each; nothing without a baseline."""
        if not self.drift.bins:
            return []
        counters, expected = {}, {}
        for kind in ("feature", "output"):
            counters[kind] = self._counter(
                f"model_{kind}_bin", f"Values of a {kind} in a bin of the baseline.", kind, "bin"
            )
            expected[kind] = self._gauge(
                f"model_{kind}_expected_ratio", f"The baseline's share of a {kind}'s bin.", kind, "bin"
            )
        for bin_ in self.drift.bins:
            expected[bin_.kind].labels(bin_.name, bin_.label).set(bin_.share)
        return [counters[bin_.kind].labels(bin_.name, bin_.label) for bin_ in self.drift.bins]

    def _gauge(self, name: str, help_text: str, *labels: str, mode: Any = "livemax") -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry, multiprocess_mode=mode)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, help_text, buckets=buckets, registry=self.registry)

    def __call__(self, records: RecordBatch) -> None:
        """Counts scored requests."""
        times, groups = records.times, records.groups
        # One of a batch stands for it; None becomes NaN.
        led_rows = np.repeat(
            np.array([kind.batch_rows if kind.is_batch_leader else None for kind, _, _ in groups], float),
            [end - begin for _, begin, end in groups],
        )
        tensors = [(given, got) for given, got in records.tensors.values() if got is not None]
        decode, queue, infer, encode, batch_rows = self._phases
        with self._lock:
            for kind, begin, end in groups:
                reason = kind.error.reason if kind.error else None
                self._outcomes[kind.status, kind.caller, reason] += end - begin
            for (route, status), alike in groupby(groups, lambda run: run[0][:2]) if self.counts_http else ():
                bounds = [(begin, end) for _, begin, end in alike]
                self._http_of(route, status).add(times.duration[bounds[0][0] : bounds[-1][1]])
            # NaN, which is not counted, where the model did not answer.
            decode.add(np.where(np.isnan(times.inferred), nan, times.decoded - times.arrived))
            queue.add(times.queue_duration)
            infer.add(np.where(np.isnan(led_rows), nan, times.infer_duration))
            encode.add(times.started + times.duration - times.inferred)
            batch_rows.add(led_rows)
            self.drift.add([given for given, _ in tensors], [got for _, got in tensors])
            if self.drift.pending_bytes >= MOST_DRIFT_BYTES:
                self._counts += self.drift.count()
            if self.defer is None:
                self.flush()
            elif not self._is_deferred:
                self._is_deferred = True
                self.defer(self.flush)

    def init_app(self, app: Flask) -> None:
        """Adds `/metrics` and the HTTP metrics to the application."""

        @app.before_request
        def refresh_gauges() -> None:
            if request.path == "/metrics":
                self.refresh_gauges()

        PrometheusMetrics(app, registry=self.registry, group_by="url_rule")
        # The exporter keeps no reference to its two metrics, and the fast lane counts in them too.
        collectors: dict[str, Any] = self.registry._names_to_collectors
        self._http_duration = collectors["flask_http_request_duration_seconds"]
        self._http_total = collectors["flask_http_request_total"]

    def _http_of(self, route: str, status: int) -> "HistogramBuffer":
        if (route, status) not in self._http:
            self._http[route, status] = HistogramBuffer(self._http_duration.labels("POST", route, status))
        return self._http[route, status]

    def flush(self) -> None:
        """Counts what was put by, in the thread that counts."""
        with self._lock:
            self._is_deferred = False
            for (status, caller, reason), number in self._outcomes.items():
                self._requests.labels(status, caller).inc(number)
                if reason:
                    self._rejected.labels(reason).inc(number)
            self._outcomes.clear()
            for (_, status), tally in self._http.items():
                self._http_total.labels("POST", status).inc(tally.flush())
            self._http.clear()
            for tally in self._phases:
                tally.flush()
            counts, self._counts = self._counts + self.drift.count(), np.zeros_like(self._counts)
            for index in counts.nonzero()[0].tolist():
                self._bins[index].inc(float(counts[index]))

    def refresh_gauges(self) -> None:
        """Takes this worker's present memory, CPU time and queue into its gauges."""
        usage = getrusage(RUSAGE_SELF)
        # Only Linux has it; elsewhere the memory is not known.
        resident = int(STATM.read_text().split()[1]) * getpagesize() if STATM.exists() else nan
        now = (
            self._batcher.in_flight,
            self._batcher.waiting_rows,
            resident,
            usage.ru_utime + usage.ru_stime,
        )
        for gauge, value in zip(self._now, now, strict=True):
            gauge.set(value)
