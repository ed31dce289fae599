"""The smoke test against real services, and against a fake one that behaves incorrectly."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.commands.smoke import main
from model_loader.package import read_package
from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package

SAMPLE = {"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[3, 5]]}}


@pytest.fixture
def arguments(package: Path, tmp_path: Path) -> list[str]:
    """Return the arguments that name the package and a lock with its digest."""
    lock = tmp_path / "model.lock"
    lock.write_text(json.dumps({"digest": read_package(package).digest}))
    return ["--model", str(package), "--lock", str(lock)]


def test_passes(
    package: Path, arguments: list[str], start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two replicas that serve the locked model pass."""
    servers = [start_server(package, WEB_CONCURRENCY="1").wait_until_ready() for _ in range(2)]
    urls = [f"http://127.0.0.1:{server.port}" for server in servers]
    assert main([*urls, "--wait", "10", *arguments]) == 0
    assert "samples passed" in capsys.readouterr().out


def test_with_key(
    package: Path,
    arguments: list[str],
    start_server: StartServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """API_KEY is sent to a service that requires a key."""
    keys = tmp_path / "keys"
    keys.write_text("smoke:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n")  # of "key"
    server = start_server(package, WEB_CONCURRENCY="1", API_KEYS_FILE=str(keys)).wait_until_ready()
    url = f"http://127.0.0.1:{server.port}"
    assert main([url, *arguments]) == 1
    assert "expected status 200, got 401" in capsys.readouterr().err
    monkeypatch.setenv("API_KEY", "key")
    assert main([url, *arguments]) == 0


def test_another_model(
    arguments: list[str], tmp_path: Path, start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service with another model is reported with both digests."""
    other = write_package(tmp_path / "other", models.affine(), samples=[SAMPLE], version=4)
    server = start_server(other, WEB_CONCURRENCY="1").wait_until_ready()
    assert main([f"http://127.0.0.1:{server.port}", *arguments]) == 1
    assert "expected tiny/3@sha256:" in (printed := capsys.readouterr().err)
    assert "got tiny/4@sha256:" in printed


def test_lock_of_another_package(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that is not the locked one is reported before any service is checked."""
    (tmp_path / "model.lock").write_text('{"digest": "sha256:0"}')
    assert main(["http://127.0.0.1:1", *arguments]) == 1
    assert "expected sha256:0 of " in capsys.readouterr().err


def test_unreachable(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A service that cannot be reached is reported after the waiting time."""
    assert main(["http://127.0.0.1:1", "--wait", "0.3", *arguments]) == 1
    assert "http://127.0.0.1:1/readyz cannot be reached" in capsys.readouterr().err


class FakeService(http.server.BaseHTTPRequestHandler):
    """A service with the model's digest, whose replies a test sets."""

    digest = ""
    score_body = b"{}"
    metrics = b""
    error_status = 400

    def do_GET(self) -> None:
        """Reply to `/readyz`, `/model` and `/metrics`."""
        about = {
            "digest": self.digest,
            "name": "tiny",
            "version": "3",
            "outputs": [{"name": "y", "datatype": "FP32"}],
        }
        self.reply(200, self.metrics if self.path == "/metrics" else json.dumps(about).encode())

    def do_POST(self) -> None:
        """Reply to `/score`."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if b"no such input" in body:
            self.reply(self.error_status, b"no such input")
        else:
            self.reply(200, self.score_body)

    def reply(self, status: int, body: bytes) -> None:
        """Send a reply."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


@pytest.fixture
def fake_service(package: Path) -> Iterator[tuple[str, type[FakeService]]]:
    """Yield the fake service's URL, and its class to set the replies."""
    handler = type("Handler", (FakeService,), {"digest": read_package(package).digest})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("score_body", "error_status", "words"),
    [
        ('{"outputs": {"y": [[3, 5], [7, 8]]}}', 400, "sample 0: output 'y': expected [[3, 5], [7, 9]], got"),
        (
            '{"outputs": {"y": [[3, 5]]}}',
            400,
            "sample 0: output 'y': expected [[3, 5], [7, 9]], got [[3, 5]]",
        ),
        ('{"outputs": {"y": [[3, 5], [7, 9]]}}', 200, "invalid request: expected status 400, got 200"),
        ('{"outputs": {"y": [[3, 5], [7, 9]]}}', 400, "/metrics has no model_info"),
        ("<html>", 400, "sample 0: expected JSON with outputs, got b'<html>'"),
        ('{"outputs": {}}', 400, "sample 0: missing output 'y'"),
    ],
)
def test_wrong(
    fake_service: tuple[str, type[FakeService]],
    arguments: list[str],
    score_body: str,
    error_status: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wrong outputs, accepted invalid requests, and metrics without the model are reported."""
    url, handler = fake_service
    handler.score_body, handler.error_status = score_body.encode(), error_status
    assert main([url, *arguments]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("url", ["foo", "localhost:8080", "http://127.0.0.1:abc", "ftp://127.0.0.1"])
def test_invalid_url(arguments: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An argument that is not a URL is a usage error."""
    with pytest.raises(SystemExit) as end:
        main([url, *arguments])
    assert end.value.code == 2
    assert f"not a URL: {url}" in capsys.readouterr().err


def test_password_in_a_url(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A password or a token in a URL is not repeated."""
    with pytest.raises(SystemExit):
        main(["http://me:secret@127.0.0.1/x?sig=secret", *arguments])
    printed = capsys.readouterr().err
    assert "not a URL: http:…127.0.0.1/x…" in printed
    assert "secret" not in printed


def test_missing_lock(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing lock is reported."""
    assert main(["http://127.0.0.1:1", "--model", str(package), "--lock", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_replicas_that_differ(
    package: Path,
    fake_service: tuple[str, type[FakeService]],
    arguments: list[str],
    start_server: StartServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Replicas that are correct but do not return the same bytes are reported."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    url, handler = fake_service
    handler.score_body = b'{"outputs": {"y": [[3, 5], [7, 9]]}}'
    handler.metrics = f'model_info{{digest="{handler.digest}"}} 1.0'.encode()
    assert main([url, *arguments]) == 0
    assert main([f"http://127.0.0.1:{server.port}", url, *arguments]) == 1
    assert "sample 0: http://127.0.0.1:" in capsys.readouterr().err
