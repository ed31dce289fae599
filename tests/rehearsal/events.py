"""A server for what other services send: Alertmanager's webhooks, and the pipelines' notifications."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any

NOTIFY = "/notify"
Payload = dict[str, Any]


class Events:
    """A context manager that receives webhooks.

    Attributes:
        port: of the loopback interface.
        on_alert: called with each payload of Alertmanager; None: they are dropped.
        on_notice: called with each text that the pipelines tell people; None: they are dropped.
    """

    def __init__(self, port: int) -> None:
        """Create a server for a port."""
        self.port = port
        self.on_alert: Callable[[Payload], None] | None = None
        self.on_notice: Callable[[str], None] | None = None
        self._server = _server(self)
        self._thread = Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Events":
        """Start the server."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def notify_url(self) -> str:
        """URL for the pipelines' notifications."""
        return f"http://127.0.0.1:{self.port}{NOTIFY}"

    def receive(self, path: str, payload: Payload) -> None:
        """Pass on what was sent to a path."""
        if path == NOTIFY:
            if self.on_notice:
                self.on_notice(str(payload["text"]))
        elif self.on_alert:
            self.on_alert(payload)


def _server(events: Events) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        """Accepts JSON."""

        def do_POST(self) -> None:
            """Answer at once, as Azure Pipelines does, whose run begins later."""
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            events.receive(self.path, json.loads(body))

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return ThreadingHTTPServer(("127.0.0.1", events.port), Handler)
