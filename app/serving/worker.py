"""gunicorn's worker: an event loop of uvloop, and connections balanced over the workers.

https://docs.gunicorn.org/en/stable/custom.html, and `gunicorn.workers.base`
"""

import asyncio
import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop
from gunicorn.sock import ssl_context
from gunicorn.workers import base

from app.serving.accept_balancing import UNAVAILABLE, assign_slot, may_accept, publish
from app.serving.connections import SURPLUS_GRACE_S, Connections
from app.serving.listener_filter import drop_handshakes
from app.serving.resting_connection import RestingConnection

# How long to wait for a worker with fewer connections to accept the next one.
YIELD_S = 0.001
# Connections accepted before what else is due: each takes some memory and time until it is attached.
ACCEPTS_AT_ONCE = 16
# How long to wait before accepting again if the system is out of descriptors or memory.
RETRY_S = 1.0
# How often the date, the timeouts of connections, and gunicorn's own check of the worker are refreshed.
TICK_S = 1.0
# How long to wait at the end for the last bytes of responses to be sent.
CLOSE_S = 1.0
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Descriptors left to files, and to the probes that come when there are too many connections.
RESERVED_DESCRIPTORS = 64


class Worker(base.Worker):  # type: ignore[misc]
    """A worker process.

    Attributes:
        slot: see `app.serving.accept_balancing`.
        loop: the event loop.
        asgi: the application.
        connections: those that were accepted.
    """

    def __init__(self, *args: Any) -> None:
        """Called in the master; see `gunicorn.workers.base`."""
        super().__init__(*args)
        self.slot = assign_slot()

    def init_process(self) -> None:
        """Called after the fork; see `gunicorn.workers.base`."""
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._attaching: set[asyncio.Task[None]] = set()
        self._yielding: set[socket.socket] = set()
        self._is_accepting = self._is_available = False
        self._stopped = asyncio.Event()
        self._tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        super().init_process()

    def init_signals(self) -> None:
        """Leave signals to the event loop, except those that gunicorn sends when it hangs."""
        super().init_signals()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)

    def load_wsgi(self) -> None:
        """Load the ASGI application."""
        super().load_wsgi()
        self.asgi = self.wsgi
        self.connections = Connections(self.asgi, self.loop, "https" if self._tls else "http", self._publish)
        limit = self.asgi.service.settings.max_connections
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._max_connections = min(limit or descriptors, descriptors - RESERVED_DESCRIPTORS)

    def run(self) -> None:
        """Serve until `stop` is called; see `gunicorn.workers.base`."""
        for number in (signal.SIGINT, signal.SIGQUIT):
            self.on_signal(number, self.stop)
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.loop.close()

    def on_signal(self, number: int, function: Callable[[], None]) -> None:
        """Call a function in the event loop on a signal, also on one that comes before the loop runs."""
        signal.signal(number, lambda *_: self.loop.call_soon_threadsafe(function))

    def stop(self) -> None:
        """End the worker now."""
        self._stopped.set()

    async def _serve(self) -> None:
        self._is_accepting = self._is_available = True
        self._publish()
        for listener in self.sockets:
            self._listen(listener.sock)
        while not self._stopped.is_set() and self.ppid == os.getppid():
            self.notify()
            self.connections.refresh()
            try:
                await asyncio.wait_for(self._stopped.wait(), TICK_S)
            except TimeoutError:
                continue
        self.stop_accepting()
        await self.connections.close(CLOSE_S)

    def pause_accepting(self) -> None:
        """Leave new connections to other workers, if there are any."""
        self._is_available = False
        self._publish()

    def drop_handshakes(self) -> None:
        """Keep new connections out of the listeners; see `app.serving.listener_filter`."""
        for listener in self.sockets:
            drop_handshakes(listener.sock)

    def stop_accepting(self) -> None:
        """Close the listeners; the existing connections stay open.

        When the last process closes a listener, the connections that wait in it are reset, so they are
        accepted right before. One that comes later is refused.
        """
        if not self._is_accepting:
            return
        self._is_accepting = False
        self.pause_accepting()
        for listener in self.sockets:
            self.loop.remove_reader(listener.sock)
            for _ in range(self.cfg.backlog):
                if not self._accept_one(listener.sock):
                    break
            listener.close()

    def _publish(self) -> None:
        publish(self.slot, len(self.connections) if self._is_available else UNAVAILABLE)

    def _listen(self, listener: socket.socket) -> None:
        if self._is_accepting:
            self.loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept connections until another worker has fewer; then give it a moment to accept the next one."""
        for _ in range(ACCEPTS_AT_ONCE):
            if not may_accept(self.slot):
                break
            if not self._accept_one(listener):
                return
        else:
            return  # the loop calls this again, after what else is due
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
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # another worker was faster, or the client has disconnected
        except OSError as exc:
            if exc.errno not in OUT_OF_RESOURCES:
                raise
            self.loop.remove_reader(listener)
            # Those that were accepted a moment ago can be closed once they are attached.
            if self.connections.close_surplus() or self._attaching:
                self.loop.call_later(SURPLUS_GRACE_S, self._listen, listener)
                return False
            from app.observability.logging import logger  # the master imports this module, too

            logger.error("cannot accept connections, trying again in %g s: %s", RETRY_S, exc)
            self.loop.call_later(RETRY_S, self._listen, listener)
            return False
        accepted.setblocking(False)
        # Interned, since most clients are a few proxies.
        host = sys.intern(address[0]) if address else ""
        is_surplus = len(self.connections) >= self._max_connections
        connection = self.connections.new(host, is_surplus=is_surplus)
        task = self.loop.create_task(self._attach(connection, accepted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)
        return True

    async def _attach(self, connection: RestingConnection, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except OSError:  # the TLS handshake failed, so there is no client to answer
            self.connections.on_closed(connection)
