"""Clients that do not read, do not end, or send without pause: memory is bounded, and probes are answered."""

import contextlib
import hashlib
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from struct import pack

import pytest

from tests.app.conftest import Server, StartServer
from tests.app.serving.raw_http import BODY, HEAD, POST, exchange

pytestmark = pytest.mark.usefixtures("fast_http")
SECONDS = 1.5
MAX_GROWTH_BYTES = 64 * 2**20
# The probes' timeout in deploy/base/deployment.yaml, and what half of them take at most.
MAX_PROBE_S, MAX_MEDIAN_PROBE_S = 2.0, 0.5
CHUNKED = HEAD.replace(b"Content-Length: 20", b"Transfer-Encoding: chunked") + b"\r\n"
LARGE_BODY = b'{"inputs":[' + b",".join([b"[1,2]"] * 300_000) + b"]}"
LARGE = HEAD.replace(b"20", b"%d" % len(LARGE_BODY)) + b"\r\n" + LARGE_BODY


def connect(server: Server, *, receive_buffer: int = 0) -> socket.socket:
    """Return a connection to a server."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(1)
    connection.connect(("127.0.0.1", server.port))
    return connection


def send_endlessly(server: Server, data: bytes, stopped: threading.Event, pause_s: float = 0.0) -> None:
    """Send data again and again without reading, and connect again if the connection ends."""
    while not stopped.is_set():
        with contextlib.suppress(OSError), closing(connect(server, receive_buffer=2048)) as connection:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.sendall(data)
                stopped.wait(pause_s)


def receive_all(connection: socket.socket, received: bytearray) -> None:
    """Receive until the end."""
    while data := connection.recv(65536):
        received += data


def disconnect_anywhere(server: Server, stopped: threading.Event) -> None:
    """Send parts of requests, and disconnect in every way and at every moment."""
    chooser = random.Random(7)
    requests = (POST, POST * 5, POST + b"GET /model HTTP/1.1\r\nHost: a\r\n\r\n", CHUNKED + b"14\r\n" + BODY)
    while not stopped.is_set():
        data = chooser.choice(requests)
        with contextlib.suppress(OSError), closing(connect(server)) as connection:
            connection.sendall(data[: chooser.randrange(len(data) + 1)])
            stopped.wait(chooser.choice((0, 0, 0.002, 0.01)))
            if chooser.random() < 0.3:
                connection.shutdown(socket.SHUT_WR)
            elif chooser.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))


@contextmanager
def running(number: int, function: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Call a function, which gets an event that stops it as its last argument, in threads."""
    stopped = threading.Event()
    threads = [threading.Thread(target=function, args=(*arguments, stopped)) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def resident_bytes(server: Server) -> int:
    """Return the resident memory of the only worker."""
    (pid,) = server.workers()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def watch(server: Server, before: int) -> None:
    """Check memory and probes for some seconds."""
    ended = time.monotonic() + SECONDS
    durations = []
    while time.monotonic() < ended:
        started = time.monotonic()
        assert server.request("GET", "/readyz")[0] == 200
        durations.append(time.monotonic() - started)
        assert resident_bytes(server) - before < MAX_GROWTH_BYTES
        time.sleep(0.1)
    assert max(durations) < MAX_PROBE_S
    assert median(durations) < MAX_MEDIAN_PROBE_S


@pytest.fixture
def server(package: Path, tmp_path: Path, start_server: StartServer) -> Iterator[Server]:
    """Provide one worker; check that it ends at once and without a traceback."""
    server = start_server(package, WEB_CONCURRENCY="1", DRAIN_DELAY_S="0", LOG_SUCCESS_RATIO="0")
    yield server.wait_until_ready()
    assert b"200 OK" in exchange(server, POST)
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


CASES = {
    "unread_responses": (1, POST * 100),
    "pipelined": (10, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 500),
    "pipelined_scoring": (10, POST * 500),
    "large_unread": (2, LARGE),
    "endless_head": (10, b"X-A: b\r\n" * 1000),
    "endless_chunk_extension": (4, CHUNKED + b"1;" + b"a" * 300_000),
    "endless_chunks": (4, CHUNKED + b"1\r\n \r\n" * 100_000),
}


@pytest.mark.parametrize("case", CASES)
def test_senders(server: Server, case: str) -> None:
    """Clients that send and never read make no buffer grow."""
    number, data = CASES[case]
    before = resident_bytes(server)
    with running(number, lambda stopped: send_endlessly(server, data, stopped)):
        watch(server, before)


def test_disconnects(server: Server) -> None:
    """Clients that disconnect at every moment leave nothing behind."""
    before = resident_bytes(server)
    with running(8, disconnect_anywhere, server):
        watch(server, before)


def test_slow_bodies(server: Server) -> None:
    """Bodies that arrive byte by byte, to any path, delay nothing."""

    def send(stopped: threading.Event) -> None:
        for path in (b"/score", b"//score", b"/nothing"):
            with contextlib.suppress(OSError), closing(connect(server)) as connection:
                connection.sendall(HEAD.replace(b"/score", path) + b"\r\n")
                for index in range(20):
                    connection.sendall(BODY[index : index + 1])
                    stopped.wait(0.03)
                received.append(connection.recv(4096)[9:12])

    received: list[bytes] = []
    before = resident_bytes(server)
    with running(10, send):
        watch(server, before)
    assert (received.count(b"200"), received.count(b"404")) == (10, 20)


@pytest.mark.parametrize("size", [1, 70_000, 2_000_000])
def test_chunk_sizes(server: Server, size: int) -> None:
    """A large body is read whatever the size of its chunks, which are longer or shorter than a read."""
    body = LARGE_BODY if size > 1 else LARGE_BODY[:300_004] + b"]}"
    chunks = (body[index : index + size] for index in range(0, len(body), size))
    data = b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])
    response = exchange(server, CHUNKED + data + b"0\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 200")
    assert response.count(b"[3.0,5.0]") == body.count(b"[1,2]")


def test_stalled_write(package: Path, start_server: StartServer) -> None:
    """A response that is not read is ended after WRITE_TIMEOUT_S, and the system keeps nothing of it."""
    server = start_server(package, WEB_CONCURRENCY="1", WRITE_TIMEOUT_S="1").wait_until_ready()
    with closing(connect(server, receive_buffer=4096)) as connection:
        connection.settimeout(20)
        connection.sendall(LARGE * 3)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        time.sleep(5)
        received = bytearray()
        with pytest.raises(ConnectionResetError):
            receive_all(connection, received)
    assert len(received) < 100_000
    assert server.stop() == 0


def test_keyless_bodies(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """Without a valid key no body is read: each client gets 401 from its head."""
    keys = tmp_path / "keys"
    keys.write_text(f"a:{hashlib.sha256(b'key').hexdigest()}\n")
    server = start_server(package, WEB_CONCURRENCY="1", API_KEYS_FILE=str(keys)).wait_until_ready()
    head = HEAD.replace(b"20", b"%d" % 2**25) + b"\r\n"
    before = resident_bytes(server)
    statuses: list[bytes] = []

    def send(stopped: threading.Event) -> None:
        with contextlib.suppress(OSError), closing(connect(server)) as connection:
            connection.sendall(head)
            statuses.append(connection.recv(4096)[9:12])
            connection.sendall(b"[" * (2**25 - 1))
            stopped.wait(SECONDS)

    with running(20, send):
        watch(server, before)
    assert statuses == [b"401"] * 20
    assert server.stop() == 0
