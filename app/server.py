"""What gunicorn calls in its workers: the application, and the worker's beginning and end."""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from flask import Flask

from app import create_app
from app.errors import StartupError
from app.example import curl
from app.logs import configure, logger
from app.service import Service
from app.settings import Settings


def application() -> Flask:
    """The application of one worker. A model that cannot be proven ends the process with exit code 1."""
    try:
        settings = Settings.from_environ(os.environ)
        configure(settings)
        return create_app(settings)
    except StartupError as exc:
        refuse(str(exc))


def refuse(message: str) -> NoReturn:
    """Ends this worker, and by exit code 1 all of them, with one message for all."""
    if _claim("refused", message):
        logger.critical(message)
        sys.exit(1)
    # The first one's exit ends them all; a second exit like it would make gunicorn's master trip over it.
    time.sleep(1)
    sys.exit(0)


def post_worker_init(worker: Any) -> None:
    """Says what is served, once for all workers, and makes SIGTERM drain this one."""
    service: Service = worker.wsgi.extensions["scorebox"]
    package = str(service.model.package)
    if _claim("serving", package):
        announce(service, port=worker.sockets[0].getsockname()[1])
    elif (served := _path("serving").read_text()) and served != package:
        # A worker that takes the place of one that died finds what is at MODEL_PATH now.
        refuse(
            f"{package} is at MODEL_PATH, but this service serves {served}: restart it, or reload by SIGHUP"
        )

    def drain(signum: int, frame: FrameType | None) -> None:
        service.draining.set()
        worker.handle_exit(signum, frame)

    signal.signal(signal.SIGTERM, drain)


def announce(service: Service, port: int) -> None:
    """Logs which model is served, by how many workers and threads, and a command that scores."""
    settings = service.settings
    if not service.samples:
        logger.warning(
            "%s has no samples.json: nothing proves its answers, and the first request warms it up",
            service.model.package,
        )
    if not service.model.package.manifest.version:
        logger.warning("a lone file has no manifest: no version, no metrics, no column names")
    logger.info(
        "serving %s on port %d with %d workers of %d threads; try: %s",
        service.model.package,
        port,
        settings.web_concurrency,
        settings.threads,
        curl(service.model, service.samples, port),
    )


def _claim(event: str, text: str) -> bool:
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
