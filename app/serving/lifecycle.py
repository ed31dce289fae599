"""The application of a worker, its start and its shutdown; called by gunicorn."""

import gc
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask

from app import create_app
from app.errors import StartupError
from app.observability.log_writer import writer
from app.observability.logging import configure, logger
from app.openapi.examples import curl
from app.service import Service
from app.serving.asgi import AsgiApp
from app.settings import Settings

# Directory that all workers share; set by gunicorn.conf.py. Without it there is one process only.
RUN_DIRECTORY = "SERVICE_RUN_DIRECTORY"
POLL_S = 0.02
# Maximum age of gauge values in /metrics, in seconds.
GAUGE_MAX_AGE_S = 1.0
# How long to accept connections whose handshake had begun when new ones were dropped.
HANDSHAKE_S = 0.05
# Grace period for connections accepted just before the listener closed.
ACCEPTED_GRACE_S = 0.2
# How long to wait for the first request of a connection that has not sent anything.
SILENCE_S = 2.0


def application() -> AsgiApp:
    """Return the application of one worker."""
    return AsgiApp(load())


def load() -> Flask:
    """Create the service from the environment; end the process with exit code 1 if it cannot start."""
    try:
        settings = Settings.from_environ(os.environ)
        configure(settings)
        return create_app(settings)
    except StartupError as exc:
        abort_startup(str(exc))


def abort_startup(message: str) -> NoReturn:
    """End this worker. `gunicorn.conf.py` ends the service if it finds the file that this writes."""
    if is_first_worker("refused", message):
        logger.critical(message)
    sys.exit(1)


def post_worker_init(worker: Any) -> None:
    """Log what is served, once for all workers, and make SIGTERM drain this one."""
    worker.on_signal(signal.SIGTERM, partial(drain, worker))
    service: Service = worker.asgi.service
    package = str(service.model.package)
    if is_first_worker("serving", package):
        announce(service, port=worker.sockets[0].getsockname()[1])
    elif (served := _path("serving").read_text()) and served != package:
        # A worker that replaces one that died finds what is at MODEL_PATH now.
        abort_startup(
            f"{package} is at MODEL_PATH, but this service serves {served}: restart it, or reload by SIGHUP"
        )

    _refresh_gauges(worker)
    # Objects allocated so far live as long as the worker; exclude them from garbage collection.
    gc.collect()
    gc.freeze()


def _refresh_gauges(worker: Any) -> None:
    """Refresh the gauges periodically."""
    # Scheduled first: the next refresh must not depend on the success of this one.
    worker.loop.call_later(GAUGE_MAX_AGE_S, _refresh_gauges, worker)
    worker.asgi.service.metrics.refresh_gauges()


def drain(worker: Any) -> None:
    """End the worker without failing a request, on SIGTERM, SIGHUP and Kubernetes' preStop.

    From now on readiness fails and every response announces the end of its connection, while new connections
    are still answered, until their senders have noticed; then the requests in flight are finished.
    """
    app: AsgiApp = worker.asgi
    if app.service.draining.is_set():
        return
    app.service.draining.set()
    worker.pause_accepting()
    logger.info("draining")
    worker.loop.call_later(app.service.settings.drain_delay_s, _refuse_connections, worker)


def _refuse_connections(worker: Any) -> None:
    """Refuse new connections, if the service ends: after a reload the new workers share the listeners."""
    if RUN_DIRECTORY in os.environ and _path("stopping").exists():
        worker.drop_handshakes()
        worker.loop.call_later(HANDSHAKE_S, _stop, worker)
    else:
        _stop(worker)


def _stop(worker: Any) -> None:
    """Close the listeners, and let the requests in flight finish."""
    worker.stop_accepting()
    worker.loop.call_later(ACCEPTED_GRACE_S, _finish, worker, worker.loop.time() + SILENCE_S)


def _finish(worker: Any, deadline: float) -> None:
    if worker.connections.are_in_use() or (worker.connections.are_silent() and worker.loop.time() < deadline):
        worker.loop.call_later(POLL_S, _finish, worker, deadline)
    else:
        worker.stop()


def flush_observers(worker: Any) -> None:
    """Count, log and export the requests that are buffered."""
    worker.asgi.buffer.flush()
    writer.flush()
    worker.asgi.service.metrics.flush()
    for finish in worker.asgi.service.on_exit:
        finish()


def end(worker: Any) -> NoReturn:
    """End the process of a worker.

    Threads that run the model or a hook cannot be stopped, and the process would abort if the interpreter
    ended under them.
    """
    flush_observers(worker)
    os._exit(0)


def announce(service: Service, port: int) -> None:
    """Log which model is served, by how many workers and threads, and a command that scores."""
    settings, package = service.settings, service.model.package
    if not service.samples:
        logger.warning("%s has no samples.json: its outputs are not verified", package)
    if service.verified.fallback_reason:
        logger.warning("served as published, not optimized: %s", service.verified.fallback_reason)
    if not package.manifest.version:
        kind = "a single file has" if package.path.is_file() else "a draft has"
        logger.warning("%s no version: publish it to serve it under a number that stays", kind)
    elif not service.drift.counter.bins:
        logger.info("%s has no baseline.json: drift is not counted", package)
    elif service.drift.counter.rows is None:
        logger.warning("%s: baseline.json has no rows: drift is counted, but there are no alerts", package)
    logger.info("batches: %s", service.scorer.batcher.batching)
    logger.info(
        "serving %s on port %d with %d workers of %d threads; try: %s",
        package,
        port,
        settings.web_concurrency,
        settings.inference_concurrency,
        curl(service.model, service.samples, port),
    )


def is_first_worker(event: str, text: str) -> bool:
    """Return whether this worker is the first with an event since the start or reload.

    Args:
        event: `serving` or `refused`; the name of a file that the first worker writes for the others.
        text: its content.
    """
    if RUN_DIRECTORY not in os.environ:
        return True
    note = _path(f"{event}.{os.getpid()}")
    # On a full file system the note remains empty.
    with suppress(OSError):
        note.write_text(text)
    try:
        _path(event).hardlink_to(note)
    except FileExistsError:
        return False
    finally:
        note.unlink()
    return True


def _path(event: str) -> Path:
    return Path(os.environ[RUN_DIRECTORY]) / event
