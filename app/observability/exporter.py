"""The route `/metrics` and the HTTP metrics of prometheus-flask-exporter."""

import os
from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

# The variable with which prometheus_client shares metrics among processes.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class Exporter(PrometheusMetrics):  # type: ignore[misc]
    """prometheus-flask-exporter, whose own route fails for some requests.

    These are `name[]` with several workers, and a version in Accept that is not a number.
    """

    def generate_metrics(
        self, accept_header: str | None = None, names: Iterable[str] | None = None
    ) -> tuple[str, str]:
        """Return the metrics of all workers, or those with some names, and their content type."""
        source: Collector = self.registry
        if DIRECTORY in os.environ:
            source = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        try:
            encode, content_type = choose_encoder(accept_header or "")
        except (TypeError, ValueError):
            encode, content_type = choose_encoder("")
        return encode(_Selection(source, names)).decode(), content_type


class _Selection(Collector):
    """The samples with some names, or of metrics with these names; all if there are no names."""

    def __init__(self, source: Collector, names: Iterable[str] | None) -> None:
        self._source = source
        self._names = set(names or ())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that have such samples."""
        for metric in self._source.collect():
            if self._names and metric.name not in self._names:
                metric.samples = [sample for sample in metric.samples if sample.name in self._names]
            if metric.samples or not self._names:
                yield metric
