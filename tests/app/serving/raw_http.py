"""Requests in bytes, sent on plain sockets."""

import re
import socket
import time

from tests.app.conftest import Server

# Rows of a request that takes several reads.
LARGE_ROWS = 65536
# Pause between the parts of a request, so that each is a read of its own.
PAUSE_S = 0.1
BODY = b'{"inputs": [[1, 2]]}'
HEAD = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n"
POST = HEAD + b"\r\n" + BODY


def exchange(server: Server, *parts: bytes, pause_s: float = 0.0, responses: int = 1) -> bytes:
    """Send parts one after another; return the responses as `receive` does."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        return receive(connection, responses)


def receive(connection: socket.socket, responses: int) -> bytes:
    """Return a number of responses, without ids, dates and durations."""
    data = b""
    while data.count(b'"model_version"') < responses:
        received = connection.recv(65536)
        assert received, data
        data += received
    return re.sub(rb"(?i)(date: [^\r]+|exec-ms: [0-9.]+|[0-9a-f]{32})", b"", data)


def large_request(id_: str) -> bytes:
    """Return a request that takes several reads, with LARGE_ROWS rows."""
    rows = b",".join([b"[1,2]"] * LARGE_ROWS)
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"X-Request-Id: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (id_.encode(), len(rows) + 13) + b'{"inputs":[%b]}' % rows
