"""gunicorn's worker, with the fast lane's connections and an even share of them.

An asyncio server takes all connections that wait in one turn, and of idle workers the kernel wakes the same
one first, time and again. Clients keep their connections, so one worker would do the work of all.
"""

import asyncio
import errno
import mmap
import os
import signal
import socket
import sys
from typing import Any

from gunicorn.workers import gasgi

from app.serving.fast_http import READ_BYTES, ScoringProtocol

# So many are told apart, those that a reload replaces among them.
MAX_WORKERS = 128
# For how long a connection is left to a worker that has fewer.
YIELD_S = 0.001
# Until accepting is tried again when the system lacked the means for it.
RETRY_S = 1.0
ABORTED = 128 + signal.SIGABRT
NO_MEANS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# How many connections each worker has, or that none shall be left to it. All workers see the same, since this
# is made before the fork; the master alone gives the places out.
_counts = memoryview(mmap.mmap(-1, 4 * MAX_WORKERS)).cast("i")
_places = set(range(MAX_WORKERS))
NONE_FOR_IT = 2**31 - 1
for _place in _places:
    _counts[_place] = NONE_FOR_IT


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """gunicorn's ASGI worker, with our connections.

    Attributes:
        silent: connections that have sent nothing yet.
        read_buffer: where all connections read to, in turn.
    """

    def __init__(self, *args: Any) -> None:
        """See `gunicorn.workers.base`; in the master."""
        super().__init__(*args)
        self._place = min(_places, default=MAX_WORKERS - 1)
        _places.discard(self._place)

    def init_process(self) -> None:
        """See `gunicorn.workers.base`; after the fork."""
        self.silent: set[ScoringProtocol] = set()
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._connections: set[ScoringProtocol] = set()
        self._attaching: set[asyncio.Task[None]] = set()
        self._yielding: set[socket.socket] = set()
        self._accepts = self._stays = False
        self._tls = self._get_ssl_context()
        super().init_process()

    async def _serve(self) -> None:
        """As gunicorn's, but accepts connections itself."""
        self._accepts = self._stays = True
        self._count()
        for listener in self.sockets:
            self._listen(listener.sock)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            await asyncio.sleep(1)
        self.stop_accepting()
        await self._shutdown()

    def pause_accepting(self) -> None:
        """Leaves connections to workers that stay, if there are such."""
        self._stays = False
        self._count()

    def accept_pending(self) -> None:
        """Takes the connections that wait: nobody else may be there who would."""
        for listener in self.sockets:
            for _ in range(self.cfg.backlog):
                if not self._take(listener.sock):
                    break

    def stop_accepting(self) -> None:
        """Takes no more connections; those it has stay."""
        self._accepts = False
        self.pause_accepting()
        for listener in self.sockets:
            self.loop.remove_reader(listener.sock)

    def handle_abort_signal(self) -> None:
        """As gunicorn's, but not with the exit code of one that cannot start, which would end all of them."""
        self.alive = False
        self.cfg.worker_abort(self)
        sys.exit(ABORTED)

    def on_connection_closed(self, connection: ScoringProtocol) -> None:
        """Takes note that a connection has ended."""
        self.silent.discard(connection)
        self._connections.discard(connection)
        self._count()

    def _count(self) -> None:
        _counts[self._place] = len(self._connections) if self._stays else NONE_FOR_IT

    def _listen(self, listener: socket.socket) -> None:
        if self._accepts:
            self.loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Takes connections until another worker has fewer by a quarter; that one has a moment then."""
        while _counts[self._place] * 4 <= min(_counts.tolist()) * 5:
            if not self._take(listener):
                return
        # Until then this is called in each turn, since counts change: if all workers paused, none would work.
        if listener not in self._yielding:
            self._yielding.add(listener)
            self.loop.call_later(YIELD_S, self._retry_accept, listener)

    def _retry_accept(self, listener: socket.socket) -> None:
        """Takes the connection that was left to another worker, if it is still there."""
        self._yielding.discard(listener)
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
            from app.observability.logging import logger  # not for the master, which imports this module

            logger.error("cannot accept connections, trying again in %g s: %s", RETRY_S, exc)
            self.loop.remove_reader(listener)
            self.loop.call_later(RETRY_S, self._listen, listener)
            return False
        accepted.setblocking(False)
        connection = ScoringProtocol(self)
        self.silent.add(connection)
        self._connections.add(connection)
        self._count()
        task = self.loop.create_task(self._attach(connection, accepted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)
        return True

    async def _attach(self, connection: ScoringProtocol, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except OSError:  # no TLS handshake: the client's mistake, and nobody to tell
            self.on_connection_closed(connection)


def release_slot(worker: Any) -> None:
    """Has no connection left to a worker that is gone, however it went."""
    _counts[worker._place] = NONE_FOR_IT
    _places.add(worker._place)
