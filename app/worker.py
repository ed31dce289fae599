"""gunicorn's worker, with the fast lane's connections and an even share of them.

An asyncio server takes all connections that wait in one turn, and of idle workers the kernel wakes the same
one first, time and again. Clients keep their connections, so one worker would do the work of all.
"""

import asyncio
import errno
import mmap
import os
import socket
from typing import Any

from gunicorn.workers import gasgi

from app.fast_lane import READ_BYTES, Protocol

# More than are ever alive at once, those that a reload replaces included.
MAX_WORKERS = 128
# For how long a connection is left to a worker that has fewer.
YIELD_S = 0.001
# Until accepting is tried again when the system lacked the means for it.
RETRY_S = 1.0
NO_MEANS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

NOT_ACCEPTING = 2**31 - 1

# How many connections each worker has. Made before the fork, so all workers see the same.
_counts = memoryview(mmap.mmap(-1, 4 * MAX_WORKERS)).cast("i")
for _place in range(MAX_WORKERS):
    _counts[_place] = NOT_ACCEPTING


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """gunicorn's ASGI worker, with our connections.

    Attributes:
        silent: connections that have sent nothing yet.
        read_buffer: where all connections read to, in turn.
    """

    def init_process(self) -> None:
        """See `gunicorn.workers.base`."""
        self.silent: set[Protocol] = set()
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._connections: set[Protocol] = set()
        self._attaching: set[asyncio.Task[None]] = set()
        self._accepts = False
        self._insists: asyncio.TimerHandle | None = None
        self._tls = self._get_ssl_context()
        super().init_process()

    async def _serve(self) -> None:
        """As gunicorn's, but accepts connections itself."""
        self._accepts = True
        self._count()
        for listener in self.sockets:
            self._listen(listener.sock)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            await asyncio.sleep(1)
        self.stop_accepting()
        await self._shutdown()

    def stop_accepting(self) -> None:
        """Leaves all new connections to others; those it has stay."""
        self._accepts = False
        self._count()
        for listener in self.sockets:
            self.loop.remove_reader(listener.sock)

    def left(self, connection: Protocol) -> None:
        """Takes note that a connection has ended."""
        self.silent.discard(connection)
        self._connections.discard(connection)
        self._count()

    def _count(self) -> None:
        _counts[self.age % MAX_WORKERS] = len(self._connections) if self._accepts else NOT_ACCEPTING

    def _listen(self, listener: socket.socket) -> None:
        if self._accepts:
            self.loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Takes connections until another worker has fewer by a quarter; that one has a moment then."""
        while len(self._connections) * 4 <= min(_counts.tolist()) * 5:
            if not self._take(listener):
                return
        if not self._insists:
            self._insists = self.loop.call_later(YIELD_S, self._insist, listener)

    def _insist(self, listener: socket.socket) -> None:
        """Takes the connection that was left to another worker, if it is still there."""
        self._insists = None
        if self._accepts:
            self._take(listener)

    def _take(self, listener: socket.socket) -> bool:
        """Whether there was a connection, and the means to take it."""
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # another worker was faster, or the client is gone
        except OSError as exc:
            if exc.errno not in NO_MEANS:
                raise
            from app.logs import logger  # not for the master, which imports this module

            logger.error("cannot accept connections, trying again in %g s: %s", RETRY_S, exc)
            self.loop.remove_reader(listener)
            self.loop.call_later(RETRY_S, self._listen, listener)
            return False
        accepted.setblocking(False)
        connection = Protocol(self)
        self.silent.add(connection)
        self._connections.add(connection)
        self._count()
        task = self.loop.create_task(self._attach(connection, accepted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)
        return True

    async def _attach(self, connection: Protocol, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except OSError:  # no TLS handshake: the client's mistake, and nobody to tell
            self.left(connection)


def forget(worker: Any) -> None:
    """Has no connection left to a worker that is gone, however it went."""
    _counts[worker.age % MAX_WORKERS] = NOT_ACCEPTING
