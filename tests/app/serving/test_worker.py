"""Workers share connections evenly, and no connection waits for a worker that cannot accept it."""

import os
import resource
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from gunicorn.config import Config

from app.serving.accept_balancing import release_slot
from app.serving.worker import RETRY_S, Worker
from tests.app.conftest import Server, StartServer

BODY = b'{"inputs": [[1, 2]]}'
REQUEST = (
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)


@pytest.fixture
def server(package: Path, start_server: StartServer) -> Iterator[Server]:
    """Provide two ready workers; check that they end without a traceback."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    wait_for_workers(server, 2)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def wait_for_workers(server: Server, number: int) -> None:
    """Wait until a number of workers accept: each gets one of as many connections."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with ExitStack() as opened:
            connect(server, opened, number)
            if list(connection_counts(server).values()) == [1] * number:
                break
        time.sleep(0.05)
    else:
        pytest.fail(f"expected {number} workers to accept:\n{server.log.read_text()}")
    wait_until_closed(server)


def wait_until_closed(server: Server) -> None:
    """Wait until no worker has a connection."""
    deadline = time.monotonic() + 20
    while any(connection_counts(server).values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def suspended(*workers: int) -> Iterator[None]:
    """Suspend workers within the context."""
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def connect(server: Server, opened: ExitStack, number: int, pause_s: float = 0.0) -> list[socket.socket]:
    """Open connections and send a request on each; return them after the responses."""
    connections = []
    for _ in range(number):
        connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        opened.enter_context(closing(connections[-1]))
        time.sleep(pause_s)
    for connection in connections:
        connection.sendall(REQUEST)
    for connection in connections:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    return connections


def connection_counts(server: Server) -> dict[int, int]:
    """Return the number of established connections to the service's port for each worker."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {row[9] for row in table if row[1].endswith(f":{server.port:04X}") and row[3] == "01"}
    counts = {}
    for pid in server.workers():
        counts[pid] = 0
        # The worker or the connection may have ended in the meantime.
        with suppress(FileNotFoundError, PermissionError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    inode = str(file.readlink()).removeprefix("socket:[").removesuffix("]")
                    counts[pid] += inode in established
    return counts


@pytest.mark.parametrize("pause_s", [0.0, 0.01], ids=["at_once", "one_by_one"])
def test_connections_are_shared(server: Server, pause_s: float) -> None:
    """Each worker has half of the connections, at most a quarter more than the other one.

    One of three rounds may fail, because a worker may have waited for a CPU.
    """
    rounds = []
    for _ in range(3):
        with ExitStack() as opened:
            connect(server, opened, 32, pause_s)
            rounds.append(sorted(connection_counts(server).values()))
        wait_until_closed(server)
    assert [sum(counts) for counts in rounds] == [32] * 3
    assert sum(high <= low * 1.25 + 1 for low, high in rounds) >= 2, rounds


def test_killed_worker(server: Server) -> None:
    """The worker that replaces a killed one gets the next connections."""
    with ExitStack() as opened:
        connect(server, opened, 16)
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        time.sleep(0.1)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            started = time.monotonic()
            connect(server, opened, 1)
            # No connection may wait for the killed worker.
            assert time.monotonic() - started < 1
            counts = connection_counts(server)
            if killed not in counts and len(counts) == 2 and min(counts.values()) >= 4:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"connections: {connection_counts(server)}")


def test_hanging_worker(server: Server) -> None:
    """Connections that a hanging worker does not accept are accepted by the other one at once."""
    pid = server.workers()[0]
    with suspended(pid), ExitStack() as opened:
        started = time.monotonic()
        connect(server, opened, 50)
        assert time.monotonic() - started < 2
        assert connection_counts(server)[pid] == 0


def send_many(server: Server, opened: ExitStack, number: int) -> list[socket.socket]:
    """Open connections and send a request on each; return them before any response is read."""
    connections = [
        opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        for _ in range(number)
    ]
    for connection in connections:
        connection.sendall(REQUEST)
    return connections


def test_backlog(server: Server) -> None:
    """More connections than asyncio's default backlog of 100 can wait for busy workers."""
    with ExitStack() as opened:
        with suspended(*server.workers()):
            started = time.monotonic()
            connections = send_many(server, opened, 400)
            # The kernel retries a connection after a second if the backlog is full.
            assert time.monotonic() - started < 0.9
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_waiting_connections_at_sigterm(package: Path, start_server: StartServer) -> None:
    """Connections not yet accepted at SIGTERM are answered, also if a hanging worker has fewer."""
    server = start_server(package, WEB_CONCURRENCY="2", DRAIN_DELAY_S="0").wait_until_ready()
    wait_for_workers(server, 2)
    hanging, working = server.workers()
    with suspended(hanging), ExitStack() as opened:
        with suspended(working):
            connections = send_many(server, opened, 400)
            server.process.terminate()
            time.sleep(0.5)
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(timeout=20) == 0


def test_reload_moves_new_connections(package: Path, start_server: StartServer) -> None:
    """During a reload new connections go to the new workers while the old ones drain."""
    server = start_server(package, WEB_CONCURRENCY="2", DRAIN_DELAY_S="20").wait_until_ready()
    wait_for_workers(server, 2)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    closing_count = 40
    while closing_count > 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        with ExitStack() as opened:
            responses = [connection.recv(4096) for connection in send_many(server, opened, 40)]
        closing_count = sum(b"connection: close" in response for response in responses)
    assert closing_count <= 2
    assert len(server.workers()) == 4  # the old ones still run


def test_abort(server: Server) -> None:
    """A worker that gunicorn aborts after a timeout is replaced, and the other one keeps running."""
    aborted, other = server.workers()
    os.kill(aborted, signal.SIGABRT)
    deadline = time.monotonic() + 20
    while aborted in server.workers() or len(server.workers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_for_workers(server, 2)
    assert other in server.workers()


def test_slots() -> None:
    """Each worker has a slot of its own for its count, and a slot that is released is used again."""
    workers = [Worker(age, os.getpid(), [], None, 30, Config(), None) for age in (1, 2)]
    release_slot(workers[0])
    workers.append(Worker(3, os.getpid(), [], None, 30, Config(), None))
    first, second, third = (worker.slot for worker in workers)
    assert first == third != second
    for worker in workers:
        release_slot(worker)
        worker.tmp.close()


def test_out_of_descriptors(package: Path, start_server: StartServer) -> None:
    """A worker without free descriptors logs that, keeps its connections, and accepts more later."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    (pid,) = server.workers()
    highest = max(int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir())
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        (accepted,) = connect(server, opened, 1)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 2, hard))
        waiting = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            for _ in range(8)
        ]
        for connection in waiting:
            connection.sendall(REQUEST)
        deadline = time.monotonic() + 10
        while "cannot accept connections" not in server.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        (line,) = {line["message"] for line in server.lines() if "cannot accept" in line["message"]}
        assert line == "cannot accept connections, trying again in 1 s: [Errno 24] Too many open files"
        accepted.sendall(REQUEST)
        assert accepted.recv(4096).startswith(b"HTTP/1.1 200 ")
        time.sleep(2 * RETRY_S)
        assert sum("cannot accept" in line["message"] for line in server.lines()) <= 4
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        for connection in waiting:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.stop() == 0


def test_tls(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """gunicorn's TLS settings work, and a client without TLS is disconnected."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    arguments = f"--certfile {certificate} --keyfile {key}"
    server = start_server(package, WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS=arguments).wait_until_ready()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(REQUEST)
        assert not connection.recv(4096).startswith(b"HTTP")
    context = ssl.create_default_context(cafile=str(certificate))
    with closing(HTTPSConnection("localhost", server.port, timeout=10, context=context)) as client:
        client.request("POST", "/score", BODY, {"content-type": "application/json"})
        assert client.getresponse().status == 200
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 10
    assert "Traceback" not in server.log.read_text()
