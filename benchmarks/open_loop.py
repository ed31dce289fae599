"""Open-loop load: requests are sent at a fixed rate, whether or not the server keeps up."""

import gc
import re
import select
import socket
import time

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.load import TIMEOUT_S, LoadResult
from benchmarks.server import Server

CONNECTIONS = 64
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class _Connection:
    """A connection with at most one request in flight.

    Attributes:
        fd: file descriptor of its socket.
        due: when the request in flight was due.
        is_closing: whether the server closes it after this response.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self._socket.fileno()
        self.due = 0.0
        self.is_closing = False
        self._response = b""

    def send(self, request: bytes, due: float) -> None:
        """Send a request, which must fit into the socket's buffer."""
        self.due, self._response = due, b""
        self._socket.sendall(request)

    def receive(self) -> bool:
        """Read available bytes; return whether the response is complete.

        Raises:
            BenchmarkError: the response is not 200 with a content-length.
            ConnectionError: the server closed the connection before the response.
        """
        part = self._socket.recv(65536)
        if not part and not self._response:
            raise ConnectionResetError
        self._response += part
        head, end, body = self._response.partition(b"\r\n\r\n")
        if not end:
            return False
        length = LENGTH.search(head)
        if not head[9:12] == b"200" or not length or not part:
            raise BenchmarkError(f"expected 200 with a content-length, got {self._response[:300]!r}")
        self.is_closing = CLOSE.search(head) is not None
        return len(body) >= int(length[1])

    def close(self) -> None:
        """Close the connection, which also removes it from epoll."""
        self._socket.close()


def open_loop(server: Server, rate: float, seconds: float) -> LoadResult:
    """Send `rate` requests per second and measure their latency.

    Latency counts from when a request was due, not from when a connection was free: a stall of the server
    delays all requests that become due meanwhile, and all of them count (no coordinated omission). The loop
    polls without sleeping, on its own core, because a sleep may last a millisecond too long.

    Raises:
        BenchmarkError: a response was not 200, or was later than TIMEOUT_S.
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
    return LoadResult(rps=len(latencies) / took, p50_ms=float(p50_s) * 1e3, p99_ms=float(p99_s) * 1e3)


def _run(port: int, request: bytes, rate: float, count: int) -> tuple[list[float], float]:
    """Return the latency of each of `count` requests, and the duration of the measurement, in seconds."""
    poll = select.epoll()
    idle: dict[int, _Connection] = {}
    busy: dict[int, _Connection] = {}
    latencies: list[float] = []

    def send(due: float) -> None:
        # Connect only when a request is due: a server without keep-alive would wait for an idle connection.
        if idle:
            connection = idle.popitem()[1]
        else:
            connection = _Connection(port)
            poll.register(connection.fd, select.EPOLLIN)
        busy[connection.fd] = connection
        connection.send(request, due)

    def receive(connection: _Connection) -> None:
        try:
            if not connection.receive():
                return
            latencies.append(time.perf_counter() - connection.due)
        except ConnectionError:
            # The server closed the idle connection while the request was sent. Send it again; latency still
            # counts from when it was due.
            connection.is_closing = True
            send(connection.due)
        del busy[connection.fd]
        if connection.is_closing:
            connection.close()
        else:
            idle[connection.fd] = connection

    sent = 0
    start = time.perf_counter()
    try:
        while len(latencies) < count:
            now = time.perf_counter()
            while sent < count and len(busy) < CONNECTIONS and (due := start + sent / rate) <= now:
                send(due)
                sent += 1
            for fd, _ in poll.poll(0):
                if fd in busy:
                    receive(busy[fd])
                else:
                    idle.pop(fd).close()
            if now > start + count / rate + TIMEOUT_S:
                raise BenchmarkError(f"{rate:.0f} requests per second: {len(latencies)} of {count} answered")
        return latencies, time.perf_counter() - start
    finally:
        for connection in (*idle.values(), *busy.values()):
            connection.close()
        poll.close()
