"""The Open Inference Protocol: inference with JSON and binary tensors, health and metadata."""

import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from tests import models
from tests.app.protocols.open_inference import BARE, INFER, X, infer, post_binary, read_binary
from tests.conftest import MakeClient


@pytest.mark.parametrize("path", [INFER, "/v2/models/tiny/versions/3/infer"])
@pytest.mark.parametrize("data", [[1, 2], [[1, 2]]])
def test_infer(client: FlaskClient, path: str, data: Any) -> None:
    """Data may be flat or nested; the reply is flat and has the model, its version and the request's id."""
    reply = infer(client, path, inputs=[X | {"data": data}], id="abc", parameters={"priority": 1})
    assert reply == {
        "id": "abc",
        "model_name": "tiny",
        "model_version": "3",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [3, 5]}],
    }


def test_outputs(serve: MakeClient) -> None:
    """The reply has the requested outputs in the requested order; by default, all."""
    client = serve(models.total())
    inputs = [
        {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2]},
        {"name": "b", "datatype": "INT64", "shape": [2], "data": [3, 4]},
    ]
    for names in (["f"], ["f", "s"], ["s", "f"]):
        reply = infer(client, BARE, inputs=inputs, outputs=[{"name": name} for name in names])
        assert [output["name"] for output in reply["outputs"]] == names
    everything = infer(client, BARE, inputs=inputs)["outputs"]
    assert everything == [
        {"name": "s", "datatype": "FP32", "shape": [2], "data": [4, 6]},
        {"name": "f", "datatype": "FP32", "shape": [], "data": [10]},
    ]


@pytest.mark.parametrize(
    ("onnx_type", "datatype", "array"),
    [
        (TensorProto.BOOL, "BOOL", np.array([True, False])),
        (TensorProto.UINT8, "UINT8", np.array([0, 255], np.uint8)),
        (TensorProto.UINT16, "UINT16", np.array([0, 65535], np.uint16)),
        (TensorProto.UINT32, "UINT32", np.array([0, 2**32 - 1], np.uint32)),
        (TensorProto.UINT64, "UINT64", np.array([0, 2**64 - 1], np.uint64)),
        (TensorProto.INT8, "INT8", np.array([-128, 127], np.int8)),
        (TensorProto.INT16, "INT16", np.array([-32768, 32767], np.int16)),
        (TensorProto.INT32, "INT32", np.array([-(2**31), 2**31 - 1], np.int32)),
        (TensorProto.INT64, "INT64", np.array([-(2**63), 2**63 - 1], np.int64)),
        (TensorProto.FLOAT16, "FP16", np.array([0.5, np.nan, np.inf], np.float16)),
        (TensorProto.BFLOAT16, "BF16", np.array([0.5, -np.inf], ml_dtypes.bfloat16)),
        (TensorProto.FLOAT, "FP32", np.array([[0.1, np.nan]], np.float32)),
        (TensorProto.FLOAT, "FP32", np.zeros((0, 3), np.float32)),
        (TensorProto.DOUBLE, "FP64", np.array([0.1, 1e308])),
    ],
)
def test_every_type_in_binary(serve: MakeClient, onnx_type: int, datatype: str, array: np.ndarray) -> None:
    """Every datatype can be sent and returned as bytes."""
    client = serve(models.identity(onnx_type, None))
    tensor = {"name": "x", "datatype": datatype, "shape": array.shape}
    data = array.tobytes()
    for document in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    ):
        inputs = [tensor | {"parameters": {"binary_data_size": len(data)}}]
        reply = post_binary(client, BARE, document | {"inputs": inputs}, data)
        assert reply.status_code == 200, reply.data
        found, outputs = read_binary(reply)
        assert found["outputs"][0]["datatype"] == datatype
        assert found["outputs"][0]["shape"] == list(array.shape)
        assert outputs.get("y", b"") == data


