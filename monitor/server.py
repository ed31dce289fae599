"""Calculate the quality every few minutes, and serve it to Prometheus and as a page.

It has no state but the last result: after a restart, everything is calculated from the capture store again.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from model_loader.errors import LoaderError
from model_loader.store.secrets import scrub
from monitor.errors import MonitorError
from monitor.exporter import exposition
from monitor.quality import Quality

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The page has no scripts, and nothing of it comes from elsewhere.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
REQUEST_TIMEOUT_S = 10


@dataclass(frozen=True)
class Result:
    """A calculation: the quality, and the page about it."""

    quality: Quality
    page: str


@dataclass
class State:
    """What is served. Each attribute is replaced as a whole, so readers need no lock.

    Attributes:
        result: of the last calculation that succeeded.
        success_s: when it ended, in seconds since the epoch.
        duration_s: how long the last calculation took.
        failure: why it failed; None: it succeeded.
    """

    result: Result | None = None
    success_s: float | None = None
    duration_s: float = 0.0
    failure: str | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def metrics(self) -> str:
        """Return the text for Prometheus."""
        return exposition(
            self.result.quality if self.result else None,
            success_s=self.success_s,
            duration_s=self.duration_s,
            is_up=self.result is not None and self.failure is None,
        )


def serve(calculate: Callable[[], Result], host: str, port: int, interval_s: float) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        calculate: returns a new result; raises MonitorError or LoaderError.
        port: 0: any free one.

    Raises:
        OSError: the port is taken.
    """
    state = State()
    server = _server(state, host, port)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: state.stopped.set())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _log(f"serving at http://{host}:{server.server_port}/")
    try:
        while not state.stopped.is_set():
            refresh(state, calculate)
            state.stopped.wait(interval_s)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refresh(state: State, calculate: Callable[[], Result]) -> None:
    """Calculate once; after a failure, the last result stays and its age shows in the metrics."""
    started = time.monotonic()
    try:
        state.result = calculate()
        state.success_s, state.failure = time.time(), None
    except (MonitorError, LoaderError, OSError) as exc:
        state.failure = scrub(" ".join(str(exc).split()))
        _log(state.failure)
    state.duration_s = time.monotonic() - started


def _server(state: State, host: str, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        """GET / the report, /metrics for Prometheus, /healthz for the kubelet."""

        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            """Answer a request."""
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._send(200, METRICS_TYPE, state.metrics())
            elif path == "/healthz":
                self._send(200, "text/plain", "ok\n")
            elif path != "/":
                self._send(404, "text/plain", "not found: /, /metrics and /healthz are served\n")
            elif state.result:
                self._send(200, "text/html; charset=utf-8", state.result.page)
            else:
                reason = state.failure or "the first calculation is still running"
                self._send(503, "text/plain; charset=utf-8", f"{reason}\n")

        def _send(self, status: int, media_type: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            for name, value in (HEADERS | {"content-type": media_type}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing: probes and scrapes would be all of the log."""

    return ThreadingHTTPServer((host, port), Handler)


def _log(message: str) -> None:
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "logger": "serve",
        "message": message,
    }
    print(json.dumps(entry), file=sys.stderr, flush=True)
