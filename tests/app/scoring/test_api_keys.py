"""Who may call."""

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
    """The line of a key."""
    return f"{caller}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def replace(path: Path, text: str) -> None:
    """Swaps the file as Kubernetes and careful editors do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Keys of two callers."""
    path = tmp_path / "keys"
    path.write_text("# who may score\n\n" + line("web", "key-1") + line("batch", "key-2"))
    return path


@pytest.fixture
def client(package: Path, keys: Path) -> FlaskClient:
    """A client of a service that wants keys."""
    return create_app(Settings(model_path=package, web_concurrency=1, api_keys_file=keys)).test_client()


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"authorization": "Bearer key-1"}, "web"),
        ({"authorization": "bearer key-2"}, "batch"),
        ({"x-api-key": "key-2"}, "batch"),
    ],
)
def test_known(client: FlaskClient, headers: dict[str, str], caller: str) -> None:
    """A key names its caller in the metrics."""
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
def test_unknown(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    """Without a known key there is no answer, and the reply says how to bring one."""
    reply = client.open(path, method="POST" if path == "/score" else "GET", data=b"{", headers=headers)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "API key" in reply.get_json()["error"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_never_needed(client: FlaskClient, path: str) -> None:
    """Probes and metrics need no key."""
    assert client.get(path).status_code == 200


def test_change(client: FlaskClient, keys: Path) -> None:
    """The file is read again when it changes: a new key is known, a removed one is not."""
    replace(keys, line("web", "key-9"))
    assert client.post("/score", json=BODY, headers={"x-api-key": "key-9"}).status_code == 200
    assert client.post("/score", json=BODY, headers={"x-api-key": "key-1"}).status_code == 401


@pytest.mark.parametrize("broken", ["", "nonsense\n", None])
def test_broken_change(
    client: FlaskClient, keys: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that breaks later is reported once, the keys stay, and a mended one is read."""
    keys.unlink() if broken is None else replace(keys, broken)
    for _ in range(3):
        assert client.post("/score", json=BODY, headers={"x-api-key": "key-1"}).status_code == 200
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["stay as they were" in record.getMessage() for record in errors] == [True]
    replace(keys, line("web", "key-9"))
    assert client.post("/score", json=BODY, headers={"x-api-key": "key-9"}).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web:1234\n", "line 1: expected caller:sha256-of-key"),
        (f"web {'0' * 64}\n", "line 1"),
        (f"a caller:{'0' * 64}\n", "line 1"),
        ("# none\n", "holds no key"),
        (line("a", "key") + line("b", "key"), "line 2: the key is another caller's too"),
        (None, "cannot be read"),
    ],
)
def test_broken_at_start(package: Path, tmp_path: Path, text: str | None, words: str) -> None:
    """A file that cannot be used stops the start, and no key is in the message."""
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        create_app(Settings(model_path=package, api_keys_file=path))


def test_key_is_in_no_log(client: FlaskClient, log: ReadLog, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a right nor a wrong key is logged."""
    for key in ("key-1", "key-wrong"):
        client.post("/score", json=BODY, headers={"x-api-key": key})
    text = caplog.text + str(log())
    assert "'status': 401" in text
    assert "key-1" not in text
    assert "key-wrong" not in text
