"""Tests of the open-loop load, against a minimal server."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.open_loop import open_loop
from benchmarks.server import Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
FAILED = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}"
BODY = b"{}"


@contextmanager
def serving(answer: Callable[[int], bytes], accepted: list[int] | None = None) -> Iterator[Server]:
    """Run a server that answers one request at a time, over all connections.

    Args:
        answer: number of the request → response.
        accepted: receives the file descriptor of each accepted connection.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    numbers = itertools.count()
    lock = threading.Lock()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if accepted is not None:
                accepted.append(connection.fileno())
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    def serve(connection: socket.socket) -> None:
        # The client may close the connection without reading the last response.
        with connection, suppress(ConnectionError):
            while connection.recv(65536):
                with lock:
                    response = answer(next(numbers))
                connection.sendall(response)
                if response != OK:
                    return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield Server("a", port, "/", {"content-type": "application/json"}, BODY, 0.0, 0, 1, 0, Path(), "json")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_stall() -> None:
    """A stall of 200 ms counts in the latency of all requests that became due meanwhile."""

    def answer(number: int) -> bytes:
        if number == 50:
            time.sleep(0.2)
        return CLOSING

    with serving(answer) as server:
        found = open_loop(server, rate=200, seconds=1)
    assert found.p50_ms < 50
    assert found.p99_ms > 150


def test_rate() -> None:
    """Requests are sent at the given rate."""
    with serving(lambda _: CLOSING) as server:
        found = open_loop(server, rate=100, seconds=1)
    assert found.rps == pytest.approx(100, rel=0.1)


def test_failure() -> None:
    """A response that is not 200 ends the measurement."""
    with (
        serving(lambda number: FAILED if number == 5 else CLOSING) as server,
        pytest.raises(BenchmarkError, match="expected 200"),
    ):
        open_loop(server, rate=100, seconds=1)


def test_keep_alive() -> None:
    """A kept connection is used again; a second one is opened while it is busy."""
    accepted: list[int] = []

    def answer(number: int) -> bytes:
        if number == 10:
            time.sleep(0.1)
        return OK

    with serving(answer, accepted) as server:
        open_loop(server, rate=50, seconds=0.4)
    assert 1 < len(accepted) < 20
