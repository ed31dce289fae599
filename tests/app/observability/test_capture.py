"""Captured rows: what is kept of requests and answers, and what is not."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from app import create_app
from app.errors import SettingsError
from app.observability.spool import Spool
from app.settings import Settings
from model_loader.package.hashed_values import hash_value
from tests import models
from tests.conftest import MakeClient, write_package

KEY = b"0123456789abcdef"
Serve = Callable[..., FlaskClient]


@pytest.fixture
def serve_captured(tmp_path: Path, make_client: MakeClient) -> Iterator[Serve]:
    """Return a function that serves a model with a spool in `tmp_path/spool`."""
    services = []

    def serve(model: bytes, schema: Any = None, features: Any = None, **settings: Any) -> FlaskClient:
        manifest = {"features": features} if features else {}
        package = write_package(tmp_path / "package", model, schema=schema, **manifest)
        settings = {"capture_dir": tmp_path / "spool", **settings}
        app = create_app(Settings(model_path=package, web_concurrency=1, **settings))
        services.append(app.extensions["service"])
        return make_client(app)

    yield serve
    for service in services:
        service.capture.close()


def rows(client: FlaskClient, directory: Path, kind: str = "prediction") -> list[Any]:
    """Return the captured rows, after the spool is closed."""
    client.get("/metrics")
    client.application.extensions["service"].capture.close()
    paths = sorted((directory / "spool" / "name=tiny" / f"kind={kind}").iterdir())
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_rows(serve_captured: Serve, tmp_path: Path) -> None:
    """Each row has both sides, named, under the id in the response."""
    client = serve_captured(models.affine(), features=["a", "b"])
    response = client.post(
        "/score",
        json={"instances": [{"a": 0.1, "b": None}, {"a": 3, "b": 4}]},
        headers={"x-request-id": "mine"},
    )
    first, second = rows(client, tmp_path)
    assert first["id"] == second["id"] == response.headers["x-prediction-id"] != "mine"
    assert (first["row"], second["row"], first["request_id"]) == (0, 1, "mine")
    assert (first["inputs"], second["inputs"]) == ({"a": 0.1, "b": None}, {"a": 3.0, "b": 4.0})
    assert (first["outputs"], second["outputs"]) == ({"y": [1.2, None]}, {"y": [7.0, 9.0]})
    about = {"name": "tiny", "version": 3, "ratio": 1.0, "status": 200, "caller": "anonymous"}
    assert about.items() <= first.items()
    assert first["digest"].startswith("sha256:")
    assert "reason" not in first


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"instances": [{"a": "x", "b": 2}]}, 400, {"reason": "invalid", "feature": "a", "inputs": None}),
        ({"instances": [{"a": 1}]}, 400, {"reason": "invalid", "feature": "b", "inputs": None}),
        ({"inputs": [[1, 2, 3]]}, 400, {"reason": "invalid", "inputs": None}),
    ],
)
def test_refused(serve_captured: Serve, tmp_path: Path, body: Any, status: int, expected: Any) -> None:
    """A refused request has one line, with the reason and the feature, and none of its values."""
    client = serve_captured(models.affine(), features=["a", "b"])
    assert client.post("/score", json=body).status_code == status
    (line,) = rows(client, tmp_path)
    assert expected.items() <= line.items()
    assert (line["status"], line["outputs"]) == (status, None)
    assert ("feature" in line) == ("feature" in expected)


def test_failed(serve_captured: Serve, tmp_path: Path) -> None:
    """A request that the model fails on has its inputs, and the reason."""
    client = serve_captured(models.gather())
    assert client.post("/score", json={"inputs": [99]}).status_code == 500
    (line,) = rows(client, tmp_path)
    assert (line["reason"], line["inputs"], line["outputs"]) == ("inference", {"i": 99}, None)


SCHEMA = {
    "features": {
        "a": {"type": "number", "pii": "hash"},
        "b": {"type": "number", "pii": True},
    },
    "outputs": {"y": {"type": "number", "capture": False}},
}


def test_withheld(serve_captured: Serve, tmp_path: Path) -> None:
    """Columns that the schema withholds are in no file, and hashed ones only as keyed hashes."""
    (tmp_path / "key").write_bytes(KEY)
    client = serve_captured(models.affine(), SCHEMA, ["a", "b"], capture_hash_key_file=tmp_path / "key")
    client.post("/score", json={"instances": [{"a": 7654321, "b": 1234567}, {"a": None, "b": 1234567}]})
    first, second = rows(client, tmp_path)
    assert first["inputs"] == {"a": hash_value(KEY, 7654321)}
    assert second["inputs"] == {"a": None}
    assert first["outputs"] == second["outputs"] == {}
    for path in (tmp_path / "spool").rglob("*.jsonl"):
        assert "1234567" not in path.read_text()
        assert "7654321" not in path.read_text()


def test_hash() -> None:
    """A hash is that of the value, whatever its type's spelling, and depends on the key."""
    assert hash_value(KEY, 7) == hash_value(KEY, 7.0) == hash_value(KEY, "7") != hash_value(KEY, True)
    assert hash_value(KEY, np.float32(11.03)) == hash_value(KEY, 11.03) == hash_value(KEY, "11.03")
    assert hash_value(KEY, 2**53 + 1) != hash_value(KEY, 2**53) == hash_value(KEY, float(2**53))
    assert hash_value(KEY, np.float64(1e16)) == hash_value(KEY, np.int64(10**16))
    assert hash_value(KEY, "a@example.com") != hash_value(KEY + b"0", "a@example.com")


