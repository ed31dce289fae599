"""The routes that do not score: page, health and model; and unexpected errors."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from model_loader.package import digest_of

BODY = {"inputs": [[1, 2]]}


def test_home(client: FlaskClient) -> None:
    """A client that does not ask for HTML gets a plain text."""
    assert (client.get("/").text, client.get("/").content_type) == ("Healthy", "text/plain; charset=utf-8")


def test_home_page(client: FlaskClient) -> None:
    """A browser gets the page; its policy allows only its own script, style and host."""
    page = client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert page.headers["vary"] == client.get("/").headers["vary"] == "accept"
    sources = dict(part.split(maxsplit=1) for part in page.headers["content-security-policy"].split("; "))
    for tag in ("script", "style"):
        inside = page.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        expected = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert sources[f"{tag}-src"] == f"'sha256-{expected}'"
    assert (sources["default-src"], sources["connect-src"]) == ("'none'", "'self'")
    headers = {"accept": "text/html", "if-none-match": page.headers["etag"]}
    assert client.get("/", headers=headers).status_code == 304


def test_ready_until_draining(client: FlaskClient, app: Flask) -> None:
    """Ready while the model is loaded and the process does not drain; alive all the time."""
    assert client.get("/readyz").status_code == 200
    app.extensions["scorebox"].draining.set()
    reply = client.get("/readyz")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "draining" in reply.get_json()["error"]
    assert client.get("/healthz").status_code == 200
    assert client.post("/score", json=BODY).status_code == 200


def test_model(client: FlaskClient, package: Path) -> None:
    """The manifest, its digest, and the IO specs of the loaded model."""
    reply = client.get("/model").get_json()
    manifest = (package / "manifest.json").read_bytes()
    assert reply["digest"] == digest_of(manifest)
    assert reply["manifest"] == json.loads(manifest)
    assert reply["outputs"] == [{"name": "y", "datatype": "FP32", "shape": ["batch", 2]}]


@pytest.mark.parametrize("note", ["own", "another", "nonsense", None])
def test_model_signed(settings: Settings, note: str | None) -> None:
    """`signed` is true only if the loader has verified the signature of this digest."""
    package = settings.model_path
    digest = digest_of((package / "manifest.json").read_bytes())
    notes = {"own": json.dumps({"digest": digest}), "another": '{"digest": "sha256:0"}', "nonsense": "["}
    if note:
        (package / "verified.json").write_text(notes[note])
    assert create_app(settings).test_client().get("/model").get_json()["signed"] is (note == "own")


def test_unexpected_error(client: FlaskClient, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is a 500 without details; the log has them."""

    def fail(*args: Any) -> None:
        raise ZeroDivisionError("secret inside")

    app.extensions["scorebox"].scorer.callers.caller = fail
    reply = client.get("/model")
    assert reply.status_code == 500
    assert reply.get_json()["error"] == "internal error; see the log for details"
    assert "secret inside" in caplog.text
