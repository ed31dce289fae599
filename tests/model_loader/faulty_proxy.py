"""A proxy in front of Azurite that cuts connections and answers that the store is busy."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

Upload: TypeAlias = Literal["forward", "before", "after"]

# Bodies that are smaller are not cut.
LARGE_BYTES = 64 * 1024


@dataclass
class Faults:
    """What the proxy does wrong from now on, and what it has done.

    Attributes:
        cut_downloads: number of bodies of responses to cut.
        cut_bytes: bytes of such a body that are sent; None for half of it.
        uploads: whether each request with a body is forwarded, or cut `before` or `after` it is forwarded.
        answers: statuses to answer with instead of forwarding, from the last to the first.
        retry_after: the value of this header in such an answer.
        answered: number of such answers.
        sent_bytes: bytes of all bodies of responses.
    """

    cut_downloads: int = 0
    cut_bytes: int | None = None
    uploads: Iterator[Upload] = field(default_factory=lambda: repeat("forward"))
    answers: list[int] = field(default_factory=list)
    retry_after: str | None = None
    answered: int = 0
    sent_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cuts_download(self) -> bool:
        """Return whether to cut a body, and count it."""
        with self.lock:
            self.cut_downloads -= 1
            return self.cut_downloads >= 0

    def upload(self) -> Upload:
        """Return what to do with a request with a body."""
        with self.lock:
            return next(self.uploads)

    def status(self) -> int | None:
        """Return the status to answer with, if any."""
        with self.lock:
            if not self.answers:
                return None
            self.answered += 1
            return self.answers.pop()


@contextmanager
def faulty_proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """Run the proxy; yield its URL, which has the path of `upstream`."""
    parts = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            """Forward a request, unless a fault is due."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if status := faults.status():
                self.reject(status)
                return
            upload = faults.upload() if body else "forward"
            if upload == "before":
                self.cut()
                return
            connection = HTTPConnection(parts.netloc, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            connection.close()
            if upload == "after":
                self.cut()
                return
            self.respond(response, content)

        do_GET = do_HEAD = do_PUT = do_DELETE = forward  # noqa: N815  (names that http.server calls)

        def respond(self, response: HTTPResponse, content: bytes) -> None:
            """Send a response, or the beginning of it."""
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = response.getheader("Content-Length") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            is_cut = self.command == "GET" and len(content) > LARGE_BYTES and faults.cuts_download()
            if is_cut:
                content = content[: faults.cut_bytes or len(content) // 2]
            self.wfile.write(content)
            with faults.lock:
                faults.sent_bytes += len(content)
            if is_cut:
                self.cut()

        def reject(self, status: int) -> None:
            """Answer that the store is busy."""
            self.send_response_only(status)
            self.send_header("x-ms-error-code", "ServerBusy")
            if faults.retry_after is not None:
                self.send_header("Retry-After", faults.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def cut(self) -> None:
            """Reset the connection."""
            self.close_connection = True
            self.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

        def log_message(self, *args: object) -> None:
            """Log nothing."""

        def finish(self) -> None:
            """Finish, also if the connection was reset."""
            if self.connection.fileno() != -1:
                super().finish()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{parts.path}"
        server.shutdown()
