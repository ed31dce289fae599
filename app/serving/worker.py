"""gunicorn's ASGI worker, with our own connections, balanced over the workers."""

import asyncio
import errno
import os
import socket
from typing import Any

from gunicorn.workers import gasgi

from app.serving.accept_balancing import UNAVAILABLE, assign_slot, may_accept, publish
from app.serving.fast_http import READ_BYTES, ScoringProtocol

# How long to wait for a worker with fewer connections to accept the next one.
YIELD_S = 0.001
# How long to wait before accepting again if the system is out of descriptors or memory.
RETRY_S = 1.0
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """gunicorn's ASGI worker, which accepts connections itself.

    Attributes:
        slot: see `app.serving.accept_balancing`.
        silent: connections that have not sent anything.
        read_buffer: memory for reads, shared by all connections.
    """

    def __init__(self, *args: Any) -> None:
        """Called in the master; see `gunicorn.workers.base`."""
        super().__init__(*args)
        self.slot = assign_slot()

    def init_process(self) -> None:
        """Called after the fork; see `gunicorn.workers.base`."""
        self.silent: set[ScoringProtocol] = set()
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._connections: set[ScoringProtocol] = set()
        self._attaching: set[asyncio.Task[None]] = set()
        self._yielding: set[socket.socket] = set()
        self._is_accepting = self._is_available = False
        self._tls = self._get_ssl_context()
        super().init_process()

    async def _serve(self) -> None:
        """Serve until the worker is stopped; as gunicorn's, but accepts connections itself."""
        self._is_accepting = self._is_available = True
        self._publish()
        for listener in self.sockets:
            self._listen(listener.sock)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            await asyncio.sleep(1)
        self.stop_accepting()
        await self._shutdown()

    def pause_accepting(self) -> None:
        """Leave new connections to other workers, if there are any."""
        self._is_available = False
        self._publish()

    def accept_pending(self) -> None:
        """Accept the connections that are waiting: there may be no other worker to do it."""
        for listener in self.sockets:
            for _ in range(self.cfg.backlog):
                if not self._accept_one(listener.sock):
                    break

    def stop_accepting(self) -> None:
        """Accept no more connections; the existing ones stay open."""
        self._is_accepting = False
        self.pause_accepting()
        for listener in self.sockets:
            self.loop.remove_reader(listener.sock)

    def on_connection_closed(self, connection: ScoringProtocol) -> None:
        """Remove a closed connection from the count."""
        self.silent.discard(connection)
        self._connections.discard(connection)
        self._publish()

    def _publish(self) -> None:
        publish(self.slot, len(self._connections) if self._is_available else UNAVAILABLE)

    def _listen(self, listener: socket.socket) -> None:
        if self._is_accepting:
            self.loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept connections until another worker has fewer; then give it a moment to accept the next one."""
        while may_accept(self.slot):
            if not self._accept_one(listener):
                return
        # The listener stays registered, since counts change: if all workers paused, none would accept.
        if listener not in self._yielding:
            self._yielding.add(listener)
            self.loop.call_later(YIELD_S, self._retry_accept, listener)

    def _retry_accept(self, listener: socket.socket) -> None:
        """Accept the connection that was left to another worker, if it is still waiting."""
        self._yielding.discard(listener)
        if self._is_accepting:
            self._accept_one(listener)

    def _accept_one(self, listener: socket.socket) -> bool:
        """Accept a connection; return False if there is none, or if the system is out of resources."""
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # another worker was faster, or the client has disconnected
        except OSError as exc:
            if exc.errno not in OUT_OF_RESOURCES:
                raise
            from app.observability.logging import logger  # the master imports this module, too

            logger.error("cannot accept connections, trying again in %g s: %s", RETRY_S, exc)
            self.loop.remove_reader(listener)
            self.loop.call_later(RETRY_S, self._listen, listener)
            return False
        accepted.setblocking(False)
        connection = ScoringProtocol(self)
        self.silent.add(connection)
        self._connections.add(connection)
        self._publish()
        task = self.loop.create_task(self._attach(connection, accepted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)
        return True

    async def _attach(self, connection: ScoringProtocol, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except OSError:  # the TLS handshake failed, so there is no client to answer
            self.on_connection_closed(connection)
