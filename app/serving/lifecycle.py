"""What gunicorn calls in its workers: the application, and the worker's beginning and end."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from flask import Flask

from app import create_app
from app.errors import StartupError
from app.observability.logging import configure, logger
from app.openapi.examples import curl
from app.service import Service
from app.serving.asgi import AsgiApp
from app.settings import Settings

POLL_S = 0.02
# How long a count may be put off.
COUNT_S = 0.5
# How old what the gauges show may be.
LOOK_S = 1.0
# Time for the connections that were accepted last: to be attached, and to send their request.
SETTLE_S = 0.2
SILENCE_S = 2.0


def application(door: Callable[[Flask], AsgiApp] = AsgiApp) -> AsgiApp:
    """The application of one worker; a model that cannot be proven ends the process with exit code 1.

    Args:
        door: what opens to the service.
    """
    try:
        settings = Settings.from_environ(os.environ)
        configure(settings)
        return door(create_app(settings))
    except StartupError as exc:
        abort_startup(str(exc))


def abort_startup(message: str) -> NoReturn:
    """Ends this worker, and by exit code 1 all of them, with one message for all."""
    if is_first_worker("refused", message):
        logger.critical(message)
        sys.exit(1)
    # The first one's exit ends them all; a second exit like it would make gunicorn's master trip over it.
    time.sleep(1)
    sys.exit(0)


def post_worker_init(worker: Any) -> None:
    """Says what is served, once for all workers, and makes SIGTERM drain this one."""
    service: Service = worker.asgi.service
    package = str(service.model.package)
    if is_first_worker("serving", package):
        announce(service, port=worker.sockets[0].getsockname()[1])
    elif (served := _path("serving").read_text()) and served != package:
        # A worker that takes the place of one that died finds what is at MODEL_PATH now.
        abort_startup(
            f"{package} is at MODEL_PATH, but this service serves {served}: restart it, or reload by SIGHUP"
        )

    _look(worker)
    worker.asgi.enable_buffering(worker.loop)
    service.metrics.defer = partial(worker.loop.call_later, COUNT_S)
    # What the start made stays, so the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    worker.loop.add_signal_handler(signal.SIGTERM, drain, worker)


def _look(worker: Any) -> None:
    """Has the gauges show the present, as long as the worker lives."""
    worker.asgi.service.metrics.refresh_gauges()
    worker.loop.call_later(LOOK_S, _look, worker)


def drain(worker: Any) -> None:
    """Ends the worker so that nobody notices: SIGTERM, SIGHUP and Kubernetes' preStop all come to this.

    From now on readiness fails and every reply announces the connection's end, while new connections are
    still answered, until those who send them have heard of it; then what is in flight is finished.
    gunicorn's own stop closes kept-alive connections that were not told, and waits for those that idle.
    """
    door: AsgiApp = worker.asgi
    if door.service.draining.is_set():
        return
    door.service.draining.set()
    worker.pause_accepting()
    logger.info("draining")
    worker.loop.call_later(door.service.settings.drain_delay_s, _stop, worker)


def _stop(worker: Any) -> None:
    """Accepts no more, so that what is in flight comes to an end; gunicorn's stop would cut it off."""
    worker.accept_pending()
    worker.stop_accepting()
    worker.loop.call_later(SETTLE_S, _finish, worker, worker.loop.time() + SILENCE_S)


def _finish(worker: Any, patience: float) -> None:
    if worker.asgi.in_flight or (worker.silent and worker.loop.time() < patience):
        worker.loop.call_later(POLL_S, _finish, worker, patience)
    else:
        _quit(worker)


def _quit(worker: Any) -> None:
    flush_observers(worker)
    service: Service = worker.asgi.service
    if service.tracing:
        service.tracing.close()
    worker.handle_quit_signal()


def flush_observers(worker: Any) -> None:
    """Counts and logs what was put off, and from now on puts off nothing: the loop may be closed already."""
    worker.asgi.service.metrics.defer = None
    worker.asgi.close()
    worker.asgi.service.metrics.flush()


def announce(service: Service, port: int) -> None:
    """Logs which model is served, by how many workers and threads, and a command that scores."""
    settings = service.settings
    if not service.samples:
        logger.warning(
            "%s has no samples.json: nothing proves its answers",
            service.model.package,
        )
    if service.proven.fallback_reason:
        logger.warning("served as published, not optimized: %s", service.proven.fallback_reason)
    if not service.model.package.manifest.version:
        logger.warning("a lone file has no manifest: no version, no metrics, no column names, no baseline")
    elif not service.metrics.drift.bins:
        logger.info("%s has no baseline.json: drift is not counted", service.model.package)
    logger.info(
        "serving %s on port %d with %d workers of %d threads; try: %s",
        service.model.package,
        port,
        settings.web_concurrency,
        settings.inference_concurrency,
        curl(service.model, service.samples, port),
    )


def is_first_worker(event: str, text: str) -> bool:
    """Whether this worker is the first since the start or reload; `text` is then left for the others."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # not under gunicorn: there are no other workers
        return True
    note = _path(f"{event}.{os.getpid()}")
    note.write_text(text)
    try:
        _path(event).hardlink_to(note)
    except FileExistsError:
        return False
    finally:
        note.unlink()
    return True


def _path(event: str) -> Path:
    """A file in the directory that all workers share, which gunicorn.conf.py makes."""
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / event
