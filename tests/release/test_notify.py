"""`scripts/notify`: a line for people, in the form that the webhook's service takes."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECRET = "c2VjcmV0"  # of the address
TEXT = 'wine/3: accuracy "0.93" \\ 0.9, ß\tand\nmore'


class Webhook(BaseHTTPRequestHandler):
    """A webhook that keeps what it gets, and answers with a status."""

    received: list[tuple[str, Any]]
    status = 200
    retry_after = ""

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, json.loads(body)))
        self.send_response(self.status)
        if self.retry_after:
            self.send_header("Retry-After", self.retry_after)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class has the name)
        """Print nothing."""


@pytest.fixture
def webhook() -> Iterator[tuple[str, type[Webhook]]]:
    """A webhook: its address, and what it received."""
    kind = type("Kept", (Webhook,), {"received": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook?sig={SECRET}", kind
        server.shutdown()


def notify(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with no other variables than PATH."""
    return subprocess.run(
        [ROOT / "scripts/notify", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_sent(webhook: tuple[str, type[Webhook]]) -> None:
    """The text is printed and sent as it is, with the address of the run; control characters are spaces."""
    url, kind = webhook
    run = {"GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r"}
    done = notify(TEXT, NOTIFY_URL=url, **run)
    link = "(https://github.com/o/r/actions/runs/7)"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{TEXT} {link}\n", "")
    flat = TEXT.replace("\t", " ").replace("\n", " ")
    assert kind.received == [(f"/hook?sig={SECRET}", {"text": f"{flat} {link}"})]


def test_teams(webhook: tuple[str, type[Webhook]], tmp_path: Path) -> None:
    """A workflow of Teams gets an Adaptive Card; the address is in no argument of curl."""
    url, kind = webhook
    port = url.split(":")[2].partition("/")[0]
    curl = tmp_path / "curl"
    # Debian's curl, which finds the host of Teams on this machine.
    to = f"--connect-to ::127.0.0.1:{port}"
    curl.write_text(f'#!/bin/sh\necho "$*" >"{tmp_path}/arguments"\nexec /usr/bin/curl {to} "$@"\n')
    curl.chmod(0o755)
    address = f"http://a.westeurope.logic.azure.com/workflows/1?sig={SECRET}"
    done = notify("shipped", NOTIFY_URL=address, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "shipped\n", "")
    ((_, message),) = kind.received
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert [block["text"] for block in attachment["content"]["body"]] == ["shipped"]
    arguments = (tmp_path / "arguments").read_text()
    assert "shipped" in arguments
    assert SECRET not in arguments
    assert "logic.azure.com" not in arguments


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", ""),
        ("$(notifyUrl)", ""),
        ("hooks.example.com/c2VjcmV0", "NOTIFY_URL is not an address, https://…"),
        ('http://a"\nheader = "x', "NOTIFY_URL is not an address, https://…"),
        ("http://127.0.0.1:9/c2VjcmV0", "the address of NOTIFY_URL cannot be reached"),
    ],
    ids=["unset", "undefined", "no address", "injection", "unreachable"],
)
def test_not_sent(url: str, message: str) -> None:
    """Without a usable address the line is printed, and why it is not sent; nothing fails."""
    done = notify("published", NOTIFY_URL=url)
    assert (done.returncode, done.stdout) == (0, "published\n")
    assert done.stderr == (f"notify: not sent: {message}\n" if message else "")
    assert SECRET not in done.stderr


def test_refused(webhook: tuple[str, type[Webhook]]) -> None:
    """An error of the service is said, and fails nothing."""
    url, kind = webhook
    kind.status = 404
    done = notify("published", NOTIFY_URL=url)
    assert (done.returncode, done.stderr) == (0, "notify: not sent: the address of NOTIFY_URL answered 404\n")


def test_busy(webhook: tuple[str, type[Webhook]]) -> None:
    """A service that asks for a retry in an hour does not hold the pipeline up."""
    url, kind = webhook
    kind.status, kind.retry_after = 429, "3600"
    assert notify("published", NOTIFY_URL=url).stderr.endswith("answered 429\n")


def test_trace(webhook: tuple[str, type[Webhook]]) -> None:
    """A trace of the shell does not have the address."""
    url, _ = webhook
    assert SECRET not in notify("published", NOTIFY_URL=url, SHELLOPTS="xtrace").stderr


def test_usage() -> None:
    """Anything but one text is wrong usage."""
    assert notify().returncode == notify("").returncode == notify("a", "b").returncode == 2