def test_strings(serve: MakeClient) -> None:
    """Strings are sent as JSON strings, or in binary with their lengths before them."""
    client = serve(models.identity(TensorProto.STRING, None))
    elements = ["", "Grüße", "a\0b", "\U0001f377"]
    tensor = {"name": "x", "datatype": "BYTES", "shape": [2, 2]}
    (output,) = infer(client, BARE, inputs=[tensor | {"data": elements}])["outputs"]
    assert (output["datatype"], output["data"]) == ("BYTES", elements)
    data = b"".join(struct.pack("<I", len(part.encode())) + part.encode() for part in elements)
    document = {"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}]}
    assert post_binary(client, BARE, document, data).get_json()["outputs"][0]["data"] == elements
    reply = post_binary(client, BARE, document | {"parameters": {"binary_data_output": True}}, data)
    assert read_binary(reply)[1] == {"y": data}


def test_json_and_binary(serve: MakeClient) -> None:
    """JSON and binary can be mixed in inputs and in outputs; the bytes are in the order of the inputs."""
    client = serve(models.total())
    a, b = np.array([1, 2], np.float32).tobytes(), np.array([3, 4], np.int64).tobytes()
    sizes = {"a": {"binary_data_size": len(a)}, "b": {"binary_data_size": len(b)}}
    inputs = [
        {"name": "b", "datatype": "INT64", "shape": [2], "parameters": sizes["b"]},
        {"name": "a", "datatype": "FP32", "shape": [2], "parameters": sizes["a"]},
    ]
    outputs = [{"name": "f", "parameters": {"binary_data": True}}, {"name": "s"}]
    document, found = read_binary(post_binary(client, BARE, {"inputs": inputs, "outputs": outputs}, b + a))
    assert np.frombuffer(found["f"], np.float32).tolist() == [10]
    assert document["outputs"][1]["data"] == [4, 6]
    mixed = [inputs[0], {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2]}]
    assert post_binary(client, BARE, {"inputs": mixed}, b).get_json()["outputs"][0]["data"] == [4, 6]


def test_default(serve: MakeClient) -> None:
    """An input with a default may be omitted, or replaced if the service allows it."""
    client = serve(models.with_default(), allow_initializer_inputs="on")
    given, default = X | {"data": [[1, 2]]}, {"name": "b", "datatype": "FP32", "shape": [2], "data": [0, 0]}
    assert infer(client, BARE, inputs=[given])["outputs"][0]["data"] == [11, 22]
    assert infer(client, BARE, inputs=[given, default])["outputs"][0]["data"] == [1, 2]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other/infer",
        "/v2/models/tiny/versions/4/infer",
        "/v2/models/tiny/versions/latest/infer",
    ],
)
def test_unknown_model(client: FlaskClient, path: str) -> None:
    """Another model or version than the served one is not found."""
    reply = client.post(path, json={"inputs": [X]})
    assert reply.status_code == 404
    assert reply.get_json()["error"]


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/tiny/versions/4", "/v2/models/other/ready"])
def test_unknown_metadata(client: FlaskClient, path: str) -> None:
    """Another model or version has no metadata."""
    assert client.get(path).status_code == 404


def test_metadata(client: FlaskClient) -> None:
    """Metadata and health of the server and the model."""
    assert client.get("/v2").get_json()["extensions"] == [
        "binary_tensor_data",
        "statistics",
        "model_configuration",
    ]
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/3"):
        assert client.get(f"{path}/ready").get_json() == {"name": "tiny", "ready": True}
        assert client.get(path).get_json() == {
            "name": "tiny",
            "versions": ["3"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        }


def test_draining(client: FlaskClient) -> None:
    """A process that is shutting down is not ready, and neither is its model."""
    client.application.extensions["service"].draining.set()
    for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200


def test_get(client: FlaskClient) -> None:
    """Inference is a POST."""
    assert client.get(INFER).status_code == 405
