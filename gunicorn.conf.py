"""gunicorn's settings, all of them derived from ours (docs/settings.md)."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from queue import Empty
from threading import Event
from typing import Any, NoReturn

from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from app.errors import SettingsError
from app.observability.logging import configure, logger
from app.settings import Settings


def _refuse(message: str) -> NoReturn:
    """Log why the service cannot start, and end it."""
    logger.critical(message)
    sys.exit(1)


class ServiceLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, whose lines are written like ours."""

    def setup(self, cfg: Config) -> None:
        """Replace the handlers that gunicorn adds, at the start and at a reload."""
        super().setup(cfg)
        configure(settings)


configure(Settings())  # for the line of a setting that is invalid
try:
    settings = Settings.from_environ(os.environ).resolved()
except SettingsError as error:
    _refuse(str(error))

wsgi_app = "app.serving.lifecycle:application()"
host = f"[{settings.host}]" if ":" in settings.host else settings.host
bind = f"{host}:{settings.port}"
worker_class = "app.serving.worker.Worker"
workers = settings.web_concurrency
graceful_timeout = settings.graceful_timeout_s
timeout = settings.worker_timeout_s
logger_class = ServiceLogger
loglevel = "warning"
# Its socket would need a writable directory, and nothing here is controlled through it.
control_socket_disable = True


def _remove(directory: str, master: int) -> None:
    if os.getpid() == master:  # the exit of a worker runs this too
        shutil.rmtree(directory)


# A directory that the workers share. A reload runs this file again, when the variable is set already.
try:
    if not os.environ.get("SERVICE_RUN_DIRECTORY"):
        os.environ["SERVICE_RUN_DIRECTORY"] = tempfile.mkdtemp(prefix="scoring-")
        atexit.register(_remove, os.environ["SERVICE_RUN_DIRECTORY"], os.getpid())
    run_directory = Path(os.environ["SERVICE_RUN_DIRECTORY"])
    run_directory.mkdir(parents=True, exist_ok=True)
except OSError as error:
    _refuse(f"no directory to write to ({error}): mount one, such as --tmpfs /tmp")
# prometheus_client reads this when it is imported.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or str(
    run_directory / "metrics"
)
metrics_directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
terminated = Event()


def on_starting(_server: Any) -> None:
    """Remove what an earlier start left in directories that were given: counters begin at 0."""
    for file in run_directory.iterdir():
        if file.name in ("serving", "refused", "stopping") or file.name.startswith(
            ("caller_", "hash-", "requests-", "data-")
        ):
            file.unlink()
    metrics_directory.mkdir(parents=True, exist_ok=True)
    for kind in ("counter", "gauge_*", "histogram", "summary"):
        for file in metrics_directory.glob(f"{kind}_[0-9]*.db"):
            file.unlink()


def when_ready(server: Any) -> None:
    """Act on SIGTERM before the signals that are queued: each queued SIGHUP would first start new workers."""

    def terminate(number: int, _frame: Any) -> None:
        terminated.set()
        with suppress(OSError):  # the file system may be full
            (run_directory / "stopping").touch()
        with suppress(Empty):
            while True:
                server.SIG_QUEUE.get_nowait()
        server.SIG_QUEUE.put_nowait(number)

    signal.signal(signal.SIGTERM, terminate)


def on_reload(_server: Any) -> None:
    """Let the new workers announce what they serve; it may be another model."""
    if terminated.is_set():
        raise HaltServer("SIGTERM", 0)
    (run_directory / "serving").unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    """See `app.serving.lifecycle`, which imports ONNX Runtime and therefore is imported after the fork."""
    from app.serving import lifecycle

    lifecycle.post_worker_init(worker)


def worker_exit(_server: Any, worker: Any) -> None:
    """Count and log what is buffered, however the worker ends."""
    if getattr(worker, "asgi", None):
        from app.serving import lifecycle

        lifecycle.end(worker)


def child_exit(server: Any, worker: Any) -> None:
    """Release the resources of a worker that has ended, and end the service if it could not start.

    Otherwise gunicorn would replace the worker endlessly, to refuse the same model.
    """
    from prometheus_client.multiprocess import mark_process_dead

    from app.serving.accept_balancing import release_slot

    release_slot(worker)
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    # Without listeners the service is ending already.
    if (run_directory / "refused").exists() and server.LISTENERS:
        raise HaltServer("the service cannot start")
