"""What the connections of a worker share: uvicorn's configuration, the date, limits and time."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from time import monotonic
from typing import TYPE_CHECKING, Literal, TypeAlias

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.serving.asgi_cycle import CycleApp
from app.serving.fast_http import ScoringProtocol
from app.serving.http_connection import HttpConnection
from app.serving.http_protocol import HttpProtocol
from app.serving.resting_connection import RestingConnection

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.serving.asgi import AsgiApp

# Above this number a connection comes to rest as soon as it is idle.
CROWD = 320
CLOSE_POLL_S = 0.005
# How long a connection above the limit is kept when the worker is out of descriptors.
SURPLUS_GRACE_S = 0.02
# How long no connection has to be used before a draining worker closes those that are idle.
QUIET_S = 1.0
Connection: TypeAlias = HttpConnection | RestingConnection


class Connections:
    """The open connections of a worker.

    Attributes:
        config, state: uvicorn's, as its protocols take them.
        common_head: the lines of the date and of the headers that all responses have; updated every second.
        pending_bytes: of pipelined requests.
        last_response: when a response was complete, in seconds of the monotonic clock.
        is_crowded: whether there are many connections.
    """

    def __init__(
        self,
        app: "AsgiApp",
        loop: asyncio.AbstractEventLoop,
        scheme: Literal["http", "https"],
        on_change: Callable[[], None],
    ) -> None:
        """
        Args:
            scheme: `https` if the worker has TLS.
            on_change: called when a connection was opened or closed.
        """
        self.app = app
        self.loop = loop
        self.scheme: Literal["http", "https"] = scheme
        self.settings = app.service.settings
        self.config = Config(
            CycleApp(app),
            interface="asgi3",
            ws="none",
            proxy_headers=False,
            access_log=False,
            log_config=None,
        )
        self.state = ServerState()
        self.common_head = b""
        lines = [f"{name}: {value}\r\n" for name, value in app.service.scorer.common_headers.items()]
        self._common_lines = "".join(lines).encode("latin-1")
        self.pending_bytes = 0
        self.last_response = 0.0
        self.is_crowded = False
        self._on_change = on_change
        self._protocol = ScoringProtocol if self.settings.fast_http == "on" else HttpProtocol
        self._open: set[Connection] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_draining(self) -> bool:
        """Whether responses end their connections."""
        return self.app.service.draining.is_set()

    def new(self, address: str, *, is_surplus: bool) -> RestingConnection:
        """Return the protocol of a connection that has been accepted; see `RestingConnection`."""
        connection = RestingConnection(self, address, is_surplus=is_surplus)
        self._open.add(connection)
        self._on_count()
        return connection

    def wake(self, resting: RestingConnection) -> HttpConnection:
        """Replace a connection at rest by one that parses, and return it."""
        connection = self._protocol(self, resting)
        connection.connection_made(resting.transport)
        self._replace(resting, connection)
        return connection

    def rest(self, connection: HttpConnection, head: bytes) -> None:
        """Replace a connection that parses by one at rest; see `RestingConnection`."""
        resting = RestingConnection(
            self,
            connection.address,
            is_surplus=connection.is_surplus,
            last_active=connection.last_active,
            head=head,
        )
        resting.connection_made(connection.transport)
        resting.is_silent = False
        self._replace(connection, resting)

    def _replace(self, old: Connection, new: Connection) -> None:
        self._open.remove(old)
        self._open.add(new)
        new.transport.set_protocol(new)

    def on_closed(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self._open.discard(connection)
        self._on_count()

    def _on_count(self) -> None:
        self.is_crowded = len(self._open) > CROWD
        self._on_change()

    def refresh(self) -> None:
        """Set the date, and end connections that are idle or stalled; called every second."""
        date = formatdate(usegmt=True).encode()
        self.common_head = b"%bdate: %b\r\n" % (self._common_lines, date)
        self.state.default_headers = [(b"date", date)]
        now = monotonic()
        for connection in self._attached():
            connection.check_timeouts(now)

    def close_surplus(self) -> bool:
        """Close connections above the limit that had time to send a probe; return whether there are any.

        Called when no descriptor is left for the next connection.
        """
        surplus = [connection for connection in self._attached() if connection.is_surplus]
        due = monotonic() - SURPLUS_GRACE_S
        for connection in surplus:
            if connection.last_active < due and not connection.is_answering:
                connection.transport.close()
        return bool(surplus)

    async def close(self, timeout_s: float) -> None:
        """Close all connections, and wait until the responses are sent, at most for `timeout_s`."""
        for connection in self._attached():
            connection.transport.close()
        for _ in range(int(timeout_s / CLOSE_POLL_S)):
            if not self._attached():
                return
            await asyncio.sleep(CLOSE_POLL_S)

    def _attached(self) -> list[Connection]:
        return [connection for connection in self._open if connection.transport]

    def are_in_use(self) -> bool:
        """Return whether a response is due or not yet sent, or an idle connection may be used at any moment.

        A proxy sends requests on connections that it keeps open. While the worker drains, each ends with its
        response. If the worker closed the others at once, it would lose those that are being sent.
        """
        attached = self._attached()
        return any(connection.is_answering for connection in attached) or (
            bool(attached) and monotonic() - self.last_response < QUIET_S
        )

    def are_silent(self) -> bool:
        """Return whether there are clients that have connected and not sent anything."""
        return any(connection.is_silent for connection in self._attached())
