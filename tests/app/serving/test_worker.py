"""The workers share the connections evenly, and none waits for a worker that cannot take it."""

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
REQUEST = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture
def server(package: Path, start_server: StartServer) -> Iterator[Server]:
    """Two workers, both ready."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    wait_for_workers(server, 2)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def wait_for_workers(server: Server, number: int) -> None:
    """Waits until so many workers accept: of as many connections at once, each has one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with ExitStack() as opened:
            connect(server, opened, number)
            if list(shares(server).values()) == [1] * number:
                break
        time.sleep(0.05)
    else:
        pytest.fail(f"not all of {number} workers accept:\n{server.log.read_text()}")
    wait_until_left(server)


def wait_until_left(server: Server) -> None:
    """Waits until no worker has a connection."""
    deadline = time.monotonic() + 20
    while any(shares(server).values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def stopped(*workers: int) -> Iterator[None]:
    """Keeps workers from doing anything."""
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def connect(server: Server, opened: ExitStack, number: int, pause_s: float = 0.0) -> list[socket.socket]:
    """New connections, each of which has had an answer."""
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


def shares(server: Server) -> dict[int, int]:
    """How many connections each worker has: of those to the service's port that are established, its own."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {row[9] for row in table if row[1].endswith(f":{server.port:04X}") and row[3] == "01"}
    counts = {}
    for pid in server.workers():
        counts[pid] = 0
        # What is closed meanwhile, or belongs to a worker that is gone.
        with suppress(FileNotFoundError, PermissionError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    counts[pid] += str(file.readlink()).removeprefix("socket:[").removesuffix("]") in ours
    return counts


@pytest.mark.parametrize("pause_s", [0.0, 0.01], ids=["at_once", "one_by_one"])
def test_connections_are_shared(server: Server, pause_s: float) -> None:
    """However they come, half of the connections are each worker's; a quarter more at most.

    Once in three times a worker may have had to wait for a CPU.
    """
    rounds = []
    for _ in range(3):
        with ExitStack() as opened:
            connect(server, opened, 32, pause_s)
            rounds.append(sorted(shares(server).values()))
        wait_until_left(server)
    assert [sum(each) for each in rounds] == [32] * 3
    assert sum(more <= fewer * 1.25 + 1 for fewer, more in rounds) >= 2, rounds


def test_after_a_kill(server: Server) -> None:
    """A worker that takes a killed one's place gets the connections that come next."""
    with ExitStack() as opened:
        connect(server, opened, 16)
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        time.sleep(0.1)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            began = time.monotonic()
            connect(server, opened, 1)
            # Nobody waits for the dead.
            assert time.monotonic() - began < 1
            now = shares(server)
            if killed not in now and len(now) == 2 and min(now.values()) >= 4:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"connections: {shares(server)}")


def test_worker_that_hangs(server: Server) -> None:
    """Connections that a worker with fewer does not take are taken by one with more, at once."""
    pid = server.workers()[0]
    with stopped(pid), ExitStack() as opened:
        began = time.monotonic()
        connect(server, opened, 50)
        assert time.monotonic() - began < 2
        assert shares(server)[pid] == 0


def send_many(server: Server, opened: ExitStack, number: int) -> list[socket.socket]:
    """New connections with a request each, whose answers nobody has read."""
    connections = [
        opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        for _ in range(number)
    ]
    for connection in connections:
        connection.sendall(REQUEST)
    return connections


def test_many_at_once(server: Server) -> None:
    """More connections than asyncio's own backlog of 100 wait for workers that are busy."""
    with ExitStack() as opened:
        with stopped(*server.workers()):
            began = time.monotonic()
            connections = send_many(server, opened, 400)
            # One that finds no place is tried again after a second.
            assert time.monotonic() - began < 0.9
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_connections_that_wait_at_sigterm(package: Path, start_server: StartServer) -> None:
    """What nobody has taken yet when all are told to stop is answered, also if another worker had fewer."""
    server = start_server(package, WEB_CONCURRENCY="2", DRAIN_DELAY_S="0").wait_until_ready()
    wait_for_workers(server, 2)
    hanging, working = server.workers()
    with stopped(hanging), ExitStack() as opened:
        with stopped(working):
            connections = send_many(server, opened, 400)
            server.process.terminate()
            time.sleep(0.5)
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(timeout=20) == 0


def test_reload_has_new_connections_go_to_new_workers(package: Path, start_server: StartServer) -> None:
    """Workers that drain have fewer and fewer connections, and leave those that come to the new ones."""
    server = start_server(package, WEB_CONCURRENCY="2", DRAIN_DELAY_S="20").wait_until_ready()
    wait_for_workers(server, 2)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    announced = 40
    while announced > 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        with ExitStack() as opened:
            replies = [connection.recv(4096) for connection in send_many(server, opened, 40)]
        announced = sum(b"Connection: close" in reply for reply in replies)
    assert announced <= 2
    assert len(server.workers()) == 4  # so the old ones are still there


def test_abort(server: Server) -> None:
    """A worker that gunicorn aborts, since it was silent for too long, is replaced; the others stay."""
    aborted, other = server.workers()
    os.kill(aborted, signal.SIGABRT)
    deadline = time.monotonic() + 20
    while aborted in server.workers() or len(server.workers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_for_workers(server, 2)
    assert other in server.workers()


def test_places() -> None:
    """Every worker has a place of its own for its count, and a dead one's is free again."""
    workers = [Worker(age, os.getpid(), [], None, 30, Config(), None) for age in (1, 2)]
    release_slot(workers[0])
    workers.append(Worker(3, os.getpid(), [], None, 30, Config(), None))
    first, second, third = (worker.slot for worker in workers)
    assert first == third != second
    for worker in workers:
        release_slot(worker)
        worker.tmp.close()


def test_no_descriptors_left(package: Path, start_server: StartServer) -> None:
    """A worker that may open no more files says so, keeps what it has, and takes the rest when it can."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    (pid,) = server.workers()
    highest = max(int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir())
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        (kept,) = connect(server, opened, 1)
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
        (line,) = {line["message"] for line in server.lines() if line["level"] == "error"}
        assert line == "cannot accept connections, trying again in 1 s: [Errno 24] Too many open files"
        kept.sendall(REQUEST)
        assert kept.recv(4096).startswith(b"HTTP/1.1 200 ")
        time.sleep(2 * RETRY_S)
        assert sum("cannot accept" in line["message"] for line in server.lines()) <= 4
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        for connection in waiting:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert server.stop() == 0


def test_tls(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """gunicorn's own setting for TLS is kept; a client that does not speak it costs nothing."""
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
        client.request("POST", "/score", BODY)
        assert client.getresponse().status == 200
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in server.log.read_text()
