"""The canary gate with servers that do not answer like Prometheus."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.release.conftest import release

VECTOR = b'{"status": "success", "data": {"resultType": "vector", "result": [%s]}}'
REPLIES = {
    "html": b"<html>Sign in</html>",
    "list": b"[]",
    "scalar": b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}',
    "number": VECTOR % b'{"metric": {}, "value": 7}',
    "text": VECTOR % b'{"metric": {}, "value": [1, "x"]}',
    "matrix": b'{"status": "success", "data": {"resultType": "matrix", "result": []}}',
    "refused": b'{"status": "error", "errorType": "execution", "error": "too many samples"}',
    "redirect": b"",
}


class Handler(BaseHTTPRequestHandler):
    """Answers a query at `/KIND` with the reply of that kind, and at `/token` with the token's length."""

    def do_POST(self) -> None:
        """Answer a query."""
        self.rfile.read(int(self.headers["content-length"]))
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        token_length = b'{"status": "error", "error": "token: %d characters"}' % len(token)
        self.answer(REPLIES.get(self.path.split("/")[1], token_length))

    def do_GET(self) -> None:
        """Answer a redirected query as a good Prometheus would."""
        self.answer(VECTOR % b'{"metric": {}, "value": [1, "1"]}')

    def answer(self, content: bytes) -> None:
        """Send a reply, or a redirect if there is no content."""
        self.send_response(200 if content else 302)
        if not content:
            self.send_header("location", "/good")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run the server and return its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", REPLIES)
def test_not_prometheus(kind: str, server: str) -> None:
    """A server that does not answer like Prometheus is never a pass, and is named in the message."""
    result = release("canary-gate", "--prometheus", f"{server}/{kind}", "--watch", "1s")
    assert result.code == 3
    assert f"{server}/{kind}" in result.out
    assert "Traceback" not in result.err


def test_unreachable() -> None:
    """A server that does not answer at all is not a pass either."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = release("canary-gate", "--prometheus", url, "--watch", "1s")
    assert result.code == 3
    assert "is unreachable: " in result.out


def test_token(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is sent to the server, and is in no message."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", "hush-5f1c\n")
    result = release("canary-gate", "--prometheus", f"{server}/token", "--watch", "1s")
    assert "Bearer" not in result.out + result.err
    assert "hush" not in result.out + result.err
    assert "token: 9 characters" in result.out


@pytest.mark.parametrize("token", ["hush\r\nhost: other", "hu sh", "hüsh"])
def test_invalid_token(server: str, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """A token that cannot be in a header is refused at once, and is in no message."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", token)
    result = release("canary-gate", "--prometheus", f"{server}/token", "--watch", "60s")
    assert result.code == 1
    assert "PROMETHEUS_TOKEN: expected printable ASCII" in result.err
    assert token[:4] not in result.out + result.err
