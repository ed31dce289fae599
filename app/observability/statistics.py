"""Totals since the start, over all workers, from the metrics."""

from collections.abc import Set
from dataclasses import dataclass, field

from app.observability.metrics import Metrics

# Statistic → histogram.
_PHASES = {
    "queue": "model_queue_duration_seconds",
    "compute_input": "model_decode_duration_seconds",
    "compute_infer": "model_infer_duration_seconds",
    "compute_output": "model_encode_duration_seconds",
}
_REQUESTS = "flask_http_request_duration_seconds"
_NOT_FOUND = "404"  # of a request for another model


@dataclass(frozen=True)
class Durations:
    """How often something happened, and how long it took in all."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Statistics:
    """Totals of scoring requests.

    Attributes:
        last_inference: time of the last successful request, in seconds since the epoch; 0 without any.
        rows: rows of all inferences.
        inferences: number of inferences; requests that shared a batch shared one.
        durations: `success` and `fail`, of whole requests; `queue`, `compute_input`, `compute_infer` and
            `compute_output`, of their phases, of which the third is counted once for each inference.
    """

    last_inference: float
    rows: int
    inferences: int
    durations: dict[str, Durations]


def read_statistics(metrics: Metrics, rules: Set[str]) -> Statistics:
    """Return the totals of requests to the scoring routes.

    Args:
        rules: of the scoring routes, as in `app.scoring.scorer.Route`.
    """
    metrics.flush()
    values: dict[str, float] = {}
    requests = {"success": Durations(0, 0.0), "fail": Durations(0, 0.0)}
    for metric in metrics.of_all_workers().collect():
        for sample in metric.samples:
            if sample.name not in (f"{_REQUESTS}_count", f"{_REQUESTS}_sum"):
                if not sample.labels:
                    values[sample.name] = sample.value
            elif sample.labels["url_rule"] in rules and sample.labels["status"] != _NOT_FOUND:
                outcome = "success" if sample.labels["status"] == "200" else "fail"
                total = requests[outcome]
                if sample.name.endswith("_count"):
                    requests[outcome] = Durations(total.count + int(sample.value), total.seconds)
                else:
                    requests[outcome] = Durations(total.count, total.seconds + sample.value)
    phases = {
        name: Durations(int(values.get(f"{metric}_count", 0)), values.get(f"{metric}_sum", 0.0))
        for name, metric in _PHASES.items()
    }
    return Statistics(
        last_inference=values.get("model_last_inference_timestamp_seconds", 0.0),
        rows=int(values.get("model_batch_rows_sum", 0)),
        inferences=int(values.get("model_batch_rows_count", 0)),
        durations=requests | phases,
    )


@dataclass
class Totals:
    """Counts since the start of the service.

    Attributes:
        started: in seconds since the epoch.
        callers: caller → scoring requests.
        rejected: reason → rejected scoring requests.
    """

    started: float = 0.0
    callers: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)


def read_totals(metrics: Metrics) -> Totals:
    """Return the counts of all workers."""
    totals = Totals()
    series = {
        "model_requests_total": ("caller", totals.callers),
        "model_rejected_total": ("reason", totals.rejected),
    }
    for metric in metrics.of_all_workers().collect():
        for sample in metric.samples:
            if sample.name in series:
                label, counts = series[sample.name]
                name = sample.labels[label]
                counts[name] = counts.get(name, 0) + int(sample.value)
            elif sample.name == "process_start_time_seconds":
                totals.started = sample.value
    return totals
