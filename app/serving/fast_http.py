"""The fast lane: an ordinary scoring request is answered before gunicorn's parser sees it.

gunicorn's ASGI worker parses, starts two tasks and calls back for each request; in Python that costs as much
as a fast model. What surely is one plain message is recognised here instead, by one expression, and a large
body is read straight to where it is used.
Everything else, whether another route, a slow body or a malformed line, goes gunicorn's way to
`app.serving.asgi` and gets the same answer. `benchmarks/` shows what it saves.

https://www.rfc-editor.org/rfc/rfc9112, sections 2, 3, 5 and 6: the messages that are recognised.
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

if TYPE_CHECKING:  # the master imports this module, and shall not bring ONNX Runtime
    from app.protocols.codec import Body
    from app.scoring.scorer import Reply, Route
    from app.serving.asgi import AsgiApp

MAX_HEAD_BYTES = 4096
# Of one read. The rest of a larger request is read to where it stays.
READ_BYTES = 2**16
# How long a body may be on its way. What takes longer is gunicorn's to wait for.
HOLD_S = 0.1
# Without `_` in names, which gunicorn has rules for.
_HEAD = re.compile(
    rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+\-.^`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
# With one of these a message is not framed by its length alone, or the client waits for more than the answer.
_UNUSUAL = {"transfer-encoding", "expect", "upgrade"}


# The path, the headers by name in lower case, none of them twice, and where the body begins.
Head: TypeAlias = tuple[str, dict[str, str], int]


def parse_simple_post(data: bytes) -> "Head | None":
    """The head of a plain POST; None for what may be anything else.

    Args:
        data: all that has come of it.
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
class _Body:
    """A body that is on its way.

    Attributes:
        head: the bytes before it.
        place: of the whole.
        rest: the place of what has not come yet.
        timer: ends the wait.
    """

    route: "Route"
    headers: dict[str, str]
    head: bytes
    place: memoryview
    rest: memoryview
    timer: asyncio.TimerHandle


class ScoringProtocol(ASGIProtocol, asyncio.BufferedProtocol):  # type: ignore[misc]
    """gunicorn's connection, with the fast lane before its parser."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        self._door: AsgiApp = worker.asgi
        self._answering: asyncio.Task[Reply] | None = None
        self._head = b""
        self._recognised: Head | None = None
        self._held = b""
        self._body: _Body | None = None
        self._since = 0.0
        # Who has gunicorn log or hook requests, or close each connection, gets all of them its way.
        self._is_open = bool(
            self._keepalive
            and self.cfg.accesslog is None
            and self._pre_request is None
            and self._post_request is None
        )

    def connection_made(self, transport: Any) -> None:
        """Also ends connections that never send a request, which gunicorn leaves open."""
        super().connection_made(transport)
        self._arm_keepalive_timer()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next read goes: to the body's place, or to one that all connections use in turn."""
        return self._body.rest if self._body else self.worker.read_buffer

    def buffer_updated(self, size: int) -> None:
        """Takes what was read."""
        if not self._body:
            self.data_received(self.worker.read_buffer[:size].tobytes())
            return
        self._body.rest = self._body.rest[size:]
        if not self._body.rest:
            body = self._release(self._body)
            if self._is_idle():
                self._answer(body.route, body.headers, body.place.toreadonly())
            else:
                super().data_received(body.head + body.place)

    def data_received(self, data: bytes) -> None:
        """Answers a plain scoring request; leaves everything else to gunicorn."""
        self.worker.silent.discard(self)
        if self._answering:
            self._held += data  # pipelined: its turn comes when this one is answered
            self._pause_reading()
            return
        head = self._parse_head(data) if self._is_idle() else None
        route = self._door.service.routes.get(head[0]) if head else None
        if head is None or route is None:
            super().data_received(data)
            return
        _, headers, begin = head
        size = int(headers["content-length"])
        here = len(data) - begin
        if here == size:
            self._answer(route, headers, data[begin:])
        elif here < size <= self._door.service.settings.max_body_bytes:
            self._start_body(route, headers, data[:begin], memoryview(data)[begin:], size)
        else:
            super().data_received(data)

    def _parse_head(self, data: bytes) -> "Head | None":
        """As `parse_simple_post`; but a client's heads are mostly the same, and need no second look."""
        if not self._head or not data.startswith(self._head):
            self._recognised = parse_simple_post(data)
            self._head = data[: self._recognised[2]] if self._recognised else b""
        return self._recognised

    def _start_body(
        self, route: "Route", headers: dict[str, str], head: bytes, begun: memoryview, size: int
    ) -> None:
        """Has the rest of a body read to its place."""
        place = self._door.place(size)
        place[: len(begun)] = begun
        timer = self.worker.loop.call_later(HOLD_S, self._fall_back_to_parser)
        self._body = _Body(route, headers, head, place, place[len(begun) :], timer)
        self._door.in_flight += 1
        self._since = monotonic()

    def _release(self, body: _Body) -> _Body:
        body.timer.cancel()
        self._body = None
        self._door.in_flight -= 1
        return body

    def _fall_back_to_parser(self) -> None:
        """Leaves a body that takes its time to gunicorn."""
        if self._body:
            body = self._release(self._body)
            super().data_received(body.head + body.place[: len(body.place) - len(body.rest)])

    def _answer(self, route: "Route", headers: dict[str, str], body: "Body") -> None:
        self.worker.nr += 1
        answer = self._door.answer(route, headers, body)
        if isinstance(answer, CoroutineType):
            self._answering = self.worker.loop.create_task(answer)
            self._answering.add_done_callback(self._answered)
        else:
            self._reply(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives up an answer that nobody waits for."""
        self.worker.left(self)
        if self._answering:
            self._answering.cancel()
        if self._body:
            self._release(self._body)
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        """Whether what comes next is the beginning of a request, and of one that need not be the last."""
        parser = self._callback_parser
        return (
            self._is_open
            and self._awaiting_request
            and not self._request_ready.is_set()
            and not self._finishing_calls
            and parser._state == "request_line"
            and not parser._buffer
            and self.worker.alive
            and self.worker.nr + 1 < self.worker.max_requests
        )

    def _answered(self, task: "asyncio.Task[Reply]") -> None:
        self._answering = None
        if task.cancelled():
            return
        if task.exception():  # what follows on this connection would be taken for the answer
            self.transport.abort()
        self._reply(task.result())
        held, self._held = self._held, b""
        if held and not self._closed:
            self._resume_reading()
            self.data_received(held)

    def _reply(self, reply: "Reply") -> None:
        closes = self._door.service.draining.is_set()
        headers = "".join([f"{name}: {value}\r\n" for name, value in reply.headers.items()])
        self._response_buffer = b"%b%bcontent-length: %d\r\n%b%b%b\r\n" % (
            _get_cached_status_line((1, 1), reply.status),
            headers.encode("latin-1"),
            len(reply.body),
            _CACHED_SERVER_HEADER,
            _get_cached_date_header(),
            b"Connection: close\r\n" if closes else b"",
        )
        self._send_body(reply.body)
        if closes:
            super()._keepalive_timeout()
        self._since = monotonic()

    def _keepalive_timeout(self) -> None:
        """Ends an idle connection. A timer that is looked at when it rings costs a request nothing."""
        left = self._since + self._keepalive - monotonic()
        if self._answering or left > 0:
            self._keepalive_handle = self.worker.loop.call_later(max(left, 1), self._keepalive_timeout)
        else:
            super()._keepalive_timeout()
