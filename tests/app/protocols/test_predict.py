"""TensorFlow Serving's predict API, KServe's V1 protocol, and the invocations of MLflow and SageMaker."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import models
from tests.app.conftest import StartServer
from tests.app.scoring.refusal import assert_refused
from tests.conftest import MakeClient

PREDICT = "/v1/models/tiny:predict"


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/tiny/versions/3:predict", "/v1/models/tiny%3Apredict"])
@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ({"inputs": [[1, 2]]}, "outputs", [[3, 5]]),
        ({"inputs": {"x": [[1, 2]]}}, "outputs", [[3, 5]]),
        ({"instances": [[1, 2]], "signature_name": "serving_default"}, "predictions", [[3, 5]]),
        ({"instances": [{"b": 2, "a": None}]}, "predictions", [["NaN", 5]]),
    ],
)
def test_predict(client: FlaskClient, path: str, body: Any, key: str, expected: Any) -> None:
    """The only output has no name; the path may be percent-encoded."""
    reply = client.post(path, json=body)
    assert reply.get_json() == {key: expected, "id": reply.headers["x-request-id"], **about()}


def about() -> dict[str, str]:
    """Return the members that every response has, but the id."""
    return {"model_name": "tiny", "model_version": "3"}


def test_several_outputs(serve: MakeClient) -> None:
    """Of several outputs each has its name."""
    client, path = serve(models.affine_and_echo()), "/v1/models/bare:predict"
    body = {"x": [1, 2], "words": "a"}
    predictions = client.post(path, json={"instances": [body]}).get_json()["predictions"]
    assert predictions == [{"y": [3, 5], "echo": "a"}]
    outputs = client.post(path, json={"inputs": {"x": [[1, 2]], "words": ["a"]}}).get_json()["outputs"]
    assert outputs == {"y": [[3, 5]], "echo": ["a"]}


@pytest.mark.parametrize("path", [PREDICT, "/invocations"])
@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_large(client: FlaskClient, path: str, form: str) -> None:
    """A response that is written in slices has the same form."""
    rows = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    reply = client.post(path, json={form: rows.tolist()}).get_json()
    expected: Any = (2 * rows + 1).tolist()
    if path == "/invocations":
        expected = {"y": expected} if form == "inputs" else [{"y": row} for row in expected]
    assert reply["outputs" if (path, form) == (PREDICT, "inputs") else "predictions"] == expected


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"dataframe_split": {"columns": ["a", "b"], "data": []}},
            "one of 'inputs', 'instances', got 'datafr",
        ),
        ([{"a": 1, "b": 2}], "one of 'inputs', 'instances', got an array"),
        ({"signature_name": "serving_default"}, "one of 'inputs', 'instances', got 'signature_name'"),
        ({"instances": [[1, 2]], "signature_name": "other"}, "to be 'serving_default', got 'other'"),
        (
            {"instances": [[1, 2]], "output_filter": ["y"]},
            "unknown member 'output_filter' beside 'instances'",
        ),
        ({"instances": [{"b64": "AAAA"}]}, "instance 0: missing column 'a'"),
        ({"inputs": {"x": [[{"b64": "AAAA"}, 1]]}}, "'b64' is not supported"),
    ],
)
def test_refused(client: FlaskClient, document: Any, words: str) -> None:
    """What other servers know and this one does not is refused by its name."""
    reply = client.post(PREDICT, json=document)
    assert (reply.status_code, words in reply.get_json()["error"]) == (400, True), reply.text


@pytest.mark.parametrize(
    "path", ["/v1/models/other:predict", "/v1/models/tiny/versions/2:predict", "/v1/models/tiny%20:predict"]
)
def test_other_model(client: FlaskClient, path: str) -> None:
    """Another model or version is not found, with TensorFlow Serving's form of an error."""
    reply = client.post(path, json={"inputs": [[1, 2]]})
    assert (reply.status_code, "Request for unknown model" in reply.get_json()["error"]) == (404, True)


@pytest.mark.parametrize("path", ["/v1/models/tiny", "/v1/models/tiny/versions/3"])
def test_status(client: FlaskClient, app: Flask, path: str) -> None:
    """The status is what TensorFlow Serving's and KServe's clients read; 503 while the service drains."""
    assert client.get(path).get_json() == {
        "name": "tiny",
        "ready": True,
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
    }
    assert client.get(path.replace("tiny", "other")).status_code == 404
    app.extensions["service"].draining.set()
    assert client.get(path).status_code == 503


def test_names(client: FlaskClient) -> None:
    """The names of the models, as KServe has them."""
    assert client.get("/v1/models").get_json() == {"models": ["tiny"]}


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/tiny/versions/3:predict"])
def test_method(client: FlaskClient, path: str) -> None:
    """A prediction is posted, and a status is not."""
    for reply in (client.get(path), client.open(path, method="PUT")):
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert set(client.post("/v1/models/tiny", json={}).headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert client.post("/v1/models/tiny:classify", json={}).status_code == 404


def test_invocations(client: FlaskClient) -> None:
    """MLflow's clients find `predictions` after every form, and CSV is read."""

    def predictions(**request: Any) -> Any:
        return client.post("/invocations", **request).get_json()["predictions"]

    assert predictions(json={"inputs": [[1, 2]]}) == {"y": [[3, 5]]}
    assert predictions(json={"instances": [[1, 2]]}) == [{"y": [3, 5]}]
    assert predictions(json={"dataframe_records": [{"b": 2, "a": 1}]}) == [{"y": [3, 5]}]
    assert predictions(data="a,b\n1,2\n", content_type="text/csv; charset=utf-8") == [{"y": [3, 5]}]
    assert_refused(client, 415, "text/csv", data="1,2", content_type="text/plain")


def test_ping(client: FlaskClient, app: Flask) -> None:
    """The service answers pings until it drains."""
    assert client.get("/ping").status_code == 200
    app.extensions["service"].draining.set()
    assert client.get("/ping").status_code == 503


@pytest.mark.parametrize("fast_http", ["on", "off"])
def test_served(start_server: StartServer, package: Path, fast_http: str) -> None:
    """Every route is answered by the server as by the application, and counted by its rule."""
    server = start_server(package, WEB_CONCURRENCY="1", FAST_HTTP=fast_http).wait_until_ready()
    body = {"instances": [[1, 2]]}
    for path in (PREDICT, "/v1/models/tiny%3Apredict", "/v1/models/tiny/versions/3:predict", "/invocations"):
        status, text = server.request("POST", path, body)
        assert (status, '"predictions":[' in text) == (200, True)
    assert server.request("POST", "/v1/models/other:predict", body)[0] == 404
    for path in ("/ping", "/v1/models", "/v1/models/tiny"):
        assert server.request("GET", path)[0] == 200
    with closing(server.connect()) as connection:
        connection.request("POST", "/score", "a,b\n1,2\n", {"content-type": "text/csv"})
        assert b'"predictions":[{"y":[3.0,5.0]}]' in connection.getresponse().read()
    assert server.stop() == 0
    routes = [line["route"] for line in server.lines() if line["message"] == "request"]
    rule = "/v1/models/<name>:predict"
    assert routes.count(rule) == 3
    assert {"/v1/models/<name>/versions/<version>:predict", "/invocations", "/v1/models/<name>"} <= {*routes}
