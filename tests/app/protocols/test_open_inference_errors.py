"""The Open Inference Protocol: invalid requests."""

import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper

from tests import models
from tests.app.protocols.open_inference import BARE, INFER, LENGTH, X, post_binary
from tests.conftest import MakeClient


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "'inputs', an array"),
        ({}, "'inputs', an array"),
        ({"inputs": {}}, "'inputs', an array"),
        ({"inputs": []}, "missing input 'x'"),
        ({"inputs": [1]}, "an object with a 'name'"),
        ({"inputs": [{"name": 1}]}, "an object with a 'name'"),
        ({"inputs": [X, X]}, "input 'x' is given more than once"),
        ({"inputs": [X, {"name": "z"}]}, "unknown input 'z'; the model has 'x'"),
        ({"inputs": [X | {"datatype": "FP64"}]}, "expected datatype FP32, got 'FP64'"),
        ({"inputs": [X | {"datatype": None}]}, "expected datatype FP32, got null"),
        ({"inputs": [X | {"shape": None}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, -2]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, True]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, 2.0]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1] * 33}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [1, 3]}]}, "expected 3 elements for shape [1, 3], got 2 elements"),
        ({"inputs": [X | {"shape": [2**39, 2]}]}, "got 2 elements"),
        ({"inputs": [X | {"shape": [2**40, 2**40]}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [0, 2**64], "data": []}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X | {"shape": [2]}]}, "expected FP32 [batch, 2], got shape [2]"),
        ({"inputs": [X | {"shape": [2, 1]}]}, "got shape [2, 1]"),
        ({"inputs": [X | {"data": [[1], [2]]}]}, "got nested data of shape [2, 1]"),
        ({"inputs": [X | {"data": [[1, 2], [3]]}]}, "rows of different lengths"),
        ({"inputs": [X | {"data": ["1", 2]}]}, "got '1' at [0]"),
        ({"inputs": [X | {"data": [True, 2]}]}, "got true at [0]"),
        ({"inputs": [{k: v for k, v in X.items() if k != "data"}]}, "expected 'data' or binary_data_size"),
        ({"inputs": [X | {"parameters": 1}]}, "expected 'parameters' to be an object, got 1"),
        ({"inputs": [X], "id": 1}, "expected 'id' to be a string, got 1"),
        ({"inputs": [X], "outputs": 1}, "expected 'outputs' to be an array"),
        ({"inputs": [X], "outputs": [{}]}, "unknown output null; the model has 'y'"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "unknown output 'z'"),
        ({"inputs": [X], "outputs": [1]}, "unknown output null"),
        ({"inputs": [X], "outputs": [{"name": "y"}] * 2}, "output 'y' is requested more than once"),
        (
            {"inputs": [X | {"data": [1] * 50_000}]},
            "expected 2 elements for shape [1, 2], got 50000 elements",
        ),
        ({"inputs": [X | {"data": [[1, 2]] * 50_000}]}, "got 50000 elements"),
        ({"inputs": [X | {"data": []}]}, "got 0 elements"),
        ({"inputs": [X | {"data": [1, [2]]}]}, "rows of different lengths"),
        ({"inputs": [X | {"data": [[1, True]]}]}, "got true at [0, 1]"),
        ({"inputs": [X | {"data": [[1, "2"]]}]}, "got '2' at [0, 1]"),
        ({"inputs": [X | {"data": ["12", [1, 2]]}]}, "got '12' at [0]"),
        ({"inputs": [X | {"shape": [1] * 50_000}]}, "expected 'shape' to be an array of sizes"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "to be true or false, got 1"),
        (
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": "y"}}]},
            "to be true or false, got 'y'",
        ),
    ],
)
def test_rejected(client: FlaskClient, document: Any, words: str) -> None:
    """The error has the name, what was expected and what was received."""
    reply = client.post(INFER, json=document)
    assert reply.status_code == 400, reply.text
    assert words in reply.get_json()["error"]


SIZED = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
EIGHT = np.array([[1, 2]], np.float32).tobytes()