def test_hashes_of_a_row(serve_captured: Serve, tmp_path: Path) -> None:
    """Of several values in a row each is hashed; of too many for that, there is one hash of all."""
    (tmp_path / "key").write_bytes(KEY)
    schema = {"features": {"x": {"type": "number", "pii": "hash"}}}
    client = serve_captured(
        models.identity(models.FLOAT, ("batch", "n")),
        schema,
        capture_hash_key_file=tmp_path / "key",
        capture_max_elements=3,
    )
    client.post("/score", json={"inputs": [[11.03, None], [7, 8]]})
    client.post("/score", json={"inputs": [[1, 2, 3, 4], [1, 2, 3, 4]]})
    first, second, third, fourth = (line["inputs"]["x"] for line in rows(client, tmp_path))
    assert first == [hash_value(KEY, "11.03"), None]
    assert second == [hash_value(KEY, 7), hash_value(KEY, 8)]
    assert third == fourth
    assert re.fullmatch("[0-9a-f]{32}", third)


def test_large_bodies(serve_captured: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows of many bytes, in the body or in the outputs, are encoded by the spool's thread too."""
    sizes = []
    append = Spool.append_large

    def spy(spool: Spool, encode: Any, size: int, requests: int) -> bool:
        sizes.append(size)
        return append(spool, encode, size, requests)

    monkeypatch.setattr(Spool, "append_large", spy)
    client = serve_captured(models.identity(models.FLOAT, ("batch", "n")), capture_max_elements=10_000)
    client.post("/score", json={"inputs": [[1.5] * 100] * 4})
    assert sizes == []
    client.post("/score", json={"inputs": [[1.5] * 10_000] * 4})
    assert len(sizes) == 1
    # The body and the outputs, of four bytes a number.
    assert sizes[0] > 4 * 10_000 * (5 + 4)
    found = rows(client, tmp_path)
    assert [len(line["inputs"]["x"]) for line in found] == [100] * 4 + [10_000] * 4


@pytest.mark.parametrize("content", [None, b"short"])
def test_no_key(serve_captured: Serve, tmp_path: Path, content: bytes | None) -> None:
    """Without a key of enough bytes a schema with hashes stops the start."""
    settings = {}
    if content:
        (tmp_path / "key").write_bytes(content)
        settings = {"capture_hash_key_file": tmp_path / "key"}
    with pytest.raises(SettingsError, match="CAPTURE_HASH_KEY_FILE"):
        serve_captured(models.affine(), SCHEMA, ["a", "b"], **settings)


def test_directory(serve_captured: Serve, tmp_path: Path) -> None:
    """A directory that cannot be created stops the start."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"CAPTURE_DIR has the value .*file"):
        serve_captured(models.affine(), capture_dir=tmp_path / "file" / "spool")


def test_large_tensors(serve_captured: Serve, tmp_path: Path) -> None:
    """Of a row's tensor with more elements than CAPTURE_MAX_ELEMENTS, shape and digest are kept."""
    client = serve_captured(models.identity(models.FLOAT, ("batch", "n")), capture_max_elements=2)
    client.post("/score", json={"inputs": [[1, 2, 3], [4, 5, 6], [1, 2, 3]]})
    client.post("/score", json={"inputs": [[1, 2]]})
    first, second, third, small = (line["inputs"]["x"] for line in rows(client, tmp_path))
    assert first["shape"] == [3]
    assert first == third != second
    assert small == [1.0, 2.0]


def test_types(serve_captured: Serve, tmp_path: Path) -> None:
    """Strings, and outputs that are not divided into rows, are kept as they are."""
    client = serve_captured(models.affine_and_echo())
    client.post("/score", json={"inputs": {"x": [[1, 2]], "words": ["é", "b"]}})
    (line,) = rows(client, tmp_path)
    assert line["inputs"] == {"x": [1.0, 2.0], "words": ["é", "b"]}
    assert line["outputs"] == {"y": [3.0, 5.0], "echo": ["é", "b"]}


@pytest.mark.parametrize("count", [2000, 60_000])
def test_large_requests(serve_captured: Serve, tmp_path: Path, count: int) -> None:
    """A request with many rows, be it larger than the buffer, is encoded by the spool's thread."""
    client = serve_captured(models.affine(), features=["a", "b"])
    client.post("/score", json={"inputs": [[row, 2] for row in range(count)]})
    deadline = time.monotonic() + 30
    while 'capture_requests_total{outcome="captured"} 0.0' in client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.post("/score", json={"inputs": [[7, 2]]})
    found = rows(client, tmp_path)
    assert [line["row"] for line in found] == [*range(count), 0]
    assert [line["inputs"]["a"] for line in found] == [*range(count), 7]
    text = client.get("/metrics").text.splitlines()
    assert 'capture_requests_total{outcome="captured"} 2.0' in text


@pytest.mark.parametrize("datatype", ["INT64", "INT32", "UINT8", "BOOL", "DOUBLE", "FLOAT16", "STRING"])
def test_datatypes(serve_captured: Serve, tmp_path: Path, datatype: str) -> None:
    """Inputs and outputs of every type of JSON are kept."""
    client = serve_captured(models.identity(TensorProto.DataType.Value(datatype)))
    value = {"STRING": "é", "BOOL": True}.get(datatype, 3)
    client.post("/score", json={"inputs": [value, value]})
    assert [line["outputs"] for line in rows(client, tmp_path)] == [{"y": value}] * 2


def test_sampled(serve_captured: Serve, tmp_path: Path) -> None:
    """With CAPTURE_RATIO whole requests are left out, and every request is counted once."""
    client = serve_captured(models.affine(), capture_ratio=0.5)
    for _ in range(100):
        client.post("/score", json={"inputs": [[1, 2], [3, 4]]})
    kept = Counter(line["id"] for line in rows(client, tmp_path))
    assert 20 < len(kept) < 80
    assert set(kept.values()) == {2}
    lines = client.get("/metrics").text.splitlines()
    assert f'capture_requests_total{{outcome="captured"}} {len(kept)}.0' in lines
    assert f'capture_requests_total{{outcome="not_sampled"}} {100 - len(kept)}.0' in lines


def test_feedback(serve_captured: Serve, tmp_path: Path) -> None:
    """Feedback that is accepted is in the spool."""
    client = serve_captured(models.identity(TensorProto.INT64, ("n",)))
    id_ = client.post("/score", json={"inputs": [1]}).headers["x-prediction-id"]
    response = client.post("/feedback", json=[{"id": id_, "y": 2}, {"id": id_, "row": 1, "y": 3}])
    assert (response.status_code, response.json) == (202, {"accepted": 2})
    first, second = rows(client, tmp_path, "feedback")
    assert {"id": id_, "row": 0, "metric": "y", "value": 2, "caller": "anonymous"}.items() <= first.items()
    assert (second["row"], second["value"]) == (1, 3)


def test_feedback_on_full_disk(serve_captured: Serve, tmp_path: Path) -> None:
    """Feedback that cannot be kept is not accepted."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "other.jsonl").write_bytes(bytes(2**20))
    client = serve_captured(models.identity(TensorProto.INT64, ("n",)), capture_max_bytes=2**20)
    response = client.post("/feedback", json={"id": "0" * 32, "y": 2})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "60"
