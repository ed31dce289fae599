"""Connections: a request gets the same response however it is divided into reads."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from tests import models
from tests.app.conftest import Server, StartServer
from tests.app.serving.raw_http import BODY, HEAD, LARGE_ROWS, PAUSE_S, POST, exchange, large_request, receive

pytestmark = pytest.mark.usefixtures("fast_http")
BODIES = [
    BODY,
    b'{"instances": [{"a": 1, "b": 2}]}',
    b'{"inputs": [[1, 2, 3]]}',
    b'{"inputs": [[1, "x"]]}',
    b"{",
    b"",
]


@pytest.fixture
def server(package: Path, start_server: StartServer) -> Iterator[Server]:
    """Provide one worker with the tiny package; check that it ends without a traceback."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("line", [b"", b"Content-Type: text/plain\r\n", b"Content-Encoding: gzip\r\n"])
def test_same_response(server: Server, line: bytes) -> None:
    """The response is the same, byte for byte, however the request is divided into reads."""
    line = line if b"Type" in line else b"Content-Type: application/json\r\n" + line
    for body in BODIES:
        head = b"POST /score HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (line, len(body))
        expected = exchange(server, head + body)
        assert expected.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 415"))
        assert exchange(server, head, body, pause_s=PAUSE_S / 4) == expected
        assert exchange(server, head[:30], head[30:], body, pause_s=PAUSE_S) == expected


def test_late_body(server: Server) -> None:
    """A body that arrives late and in parts is answered."""
    head = HEAD + b"\r\n"
    assert b"[[3.0,5.0]]" in exchange(server, head, BODY[:5], BODY[5:], pause_s=2 * PAUSE_S)
    assert b"[[3.0,5.0]]" in exchange(server, head + BODY[:3], BODY[3:9], BODY[9:], pause_s=PAUSE_S / 4)


def test_large_body(server: Server) -> None:
    """A body of several reads is complete, however it is divided, and the next request can follow it."""
    request = large_request("large")
    expected = exchange(server, request)
    assert expected.count(b"[3.0,5.0]") == LARGE_ROWS
    cuts = (20, len(request) // 2, len(request) - 1)
    parts = [request[low:high] for low, high in pairwise((0, *cuts, len(request)))]
    assert exchange(server, *parts, pause_s=PAUSE_S / 10) == expected
    assert exchange(server, *parts, pause_s=2 * PAUSE_S) == expected
    responses = exchange(server, request + large_request("next") + POST, responses=3)
    assert responses.startswith(expected)
    assert responses.count(b"[3.0,5.0]") == 2 * LARGE_ROWS + 1


def test_announced_length(server: Server) -> None:
    """Announced bodies that are not sent take no memory, and other requests are answered."""
    master = server.process.pid
    worker = Path(f"/proc/{master}/task/{master}/children").read_text().split()[0]
    statm = Path(f"/proc/{worker}/statm")
    before = int(statm.read_text().split()[1])
    head = HEAD.replace(b"20", b"%d" % 2**24) + b"\r\n"
    with ExitStack() as stack:
        for _ in range(64):
            address = ("127.0.0.1", server.port)
            connection = stack.enter_context(socket.create_connection(address, timeout=10))
            connection.sendall(head)
        assert b"200 OK" in exchange(server, POST)
        pages = int(statm.read_text().split()[1]) - before
    assert pages * os.sysconf("SC_PAGESIZE") < 2**25


def test_drain_awaits_body(server: Server) -> None:
    """A request whose body is incomplete at SIGTERM is answered."""
    request = large_request("late")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request[:LARGE_ROWS])
        time.sleep(PAUSE_S / 5)
        server.process.terminate()
        time.sleep(PAUSE_S / 5)
        connection.sendall(request[LARGE_ROWS:])
        response = receive(connection, 1)
    assert response.count(b"[3.0,5.0]") == LARGE_ROWS
    assert b"connection: close" in response


