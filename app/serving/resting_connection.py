"""A connection at rest: idle, or with the beginning of a head.

It takes a fraction of the memory of a connection that parses: thousands of idle clients cost a few megabytes.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.serving.connections import Connections

# Above the limit of connections, how long one may take to send the request of a probe.
SURPLUS_S = 1.0


class RestingConnection(asyncio.Protocol):
    """A connection without a parser.

    Attributes:
        shared: the connections of the worker.
        address: of the client.
        is_surplus: whether the limit of connections was reached; then only probes are answered.
        last_active: when the connection came to rest or its head began, in seconds of the monotonic clock.
        head: the beginning of a head.
        is_silent: whether the client has not sent anything since it connected.
    """

    __slots__ = ("address", "head", "is_silent", "is_surplus", "last_active", "shared", "transport")
    is_answering = False

    def __init__(
        self,
        shared: "Connections",
        address: str,
        *,
        is_surplus: bool,
        last_active: float = 0.0,
        head: bytes = b"",
    ) -> None:
        self.shared, self.address, self.is_surplus, self.head = shared, address, is_surplus, head
        self.last_active = last_active or monotonic()
        self.is_silent = True
        self.transport: asyncio.Transport = None  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.BaseProtocol`."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        """See `asyncio.BaseProtocol`."""
        self.shared.on_closed(self)

    def data_received(self, data: bytes) -> None:
        """Replace this connection by one that parses."""
        self.shared.wake(self).data_received(self.head + data)

    def check_timeouts(self, now: float) -> None:
        """End the connection if it was at rest for too long; see `HttpProtocol.check_timeouts`."""
        settings = self.shared.settings
        limit_s: float = settings.keepalive_s
        if self.head:
            limit_s = min(limit_s, settings.request_timeout_ms / 1000)
        if self.is_surplus:
            limit_s = min(limit_s, SURPLUS_S)
        if now - self.last_active > limit_s:
            self.transport.close()
