"""Drift: the model's inputs and outputs, counted by the bins of its baseline, as metrics."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.model.onnx_model import Model
from app.observability.bin_counter import BinCounter
from app.observability.recent_data import RecentData
from app.observability.request_record import RequestRecord

# A sample is enough to estimate shares: every request of a burst, then this many per second.
REQUESTS_PER_S = 100
BURST_REQUESTS = 2048


class Drift:
    """An observer that counts the inputs and outputs of scored requests.

    Attributes:
        counter: the baseline's bins.
        recent: the counts of the last hour.
    """

    def __init__(self, model: Model, registry: CollectorRegistry, directory: Path | None = None) -> None:
        """
        Args:
            directory: see `app.observability.shared_ring`.

        Raises:
            ModelError: the baseline is malformed, or does not fit the model.
        """
        self.counter = BinCounter(model)
        self.recent = RecentData(self.counter, directory)
        self._metrics = _metrics(self.counter, registry)
        self._rows = _rows(self.counter, registry)
        # A token bucket. A batch is counted as a whole if a token is left, so the number may become negative.
        # Requests of one batch are thus equally likely to be counted, whatever their order.
        self._tokens = float(BURST_REQUESTS)
        self._refilled = monotonic()

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Count the values of a batch of requests, if it is due."""
        answered = [each for each in records if each.outputs is not None]
        if not answered or not self.is_due():
            return
        self._tokens -= len(answered)
        counts = self.counter.count(
            [each.inputs or {} for each in answered], [each.outputs or {} for each in answered]
        )
        rows = sum(1 if each.rows is None else each.rows for each in answered)
        self._rows.inc(rows)
        self.recent.count(rows, counts)
        for index in counts.nonzero()[0].tolist():
            self._metrics[index].inc(float(counts[index]))

    def is_due(self) -> bool:
        """Return whether the next batch is to be counted."""
        if not self.counter.bins:
            return False
        now = monotonic()
        refilled = self._tokens + (now - self._refilled) * REQUESTS_PER_S
        self._tokens, self._refilled = min(refilled, BURST_REQUESTS), now
        return self._tokens > 0


def _rows(counter: BinCounter, registry: CollectorRegistry) -> Any:
    """Return a counter of rows, and register the baseline's rows; None without a baseline."""
    if not counter.bins:
        return None
    if counter.rows is not None:
        Gauge(
            "model_baseline_rows",
            "Rows of the training data that the baseline is made of.",
            registry=registry,
            multiprocess_mode="livemax",
        ).set(counter.rows)
    return Counter("model_drift_rows", "Rows whose values were counted in bins.", registry=registry)


def _metrics(counter: BinCounter, registry: CollectorRegistry) -> list[Any]:
    """Return a counter for each bin, and register the baseline's shares; nothing without a baseline."""
    if not counter.bins:
        return []
    counters, expected = {}, {}
    for kind in ("feature", "output"):
        counters[kind] = Counter(
            f"model_{kind}_bin",
            f"Values of a {kind} in a bin of the baseline.",
            (kind, "bin"),
            registry=registry,
        )
        expected[kind] = Gauge(
            f"model_{kind}_expected_ratio",
            f"The baseline's share of a {kind}'s bin.",
            (kind, "bin"),
            registry=registry,
            multiprocess_mode="livemax",
        )
    for bin_ in counter.bins:
        expected[bin_.kind].labels(bin_.name, bin_.label).set(bin_.share)
    return [counters[bin_.kind].labels(bin_.name, bin_.label) for bin_ in counter.bins]
