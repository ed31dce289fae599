"""Open-loop load: requests are due at a fixed schedule, whether or not the server keeps up with it."""

import gc
import re
import select
import socket
import time

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.load import TIMEOUT_S, Measured
from benchmarks.server import Server

CONNECTIONS = 64
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class _Connection:
    """A connection, and the one request that is on its way on it.

    Attributes:
        number: of its file descriptor.
        due: when that request was due.
        is_over: whether the server closes it after this answer.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = self._socket.fileno()
        self.due = 0.0
        self.is_over = False
        self._answer = b""

    def send(self, request: bytes, due: float) -> None:
        """Sends a request; it is small enough for the socket's buffer."""
        self.due, self._answer = due, b""
        self._socket.sendall(request)

    def receive(self) -> bool:
        """Reads what has arrived; True once the answer is whole.

        Raises:
            BenchmarkError: it is not 200 with a content-length.
            ConnectionError: it closed before any of it.
        """
        part = self._socket.recv(65536)
        if not part and not self._answer:
            raise ConnectionResetError
        self._answer += part
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return False
        length = LENGTH.search(head)
        if not head[9:12] == b"200" or not length or not part:
            raise BenchmarkError(f"expected 200 with a content-length, got {self._answer[:300]!r}")
        self.is_over = CLOSE.search(head) is not None
        return len(body) >= int(length[1])

    def close(self) -> None:
        """Closes it; epoll forgets it by that."""
        self._socket.close()


def open_loop(server: Server, rate: float, seconds: float) -> Measured:
    """Sends `rate` requests a second.

    Latency counts from when a request was due, not from when a connection was free for it: a server that
    stalls delays all that is due meanwhile, and all of it shows (no coordinated omission). This spins, on the
    core that is the load's own, since a sleep may be a millisecond too long.

    Raises:
        BenchmarkError: an answer was not 200, or was TIMEOUT_S late.
    """
    lines = [f"POST {server.path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(server.body)}"]
    lines += [f"{name}: {value}" for name, value in server.headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode() + server.body
    gc.disable()
    try:
        latencies, took = _run(server.port, request, rate, count=max(1, int(rate * seconds)))
    finally:
        gc.enable()
    p50_s, p99_s = np.percentile(latencies, [50, 99])
    return Measured(rps=len(latencies) / took, p50_ms=float(p50_s) * 1e3, p99_ms=float(p99_s) * 1e3)


def _run(port: int, request: bytes, rate: float, count: int) -> tuple[list[float], float]:
    """The latencies of `count` requests, and how long they took together, in seconds."""
    poll = select.epoll()
    idle: dict[int, _Connection] = {}
    busy: dict[int, _Connection] = {}
    latencies: list[float] = []

    def send(due: float) -> None:
        # Only when there is something to send: a server without keep-alive would wait for a mute connection.
        if idle:
            connection = idle.popitem()[1]
        else:
            connection = _Connection(port)
            poll.register(connection.number, select.EPOLLIN)
        busy[connection.number] = connection
        connection.send(request, due)

    def receive(connection: _Connection) -> None:
        try:
            if not connection.receive():
                return
            latencies.append(time.perf_counter() - connection.due)
        except ConnectionError:
            # The server closed it as idle at the moment it was used: again, and the clock goes on.
            connection.is_over = True
            send(connection.due)
        del busy[connection.number]
        if connection.is_over:
            connection.close()
        else:
            idle[connection.number] = connection

    sent = 0
    began = time.perf_counter()
    try:
        while len(latencies) < count:
            now = time.perf_counter()
            while sent < count and len(busy) < CONNECTIONS and (due := began + sent / rate) <= now:
                send(due)
                sent += 1
            for number, _ in poll.poll(0):
                if number in busy:
                    receive(busy[number])
                else:
                    idle.pop(number).close()
            if now > began + count / rate + TIMEOUT_S:
                raise BenchmarkError(f"{rate:.0f} requests a second: {len(latencies)} of {count} answered")
        return latencies, time.perf_counter() - began
    finally:
        for connection in (*idle.values(), *busy.values()):
            connection.close()
        poll.close()
