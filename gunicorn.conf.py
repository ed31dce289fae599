"""gunicorn's settings, all of them derived from ours (docs/settings.md)."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter

from app.errors import SettingsError
from app.settings import Settings

try:
    settings = Settings.from_environ(os.environ).resolved()
except SettingsError as error:
    sys.exit(f"scorebox: {error}")

wsgi_app = "app.server:application()"
bind = f"{settings.host}:{settings.port}"
worker_class = "gthread"
workers = settings.web_concurrency
threads = settings.threads
keepalive = settings.keepalive_s
graceful_timeout = settings.graceful_timeout_s
loglevel = "warning"
# Its socket would need a writable directory, and nothing here is steered through it.
control_socket_disable = True

# A worker whose model is refused exits 1, and so does the whole then, instead of starting it again and again.
Arbiter.WORKER_BOOT_ERROR = 1

# Set before prometheus_client is imported, which decides by it. A reload runs this again and finds it set.
PREFIX = "scorebox-"
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=PREFIX)
run_directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def on_starting(_server: Any) -> None:
    """Clears what an earlier start left: counters begin at 0."""
    run_directory.mkdir(parents=True, exist_ok=True)
    _clear()


def on_reload(_server: Any) -> None:
    """Lets the new workers say what they serve."""
    (run_directory / "announced").unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    """See `app.server`, which is imported only after the fork: it brings ONNX Runtime."""
    from app import server

    server.post_worker_init(worker)


def child_exit(_server: Any, worker: Any) -> None:
    """Removes the gauges of a worker that is gone."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Any) -> None:
    """Leaves nothing behind."""
    _clear()
    if run_directory.name.startswith(PREFIX):
        run_directory.rmdir()


def _clear() -> None:
    for file in (*run_directory.glob("*.db"), run_directory / "announced", run_directory / "refused"):
        file.unlink(missing_ok=True)
