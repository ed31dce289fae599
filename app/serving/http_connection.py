"""What a connection reads and writes, with bounds on what a client can make it do.

A connection parses one message at a time: what follows a request waits, unparsed, until the request is
answered and its response is sent. A client that does not read its responses is not read from.

https://www.rfc-editor.org/rfc/rfc9112, section 9
"""

from asyncio import Transport
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from time import monotonic
from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.serving.resting_connection import SURPLUS_S, RestingConnection

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.serving.connections import Connections

# A read of at most this many bytes with only one head in it is parsed at once.
SMALL_READ_BYTES = 16 * 1024
# A chunked body is parsed in parts of this size; parsing 256 KiB of chunks of one byte takes 0.1 s.
MAX_CHUNKED_PART_BYTES = 16 * 1024
# How long to discard what a client sends after a response that ends the connection. Closing a socket with
# unread bytes resets it, and the client may lose the response.
LINGER_S = 5.0
# A connection that does nothing for this long comes to rest.
REST_S = 1.0
# The beginning of a head is stored in a connection at rest, and parsed again, up to this many bytes.
MAX_RESTING_BYTES = 2048
# Of all pipelined requests in a worker that wait, unparsed, for the responses before them.
MAX_PENDING_BYTES = 16 * 1024 * 1024
_HEAD_END = b"\r\n\r\n"


