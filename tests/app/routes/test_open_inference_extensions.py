"""Triton's extensions of the Open Inference Protocol: statistics, configuration, repository."""

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from flask.testing import FlaskClient
from onnx import TensorProto

from app import create_app
from app.settings import Settings
from tests import models
from tests.app.conftest import StartServer
from tests.app.openapi.documents import KEYS, get_document
from tests.app.protocols.open_inference import INFER, X, infer
from tests.conftest import MakeClient, write_package

STATS = "/v2/models/tiny/stats"
PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@pytest.mark.parametrize("path", ["/v2/models/stats", STATS, "/v2/models/tiny/versions/3/stats"])
def test_statistics(client: FlaskClient, path: str) -> None:
    """Requests of all protocols, their rows and phases are counted; those for other models are not."""
    before = time.time()
    infer(client, inputs=[X | {"shape": [3, 2], "data": [0] * 6}])
    assert client.post("/score", json={"inputs": [[1, 2]]}).status_code == 200
    assert client.post(INFER, json={"inputs": []}).status_code == 400
    assert client.post("/v2/models/other/infer", json={"inputs": []}).status_code == 404
    (found,) = client.get(path).get_json()["model_stats"]
    assert (found["name"], found["version"]) == ("tiny", "3")
    assert (found["inference_count"], found["execution_count"], found["batch_stats"]) == (4, 2, [])
    assert 1000 * before - 1 <= found["last_inference"] <= 1000 * time.time() + 1
    stats = found["inference_stats"]
    assert {name: stats[name]["count"] for name in stats} == {
        "success": 2,
        "fail": 1,
        "cache_hit": 0,
        "cache_miss": 0,
        **dict.fromkeys(PHASES, 2),
    }
    assert stats["success"]["ns"] > sum(stats[name]["ns"] for name in PHASES) > 0
    assert stats["fail"]["ns"] > 0


def test_no_requests(client: FlaskClient) -> None:
    """Before the first request, everything is 0."""
    (found,) = client.get(STATS).get_json()["model_stats"]
    assert (found["last_inference"], found["inference_count"], found["execution_count"]) == (0, 0, 0)
    assert all(stat == {"count": 0, "ns": 0} for stat in found["inference_stats"].values())


def test_all_workers(start_server: StartServer, package: Path) -> None:
    """Any worker answers with the statistics of all workers."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    for _ in range(40):  # each on a connection of its own
        assert server.request("POST", INFER, {"inputs": [X]})[0] == 200
    deadline = time.monotonic() + 20
    found: list[Any] = []
    while time.monotonic() < deadline and (not found or {each["inference_count"] for each in found} != {40}):
        time.sleep(0.2)  # other workers write their counts every second
        replies = [server.request("GET", STATS)[1] for _ in range(8)]
        found = [json.loads(reply)["model_stats"][0] for reply in replies]
    assert {each["inference_count"] for each in found} == {40}
    assert all(time.time() - each["last_inference"] / 1000 < 60 for each in found)
    assert server.stop() == 0


@pytest.mark.parametrize("path", ["/v2/models/tiny/config", "/v2/models/tiny/versions/3/config"])
def test_configuration(client: FlaskClient, path: str) -> None:
    """The configuration is Triton's: dimensions without the batch, datatypes with their prefix."""
    assert client.get(path).get_json() == {
        "name": "tiny",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 128,
        "input": [
            {"name": "x", "data_type": "TYPE_FP32", "dims": [2], "format": "FORMAT_NONE", "optional": False}
        ],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}],
        "default_model_filename": "model.onnx",
    }


