"""Tests of the rehearsal's client, with a real server."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.rehearsal.client import Client


class Handler(BaseHTTPRequestHandler):
    """Answers every request with an empty body."""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("x-pod", "pod-1")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in the standard library)
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """URL of a running server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_pause(url: str) -> None:
    """A paused client sends nothing; resumed, it continues at its rate, without making up for the pause."""
    with Client(url, [{}]) as client:
        time.sleep(0.5)
        client.pause()
        time.sleep(0.2)
        paused = time.monotonic()
        time.sleep(1.0)
        assert client.since(paused) == []
        client.resume()
        resumed = time.monotonic()
        time.sleep(0.5)
    responses = client.since(resumed)
    assert {(each.status, each.pod) for each in responses} == {(200, "pod-1")}
    assert 1 <= len(responses) <= 35
