"""Idle connections take little memory, and their time limits hold."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.app.conftest import Server, StartServer
from tests.app.serving.raw_http import HEAD, POST, receive

IDLE, HALF_OPEN = 5000, 1000
MAX_BYTES = 12 * 2**20


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise the limit of open files for the test and the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes(server: Server) -> int:
    """Return the resident memory of the only worker."""
    (pid,) = server.workers()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("data", [POST, b""], ids=["used", "unused"])
@pytest.mark.usefixtures("many_files")
def test_idle_connections(package: Path, start_server: StartServer, data: bytes) -> None:
    """5,000 idle connections and 1,000 with half a head take at most 12 MB, and are still answered."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    with ExitStack() as opened:

        def connect(data: bytes) -> socket.socket:
            address = ("127.0.0.1", server.port)
            connection = opened.enter_context(socket.create_connection(address, timeout=10))
            connection.sendall(data)
            return connection

        receive(connect(POST), 1)
        before = resident_bytes(server)
        idle = [connect(data) for _ in range(IDLE)]
        if data:
            for connection in idle:
                receive(connection, 1)
        half_open = [connect(HEAD[:40]) for _ in range(HALF_OPEN)]
        time.sleep(2.5)
        assert resident_bytes(server) - before <= MAX_BYTES
        for connection in idle[::500]:
            connection.sendall(POST)
            assert b"[[3.0,5.0]]" in receive(connection, 1)
        for connection in half_open[::100]:
            connection.sendall(POST[40:])
            assert b"[[3.0,5.0]]" in receive(connection, 1)
    assert server.stop() == 0


def test_slow_head(package: Path, start_server: StartServer) -> None:
    """A head that arrives byte by byte has to be complete at the deadline; pauses do not extend it."""
    server = start_server(package, WEB_CONCURRENCY="1", REQUEST_TIMEOUT_MS="4000").wait_until_ready()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        started = time.monotonic()
        while time.monotonic() - started < 8:
            try:
                connection.sendall(b"P" if time.monotonic() - started < 0.1 else b"O")
                connection.settimeout(1.5)
                if not connection.recv(100):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 3 < time.monotonic() - started < 7
    assert server.stop() == 0
