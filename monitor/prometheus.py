"""When canaries ran and alerts fired, as Prometheus has it.

https://prometheus.io/docs/prometheus/latest/querying/api, "Range queries"
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from model_loader.package.service_file import service
from monitor.history import Span
from monitor.prometheus_client import query_range, unexpected

# Of this service: Prometheus may have others.
CANARIES = 'max by (version) (model_info{{job="{name}", track="canary"}})'
ALERTS = (
    'max by (alertname) (ALERTS{{alertstate="firing", alertname=~"Scoring.*", job=~"{name}|{name}-monitor"}})'
)
# Prometheus answers with at most 11,000 samples of a series. A canary is watched for ten minutes or more.
MAX_SAMPLES, MIN_STEP_S = 10_000, 60.0


def read_canaries(url: str, start: datetime, end: datetime) -> tuple[Span, ...]:
    """Return when canaries of which version ran; exceptions as `read_alerts`."""
    return tuple(_spans(url, CANARIES.format(name=service().name), "version", "version ", start, end))


def read_alerts(url: str, start: datetime, end: datetime) -> tuple[Span, ...]:
    """Return which of our alerts fired when.

    Raises:
        AlertsError: Prometheus is unreachable, or does not answer like Prometheus.
    """
    return tuple(_spans(url, ALERTS.format(name=service().name), "alertname", "", start, end))


def _spans(url: str, query: str, label: str, prefix: str, start: datetime, end: datetime) -> Iterator[Span]:
    step = max(MIN_STEP_S, (end - start).total_seconds() / MAX_SAMPLES)
    found = query_range(url, query, start.timestamp(), end.timestamp(), step)
    try:
        series = [(str(each["metric"][label]), [float(time) for time, _ in each["values"]]) for each in found]
    except (ValueError, LookupError, TypeError) as exc:
        raise unexpected(url, repr(exc)) from exc
    for name, times in sorted(series):
        for first, last in _runs(times, step):
            lasts = last + 2 * step > end.timestamp()
            yield Span(f"{prefix}{name}", _time(first), None if lasts else _time(last))


def _runs(times: Sequence[float], step: float) -> Iterator[tuple[float, float]]:
    """Yield the first and the last of the times that follow each other by a step."""
    first = previous = times[0]
    for time in times[1:]:
        if time - previous > 1.5 * step:
            yield first, previous
            first = time
        previous = time
    yield first, previous


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
