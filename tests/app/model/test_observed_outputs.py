"""Outputs are described as the model returns them, where the graph is wrong or silent."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from app.model.self_test import load_and_verify
from app.model.transform import Transform
from app.settings import Settings
from tests import models
from tests.conftest import MakeClient, write_package

FLOAT = TensorProto.FLOAT
Shape = models.Shape
AXIS = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
FIRST = helper.make_tensor("first", TensorProto.INT64, [1], [0])
# y = h. ONNX Runtime infers the shapes of outputs where it can; here it does not even know the rank.
HIDE = [
    helper.make_node("Shape", ["h"], ["s"]),
    helper.make_node("Cast", ["s"], ["f"], to=FLOAT),
    helper.make_node("Cast", ["f"], ["i"], to=TensorProto.INT64),
    helper.make_node("Cast", ["f"], ["b"], to=TensorProto.BOOL),
    helper.make_node("Compress", ["i", "b"], ["c"]),
    helper.make_node("Reshape", ["h", "c"], ["y"]),
]
SQUEEZE = helper.make_node("Squeeze", ["x"], ["h"])
ROW_SUM = helper.make_node("ReduceSum", ["x", "axis"], ["h"], keepdims=0)
TOTAL = helper.make_node("ReduceSum", ["x", "first"], ["h"], keepdims=1)
IDENTITY = helper.make_node("Identity", ["x"], ["h"])


def declared(node: onnx.NodeProto, x: Shape, y: Shape) -> bytes:
    """Return a model of one node, whose output is declared with any shape."""
    used = [weight for weight in (AXIS, FIRST) if weight.name in node.input]
    return models.model([node, *HIDE], [models.tensor("x", FLOAT, x)], [models.tensor("y", FLOAT, y)], used)


def non_zero() -> bytes:
    """Return a model of y = the indices of values that are not zero: their number is not that of the rows."""
    node = helper.make_node("NonZero", ["x"], ["y"])
    return models.model([node], [models.tensor("x")], [models.tensor("y", TensorProto.INT64, [2, "found"])])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (declared(ROW_SUM, [None, 4], [1]), (None,)),
        (declared(ROW_SUM, ["batch", 4], ["batch"]), ("batch",)),
        (declared(IDENTITY, ["n", 4], ["n", 3]), ("n", 4)),
        (declared(IDENTITY, ["n", 4], None), (None, 4)),
        (declared(IDENTITY, ["n", "m"], None), (None, None)),
        (declared(IDENTITY, ["n", "m", 3], ["n", 1, "k"]), ("n", None, "k")),
        (declared(IDENTITY, [2, 3], None), (None, None)),
        (declared(IDENTITY, None, None), None),
        (declared(TOTAL, ["n", "k"], ["n", "m"]), (1, "m")),
        (declared(TOTAL, ["n", "k"], None), (1, None)),
        (declared(SQUEEZE, ["n", 4], None), None),
        (declared(ROW_SUM, ["n", 4], ["n", 1]), (None,)),
        (non_zero(), (2, "found")),
        (models.total(), None),
        (models.sequence(), None),
    ],
    ids=itertools.count(),
)
def test_description(tmp_path: Path, model: bytes, expected: Any) -> None:
    """A dimension is fixed only if it was the same for different sizes of the inputs; correct ones stay."""
    path = tmp_path / "bare.onnx"
    path.write_bytes(model)
    verified = load_and_verify(Settings(model_path=path).resolved(1), Transform)
    assert list(verified.model.outputs.values())[-1].shape == expected


def test_samples(tmp_path: Path) -> None:
    """The samples' inputs are observed, and their rows are repeated: one sample of one row is enough."""
    sample = {"inputs": {"x": [[1, 2, 3, 4]]}, "outputs": {"y": [10]}}
    path = write_package(tmp_path / "package", declared(ROW_SUM, [None, 4], [1]), samples=[sample])
    verified = load_and_verify(Settings(model_path=path).resolved(1), Transform)
    assert verified.model.outputs["y"].shape == (None,)
    assert verified.model.model.has_batched_outputs


@pytest.mark.parametrize("rows", [1, 3])
def test_served(serve: MakeClient, rows: int) -> None:
    """Both protocols, the API's description and the batches follow the observed shape."""
    client = serve(declared(ROW_SUM, [None, 4], [1]))
    values: Sequence[Any] = [[1, 2, 3, 4]] * rows
    assert client.get("/model").get_json()["outputs"][0]["shape"] == [None]
    assert client.get("/v2/models/bare").get_json()["outputs"][0]["shape"] == [-1]  # part: v2
    reply = client.post("/score", json={"instances": values})
    assert reply.get_json()["predictions"] == [{"y": 10}] * rows
    document = client.get("/openapi.json").get_json()
    schema = document["components"]["schemas"]["ScoreReply"]["oneOf"]
    assert [form["title"] for form in schema] == ["By columns", "By rows"]
    assert client.application.extensions["service"].scorer.batcher.batching.startswith("up to ")


def test_total_of_the_batch(serve: MakeClient) -> None:
    """An output of one row that is declared with a row each is not batched."""
    client = serve(declared(TOTAL, ["n", 4], ["n", 1]))
    assert client.application.extensions["service"].scorer.batcher.batching.endswith(
        "the outputs have no batch dimension"
    )
