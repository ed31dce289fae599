"""The parts of a running service, created in the order of their dependencies."""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.memory import return_large_blocks
from app.model.self_test import VerifiedModel, load_and_verify
from app.model.served_model import ServedModel
from app.model.transform_executor import TransformExecutor
from app.model.warm_up import sample_inputs, warm_up
from app.observability.drift import Drift
from app.observability.metrics import Metrics
from app.observability.request_log import RequestLog
from app.observability.request_record import Observer, RequestRecord, notify
from app.scoring.api_keys import ApiKeys
from app.scoring.body_budget import BodyBudget
from app.scoring.callers import Callers
from app.scoring.scorer import Route, Scorer, routes
from app.settings import Settings
from model_loader.package.samples import Sample

if TYPE_CHECKING:
    from app.observability.tracing import Tracing


@dataclass(frozen=True)
class Service:
    """A service whose model is loaded and verified.

    Attributes:
        observers: are notified of every scored request.
        routes: path → scoring route.
        tracing: the observer that makes traces; None without a collector.
        draining: set when the process is told to stop; from then on it is not ready.
    """

    settings: Settings
    verified: VerifiedModel
    metrics: Metrics
    drift: Drift
    request_log: RequestLog
    tracing: "Tracing | None"
    observers: Sequence[Observer]
    scorer: Scorer
    routes: Mapping[str, Route]
    draining: threading.Event = field(default_factory=threading.Event)

    @property
    def model(self) -> ServedModel:
        """The served model."""
        return self.verified.model

    def needs_tensors(self) -> bool:
        """Return whether the observers need the inputs and outputs of the next requests."""
        return self.settings.log_payloads == "on" or self.drift.is_due()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that the model was verified with."""
        return self.verified.samples


def start(settings: Settings) -> Service:
    """Load and verify the model, and create the service.

    Raises:
        StartupError: a setting, the package or the model is invalid.
    """
    return_large_blocks()
    settings = settings.resolved()
    # Set by gunicorn.conf.py.
    run_directory = Path(name) if (name := os.environ.get("SCOREBOX_RUN_DIRECTORY")) else None
    verified = load_and_verify(settings, run_directory)
    model = verified.model
    batcher = warm_up(model, verified.samples, settings)

    metrics = Metrics(verified, batcher)
    drift = Drift(model.model, metrics.registry)
    drift.counter.check_baseline(model.model, sample_inputs(model, verified.samples))
    request_log = RequestLog(settings, model.version)
    observers: list[Observer] = [metrics, drift, request_log]
    tracing = None
    if settings.otel_exporter_otlp_endpoint:
        # Imported only on demand: importing OpenTelemetry takes as long as the rest of the service.
        from app.observability.tracing import Tracing

        tracing = Tracing(model)
        observers.append(tracing)

    callers = Callers(
        ApiKeys(settings.api_keys_file) if settings.api_keys_file else None,
        settings.caller_header,
        run_directory,
    )
    scorer = Scorer(
        model=model,
        settings=settings,
        batcher=batcher,
        callers=callers,
        transform_executor=TransformExecutor(settings.inference_concurrency, settings.max_queue_rows),
        body_budget=BodyBudget(settings.max_in_flight_bytes),
        decoding=ThreadPoolExecutor(1, "decoding"),
        encoding=ThreadPoolExecutor(1, "encoding"),
        notify=partial(_notify_at_once, observers),
    )
    return Service(
        settings=settings,
        verified=verified,
        metrics=metrics,
        drift=drift,
        request_log=request_log,
        tracing=tracing,
        observers=observers,
        scorer=scorer,
        routes=routes(model),
    )


def _notify_at_once(observers: Sequence[Observer], record: RequestRecord) -> None:
    notify(observers, [record])
