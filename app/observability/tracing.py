"""Traces: a span for each scored request and its phases, exported as OTLP over HTTP.

Imported only if OTEL_EXPORTER_OTLP_ENDPOINT is set. The SDK reads its other environment variables too.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/, "HTTP server"
"""

from collections.abc import Iterator, Sequence
from math import isnan
from threading import Thread
from time import monotonic, time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from app.model.served_model import ServedModel
from app.observability.request_record import RequestRecord

# A collector that does not answer must not delay the exit of a worker.
CLOSE_TIMEOUT_S = 2


class Tracing:
    """An observer that creates spans of scored requests; a thread of the SDK exports them."""

    def __init__(self, model: ServedModel, name: str) -> None:
        resource = Resource({SERVICE_NAME: name}).merge(Resource.create())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(name)
        self._propagator = TraceContextTextMapPropagator()
        self._model = {
            "scoring.model.name": model.name,
            "scoring.model.version": model.version,
            "scoring.model.digest": model.package.digest,
        }

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Make the spans of finished requests."""
        for record in records:
            self._trace(record)

    def _trace(self, record: RequestRecord) -> None:
        epoch = time() - monotonic()
        began, ended = record.started, record.started + record.duration
        attributes: dict[str, AttributeValue] = {
            "http.request.method": "POST",
            "http.route": record.route,
            "http.response.status_code": record.status,
            "scoring.request.id": record.id,
            "scoring.caller": record.caller,
            "scoring.rows": record.rows or 0,
            **self._model,
        }
        span = self._tracer.start_span(
            f"POST {record.route}",
            self._propagator.extract({"traceparent": record.traceparent}),
            SpanKind.SERVER,
            attributes,
            start_time=_ns(epoch + began),
        )
        for name, start, end in _phases(record):
            phase = self._tracer.start_span(name, set_span_in_context(span), start_time=_ns(epoch + start))
            phase.end(_ns(epoch + end))
        if record.error and record.status >= 500:
            # The reason and not the message, which may have a value that schema.json withholds.
            span.set_status(Status(StatusCode.ERROR, record.error.reason))
        span.end(_ns(epoch + ended))

    def close(self) -> None:
        """Export the remaining spans, if the collector accepts them in time."""
        sender = Thread(target=self._provider.shutdown, daemon=True)
        sender.start()
        sender.join(CLOSE_TIMEOUT_S)


def _phases(record: RequestRecord) -> Iterator[tuple[str, float, float]]:
    """Yield name, start and end of each phase that the request reached, by the monotonic clock."""
    if isnan(record.decoded):
        return
    yield "decode", record.arrived, record.decoded
    if record.batch_rows is None:
        return
    ran = record.decoded + record.queue_duration
    yield "queue", record.decoded, ran
    yield "infer", ran, ran + record.infer_duration
    yield "encode", record.inferred, record.started + record.duration


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
