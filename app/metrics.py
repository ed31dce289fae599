"""Prometheus metrics of the model; those of HTTP come from prometheus-flask-exporter.

With several workers PROMETHEUS_MULTIPROC_DIR names a directory that they share, and any of them can answer
for all: counters and histograms add up, gauges are the same in every live worker.
https://prometheus.github.io/client_python/multiprocess/
"""

from collections import Counter as TallyCounter
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from math import nan
from operator import attrgetter
from pathlib import Path
from resource import RUSAGE_SELF, getpagesize, getrusage
from struct import pack
from threading import RLock
from typing import Any

import numpy as np
from flask import Flask, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics

from app.batching import Batcher
from app.drift import Drift
from app.scoring import Record
from app.selftest import Proven
from app.tensors import Array

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
# What may wait to be counted: more would be a burden on memory, and counting it on the requests that come
# meanwhile.
MOST_BYTES = 2**16

STATM = Path("/proc/self/statm")

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_OUTCOME = attrgetter("status", "caller", "error")
_HTTP = attrgetter("route", "status")


class Metrics:
    """The model's metrics: an observer of scored requests, and the route `/metrics`.

    Attributes:
        defer: calls a function a little later, in the thread that counts. With it, requests are put by until
            then and counted together: one by one, their dozen numbers, each of them a write to memory that
            all workers share, would cost as much as scoring a row.
    """

    def __init__(self, proven: Proven, batcher: Batcher) -> None:
        """
        Raises:
            ModelError: the model's baseline is not one.
        """
        self.defer: Callable[[Callable[[], None]], Any] | None = None
        self.drift = Drift(proven.model.model)
        self._batcher = batcher
        self._outcomes: TallyCounter[tuple[int, str, str | None]] = TallyCounter()
        self._numbers = bytearray()
        self._http: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        self._is_deferred = False
        self._lock = RLock()
        self.registry = CollectorRegistry()
        self._requests = self._counter("model_requests", "Scoring requests.", "status", "caller")
        self._rejected = self._counter("model_rejected", "Scoring requests not answered.", "reason")
        self._phases = [
            _Tally(self._histogram(name, help_text, buckets))
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

    def _describe(self, proven: Proven) -> None:
        model, manifest = proven.model, proven.model.package.manifest
        info = self._gauge("model_info", "The model served.", "name", "version", "digest")
        info.labels(manifest.name, model.version, model.package.digest).set(1)
        baked = self._gauge("model_baked", "1 if the model is served in its baked form, else 0.")
        baked.set(proven.is_baked)
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

    def __call__(self, records: Sequence[Record]) -> None:
        """Counts scored requests."""
        with self._lock:
            for (status, caller, error), some in groupby(records, _OUTCOME):
                self._outcomes[status, caller, error.reason if error else None] += len(list(some))
            answered = [(record, record.result) for record in records if record.result]
            numbers: list[float] = []
            for record, result in answered:
                # One of a batch stands for it.
                ran, rows = (result.infer_duration, result.batch_rows) if result.leads else (nan, nan)
                decode = record.decoded - record.arrived
                encode = record.started + record.duration - record.inferred
                numbers += (decode, result.queue_duration, ran, encode, rows)
            self._numbers += pack(f"{len(numbers)}d", *numbers)
            self.drift.add(
                [record.inputs or {} for record, _ in answered], [result.outputs for _, result in answered]
            )
            if len(self._numbers) + self.drift.held_bytes >= MOST_BYTES:
                self._count()
            self._later()

    def init_app(self, app: Flask) -> None:
        """Adds `/metrics` and the HTTP metrics to the application."""

        @app.before_request
        def look() -> None:
            if request.path == "/metrics":
                self.look()

        PrometheusMetrics(app, registry=self.registry, group_by="url_rule")
        # The exporter keeps no reference to its two metrics, and the fast lane counts in them too.
        collectors: dict[str, Any] = self.registry._names_to_collectors
        self._http_duration = collectors["flask_http_request_duration_seconds"]
        self._http_total = collectors["flask_http_request_total"]

    def count_http(self, records: Sequence[Record]) -> None:
        """Counts scored requests as the exporter does those that Flask sees; an observer for other doors."""
        with self._lock:
            for key, some in groupby(records, _HTTP):
                self._http[key] += [record.duration for record in some]
            self._later()

    def _later(self) -> None:
        if self.defer is None:
            self.flush()
        elif not self._is_deferred:
            self._is_deferred = True
            self.defer(self.flush)

    def flush(self) -> None:
        """Counts what was put by, in the thread that counts."""
        with self._lock:
            self._is_deferred = False
            for (status, caller, reason), number in self._outcomes.items():
                self._requests.labels(status, caller).inc(number)
                if reason:
                    self._rejected.labels(reason).inc(number)
            for (route, status), durations in self._http.items():
                self._http_total.labels("POST", status).inc(len(durations))
                tally = _Tally(self._http_duration.labels("POST", route, status))
                tally.add(np.array(durations))
                tally.flush()
            self._outcomes.clear()
            self._http.clear()
            self._count()
            for tally in self._phases:
                tally.flush()
            counts, self._counts = self._counts, np.zeros_like(self._counts)
            for index in counts.nonzero()[0].tolist():
                self._bins[index].inc(float(counts[index]))

    def _count(self) -> None:
        """Looks at the numbers that wait, all at once."""
        numbers, self._numbers = np.frombuffer(self._numbers), bytearray()
        for tally, values in zip(self._phases, numbers.reshape(-1, len(self._phases)).T, strict=True):
            tally.add(values)
        self._counts += self.drift.count()

    def look(self) -> None:
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


class _Tally:
    """Observations of a histogram that it does not have yet: each number of its own is a write to a file."""

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self._bounds = np.array(histogram._upper_bounds)
        self._reset()

    def _reset(self) -> None:
        self._counts = np.zeros(len(self._bounds) + 1, np.int64)
        self._sum = 0.0

    def add(self, values: Array) -> None:
        """Takes observations; NaN is none."""
        # A bucket holds what is at most its bound, the last bound is infinite, and NaN comes after it.
        places = np.searchsorted(self._bounds, values)
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += np.add.reduce(values, where=places < len(self._bounds))

    def flush(self) -> None:
        """Hands on what was taken."""
        for index in self._counts[:-1].nonzero()[0].tolist():
            self._histogram._buckets[index].inc(float(self._counts[index]))
        self._histogram._sum.inc(float(self._sum))
        self._reset()
