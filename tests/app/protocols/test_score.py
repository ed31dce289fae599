"""Valid requests in both forms, and the ids and headers of replies."""

import numpy as np
import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from onnx import helper

from app import create_app
from app.settings import Settings
from tests import models
from tests.conftest import MakeClient


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ({"inputs": {"x": [[1, 2]]}}, "outputs", {"y": [[3, 5]]}),
        ({"inputs": [[1, 2], [3, 4]]}, "outputs", {"y": [[3, 5], [7, 9]]}),
        ({"instances": [[1, 2], [3, 4]]}, "predictions", [{"y": [3, 5]}, {"y": [7, 9]}]),
        ({"instances": [{"x": [1, 2]}]}, "predictions", [{"y": [3, 5]}]),
        ({"instances": [{"b": 2, "a": 1}]}, "predictions", [{"y": [3, 5]}]),
        ({"instances": [{"b": None, "a": 1}]}, "predictions", [{"y": [3, "NaN"]}]),
        ({"instances": [[1, 2]], "signature_name": "serving_default"}, "predictions", [{"y": [3, 5]}]),
    ],
)
def test_form(client: FlaskClient, body: object, key: str, expected: object) -> None:
    """Inputs may be columns or rows; bare values, by input name or by column name."""
    reply = client.post("/score", json=body)
    assert reply.get_json()[key] == expected


def test_rows_of_several_inputs(serve: MakeClient) -> None:
    """Rows with several inputs are stacked input by input."""
    add = helper.make_node("Add", ["a", "b"], ["s"])
    kinds = {name: models.tensor(name, shape=["n"]) for name in "abs"}
    client = serve(models.model([add], [kinds["a"], kinds["b"]], [kinds["s"]]))
    reply = client.post("/score", json={"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]})
    assert reply.get_json()["predictions"] == [{"s": 3}, {"s": 7}]


def test_reply_headers(client: FlaskClient, app: Flask) -> None:
    """The request's id and the model are in the body and in the headers."""
    reply = client.post("/score", json={"inputs": [[1, 2]]}, headers={"x-request-id": "abc-1"})
    body = reply.get_json()
    digest = app.extensions["service"].model.package.digest
    assert (body["id"], body["model_name"], body["model_version"]) == ("abc-1", "tiny", "3")
    assert reply.headers["x-request-id"] == "abc-1"
    assert reply.headers["x-model-version"] == "3"
    assert reply.headers["x-model-digest"] == digest
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/model", "/metrics", "/nowhere"])
def test_headers_of_every_route(client: FlaskClient, path: str) -> None:
    """The replies of all routes have the id and the model's headers."""
    headers = client.get(path, headers={"x-request-id": "abc-1"}).headers
    assert headers["x-request-id"] == "abc-1"
    assert headers["x-model-version"] == "3"
    assert headers["x-model-digest"].startswith("sha256:")


@pytest.mark.parametrize("id_", ["", "ü", "a\tb"])
def test_unprintable_id(client: FlaskClient, id_: str) -> None:
    """An id that is not printable is replaced by a generated one."""
    header = client.post("/score", data=b"{", headers={"x-request-id": id_}).headers["x-request-id"]
    assert len(header) == 32
    assert header != id_


def test_ids_differ(client: FlaskClient) -> None:
    """Every request without an id gets a different one."""
    ids = {client.post("/score", json={"inputs": [[1, 2]]}).get_json()["id"] for _ in range(20)}
    assert len(ids) == 20


def test_large_batch(client: FlaskClient) -> None:
    """Ten thousand rows are scored in both forms."""
    rows = np.arange(20_000, dtype=np.float32).reshape(-1, 2)
    expected = (2 * rows + 1).tolist()
    assert client.post("/score", json={"inputs": rows.tolist()}).get_json()["outputs"]["y"] == expected
    replies = client.post("/score", json={"instances": rows.tolist()}).get_json()["predictions"]
    assert [reply["y"] for reply in replies] == expected


def test_column_named_as_the_input(settings: Settings, package: object) -> None:
    """If a column has the input's name, an object is read by column names."""
    manifest = settings.model_path / "manifest.json"
    manifest.write_bytes(orjson.dumps(orjson.loads(manifest.read_bytes()) | {"features": ["x", "b"]}))
    client = create_app(settings).test_client()
    reply = client.post("/score", json={"instances": [{"x": 1, "b": 2}]})
    assert reply.get_json()["predictions"] == [{"y": [3, 5]}]
