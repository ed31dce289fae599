"""The parts of a running service, made in the order in which they need each other."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.model.samples import Sample
from app.model.self_test import VerifiedModel, load_and_verify
from app.model.served_model import ServedModel
from app.model.transform_executor import TransformExecutor
from app.model.warm_up import sample_inputs, warm_up
from app.observability.metrics import Metrics
from app.observability.request_log import RequestLog
from app.scoring.api_keys import ApiKeys
from app.scoring.callers import Callers
from app.scoring.scorer import Route, Scorer, routes
from app.settings import Settings

if TYPE_CHECKING:
    from app.observability.tracing import Tracing


@dataclass(frozen=True)
class Service:
    """A service whose model is loaded and proven.

    Attributes:
        routes: path → where scoring is asked for.
        tracing: makes traces; None where no collector is set.
        draining: set when the process is told to stop; from then on it is not ready.
    """

    settings: Settings
    proven: VerifiedModel
    metrics: Metrics
    log_request: RequestLog
    scorer: Scorer
    routes: Mapping[str, Route]
    tracing: "Tracing | None"
    draining: threading.Event = field(default_factory=threading.Event)

    @property
    def model(self) -> ServedModel:
        """The model that answers."""
        return self.proven.model

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Those that it answered."""
        return self.proven.samples


def start(settings: Settings) -> Service:
    """Loads the model, proves it, and puts the service together.

    Raises:
        StartupError: a setting, the package or the model is not right.
    """
    settings = settings.resolved()
    proven = load_and_verify(settings)
    batcher = warm_up(proven.model, proven.samples, settings)
    metrics = Metrics(proven, batcher)
    metrics.drift.check_baseline(proven.model.model, sample_inputs(proven.model, proven.samples))
    log_request = RequestLog(settings, proven.model.version)
    tracing = None
    if settings.otel_exporter_otlp_endpoint:
        # OpenTelemetry is imported only where it is wanted: it takes as long as the rest of the service.
        from app.observability.tracing import Tracing

        tracing = Tracing(proven.model)
    scorer = Scorer(
        model=proven.model,
        settings=settings,
        batcher=batcher,
        callers=Callers(
            ApiKeys(settings.api_keys_file) if settings.api_keys_file else None, settings.caller_header
        ),
        threads=TransformExecutor(settings.inference_concurrency, settings.max_queue_rows),
        observers=(metrics, log_request) if tracing is None else (metrics, log_request, tracing),
    )
    return Service(settings, proven, metrics, log_request, scorer, routes(proven.model), tracing)
