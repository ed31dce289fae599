"""What the connections of a worker share: uvicorn's configuration, the date, limits and time."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from time import monotonic
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.serving.fast_http import ScoringProtocol
from app.serving.http_protocol import HttpProtocol

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.serving.asgi import AsgiApp

# Of all pipelined requests in a worker that wait, unparsed, for the responses before them.
CLOSE_POLL_S = 0.005
MAX_PENDING_BYTES = 16 * 1024 * 1024


class Connections:
    """The open connections of a worker.

    Attributes:
        config, state: uvicorn's, as its protocols take them.
        date_header: the line of a response's head, updated every second.
        pending_bytes: of pipelined requests.
    """

    def __init__(
        self, app: "AsgiApp", loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]
    ) -> None:
        """
        Args:
            on_change: called when a connection was opened or closed.
        """
        self.app = app
        self.loop = loop
        self.settings = app.service.settings
        self.config = Config(
            app, interface="asgi3", ws="none", proxy_headers=False, access_log=False, log_config=None
        )
        self.state = ServerState()
        self.date_header = b""
        self.pending_bytes = 0
        self.max_pending_bytes = MAX_PENDING_BYTES
        self._on_change = on_change
        self._protocol = ScoringProtocol if self.settings.fast_http == "on" else HttpProtocol
        self._open: set[HttpProtocol] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_draining(self) -> bool:
        """Whether responses end their connections."""
        return self.app.service.draining.is_set()

    def new(self, *, is_surplus: bool) -> HttpProtocol:
        """Return the protocol of a connection that has been accepted."""
        connection = self._protocol(self, is_surplus=is_surplus)
        self._open.add(connection)
        self._on_change()
        return connection

    def on_closed(self, connection: HttpProtocol) -> None:
        """Remove a closed connection."""
        self._open.discard(connection)
        self._on_change()

    def refresh(self) -> None:
        """Set the date, and end connections that are idle or stalled; called every second."""
        date = formatdate(usegmt=True).encode()
        self.date_header = b"date: %b\r\n" % date
        self.state.default_headers = [(b"date", date)]
        now = monotonic()
        for connection in self._attached():
            connection.check_timeouts(now)

    def close_idle(self) -> None:
        """Close the connections on which no request has begun."""
        for connection in self._attached():
            connection.close_if_idle()

    async def close(self, timeout_s: float) -> None:
        """Close all connections, and wait until the responses are sent, at most for `timeout_s`."""
        for connection in self._attached():
            connection.transport.close()
        for _ in range(int(timeout_s / CLOSE_POLL_S)):
            if not self._attached():
                return
            await asyncio.sleep(CLOSE_POLL_S)

    def _attached(self) -> list[HttpProtocol]:
        return [connection for connection in self._open if connection.transport]

    def are_answering(self) -> bool:
        """Return whether a response is due or not yet sent."""
        return any(connection.is_answering for connection in self._attached())

    def are_silent(self) -> bool:
        """Return whether there are clients that have connected and not sent anything."""
        return any(not connection.has_received for connection in self._attached())