@pytest.mark.parametrize(
    ("model", "max_batch_size", "tensor"),
    [
        (models.identity(TensorProto.STRING, ["n", 4, None]), 128, ("TYPE_STRING", [4, -1], None)),
        (models.identity(TensorProto.INT64, ["n"]), 128, ("TYPE_INT64", [1], {"shape": []})),
        (models.identity(TensorProto.BOOL, [2, "n"]), 0, ("TYPE_BOOL", [2, -1], None)),
        (models.sequence(), 0, ("TYPE_INVALID", [1], {"shape": []})),
    ],
    ids=["strings", "batch only", "fixed first dimension", "sequence"],
)
def test_dimensions(serve: MakeClient, model: bytes, max_batch_size: int, tensor: Any) -> None:
    """`max_batch_size` is 0 unless all tensors have a batch dimension; `dims` are never empty."""
    config = serve(model).get("/v2/models/bare/config").get_json()
    assert config["max_batch_size"] == max_batch_size
    (output,) = config["output"]
    assert (output["data_type"], output["dims"], output.get("reshape")) == tensor


@pytest.mark.parametrize("body", [b"", b'{"ready": true}'])
def test_index(client: FlaskClient, body: bytes) -> None:
    """The index has the served model and its state."""
    entry = {"name": "tiny", "version": "3", "state": "READY", "reason": ""}
    assert client.post("/v2/repository/index", data=body).get_json() == [entry]
    client.application.extensions["service"].draining.set()
    drained = entry | {"state": "UNAVAILABLE", "reason": "draining"}
    assert client.post("/v2/repository/index", data=body).get_json() == [drained]


@pytest.mark.parametrize("action", ["load", "unload"])
def test_control(client: FlaskClient, action: str) -> None:
    """Models cannot be loaded or unloaded, and the error says so."""
    reply = client.post(f"/v2/repository/models/other/{action}", json={})
    assert reply.status_code == 400
    assert reply.get_json()["error"].startswith(f"'{action}' of 'other' is not supported: ")


@pytest.mark.parametrize("suffix", ["stats", "config", "versions/4/stats", "versions/4/config"])
def test_unknown_model(client: FlaskClient, suffix: str) -> None:
    """Another model or version than the served one is not found; the message begins as Triton's."""
    name = "tiny" if "versions" in suffix else "other"
    reply = client.get(f"/v2/models/{name}/{suffix}")
    assert reply.status_code == 404
    assert reply.get_json()["error"].startswith("Request for unknown model: expected tiny, version 3, got ")


def test_model_named_stats(tmp_path: Path, make_client: MakeClient) -> None:
    """A model of the name `stats` has its statistics, and none of its own metadata path."""
    package = write_package(tmp_path / "package", models.affine(), name="stats")
    client = make_client(create_app(Settings(model_path=package, web_concurrency=1)))
    assert client.get("/v2/models/stats/stats").get_json() == client.get("/v2/models/stats").get_json()


def test_documented(client: FlaskClient) -> None:
    """The responses are those of the OpenAPI document."""
    infer(client, inputs=[X])
    paths = get_document(client)["paths"]
    for method, path in (("get", STATS), ("get", "/v2/models/tiny/config"), ("post", "/v2/repository/index")):
        content = paths[path][method]["responses"]["200"]["content"]["application/json"]
        reply = client.open(path, method=method.upper())
        jsonschema.Draft202012Validator(content["schema"]).validate(reply.get_json())


def test_authentication(settings: Settings, tmp_path: Path) -> None:
    """With API keys, all of them require one."""
    (tmp_path / "keys").write_text(KEYS)
    keys = tmp_path / "keys"
    app: Flask = create_app(Settings(model_path=settings.model_path, web_concurrency=1, api_keys_file=keys))
    client = app.test_client()
    for headers, statuses in (({}, [401] * 4), ({"x-api-key": "key"}, [200, 200, 200, 400])):
        found = [
            client.open(path, method=method, headers=headers).status_code
            for method, path in (
                ("GET", STATS),
                ("GET", "/v2/models/tiny/config"),
                ("POST", "/v2/repository/index"),
                ("POST", "/v2/repository/models/tiny/load"),
            )
        ]
        assert found == statuses
