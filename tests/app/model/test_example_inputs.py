"""The example without samples: values that the model answers, or none."""

from typing import Any

import pytest
from onnx import TensorProto, helper

from app.openapi.examples import curl
from tests import models
from tests.conftest import MakeClient


def from_one() -> bytes:
    """Return a model of y = table[x - 2], whose only valid indices are 0 and -1."""
    nodes = [helper.make_node("Sub", ["x", "two"], ["i"]), helper.make_node("Gather", ["table", "i"], ["y"])]
    weights = [
        helper.make_tensor("table", models.FLOAT, [1], [5.0]),
        helper.make_tensor("two", TensorProto.INT64, [], [2]),
    ]
    ends = [models.tensor("x", TensorProto.INT64, ["n"])], [models.tensor("y", models.FLOAT, ["n"])]
    return models.model(nodes, *ends, weights)


def cast_text() -> bytes:
    """Return a model of y = the number that the text x has."""
    node = helper.make_node("Cast", ["x"], ["y"], to=models.FLOAT)
    return models.model(
        [node], [models.tensor("x", TensorProto.STRING, ["n"])], [models.tensor("y", shape=["n"])]
    )


def convolution() -> bytes:
    """Return a model of a 7 × 7 convolution over [batch, 1, height, width]."""
    weights = helper.make_tensor("w", models.FLOAT, [1, 1, 7, 7], [1.0] * 49)
    shape: models.Shape = ("batch", 1, "height", "width")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    return models.model(
        [node], [models.tensor("x", shape=shape)], [models.tensor("y", shape=shape)], [weights]
    )


def fourth_word() -> bytes:
    """Return a model of y = the fourth of the words in the text x, which are separated by commas."""
    nodes = [
        helper.make_node("StringSplit", ["x"], ["words", "count"], delimiter=","),
        helper.make_node("Gather", ["words", "index"], ["y"], axis=1),
    ]
    index = helper.make_tensor("index", TensorProto.INT64, [1], [3])
    outputs = [models.tensor("y", TensorProto.STRING, ["n", 1])]
    return models.model(nodes, [models.tensor("x", TensorProto.STRING, ["n"])], outputs, [index])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (models.affine(), {"x": [[0, 0]]}),
        (from_one(), {"x": [1]}),
        (cast_text(), {"x": ["1"]}),
        (convolution(), {"x": [[[[0] * 8] * 8]]}),
        (models.sequence(), {"x": []}),
        (models.optional(), {}),
    ],
    ids=["zeros", "ones", "text", "convolution", "sequence", "optional"],
)
def test_found(serve: MakeClient, model: bytes, expected: Any) -> None:
    """The example in the description of the API is one that the model answers."""
    client = serve(model)
    content = client.get("/openapi.json").get_json()["paths"]["/score"]["post"]["requestBody"]["content"]
    body = content["application/json"]["examples"]["columns"]["value"]
    assert body == {"inputs": expected}
    assert client.post("/score", json=body).status_code == 200


def test_none(serve: MakeClient) -> None:
    """A model that refuses all values that are tried has no example, and still answers what it can."""
    client = serve(fourth_word())
    service = client.application.extensions["service"]
    request = client.get("/openapi.json").get_json()["paths"]["/score"]["post"]["requestBody"]
    assert "examples" not in request["content"]["application/json"]
    assert curl(service.model, service.samples, 8080) == "curl -s localhost:8080/model"
    reply = client.post("/score", json={"inputs": ["a,b,c,d"]})
    assert reply.get_json()["outputs"] == {"y": [["d"]]}
