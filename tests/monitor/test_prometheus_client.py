"""Requests to Prometheus: the token is sent and never shown; a broken answer is one message."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from monitor.errors import AlertsError
from monitor.prometheus_client import query

EMPTY = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()


class Answers:
    """What a server answers, and the tokens that it got.

    Attributes:
        length: the Content-Length; None: that of the content.
    """

    def __init__(self) -> None:
        self.status, self.content, self.length = 200, EMPTY, len(EMPTY)
        self.tokens: list[str | None] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Answers]:
    """A server that answers what the test says."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        """Answers every query."""

        def do_POST(self) -> None:
            """Answer a query."""
            self.rfile.read(int(self.headers["content-length"]))
            answers.tokens.append(self.headers["authorization"])
            self.send_response(answers.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(answers.length))
            self.end_headers()
            self.wfile.write(answers.content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        answers.url = f"http://127.0.0.1:{http.server_port}"
        yield answers
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("token", "sent"), [("s3cret\n", "Bearer s3cret"), (" s3cret ", "Bearer s3cret"), ("\n", None)]
)
def test_token(server: Answers, monkeypatch: pytest.MonkeyPatch, token: str, sent: str | None) -> None:
    """The newline at the end of a token's file is not part of it."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", token)
    assert query(server.url, "up") == []
    assert server.tokens == [sent]


@pytest.mark.parametrize("token", ["s3cret\r\nhost: other", "s3 cret", "s3crét"])
def test_invalid_token(server: Answers, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """A token that cannot be in a header is refused by a message that does not have it, and is not sent."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", token)
    with pytest.raises(AlertsError, match="PROMETHEUS_TOKEN has") as found:
        query(server.url, "up")
    assert "s3" not in str(found.value)
    assert server.tokens == []


@pytest.mark.parametrize("status", [200, 400])
def test_torn(server: Answers, status: int) -> None:
    """A body that ends early, also that of an error, is a message and no traceback."""
    server.status, server.length = status, 1000
    with pytest.raises(AlertsError, match="is unreachable: IncompleteRead"):
        query(server.url, "up")


def test_rejected(server: Answers) -> None:
    """A rejected query has Prometheus's own words."""
    server.content = json.dumps({"status": "error", "error": "parse error"}).encode()
    server.status, server.length = 400, len(server.content)
    with pytest.raises(AlertsError, match="rejected the query: parse error"):
        query(server.url, "up")
