"""Prometheus metrics of the model and of scored requests.

prometheus-flask-exporter counts all other requests.

With several workers PROMETHEUS_MULTIPROC_DIR names a directory that they share, and any worker's /metrics
covers all of them: counters and histograms are summed, gauges are merged by their mode.
`app.observability.shared_values` has the files.
https://prometheus.github.io/client_python/multiprocess/
"""

import collections
import os
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path
from resource import RUSAGE_SELF, getpagesize, getrusage
from struct import Struct
from threading import Lock
from time import time
from typing import Any, TypeAlias

import numpy as np
from flask import Flask, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_flask_exporter import PrometheusMetrics

from app.model.batcher import Batcher
from app.model.self_test import VerifiedModel
from app.observability.histograms import BatchHistogram, find_collector
from app.observability.log_writer import writer
from app.observability.recent_requests import RecentRequests
from app.observability.request_record import MAX_BATCH, RequestRecord
from app.observability.shared_values import share_values

# The variable with which prometheus_client shares metrics among processes.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
# From 10 µs: tree models answer in tens of microseconds, large networks in seconds.
SECONDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

STATM = Path("/proc/self/statm")

# Duration, decode, queue, infer and encode in seconds, and rows of the batch; NaN is not counted.
_numbers = Struct("6d").pack

# Counting a thousand requests together costs little more than counting one. A full batch is counted together
# with the next ones, up to this many requests or until the gauges are refreshed.
MAX_PENDING_REQUESTS = 512

# Route, status, caller and reason of rejection.
Key: TypeAlias = tuple[str, int, str, str | None]


