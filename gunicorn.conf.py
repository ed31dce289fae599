"""gunicorn's settings, all of them derived from ours (docs/settings.md)."""

import atexit
import os
import shutil
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

wsgi_app = "app.serving.lifecycle:application()"
host = f"[{settings.host}]" if ":" in settings.host else settings.host
bind = f"{host}:{settings.port}"
worker_class = "app.serving.worker.Worker"
# The fast lane looks at the state of this parser, to tell whether a request begins.
http_parser = "python"
workers = settings.web_concurrency
keepalive = settings.keepalive_s
graceful_timeout = settings.graceful_timeout_s
loglevel = "warning"
# Its socket would need a writable directory, and nothing here is steered through it.
control_socket_disable = True

# A worker whose model is refused exits 1, and so does the whole then, instead of starting it again and again.
Arbiter.WORKER_BOOT_ERROR = 1


def _remove(directory: str, master: int) -> None:
    if os.getpid() == master:  # a worker's end runs this too
        shutil.rmtree(directory)


# Set before prometheus_client is imported, which decides by it. A reload runs this again and finds it set.
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    try:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="scorebox-")
    except OSError as error:
        sys.exit(f"scorebox: no directory to write to ({error}): mount one, such as --tmpfs /tmp")
    atexit.register(_remove, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())
run_directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def on_starting(_server: Any) -> None:
    """Clears what an earlier start left in a directory that was given: counters begin at 0."""
    run_directory.mkdir(parents=True, exist_ok=True)
    for kind in ("counter", "gauge_*", "histogram", "summary"):
        for file in run_directory.glob(f"{kind}_[0-9]*.db"):
            file.unlink()
    on_reload(_server)


def on_reload(_server: Any) -> None:
    """Lets the new workers say what they serve, also if it is another model."""
    for event in ("serving", "refused"):
        (run_directory / event).unlink(missing_ok=True)


def post_worker_init(worker: Any) -> None:
    """See `app.serving.lifecycle`, which is imported only after the fork: it brings ONNX Runtime."""
    from app.serving import lifecycle as server

    server.post_worker_init(worker)


def worker_exit(_server: Any, worker: Any) -> None:
    """Counts and logs what was put off, however the worker ends."""
    if getattr(worker, "asgi", None):
        from app.serving import lifecycle as server

        server.flush_observers(worker)


def child_exit(_server: Any, worker: Any) -> None:
    """Removes the gauges of a worker that is gone, and its share of the connections."""
    from prometheus_client.multiprocess import mark_process_dead

    from app.serving.worker import release_slot

    release_slot(worker)
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
