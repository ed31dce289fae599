"""The parts of a running service, created in the order of their dependencies."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from app.errors import StartupError
from app.memory import return_large_blocks
from app.model.data_contract import DataContract
from app.model.self_test import VerifiedModel, load_and_verify
from app.model.served_model import ServedModel
from app.model.transform import Transform
from app.model.transform_executor import TransformExecutor
from app.model.warm_up import sample_inputs, warm_up
from app.observability.drift import Drift
from app.observability.metrics import Metrics
from app.observability.prometheus_history import PrometheusHistory
from app.observability.request_log import RequestLog
from app.observability.request_record import Observer, RequestRecord, notify
from app.observability.violations import Violations
from app.observability.withheld import Withheld
from app.scoring.api_keys import ApiKeys
from app.scoring.body_budget import BodyBudget
from app.scoring.callers import Callers
from app.scoring.scorer import Route, Scorer, routes
from app.settings import Settings
from model_loader.package.samples import Sample
from model_loader.package.schema import read_schema
from model_loader.package.service_file import ServiceFile, ServiceFileError, service

if TYPE_CHECKING:
    from app.observability.capture import Capture


class Draining:
    """Whether the process was told to stop.

    Attributes:
        since: when it was, in seconds since the epoch; None: it was not.
    """

    def __init__(self) -> None:
        self.since: float | None = None

    def set(self) -> None:
        """Note that it is told to stop now."""
        self.since = time()

    def is_set(self) -> bool:
        """Return whether it was told to stop."""
        return self.since is not None


@dataclass(frozen=True)
class Service:
    """A service whose model is loaded and verified.

    Attributes:
        names: the service's name and what follows from it, of `service.toml`.
        observers: are notified of every scored request.
        routes: path → scoring route.
        violations: the observer that compares requests with the schema.
        capture: the observer that keeps rows and feedback; None without CAPTURE_DIR.
        on_exit: what observers still have to do when the process ends.
        prometheus: the history of all replicas; None without PROMETHEUS_URL.
        draining: set when the process is told to stop; from then on it is not ready.
    """

    settings: Settings
    names: ServiceFile
    verified: VerifiedModel
    metrics: Metrics
    drift: Drift
    request_log: RequestLog
    violations: Violations
    capture: "Capture | None"
    prometheus: PrometheusHistory | None
    observers: Sequence[Observer]
    on_exit: Sequence[Callable[[], None]]
    scorer: Scorer
    routes: Mapping[str, Route]
    draining: Draining = field(default_factory=Draining)

    @property
    def model(self) -> ServedModel:
        """The served model."""
        return self.verified.model

    def needs_tensors(self) -> bool:
        """Return whether the observers need the inputs and outputs of the next requests."""
        is_read = self.settings.log_payloads == "on" or self.capture or self.violations.contract
        return bool(is_read) or self.drift.is_due()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that the model was verified with."""
        return self.verified.samples


def start(settings: Settings, transform: type[Transform]) -> Service:
    """Load and verify the model, and create the service.

    Raises:
        StartupError: a setting, `service.toml`, the package or the model is invalid.
    """
    return_large_blocks()
    settings = settings.resolved()
    names = _names()
    # Set by gunicorn.conf.py.
    run_directory = Path(name) if (name := os.environ.get("SERVICE_RUN_DIRECTORY")) else None
    verified = load_and_verify(settings, transform, run_directory)
    model = verified.model
    batcher = warm_up(model, verified.samples, settings)

    metrics = Metrics(verified, batcher, run_directory)
    drift = Drift(model.model, metrics.registry, run_directory)
    metrics.on_refresh.append(drift.recent.refresh)
    drift.counter.check_baseline(model.model, sample_inputs(model, verified.samples))
    schema = read_schema(model.package)
    contract = DataContract(schema, model) if schema else None
    violations = Violations(model, contract, metrics.registry)
    request_log = RequestLog(settings, model.version, Withheld(schema, model, violations.feature_of))
    observers: list[Observer] = [metrics, drift, request_log, violations]
    on_exit: list[Callable[[], None]] = []
    capture = None
    if settings.capture_dir:
        # Imported only on demand.
        from app.observability.capture import Capture

        capture = Capture(
            settings.capture_dir, model, schema, settings, metrics.registry, violations.feature_of
        )
        observers.append(capture)
        on_exit.append(capture.close)
        metrics.on_refresh.append(capture.refresh_metrics)
    # part: tracing
    if settings.otel_exporter_otlp_endpoint:
        # Imported only on demand: importing OpenTelemetry takes as long as the rest of the service.
        from app.observability.tracing import Tracing

        tracing = Tracing(model, names.name)
        observers.append(tracing)
        on_exit.append(tracing.close)
    # end: tracing

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
        contract=contract if settings.schema == "enforce" else None,
    )
    return Service(
        settings=settings,
        names=names,
        verified=verified,
        metrics=metrics,
        drift=drift,
        request_log=request_log,
        violations=violations,
        capture=capture,
        prometheus=_prometheus(settings),
        observers=observers,
        on_exit=on_exit,
        scorer=scorer,
        routes=routes(model),
    )


def _names() -> ServiceFile:
    """Return what `service.toml` says.

    Raises:
        StartupError: it is missing or invalid.
    """
    try:
        return service()
    except ServiceFileError as exc:
        raise StartupError(str(exc)) from exc


def _prometheus(settings: Settings) -> PrometheusHistory | None:
    url = settings.prometheus_url
    return PrometheusHistory(url, settings.prometheus_selector) if url else None


def _notify_at_once(observers: Sequence[Observer], record: RequestRecord) -> None:
    notify(observers, [record])
