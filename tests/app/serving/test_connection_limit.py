"""Too many connections: those that are open are answered, new ones get 503, and probes get an answer."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.serving.worker import RESERVED_DESCRIPTORS
from tests.app.conftest import Server, StartServer
from tests.app.serving.raw_http import POST, receive

pytestmark = pytest.mark.usefixtures("fast_http")
PROBES = ["/healthz", "/readyz", "/metrics"]
PROBES += ["/v2/health/live"]  # part: v2
DESCRIPTORS = 150


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Provide a stack that closes connections."""
    with ExitStack() as stack:
        yield stack


def connect(server: Server, opened: ExitStack) -> socket.socket:
    """Return a new connection."""
    return opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))


def post(connection: socket.socket) -> bytes:
    """Send a scoring request; return the response."""
    connection.sendall(POST)
    return receive(connection, 1)


def test_max_connections(package: Path, start_server: StartServer, opened: ExitStack) -> None:
    """Above MAX_CONNECTIONS a new connection gets 503 and ends, unless it sends a probe."""
    server = start_server(package, WEB_CONCURRENCY="1", MAX_CONNECTIONS="3").wait_until_ready()
    connections = [connect(server, opened) for _ in range(3)]
    for connection in connections:
        assert post(connection).startswith(b"HTTP/1.1 200 ")
    surplus = connect(server, opened)
    response = post(surplus)
    assert response.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in response
    assert b"connection: close\r\n" in response
    assert b'"error":"too many connections"' in response
    assert surplus.recv(100) == b""
    surplus.close()
    for path in PROBES:
        assert server.request("GET", path)[0] == 200
    silent = connect(server, opened)
    started = time.monotonic()
    assert silent.recv(100) == b""
    assert time.monotonic() - started < 4
    assert post(connections[0]).startswith(b"HTTP/1.1 200 ")
    connections.pop().close()
    time.sleep(0.2)
    assert post(connect(server, opened)).startswith(b"HTTP/1.1 200 ")
    assert server.stop() == 0


def test_out_of_descriptors(package: Path, start_server: StartServer, opened: ExitStack) -> None:
    """With more clients than descriptors, open connections are answered, and so are probes on new ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    try:
        server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    connections = [connect(server, opened) for _ in range(DESCRIPTORS - RESERVED_DESCRIPTORS)]
    for connection in connections:
        assert post(connection).startswith(b"HTTP/1.1 200 ")
    for _ in range(3):
        flood = [connect(server, opened) for _ in range(3 * RESERVED_DESCRIPTORS)]
        for path in PROBES:
            started = time.monotonic()
            assert server.request("GET", path)[0] == 200
            assert time.monotonic() - started < 1
        for connection in connections[::10]:
            assert post(connection).startswith(b"HTTP/1.1 200 ")
        for connection in flood:
            connection.close()
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
