"""HTTP/1.1 connections: uvicorn's protocol on llhttp, with bounds on what a client can make it do.

llhttp alone decides where a message begins and ends. A connection parses one message at a time: what follows
a request waits, unparsed, until the request is answered and its response is sent.

https://www.rfc-editor.org/rfc/rfc9112, sections 2.2, 3.2, 5, 6, 7 and 9
https://www.rfc-editor.org/rfc/rfc9110, section 7.2, Host
"""

import re
from time import monotonic
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.scoring.scorer import Response
    from app.serving.connections import Connections

# Of a request line with its headers, and of the parts of a chunked body that are not content.
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
# A read of at most this many bytes with only one head in it is parsed at once.
SMALL_READ_BYTES = 16 * 1024
# How long to discard what a client sends after a response that ends the connection. Closing a socket with
# unread bytes resets it, and the client may lose the response.
LINGER_S = 5.0
# Above the limit of connections, how long one may take to send the request of a probe.
SURPLUS_S = 1.0
_HEAD_END = b"\r\n\r\n"
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(:[0-9]*)?")
_ABSOLUTE_FORM = re.compile(rb"(?i)https?://([^/?#@]+)(/[^?]*)?(\?.*)?")


class RefusedMessage(Exception):
    """A message that ends its connection, with the status and text of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class HttpProtocol(HttpToolsProtocol):
    """A connection. Every request goes to the ASGI application, in a task.

    Attributes:
        has_received: whether the client has sent anything.
    """

    def __init__(self, connections: "Connections", *, is_surplus: bool = False) -> None:
        """
        Args:
            connections: of the worker.
            is_surplus: whether the limit of connections is reached; then only probes are answered.
        """
        super().__init__(connections.config, connections.state, {}, connections.loop)
        self.has_received = False
        self.shared = connections
        self.is_surplus = is_surplus
        # Received and not yet parsed, from the offset on.
        self._pending = b""
        self._parsed = 0
        # The last bytes of an incomplete head, which may be the beginning of its end.
        self._head_tail = b""
        self._head_bytes = 0
        self._is_in_head = self._is_in_body = self._is_answering = self._is_lingering = False
        self._keep_alive = True
        self._missing_bytes = 0
        self._refusal: Response | None = None
        self._last_active = monotonic()
        self._unsent_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun and every response is sent."""
        return not (
            self._is_answering
            or self._is_in_head
            or self._is_in_body
            or self._pending
            or self.transport.get_write_buffer_size()
        )

    @property
    def is_answering(self) -> bool:
        """Whether a request has been received, wholly or in part, and its response is not sent."""
        return bool(self._is_answering or self._pending or self.transport.get_write_buffer_size())

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        super().connection_lost(exc)
        self._store_pending(b"")
        self.shared.on_closed(self)

    def pause_writing(self) -> None:
        """Read nothing from a client that does not read its responses."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Continue to read."""
        super().resume_writing()
        self._continue()

    def data_received(self, data: bytes) -> None:
        """Parse what was read, or store it until the current request is answered."""
        self.has_received = True
        if self._is_lingering or self.transport.is_closing():
            return
        if self._pending:
            self._store_pending(self._pending[self._parsed :] + data)
        else:
            self._parse(data, 0)

    def _parse(self, data: bytes, begin: int) -> None:
        """Parse data from an offset on, at most to the end of one request that is not answered at once."""
        while begin < len(data):
            if self._is_lingering or self.transport.is_closing():
                break
            if self.flow.write_paused or (self._is_answering and not self._is_in_body):
                self._store_pending(data, begin)
                return
            end = self._end_of_part(data, begin)
            begin += self._feed(data[begin:end] if end - begin < len(data) else data)
            if begin < len(data) and not (self._is_answering or self._is_in_head or self._is_in_body):
                # Other connections take their turn before the next pipelined request.
                self._store_pending(data, begin)
                self.loop.call_soon(self._parse_pending)
                return

    def _end_of_part(self, data: bytes, begin: int) -> int:
        """Return the end of a part of the data in which at most one message ends."""
        if self._is_in_body and self._missing_bytes > 0:
            return min(len(data), begin + self._missing_bytes)
        if self._head_tail:
            found = (self._head_tail + data[begin : begin + 3]).find(_HEAD_END)
            if found >= 0:
                return begin + found + len(_HEAD_END) - len(self._head_tail)
        head_end = data.find(_HEAD_END, begin)
        if head_end < 0:
            return len(data)
        head_end += len(_HEAD_END)
        is_only_head = not begin and not self._is_in_body and data.find(_HEAD_END, head_end) < 0
        return len(data) if is_only_head and len(data) <= SMALL_READ_BYTES else head_end

    def _feed(self, part: bytes) -> int:
        """Parse a part of the data; return how many of its bytes were parsed."""
        self._head_tail = b""
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as exc:
            # The request is answered as any other. llhttp stopped after it, and continues with the next one.
            return int(exc.args[0]) or len(part)
        except httptools.HttpParserCallbackError as exc:
            if not isinstance(exc.__context__, RefusedMessage):
                raise
            self._refuse(exc.__context__.status, str(exc.__context__))
        except httptools.HttpParserError as exc:
            self._refuse(400, f"malformed HTTP request: {str(exc)[:200]}")
        else:
            if self._is_in_head or (self._is_in_body and self._missing_bytes < 0):
                self._head_tail = part[-3:]
                self._head_bytes += len(part)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(431, f"expected a head of at most {MAX_HEAD_BYTES} bytes, got more")
        return len(part)

    def on_message_begin(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self.url = b""
        self.headers = []
        self._is_in_head = True
        self._head_bytes = 0
        self._last_active = monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools.HttpRequestParser`; called for the trailers of a chunked body, too."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, and start to answer."""
        self._is_in_head = False
        self._head_bytes = 0
        if self._is_answering:
            raise RefusedMessage(400, "malformed HTTP request: expected the lines of a head to end with CRLF")
        headers, self.headers = self.headers, []
        if self.url[:1] != b"/":
            self._normalize_target()
        self._keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self._is_in_body = self._is_answering = True
        self.start(headers)

    def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Start to answer a request.

        Args:
            headers: as they were received.
        """
        lowered = self.check_head(headers)
        if self.is_surplus and not self.shared.app.is_probe(self.url.partition(b"?")[0].decode("latin-1")):
            raise RefusedMessage(503, "too many connections")
        url = self.url
        super().on_message_begin()
        self.url = url
        self.headers.extend(lowered)
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in lowered
        )
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError) as exc:
            raise RefusedMessage(400, "expected an absolute path as the request's target") from exc
        self.headers = []

    def check_head(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers with names in lower case.

        Names with `_` are dropped: WSGI could not distinguish them from those with `-`.

        Raises:
            RefusedMessage: there are too many headers, or Host is missing or malformed.
        """
        if len(headers) > MAX_HEADERS:
            raise RefusedMessage(431, f"expected at most {MAX_HEADERS} headers, got {len(headers)}")
        lowered = [(name.lower(), value) for name, value in headers if b"_" not in name]
        hosts = [value for name, value in lowered if name == b"host"]
        if len(hosts) != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise RefusedMessage(400, f"expected one Host header, got {len(hosts)}")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise RefusedMessage(400, "expected Host to be a name or address, and optionally a port")
        lengths = [value for name, value in lowered if name == b"content-length"]
        is_chunked = any(name == b"transfer-encoding" for name, _ in lowered)
        self._missing_bytes = -1 if is_chunked else int(lengths[0]) if lengths else 0
        return lowered

    def _normalize_target(self) -> None:
        """Replace a target in absolute form by its path and query, RFC 9112, section 3.2.2."""
        match = _ABSOLUTE_FORM.fullmatch(self.url)
        if not match or not _HOST.fullmatch(match[1]):
            raise RefusedMessage(400, "expected the request's target to be a path or an http URL")
        self.url = (match[2] or b"/") + (match[3] or b"")

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        self.count_content(body)
        if self._is_answering:
            super().on_body(body)

    def count_content(self, body: bytes) -> None:
        if self._missing_bytes > 0:
            self._missing_bytes -= len(body)
        else:
            self._head_bytes = 0

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._is_in_body = False
        if self._is_answering:
            super().on_message_complete()
        elif not self._keep_alive:
            self._close()

    def on_response_complete(self) -> None:
        """Continue with the next request; called when a response has been passed to the transport."""
        self.server_state.total_requests += 1
        self._is_answering = False
        self._last_active = monotonic()
        if self.transport.is_closing():
            return
        if self._refusal:
            refusal, self._refusal = self._refusal, None
            self._end(refusal)
        elif self._keep_alive:
            self._continue()
        elif not self._is_in_body:
            self._close()

    def respond(self, response: "Response") -> None:
        """Send the response to the current request."""
        if self.transport.is_closing():
            return
        self._keep_alive = self._keep_alive and not self.shared.is_draining
        headers = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
        head = b"%b%bcontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINE[response.status],
            headers.encode("latin-1"),
            len(response.body),
            self.shared.date_header,
            b"" if self._keep_alive else b"connection: close\r\n",
        )
        self.transport.write(head + response.body)
        self.on_response_complete()

    def _refuse(self, status: int, text: str) -> None:
        """Answer a message that ends the connection, after the response to the request before it, if any."""
        response = self.shared.app.refuse(status, text)
        if self._is_answering and not self._is_in_body:
            self._refusal = response
        else:
            self._end(response)

    def _end(self, response: "Response") -> None:
        self._abandon()
        self._keep_alive = self._is_in_body = False
        self._is_lingering = True
        self.respond(response)

    def _abandon(self) -> None:
        """Stop answering a request whose body is malformed."""
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _close(self) -> None:
        """Close the connection so that the client gets the response, also if it still sends."""
        if self._is_lingering and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _continue(self) -> None:
        """Parse what is pending, in a turn of its own, or read."""
        if self.transport.is_closing() or self.flow.write_paused:
            return
        if self._pending:
            self.loop.call_soon(self._parse_pending)
        else:
            self.flow.resume_reading()

    def _parse_pending(self) -> None:
        data, begin = self._pending, self._parsed
        self._store_pending(b"")
        self._parse(data, begin)
        if not self._pending and not self.flow.write_paused and not self.transport.is_closing():
            self.flow.resume_reading()

    def _store_pending(self, data: bytes, parsed: int = 0) -> None:
        """Store data that cannot be parsed yet, and stop reading; abort if the worker stores too much."""
        self.shared.pending_bytes += len(data) - len(self._pending)
        self._pending, self._parsed = data, parsed
        if data:
            self.flow.pause_reading()
            if self.shared.pending_bytes > self.shared.max_pending_bytes:
                self.transport.abort()

    def close_if_idle(self) -> None:
        """Close the connection if no request has begun."""
        if self.is_idle:
            self.transport.close()

    def check_timeouts(self, now: float) -> None:
        """End a connection that is idle, or whose client does not send or read; called every second.

        Args:
            now: in seconds of the monotonic clock.
        """
        settings = self.shared.settings
        if unsent := self.transport.get_write_buffer_size():
            if unsent != self._unsent_bytes:
                self._last_active = now
            self._unsent_bytes = unsent
            if now - self._last_active > settings.write_timeout_s:
                self.transport.abort()
            return
        self._unsent_bytes = 0
        if self._is_answering:
            return
        limit_s: float = settings.keepalive_s
        if self._is_lingering or self._is_in_body:
            limit_s = LINGER_S
        elif self._is_in_head:
            limit_s = min(limit_s, settings.request_timeout_ms / 1000)
        if self.is_surplus:
            limit_s = min(limit_s, SURPLUS_S)
        if now - self._last_active > limit_s:
            self.transport.close()
