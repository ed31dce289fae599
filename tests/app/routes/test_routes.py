"""The routes that do not score: page, health and model; and unexpected errors."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from model_loader.package import digest_of
from tests.app.conftest import ROOT, ReadLog

BODY = {"inputs": [[1, 2]]}


def test_home(client: FlaskClient) -> None:
    """A client that does not ask for HTML gets a plain text."""
    assert (client.get("/").text, client.get("/").content_type) == ("Healthy", "text/plain; charset=utf-8")


# part: page
def test_home_page(client: FlaskClient) -> None:
    """A browser gets the page; its policy allows only its own script, style and host."""
    page = client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert page.headers["vary"] == client.get("/").headers["vary"] == "accept"
    sources = dict(part.split(maxsplit=1) for part in page.headers["content-security-policy"].split("; "))
    files = sorted(re.findall(r'(?:src|href)="page/(\w+\.js)"', page.text))
    assert files == sorted(path.name for path in (ROOT / "app/routes/static/page").glob("*.js"))
    replies = {name: client.get(f"/page/{name}") for name in files}
    assert {reply.content_type for reply in replies.values()} == {"text/javascript; charset=utf-8"}
    for tag, contents in (("script", [reply.data for reply in replies.values()]), ("style", [])):
        inside = page.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0].encode()
        hashes = [base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (inside, *contents)]
        assert set(sources[f"{tag}-src"].split()) == {f"'sha256-{each}'" for each in hashes}
    assert client.get("/page/nothing.js").status_code == client.get("/page/home.html").status_code == 404
    assert (sources["default-src"], sources["connect-src"]) == ("'none'", "'self'")
    headers = {"accept": "text/html", "if-none-match": page.headers["etag"]}
    assert client.get("/", headers=headers).status_code == 304


# end: page


def test_ready_until_draining(client: FlaskClient, app: Flask) -> None:
    """Ready while the model is loaded and the process does not drain; alive all the time."""
    assert client.get("/readyz").status_code == 200
    app.extensions["service"].draining.set()
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
    assert reply["schema"] is None
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


@pytest.mark.parametrize(
    "query",
    [
        "name[]=model_info",
        "name%5B%5D=model_info&name[]=model_optimized",
        "name[]=model_info&name[]=unknown",
        "name[]=model_info&name[]=%ff&%zz&&==",
    ],
)
@pytest.mark.parametrize("several_workers", [False, True])
def test_some_metrics(
    client: FlaskClient, query: str, several_workers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prometheus may ask for metrics by name; unknown names are ignored."""
    if several_workers:  # this process has not written to the directory, so there is nothing to find
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    reply = client.get(f"/metrics?{query}")
    assert reply.status_code == 200
    assert ("model_info{" in reply.text) is not several_workers
    assert "model_trained" not in reply.text
    assert client.get("/metrics?name[]=unknown").text == ""


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/openmetrics-text;version=1.0.0",
        "application/openmetrics-text;version=x",
        "application/openmetrics-text;version=1..0",
        "text/plain;version=1.0.0;escaping=x",
        "text/plain;version=" + "9" * 5000,
        ",;=,;version=",
    ],
)
def test_accept_of_metrics(client: FlaskClient, accept: str) -> None:
    """Any `Accept` gets the metrics, if need be in the format that every version of Prometheus reads."""
    reply = client.get("/metrics", headers={"accept": accept})
    assert reply.status_code == 200
    assert "model_info{" in reply.text


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/model", "/metrics", "/openapi.json", "/nowhere", "/score"]
)
def test_security_headers(client: FlaskClient, path: str) -> None:
    """No response is kept by a cache, or taken for another media type."""
    for reply in (client.get(path), client.post(path, json=BODY)):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
    # part: page
    page = client.get("/", headers={"accept": "text/html"})
    assert page.headers["cache-control"] == "no-cache"
    # end: page


def test_unexpected_scoring_error(client: FlaskClient, app: Flask, log: ReadLog) -> None:
    """An unexpected error while scoring is a 500 with its id; the traceback is in the request's log line."""

    def fail(*args: Any) -> None:
        raise ZeroDivisionError("secret inside")

    app.extensions["service"].scorer.callers.caller = fail
    reply = client.post("/score", json=BODY, headers={"x-request-id": "abc"})
    assert reply.status_code == 500
    assert reply.get_json()["error"] == "internal error; see the log for details"
    assert reply.get_json()["id"] == reply.headers["x-request-id"] == "abc"
    (line,) = log()
    assert (line["id"], line["status"]) == ("abc", 500)
    assert "ZeroDivisionError: secret inside" in line["traceback"]
    assert 'model_rejected_total{reason="internal"} 1.0' in client.get("/metrics").text


def test_unexpected_error(client: FlaskClient, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is a 500 without details; the log has them."""

    def fail(*args: Any) -> None:
        raise ZeroDivisionError("secret inside")

    app.extensions["service"].scorer.callers.caller = fail
    reply = client.get("/model")
    assert reply.status_code == 500
    assert reply.get_json()["error"] == "internal error; see the log for details"
    assert "secret inside" in caplog.text
