"""The fast lane: what it recognises, and that nobody can tell which way a request went."""

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

from app.serving.fast_http import BODY_TIMEOUT_S, MAX_HEAD_BYTES, READ_BYTES, parse_simple_post
from tests import models
from tests.app.conftest import Server, StartServer

BODY = b'{"inputs": [[1, 2]]}'
HEAD = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n"
PLAIN = HEAD + b"\r\n" + BODY


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Connection: keep-alive\r\n",
        b"Connection: Keep-Alive\r\n",
        b"Accept:\r\n",
        b"X-Request-Id: \t a:b \r\n",
        b"X-Name: \xe4\r\n",
    ],
)
def test_plain(line: bytes) -> None:
    """An ordinary request is recognised, its headers in lower case and without the space around them."""
    head = parse_simple_post(HEAD + line + b"\r\n" + BODY)
    assert head
    path, headers, begin = head
    assert path == "/score"
    assert (HEAD + line + b"\r\n" + BODY)[begin:] == BODY
    assert headers["host"] == "a"
    assert headers.get("x-request-id", "a:b") == "a:b"
    assert headers.get("x-name", "ä") == "ä"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        PLAIN.replace(b"POST", b"PUT"),
        PLAIN.replace(b"/score", b"http://a/score"),
        PLAIN.replace(b"/score", b"/sc ore"),
        PLAIN.replace(b"/score", b"/sc\xf6re"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"\r\n", b"\n"),
        b"\r\n" + PLAIN,
        PLAIN.replace(b"Host: a\r\n", b""),
        PLAIN.replace(b"Host: a", b"Host: a\r\nHost: a"),
        PLAIN.replace(b"Host:", b"Host :"),
        PLAIN.replace(b"Host: a", b"Host: a\r\n b"),
        PLAIN.replace(b"Host: a", b"Host: \0"),
        PLAIN.replace(b"Host: a", b"Host: a\rb"),
        PLAIN.replace(b"Host: a", b"Host: a\r\n: b"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nContent_Length: 3"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: identity"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nUpgrade: h2c"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nConnection: close"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nConnection: keep-alive, upgrade"),
        PLAIN.replace(b"Host: a", b"Host: a\r\nContent-Length: 20"),
        PLAIN.replace(b"20", b""),
        PLAIN.replace(b"20", b"+20"),
        PLAIN.replace(b"20", b"-1"),
        PLAIN.replace(b"20", b"2\xb2"),
        PLAIN.replace(b"20", b"20, 20"),
        PLAIN.replace(b"20", b"0x14"),
        PLAIN.replace(b"Host: a", b"Host: a" + b"a" * MAX_HEAD_BYTES),
    ],
)
def test_not_plain(data: bytes) -> None:
    """Whatever may be framed otherwise, or is malformed, is left to gunicorn's parser."""
    assert parse_simple_post(data) is None


def test_long_lines_are_quickly_refused() -> None:
    """No head makes the expression go back and forth."""
    began = time.perf_counter()
    for filler in (b" ", b"a", b"a:", b"a: a\r\n", b"\t \t"):
        assert parse_simple_post(HEAD + b"a:" + filler * MAX_HEAD_BYTES + b"\0") is None
    assert time.perf_counter() - began < 0.5


@pytest.fixture
def server(package: Path, start_server: StartServer) -> Iterator[Server]:
    """A worker with the tiny package."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def answer(server: Server, *parts: bytes, pause_s: float = 0.0, replies: int = 1) -> bytes:
    """What comes back, ids and dates aside, for parts that are sent one after another."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        return receive(connection, replies)


def receive(connection: socket.socket, replies: int) -> bytes:
    """So many replies, without ids, dates and times."""
    data = b""
    while data.count(b'"model_version"') < replies:
        more = connection.recv(65536)
        assert more, data
        data += more
    return re.sub(rb"(?i)(date: [^\r]+|exec-ms: [0-9.]+|[0-9a-f]{32})", b"", data)


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{"instances": [{"a": 1, "b": 2}]}',
        b'{"inputs": [[1, 2, 3]]}',
        b'{"inputs": [[1, "x"]]}',
        b"{",
        b"",
    ],
)
@pytest.mark.parametrize("line", [b"", b"Content-Type: text/plain\r\n", b"Content-Encoding: gzip\r\n"])
def test_same_answer(server: Server, body: bytes, line: bytes) -> None:
    """In one read, the body just after the head, or in parts: the reply is the same, byte for byte."""
    head = b"POST /score HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (line, len(body))
    at_once = answer(server, head + body)
    assert at_once.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 415"))
    assert answer(server, head, body, pause_s=BODY_TIMEOUT_S / 4) == at_once
    assert answer(server, head[:30], head[30:], body, pause_s=2 * BODY_TIMEOUT_S) == at_once


def test_head_that_waits(server: Server) -> None:
    """A body that comes late, and in two parts, is waited for."""
    head = HEAD + b"\r\n"
    assert b"[[3.0,5.0]]" in answer(server, head, BODY[:5], BODY[5:], pause_s=2 * BODY_TIMEOUT_S)
    assert b"[[3.0,5.0]]" in answer(server, head + BODY[:3], BODY[3:9], BODY[9:], pause_s=BODY_TIMEOUT_S / 4)


def large_request(id_: str) -> bytes:
    """A request that takes several reads."""
    rows = b",".join([b"[1,2]"] * READ_BYTES)
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (id_.encode(), len(rows) + 13) + b'{"inputs":[%b]}' % rows


