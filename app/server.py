"""What gunicorn calls in its workers: the application, and the worker's beginning and end."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from flask import Flask

from app import create_app
from app.errors import StartupError
from app.example import curl
from app.logs import configure, logger
from app.service import Service
from app.settings import Settings


def application() -> Flask:
    """The application of one worker. A model that cannot be proven ends the process with exit code 1."""
    settings = Settings.from_environ(os.environ)
    configure(settings)
    try:
        return create_app(settings)
    except StartupError as exc:
        if first("refused"):
            logger.critical(str(exc))
            sys.exit(1)
        # The first one's exit ends them all; a second exit like it would make gunicorn's master trip over it.
        signal.pause()
        sys.exit(0)


def post_worker_init(worker: Any) -> None:
    """Says what is served, once for all workers, and makes SIGTERM drain this one."""
    service: Service = worker.wsgi.extensions["scorebox"]
    if first("announced"):
        announce(service, port=worker.sockets[0].getsockname()[1])

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


def first(event: str) -> bool:
    """Whether this is the first worker that gets here since the start or the last reload."""
    try:
        os.close(os.open(run_directory() / event, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def run_directory() -> Path:
    """The directory that all workers share: gunicorn.conf.py makes it, and Prometheus' files are in it."""
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