class Metrics:
    """The model's metrics: an observer of scored requests.

    Attributes:
        registry: all metrics of the service.
        on_refresh: functions that set further gauges, called with `refresh_gauges`.
        recent: the requests of the last hour.
    """

    def __init__(self, verified: VerifiedModel, batcher: Batcher, run_directory: Path | None = None) -> None:
        """
        Args:
            run_directory: of all workers; None: there is one process only.
        """
        if directory := os.environ.get(DIRECTORY):
            share_values(Path(directory))
        self.registry = CollectorRegistry()
        self.recent = RecentRequests(run_directory, lambda: batcher.waiting_rows)
        self.on_refresh: list[Callable[[], None]] = [self.recent.refresh]
        self._batcher = batcher
        self._lock = Lock()
        self._pending: collections.defaultdict[Key, bytearray] = collections.defaultdict(bytearray)
        self._pending_requests = 0
        self._requests = self._counter("model_requests", "Scoring requests.", "status", "caller")
        self._rejected = self._counter("model_rejected", "Scoring requests that were rejected.", "reason")
        self._phases = [
            BatchHistogram(Histogram(name, help_text, buckets=buckets, registry=self.registry))
            for name, help_text, buckets in (
                ("model_decode_duration_seconds", "Time from a body to the model's inputs.", SECONDS),
                ("model_queue_duration_seconds", "Time a request waited for the model.", SECONDS),
                ("model_infer_duration_seconds", "Time the model ran.", SECONDS),
                ("model_encode_duration_seconds", "Time from the model's outputs to a response.", SECONDS),
                ("model_batch_rows", "Rows of one inference.", ROWS),
            )
        ]
        self._current = [
            self._gauge("model_requests_in_flight", "Requests that are queued or running.", mode="livesum"),
            self._gauge("model_queue_rows", "Rows that are queued for the model.", mode="livesum"),
            self._gauge("worker_resident_memory_bytes", "Resident memory of a worker.", mode="liveall"),
            self._gauge("worker_cpu_seconds", "CPU time used by a worker.", mode="liveall"),
        ]
        last = "Time of the last successful scoring request."
        self._last_inference = self._gauge("model_last_inference_timestamp_seconds", last, mode="max")
        # A worker that continues the counts of one that has ended keeps its start time too.
        started = self._gauge("process_start_time_seconds", "Start time of the first worker.", mode="min")
        if not self.registry.get_sample_value("process_start_time_seconds"):
            started.set_to_current_time()
        self._dropped = self._counter("log_lines_dropped", "Log lines dropped because nobody read the log.")
        self._set_model(verified)

    def _set_model(self, verified: VerifiedModel) -> None:
        model, manifest = verified.model, verified.model.package.manifest
        info = self._gauge("model_info", "The model served.", "name", "version", "digest")
        info.labels(manifest.name, model.version, model.package.digest).set(1)
        optimized = self._gauge("model_optimized", "1 if the optimized model is served, else 0.")
        optimized.set(verified.is_optimized)
        if manifest.trained:
            gauge = self._gauge("model_trained_timestamp_seconds", "When the model was trained.")
            gauge.set(manifest.trained.timestamp())
        evaluation = self._gauge("model_evaluation", "Metrics of the model's evaluation.", "metric")
        for metric, value in manifest.metrics.items():
            evaluation.labels(metric).set(value)

    def _gauge(self, name: str, help_text: str, *labels: str, mode: Any = "livemax") -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry, multiprocess_mode=mode)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Count scored requests: now, or after a full batch together with later ones."""
        with self._lock:
            for record in records:
                reason = record.error.reason if record.error else None
                key = record.route, record.status, record.caller, reason
                # Each inference is counted once, for the first request of its batch.
                is_leader = record.batch_rows is not None and record.is_batch_leader
                self._pending[key] += _numbers(
                    record.duration,
                    record.decoded - record.arrived if record.batch_rows is not None else nan,
                    record.queue_duration,
                    record.infer_duration if is_leader else nan,
                    record.started + record.duration - record.inferred,
                    record.batch_rows if is_leader else nan,
                )
            self._pending_requests += len(records)
            if len(records) < MAX_BATCH or self._pending_requests >= MAX_PENDING_REQUESTS:
                self._count()

    def _count(self) -> None:
        pending, self._pending = self._pending, collections.defaultdict(bytearray)
        self._pending_requests = 0
        for (route, status, caller, reason), data in pending.items():
            numbers = np.frombuffer(data).reshape(-1, len(self._phases) + 1).T
            requests = numbers.shape[1]
            self._requests.labels(status, caller).inc(requests)
            if status == 200:
                self._last_inference.set(time())
            if reason:
                self._rejected.labels(reason).inc(requests)
            self._http_total.labels("POST", status).inc(requests)
            self.recent.count(status, reason, numbers[0])
            BatchHistogram(self._http_duration.labels("POST", route, status)).observe(numbers[0])
            for phase, values in zip(self._phases, numbers[1:], strict=True):
                phase.observe(values)

    def init_app(self, app: Flask) -> PrometheusMetrics:
        """Add the HTTP metrics to the application.

        Returns:
            the exporter; scored requests are counted here, so their view has to opt out of it.
        """

        @app.before_request
        def refresh() -> None:
            if request.path == "/metrics":
                self.refresh_gauges()

        exporter = PrometheusMetrics(app, path=None, registry=self.registry, group_by="url_rule")
        self._http_duration = find_collector(self.registry, "flask_http_request_duration_seconds")
        self._http_total = find_collector(self.registry, "flask_http_request_total")
        return exporter

    def flush(self) -> None:
        """Count pending requests, and the log lines that were dropped."""
        self._dropped.inc(writer.take_dropped())
        with self._lock:
            self._count()

    def of_all_workers(self) -> CollectorRegistry:
        """Return a registry with the metrics of all workers."""
        if DIRECTORY not in os.environ:
            return self.registry
        registry = CollectorRegistry(support_collectors_without_names=True)
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def refresh_gauges(self) -> None:
        """Count pending requests, and set the gauges of this worker's queue, memory and CPU time."""
        self.flush()
        for refresh in self.on_refresh:
            refresh()
        usage = getrusage(RUSAGE_SELF)
        try:
            resident: float = int(STATM.read_text().split()[1]) * getpagesize()
        except OSError:  # only Linux has this file, and there may be no descriptor left
            resident = nan
        values = (
            self._batcher.in_flight,
            self._batcher.waiting_rows,
            resident,
            usage.ru_utime + usage.ru_stime,
        )
        for gauge, value in zip(self._current, values, strict=True):
            gauge.set(value)