def test_large_body(server: Server) -> None:
    """A body of several reads is whole, however it comes, and what follows it is the next request."""
    request = large_request("large")
    whole = answer(server, request)
    assert whole.count(b"[3.0,5.0]") == READ_BYTES
    cuts = (20, len(request) // 2, len(request) - 1)
    parts = [request[low:high] for low, high in pairwise((0, *cuts, len(request)))]
    assert answer(server, *parts, pause_s=BODY_TIMEOUT_S / 10) == whole
    assert answer(server, *parts, pause_s=2 * BODY_TIMEOUT_S) == whole
    replies = answer(server, request + large_request("next") + PLAIN, replies=3)
    assert replies.startswith(whole)
    assert replies.count(b"[3.0,5.0]") == 2 * READ_BYTES + 1


def test_length_that_is_only_announced(server: Server) -> None:
    """Bodies that do not come take no memory, and the requests of others are answered."""
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
        assert b"200 OK" in answer(server, PLAIN)
        pages = int(statm.read_text().split()[1]) - before
    assert pages * os.sysconf("SC_PAGESIZE") < 2**25


def test_drain_waits_for_a_body(server: Server) -> None:
    """A request whose body is on its way when the service is told to stop is answered."""
    request = large_request("late")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request[:READ_BYTES])
        time.sleep(BODY_TIMEOUT_S / 5)
        server.process.terminate()
        time.sleep(BODY_TIMEOUT_S / 5)
        connection.sendall(request[READ_BYTES:])
        reply = receive(connection, 1)
    assert reply.count(b"[3.0,5.0]") == READ_BYTES
    assert b"Connection: close" in reply


def test_body_that_ends_early(server: Server) -> None:
    """A client that leaves amid its body is nobody that a stop waits for."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(large_request("left")[:READ_BYTES])
        time.sleep(BODY_TIMEOUT_S / 5)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 5


def test_body_that_looks_like_a_request(server: Server) -> None:
    """What stands in a body stays a body, wherever its parts are cut: there is one reply, an error."""
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(PLAIN)
    for cut in (head + b"\r\n", head, head[:-2], head + b"\r", head[:25]):
        whole = head + b"\r\n" + PLAIN
        reply = answer(server, cut, whole[len(cut) :], PLAIN, pause_s=2 * BODY_TIMEOUT_S, replies=2)
        assert reply.startswith(b"HTTP/1.1 400")
        assert reply.count(b"HTTP/1.1") == 2
        assert reply.endswith(b'"model_name":"tiny","model_version":"3"}')
        assert b"[[3.0,5.0]]" in reply


def test_pipelined(server: Server) -> None:
    """Requests that do not wait for replies are answered in their order, in one read or in several."""
    ids = [PLAIN.replace(b"Host", b"X-Request-Id: id-%d\r\nHost" % number) for number in range(5)]
    for parts in ([b"".join(ids)], ids, [ids[0] + ids[1][:60], ids[1][60:] + ids[2], *ids[3:]]):
        reply = answer(server, *parts, replies=5)
        assert re.findall(rb"x-request-id: (id-\d)", reply) == [b"id-%d" % number for number in range(5)]


def test_head_and_rest_of_connection(server: Server) -> None:
    """Other routes and scoring alternate on one connection."""
    with closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("GET", "/readyz")
            assert connection.getresponse().read() == b'{"status":"ready"}\n'
            for _ in range(2):
                connection.request("POST", "/score", BODY, {"content-type": "application/json"})
                assert b"[[3.0,5.0]]" in connection.getresponse().read()


def test_idle_connections_end(package: Path, start_server: StartServer) -> None:
    """A connection that sends nothing ends, also its first request's head; one in use does not."""
    server = start_server(package, WEB_CONCURRENCY="1", KEEPALIVE_S="1").wait_until_ready()
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    slow = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    slow.sendall(HEAD)
    used = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    for _ in range(8):
        used.sendall(PLAIN)
        assert b"[[3.0,5.0]]" in receive(used, 1)
        time.sleep(0.3)
    assert silent.recv(100) == b""
    assert b"200" not in slow.recv(100)
    began = time.monotonic()
    assert used.recv(100) == b""
    assert time.monotonic() - began < 5
    for connection in (silent, slow, used):
        connection.close()
    assert server.stop() == 0


@pytest.fixture
def slow_server(tmp_path: Path, start_server: StartServer) -> Server:
    """A worker with a model that is not run in the event loop."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    return start_server(path, WEB_CONCURRENCY="1").wait_until_ready()


def slow_request(rows: int, id_: str) -> bytes:
    """A request that takes the slow model some time."""
    body = b'{"inputs": [%b]}' % b",".join([b"[" + b",".join([b"0.5"] * 1000) + b"]"] * rows)
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (id_.encode(), len(body)) + body


def test_pipelined_while_waiting(slow_server: Server) -> None:
    """What comes while the model runs is answered after it."""
    requests = [slow_request(1, f"id-{number}") for number in range(4)]
    reply = answer(slow_server, *requests, pause_s=0.005, replies=4)
    assert re.findall(rb"x-request-id: (id-\d)", reply) == [b"id-%d" % number for number in range(4)]
    assert slow_server.stop() == 0


def test_client_leaves_while_waiting(slow_server: Server) -> None:
    """A client that leaves while its request waits is logged as such, and others are answered."""
    busy = threading.Thread(target=answer, args=(slow_server, slow_request(40, "busy")))
    busy.start()
    time.sleep(0.05)
    with socket.create_connection(("127.0.0.1", slow_server.port), timeout=10) as connection:
        connection.sendall(slow_request(1, "left"))
        time.sleep(0.02)
    busy.join()
    deadline = time.monotonic() + 10
    while not (line := [line for line in slow_server.lines() if line.get("id") == "left"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert line[0]["status"] == 499
    assert b"200 OK" in answer(slow_server, slow_request(1, "next"))
    assert slow_server.stop() == 0
