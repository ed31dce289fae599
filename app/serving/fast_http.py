"""Fast HTTP: a simple scoring request is answered before gunicorn's parser sees it.

For each request gunicorn's ASGI worker parses the head, starts two tasks and calls back several times; in
Python that costs as much as a fast model. Here one regular expression matches a simple request, and a large
body is read directly into its buffer. Everything else, such as another route, a slow body or a malformed
line, goes through gunicorn's parser to `app.serving.asgi` and gets the same answer.

https://www.rfc-editor.org/rfc/rfc9112, sections 2, 3, 5 and 6
"""

import asyncio
import re
from dataclasses import dataclass
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias

from gunicorn.asgi.protocol import (
    _CACHED_SERVER_HEADER,
    ASGIProtocol,
    _get_cached_date_header,
    _get_cached_status_line,
)

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.protocols.codec import Body
    from app.scoring.scorer import Response, Route
    from app.serving.asgi import AsgiApp

MAX_HEAD_BYTES = 4096
# Size of one read. The rest of a larger request is read into a buffer of its own.
READ_BYTES = 2**16
# A body that takes longer than this is left to gunicorn.
BODY_TIMEOUT_S = 0.1
# No `_` in names, since gunicorn has rules for it.
_HEAD = re.compile(
    rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+\-.^`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
# With one of these the length alone does not frame the message, or the client expects an interim response.
_UNUSUAL = {"transfer-encoding", "expect", "upgrade"}

# The path, the headers by name in lower case, each of them once, and the offset of the body.
Head: TypeAlias = tuple[str, dict[str, str], int]


def parse_simple_post(data: bytes) -> "Head | None":
    """Return the head of a simple POST; None for anything else.

    Args:
        data: all bytes received of the request.
    """
    match = _HEAD.match(data, 0, MAX_HEAD_BYTES)
    if not match:
        return None
    lines = match[2].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    if (
        len(headers) != len(lines) - 1
        or "host" not in headers
        or not _UNUSUAL.isdisjoint(headers)
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
        or not headers.get("content-length", "").isdecimal()
    ):
        return None
    return match[1].decode(), headers, match.end()


@dataclass(slots=True)
class _PartialBody:
    """A body that is being received.

    Attributes:
        head: the bytes before it.
        content: memory for the whole body.
        missing: the part of `content` that has not been received.
        timer: ends the wait for it.
    """

    route: "Route"
    headers: dict[str, str]
    head: bytes
    content: memoryview
    missing: memoryview
    timer: asyncio.TimerHandle


class ScoringProtocol(ASGIProtocol, asyncio.BufferedProtocol):  # type: ignore[misc]
    """gunicorn's connection, with the fast path before its parser."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        self._app: AsgiApp = worker.asgi
        self._answering: asyncio.Task[Response] | None = None
        self._cached_head = b""
        self._parsed_head: Head | None = None
        self._pipelined = b""
        self._body: _PartialBody | None = None
        self._last_active = 0.0
        # Disable the fast path if gunicorn's access log or request hooks are configured, or keep-alive is
        # off: gunicorn must then see every request.
        self._is_enabled = bool(
            self._keepalive
            and self.cfg.accesslog is None
            and self._pre_request is None
            and self._post_request is None
        )

    def connection_made(self, transport: Any) -> None:
        """Start the idle timer, since gunicorn keeps a connection that never sends a request."""
        super().connection_made(transport)
        self._arm_keepalive_timer()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return the memory for the next read: of the body, or one that all connections share."""
        return self._body.missing if self._body else self.worker.read_buffer

    def buffer_updated(self, size: int) -> None:
        """Process the bytes that were read."""
        if not self._body:
            self.data_received(self.worker.read_buffer[:size].tobytes())
            return
        self._body.missing = self._body.missing[size:]
        if not self._body.missing:
            body = self._end_body(self._body)
            if self._is_idle():
                self._answer(body.route, body.headers, body.content.toreadonly())
            else:
                super().data_received(body.head + body.content)

    def data_received(self, data: bytes) -> None:
        """Answer a simple scoring request; leave everything else to gunicorn."""
        self.worker.silent.discard(self)
        if self._answering:
            self._pipelined += data  # processed once the current request is answered
            self._pause_reading()
            return
        head = self._parse_head(data) if self._is_idle() else None
        route = self._app.service.routes.get(head[0]) if head else None
        if head is None or route is None:
            super().data_received(data)
            return
        _, headers, begin = head
        size = int(headers["content-length"])
        received = len(data) - begin
        if received == size:
            self._answer(route, headers, data[begin:])
        elif received < size <= self._app.service.settings.max_body_bytes:
            self._start_body(route, headers, data[:begin], memoryview(data)[begin:], size)
        else:
            super().data_received(data)

    def _parse_head(self, data: bytes) -> "Head | None":
        """Parse a head, unless it is the same as the last one of this client, as most are."""
        if not self._cached_head or not data.startswith(self._cached_head):
            self._parsed_head = parse_simple_post(data)
            self._cached_head = data[: self._parsed_head[2]] if self._parsed_head else b""
        return self._parsed_head

    def _start_body(
        self, route: "Route", headers: dict[str, str], head: bytes, received: memoryview, size: int
    ) -> None:
        """Allocate a buffer that the rest of a body is read into."""
        content = self._app.allocate_body(size)
        content[: len(received)] = received
        timer = self.worker.loop.call_later(BODY_TIMEOUT_S, self._fall_back_to_parser)
        self._body = _PartialBody(route, headers, head, content, content[len(received) :], timer)
        self._app.in_flight += 1
        self._last_active = monotonic()

    def _end_body(self, body: _PartialBody) -> _PartialBody:
        body.timer.cancel()
        self._body = None
        self._app.in_flight -= 1
        return body

    def _fall_back_to_parser(self) -> None:
        """Leave a slow body to gunicorn."""
        if self._body:
            body = self._end_body(self._body)
            super().data_received(body.head + body.content[: len(body.content) - len(body.missing)])

    def _answer(self, route: "Route", headers: dict[str, str], body: "Body") -> None:
        self.worker.nr += 1
        answer = self._app.answer(route, headers, "", body)
        if isinstance(answer, CoroutineType):
            self._answering = self.worker.loop.create_task(answer)
            self._answering.add_done_callback(self._on_answered)
        else:
            self._respond(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the answer to a client that has disconnected."""
        self.worker.on_connection_closed(self)
        if self._answering:
            self._answering.cancel()
        if self._body:
            self._end_body(self._body)
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        """Return whether a request may start here, and another one follow it."""
        parser = self._callback_parser
        return (
            self._is_enabled
            and self._awaiting_request
            and not self._request_ready.is_set()
            and not self._finishing_calls
            and parser._state == "request_line"
            and not parser._buffer
            and self.worker.alive
            and self.worker.nr + 1 < self.worker.max_requests
        )

    def _on_answered(self, task: "asyncio.Task[Response]") -> None:
        self._answering = None
        if task.cancelled():
            return
        if task.exception():  # the client would take the next response for this one
            self.transport.abort()
        self._respond(task.result())
        pipelined, self._pipelined = self._pipelined, b""
        if pipelined and not self._closed:
            self._resume_reading()
            self.data_received(pipelined)

    def _respond(self, response: "Response") -> None:
        closes = self._app.service.draining.is_set()
        headers = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
        self._response_buffer = b"%b%bcontent-length: %d\r\n%b%b%b\r\n" % (
            _get_cached_status_line((1, 1), response.status),
            headers.encode("latin-1"),
            len(response.body),
            _CACHED_SERVER_HEADER,
            _get_cached_date_header(),
            b"Connection: close\r\n" if closes else b"",
        )
        self._send_body(response.body)
        if closes:
            super()._keepalive_timeout()
        self._last_active = monotonic()

    def _keepalive_timeout(self) -> None:
        """Close an idle connection. Resetting the timer only when it fires costs a request nothing."""
        remaining = self._last_active + self._keepalive - monotonic()
        if self._answering or remaining > 0:
            self._keepalive_handle = self.worker.loop.call_later(max(remaining, 1), self._keepalive_timeout)
        else:
            super()._keepalive_timeout()