def test_disconnect_within_body(server: Server) -> None:
    """A client that disconnects within its body does not delay the shutdown."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(large_request("disconnected")[:LARGE_ROWS])
        time.sleep(PAUSE_S / 5)
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 5


def test_request_in_body(server: Server) -> None:
    """A body that looks like a request gets one response, an error, however it is divided into reads."""
    head = HEAD.replace(b"20", b"%d" % len(POST))
    for cut in (head + b"\r\n", head, head[:-2], head + b"\r", head[:25]):
        request = head + b"\r\n" + POST
        response = exchange(server, cut, request[len(cut) :], POST, pause_s=2 * PAUSE_S, responses=2)
        assert response.startswith(b"HTTP/1.1 400")
        assert response.count(b"HTTP/1.1") == 2
        assert response.endswith(b'"model_name":"tiny","model_version":"3"}')
        assert b"[[3.0,5.0]]" in response


def test_pipelined(server: Server) -> None:
    """Pipelined requests are answered in their order, in one read or in several."""
    requests = [POST.replace(b"Host", b"X-Request-Id: id-%d\r\nHost" % number) for number in range(5)]
    first, second, third, *others = requests
    for parts in ([b"".join(requests)], requests, [first + second[:60], second[60:] + third, *others]):
        response = exchange(server, *parts, responses=5)
        assert re.findall(rb"x-request-id: (id-\d)", response) == [b"id-%d" % number for number in range(5)]


def test_other_routes(server: Server) -> None:
    """Scoring and other routes can alternate on one connection."""
    with closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("GET", "/readyz")
            assert connection.getresponse().read() == b'{"status":"ready"}\n'
            for _ in range(2):
                connection.request("POST", "/score", BODY, {"content-type": "application/json"})
                assert b"[[3.0,5.0]]" in connection.getresponse().read()


def test_idle_connections(package: Path, start_server: StartServer) -> None:
    """A connection without a complete request is closed after KEEPALIVE_S, one in use is not."""
    server = start_server(package, WEB_CONCURRENCY="1", KEEPALIVE_S="1").wait_until_ready()
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    slow = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    slow.sendall(HEAD)
    used = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    for _ in range(8):
        used.sendall(POST)
        assert b"[[3.0,5.0]]" in receive(used, 1)
        time.sleep(0.3)
    assert silent.recv(100) == b""
    assert b"200" not in slow.recv(100)
    started = time.monotonic()
    assert used.recv(100) == b""
    assert time.monotonic() - started < 5
    for connection in (silent, slow, used):
        connection.close()
    assert server.stop() == 0


@pytest.fixture
def slow_server(tmp_path: Path, start_server: StartServer) -> Server:
    """Return one worker with a model that is too slow to run in the event loop."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    # On a busy machine the default would refuse what waits for a large request.
    return start_server(path, WEB_CONCURRENCY="1", REQUEST_TIMEOUT_MS="60000").wait_until_ready()


def slow_request(rows: int, id_: str) -> bytes:
    """Return a request of several rows for the slow model."""
    body = b'{"inputs": [%b]}' % b",".join([b"[" + b",".join([b"0.5"] * 1000) + b"]"] * rows)
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"X-Request-Id: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (id_.encode(), len(body)) + body


def test_pipelined_during_inference(slow_server: Server) -> None:
    """Requests that arrive while the model runs are answered in their order."""
    requests = [slow_request(1, f"id-{number}") for number in range(4)]
    response = exchange(slow_server, *requests, pause_s=0.005, responses=4)
    assert re.findall(rb"x-request-id: (id-\d)", response) == [b"id-%d" % number for number in range(4)]
    assert slow_server.stop() == 0


def test_disconnect_while_queued(slow_server: Server) -> None:
    """A client that disconnects while its request is queued is logged with 499; others are answered."""
    busy = threading.Thread(target=exchange, args=(slow_server, slow_request(40, "busy")))
    busy.start()
    time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", slow_server.port), timeout=10) as connection:
        connection.sendall(slow_request(1, "disconnected"))
        time.sleep(0.02)
    busy.join()
    deadline = time.monotonic() + 10
    while not (line := [line for line in slow_server.lines() if line.get("id") == "disconnected"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert line[0]["status"] == 499
    assert b"200 OK" in exchange(slow_server, slow_request(1, "next"))
    assert slow_server.stop() == 0
