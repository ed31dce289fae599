"""API keys: callers are authenticated on every route but the probes and metrics."""

import hashlib
import logging
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.errors import SettingsError
from app.settings import Settings
from tests.app.conftest import ReadLog

BODY = {"inputs": [[1, 2]]}


def line(caller: str, key: str) -> str:
    """Return the file's line for a key."""
    return f"{caller}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def replace(path: Path, text: str) -> None:
    """Replace the file atomically, as Kubernetes and many editors do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a file with the keys of two callers."""
    path = tmp_path / "keys"
    path.write_text("# allowed callers\n\n" + line("web", "key-1") + line("batch", "key-2"))
    return path


@pytest.fixture
def client(package: Path, keys: Path) -> FlaskClient:
    """Return a client of a service that requires API keys."""
    return create_app(Settings(model_path=package, web_concurrency=1, api_keys_file=keys)).test_client()


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"authorization": "Bearer key-1"}, "web"),
        ({"authorization": "bearer key-2"}, "batch"),
        ({"x-api-key": "key-2"}, "batch"),
    ],
)
def test_known_key(client: FlaskClient, headers: dict[str, str], caller: str) -> None:
    """A request with a known key is counted under the key's caller."""
    assert client.post("/score", json=BODY, headers=headers).status_code == 200
    sample = f'model_requests_total{{caller="{caller}",status="200"}} 1.0'
    assert sample in client.get("/metrics").text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer key-3"},
        {"authorization": "Basic key-1"},
        {"authorization": "key-1"},
        {"x-api-key": ""},
        {"x-api-key": "KEY-1"},
        {"x-api-key": hashlib.sha256(b"key-1").hexdigest()},
    ],
)
@pytest.mark.parametrize("path", ["/score", "/model"])
def test_unknown_key(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    """A request without a known key gets 401 and a message about API keys."""
    response = client.open(path, method="POST" if path == "/score" else "GET", data=b"{", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "API key" in response.get_json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other/infer",  # part: v2
        "/v1/models/other:predict",
    ],
)
def test_unknown_key_of_another_model(client: FlaskClient, path: str) -> None:
    """Without a key, nobody learns which models are served."""
    response = client.post(path, json={})
    assert response.status_code == 401
    assert client.post(path, json={}, headers={"x-api-key": "key-1"}).status_code == 404


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_routes_without_key(client: FlaskClient, path: str) -> None:
    """The start page, probes and metrics require no key."""
    assert client.get(path).status_code == 200


def test_changed_file(client: FlaskClient, keys: Path) -> None:
    """A changed file is read again: new keys are accepted, removed keys are refused."""
    replace(keys, line("web", "key-9"))
    assert client.post("/score", json=BODY, headers={"x-api-key": "key-9"}).status_code == 200
    assert client.post("/score", json=BODY, headers={"x-api-key": "key-1"}).status_code == 401


@pytest.mark.parametrize("text", ["", "nonsense\n", None])
def test_invalid_change(
    client: FlaskClient, keys: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid change is logged once, the previous keys stay valid, and a corrected file is read."""
    keys.unlink() if text is None else replace(keys, text)
    for _ in range(3):
        assert client.post("/score", json=BODY, headers={"x-api-key": "key-1"}).status_code == 200
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["keeping the previous keys" in record.getMessage() for record in errors] == [True]
    replace(keys, line("web", "key-9"))
    assert client.post("/score", json=BODY, headers={"x-api-key": "key-9"}).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web:1234\n", "line 1: expected caller:sha256-of-key"),
        (f"web {'0' * 64}\n", "line 1"),
        (f"a caller:{'0' * 64}\n", "line 1"),
        ("# none\n", "contains no key"),
        (line("a", "key") + line("b", "key"), "line 2: the key also belongs to another caller"),
        (None, "cannot be read"),
    ],
)
def test_invalid_at_start(package: Path, tmp_path: Path, text: str | None, words: str) -> None:
    """An invalid or missing file stops the start with a message that names the problem."""
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        create_app(Settings(model_path=package, api_keys_file=path))


def test_keys_are_not_logged(client: FlaskClient, log: ReadLog, caplog: pytest.LogCaptureFixture) -> None:
    """Neither known nor unknown keys are logged."""
    for key in ("key-1", "key-wrong"):
        client.post("/score", json=BODY, headers={"x-api-key": key})
    text = caplog.text + str(log())
    assert "'status': 401" in text
    assert "key-1" not in text
    assert "key-wrong" not in text
