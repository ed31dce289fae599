"""Overload, stalled clients and malformed bodies: the service keeps answering other requests."""

import socket
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests import models
from tests.app.conftest import StartServer

pytestmark = pytest.mark.usefixtures("fast_http")


def test_overload(tmp_path: Path, start_server: StartServer) -> None:
    """Requests beyond what one caller may queue get 429, and probes are answered."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    variables = {"WEB_CONCURRENCY": "1", "REQUEST_TIMEOUT_MS": "2000", "MAX_QUEUE_ROWS": "100"}
    server = start_server(path, **variables).wait_until_ready()
    outcomes: Counter[int] = Counter()

    def post() -> None:
        outcomes[server.request("POST", "/score", {"inputs": [[0.5] * 1000] * 4})[0]] += 1

    threads = [threading.Thread(target=post) for _ in range(150)]
    for thread in threads:
        thread.start()
    assert server.request("GET", "/readyz")[0] == 200
    assert sum(outcomes.values()) < 150
    for thread in threads:
        thread.join()
    assert {200, 429} <= set(outcomes) <= {200, 429, 503, 504}
    assert server.stop() == 0


def test_stalled_bodies(package: Path, start_server: StartServer) -> None:
    """Clients that do not complete their bodies get 504 at the deadline; others are answered meanwhile."""
    server = start_server(package, WEB_CONCURRENCY="1", REQUEST_TIMEOUT_MS="1000").wait_until_ready()
    head = (
        b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    stalled = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(40)]
    for connection in stalled:
        connection.sendall(head)
    assert server.request("GET", "/readyz")[0] == 200
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    for connection in stalled:
        assert connection.recv(4096).startswith(b"HTTP/1.1 504 ")
        connection.close()
    assert server.stop() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"5\r\n{}",
        b"2\r\n{}\r\n",
    ],
    ids=["no_length", "incomplete", "no_last_chunk"],
)
def test_malformed_chunks(package: Path, start_server: StartServer, body: bytes) -> None:
    """A request with malformed or incomplete chunks gets 400 or a closed connection."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        response = connection.recv(4096)
    assert response == b"" or response.startswith(b"HTTP/1.1 400 ")
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    assert "Traceback" not in server.log.read_text()
    assert '"status":500' not in server.log.read_text()
    assert server.stop() == 0