class HttpConnection(HttpToolsProtocol):
    """A connection.

    Attributes:
        shared: the connections of the worker.
        is_surplus, address: see `RestingConnection`.
        is_in_head, is_in_body: which part of a message is being received.
        is_responding: whether a request has begun and its response is not complete.
        is_lingering: whether what the client sends is discarded.
        has_small_chunks: whether the last part that was parsed had more framing than content.
        missing_bytes: of the content that is being received; CHUNKED if its length is unknown.
        head_tail: the last bytes of an incomplete head, which may be the beginning of its end.
        first_head: what was received of the first head, while that is short.
        head_began: when the first head began, if the connection was at rest since.
        pending: what was received and cannot be parsed yet.
        last_active: when a head began or a response was complete, in seconds of the monotonic clock.
    """

    is_silent = False

    def __init__(self, shared: "Connections", resting: RestingConnection) -> None:
        super().__init__(shared.config, shared.state, {}, shared.loop)
        self.shared = shared
        self.is_surplus = resting.is_surplus
        self.address = resting.address
        self.is_in_head = self.is_in_body = self.is_responding = self.is_lingering = False
        self.has_small_chunks = False
        self.missing_bytes = 0
        self.head_tail = b""
        self.first_head: bytes | None = b""
        self.head_began = resting.last_active if resting.head else 0.0
        self.last_active = monotonic()
        self.pending = b""
        self._parsed = 0
        self._unsent_bytes = 0

    @property
    def is_answering(self) -> bool:
        """Whether a request was received, wholly or in part, and the client does not have its response."""
        return bool(
            self.is_responding or self.is_lingering or self.pending or self.transport.get_write_buffer_size()
        )

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """See `asyncio.BaseProtocol`. uvicorn would ask the transport for addresses, which it stores."""
        self.transport, self.flow = transport, FlowControl(transport)
        self.client, self.scheme = (self.address, 0), self.shared.scheme

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
        self.read_on()

    def data_received(self, data: bytes) -> None:
        """Parse what was read, or store it until the current request is answered."""
        if self.is_lingering or self.transport.is_closing():
            return
        if self.pending:
            self._store_pending(self.pending[self._parsed :] + data)
            return
        begin = 0
        is_busy = self.is_in_head or self.is_in_body or self.is_responding or self.flow.write_paused
        if not is_busy and len(data) <= SMALL_READ_BYTES and data.count(_HEAD_END) == 1:
            begin = self.feed(data)
        if begin < len(data):
            self._parse(data, begin)
        if self.shared.is_crowded:
            self._rest()

    def _parse(self, data: bytes, begin: int) -> None:
        """Parse data from an offset on, at most to the end of one request that is not answered at once."""
        while begin < len(data):
            if self.is_lingering or self.transport.is_closing():
                break
            if self.flow.write_paused or (self.is_responding and not self.is_in_body):
                self._store_pending(data, begin)
                return
            end = self._end_of_part(data, begin)
            begin += self.feed(data[begin:end] if end - begin < len(data) else data)
            is_between = not (self.is_responding or self.is_in_head or self.is_in_body)
            if begin < len(data) and (is_between or self.has_small_chunks):
                # Other connections take their turn before the next pipelined request or part of the body.
                self._store_pending(data, begin)
                self.loop.call_soon(self._parse_pending)
                return

    def _end_of_part(self, data: bytes, begin: int) -> int:
        """Return the end of a part of the data in which at most one message ends."""
        if self.is_in_body and self.missing_bytes > 0:
            return min(len(data), begin + self.missing_bytes)
        if self.head_tail:
            found = (self.head_tail + data[begin : begin + 3]).find(_HEAD_END)
            if found >= 0:
                return begin + found + len(_HEAD_END) - len(self.head_tail)
        limit = min(len(data), begin + MAX_CHUNKED_PART_BYTES) if self.is_in_body else len(data)
        head_end = data.find(_HEAD_END, begin, limit)
        if head_end < 0:
            return limit
        return head_end + len(_HEAD_END)

    def feed(self, part: bytes) -> int:
        """Parse a part of the data; return how many of its bytes were parsed."""
        raise NotImplementedError

    def half_close(self) -> None:
        """End the connection after the response, and discard what the client sends until it has it."""
        self.is_lingering, self.is_in_head, self.is_in_body = True, False, False
        self._store_pending(b"")
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def read_on(self) -> None:
        """Parse what is pending, in a turn of its own, or read."""
        if self.transport.is_closing() or self.flow.write_paused:
            return
        if self.pending:
            self.loop.call_soon(self._parse_pending)
            return
        self.flow.resume_reading()
        if self.shared.is_crowded:
            self.loop.call_soon(self._rest)

    def _parse_pending(self) -> None:
        data, begin = self.pending, self._parsed
        self._store_pending(b"")
        self._parse(data, begin)
        if not self.pending and not self.flow.write_paused and not self.transport.is_closing():
            self.flow.resume_reading()

    def _store_pending(self, data: bytes, parsed: int = 0) -> None:
        """Store data that cannot be parsed yet, and stop reading; abort if the worker stores too much."""
        self.shared.pending_bytes += len(data) - len(self.pending)
        self.pending, self._parsed = data, parsed
        if data:
            self.flow.pause_reading()
            if self.shared.pending_bytes > MAX_PENDING_BYTES:
                self._reset()

    def _reset(self) -> None:
        """Reset the connection: else the system stores what is not sent until the client reads it."""
        socket = self.transport.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
        self.transport.abort()

    def _rest(self) -> None:
        """Replace this connection by one at rest if it does nothing."""
        is_replaced = self.parser is None
        if is_replaced or self.is_answering or self.is_in_body or self.transport.is_closing():
            return
        head = self.first_head if self.is_in_head else b""
        if head is not None and len(head) <= MAX_RESTING_BYTES:
            self.shared.rest(self, head)
            # Both refer to this connection.
            self.parser = self.cycle = None  # type: ignore[assignment]

    def check_timeouts(self, now: float) -> None:
        """End a connection that is idle, or whose client does not send or read; called every second.

        Args:
            now: in seconds of the monotonic clock.
        """
        settings = self.shared.settings
        if unsent := self.transport.get_write_buffer_size():
            if unsent != self._unsent_bytes:
                self.last_active = now
            self._unsent_bytes = unsent
            if now - self.last_active > settings.write_timeout_s:
                self._reset()
            return
        self._unsent_bytes = 0
        if self.is_responding:
            return
        limit_s: float = settings.keepalive_s
        if self.is_lingering or self.is_in_body:
            limit_s = LINGER_S
        elif self.is_in_head:
            limit_s = min(limit_s, settings.request_timeout_ms / 1000)
        if self.is_surplus:
            limit_s = min(limit_s, SURPLUS_S)
        if now - self.last_active > limit_s:
            self.transport.close()
        elif now - self.last_active > REST_S:
            self._rest()