@pytest.mark.parametrize(
    ("tensor", "data", "words"),
    [
        ({}, EIGHT[:7], "expected binary_data_size from 0 to 7, the bytes remaining, got 8"),
        ({}, EIGHT + b"x", "1 bytes at the end do not belong to any input's binary_data_size"),
        ({"shape": [1, 3]}, EIGHT, "expected 12 bytes for shape [1, 3], got 8"),
        ({"shape": [2**63, 2**63]}, EIGHT, "expected 'shape' to be an array of sizes"),
        ({"parameters": {"binary_data_size": -1}}, EIGHT, "expected binary_data_size from 0 to 8"),
        ({"parameters": {"binary_data_size": "8"}}, EIGHT, "got '8'"),
        ({"parameters": {"binary_data_size": True}}, EIGHT, "got true"),
        ({"parameters": {"binary_data_size": 10**30}}, EIGHT, "expected binary_data_size from 0 to 8"),
        ({"data": [1, 2]}, EIGHT, "has both 'data' and binary_data_size"),
    ],
)
def test_wrong_lengths(client: FlaskClient, tensor: Any, data: bytes, words: str) -> None:
    """The sizes in the JSON, the shape and the number of bytes must agree."""
    reply = post_binary(client, INFER, {"inputs": [SIZED | tensor]}, data)
    assert reply.status_code == 400, reply.data
    assert words in reply.get_json()["error"]


def test_raw_binary(client: FlaskClient) -> None:
    """Triton's requests of binary data without JSON are refused by name."""
    headers = {LENGTH: "0", "content-type": "application/octet-stream"}
    reply = client.post(INFER, data=EIGHT, headers=headers)
    assert reply.status_code == 400
    assert reply.get_json()["error"] == (
        "inference-header-content-length is 0: raw binary requests are not supported; add the JSON"
    )


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "999999", "9" * 5000, "\u00b2"])
def test_header_length(client: FlaskClient, length: str) -> None:
    """The length of the JSON must be a number within the body's length."""
    body = json.dumps({"inputs": [X]})
    reply = client.post(INFER, data=body, headers={LENGTH: length, "content-type": "application/json"})
    assert reply.status_code == 400
    assert "inference-header-content-length from 0 to" in reply.get_json()["error"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x01\0\0", "element 0 extends beyond the data"),
        (b"\x05\0\0\0ab", "element 0 extends beyond the data"),
        (b"\xff\xff\xff\xffab", "element 0 extends beyond the data"),
        (b"\x01\0\0\0\xff", "element 0 is not UTF-8"),
        (b"\x01\0\0\0a\x01\0\0\0b", "expected 1 elements, got 2"),
        (b"", "expected 1 elements, got 0"),
    ],
)
def test_malformed_strings(serve: MakeClient, data: bytes, words: str) -> None:
    """Binary strings with wrong lengths, and bytes that are not UTF-8, are rejected."""
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    reply = post_binary(serve(models.identity(TensorProto.STRING, None)), BARE, {"inputs": [tensor]}, data)
    assert reply.status_code == 400, reply.data
    assert words in reply.get_json()["error"]


def test_booleans(serve: MakeClient) -> None:
    """A byte that is neither 0 nor 1 is not a boolean."""
    tensor = {"name": "x", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}
    client = serve(models.identity(TensorProto.BOOL, None))
    reply = post_binary(client, BARE, {"inputs": [tensor]}, b"\x02")
    assert "expected booleans of 0 or 1, got 2" in reply.get_json()["error"]


@pytest.mark.parametrize(
    "model",
    [
        models.sequence(),
        models.optional(),
        models.vectorizer(TensorProto.STRING, string_vocabulary=["a"]),
        models.model(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
            [models.tensor("x", TensorProto.INT4, ["n"])],
            [models.tensor("y", shape=["n"])],
        ),
    ],
    ids=["sequence", "optional", "map", "int4"],
)
def test_unsupported_types(serve: MakeClient, model: bytes) -> None:
    """The error for types that the protocol does not support points to `/score`."""
    reply = serve(model).post(BARE, json={"inputs": []})
    assert reply.status_code == 400
    assert "which this protocol does not support: use /score" in reply.get_json()["error"]
