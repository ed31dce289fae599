"""The Open Inference Protocol with outputs of ZipMap and other types that it does not have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from app import create_app
from app.model.transform import NamedValues, Transform
from app.settings import Settings
from model_loader.package import TensorSpec
from tests import models
from tests.app.openapi.documents import get_document
from tests.app.protocols.open_inference import BARE, INFER, infer, post_binary, read_binary
from tests.conftest import MakeClient, write_package

ROWS = [0.25, 0.75, 1.0, 0.0]
X = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": ROWS}


@pytest.mark.parametrize("classes", [(3, 7), ("no", "yes")])
def test_zipmap(serve: MakeClient, classes: Sequence[Any]) -> None:
    """Without a list of outputs, the scores are a tensor whose columns are the classes in the metadata."""
    client = serve(models.zipmap(*classes))
    about = client.get("/v2/models/bare").get_json()
    assert about["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "scores", "datatype": "FP32", "shape": [-1, 2], "parameters": {"classes": list(classes)}},
    ]
    label, scores = infer(client, BARE, inputs=[X])["outputs"]
    assert label["data"] == [1, 0]
    assert scores == {"name": "scores", "datatype": "FP32", "shape": [2, 2], "data": ROWS}


@pytest.mark.parametrize("kind", [int, str])
def test_scikit_learn(serve: MakeClient, kind: Any) -> None:
    """The columns are the probabilities of a scikit-learn classifier, in the order of its classes."""
    features, labels = load_wine(return_X_y=True)
    rows = (features / features.max(axis=0)).astype(np.float32)
    named = np.array(["red", "green", "blue"])[labels] if kind is str else labels
    classifier = LogisticRegression(max_iter=10_000).fit(rows, named)
    client = serve(to_onnx(classifier, rows[:1]).SerializeToString())
    x = {"name": "X", "datatype": "FP32", "shape": rows.shape, "data": rows.tolist()}
    label, scores = infer(client, BARE, inputs=[x])["outputs"]
    (_, about) = client.get("/v2/models/bare").get_json()["outputs"]
    assert about["parameters"]["classes"] == classifier.classes_.tolist()
    assert label["data"] == classifier.predict(rows).tolist()
    assert np.reshape(scores["data"], scores["shape"]) == pytest.approx(
        classifier.predict_proba(rows), abs=1e-5
    )


def test_order(serve: MakeClient) -> None:
    """ONNX Runtime sorts the classes; the columns follow it, not the order of the graph."""
    client = serve(models.zipmap("yes", "no"))
    (_, output) = client.get("/v2/models/bare").get_json()["outputs"]
    (_, scores) = infer(client, BARE, inputs=[X])["outputs"]
    assert output["parameters"]["classes"] == ["no", "yes"]
    assert scores["data"] == [0.75, 0.25, 0.0, 1.0]


def test_example(serve: MakeClient) -> None:
    """Without samples, the classes are learned from values that the model answers, here not zeros."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=models.FLOAT),
        helper.make_node("ZipMap", ["f"], ["scores"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]),
    ]
    kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(models.FLOAT, []))
    scores = helper.make_value_info("scores", helper.make_sequence_type_proto(kind))
    client = serve(models.model(nodes, [models.tensor("x", TensorProto.STRING)], [scores]))
    (output,) = client.get("/v2/models/bare").get_json()["outputs"]
    assert output["parameters"]["classes"] == ["no", "yes"]


def test_binary(serve: MakeClient) -> None:
    """The scores can be requested as bytes."""
    client = serve(models.zipmap(3, 7))
    outputs = [{"name": "scores", "parameters": {"binary_data": True}}]
    _, found = read_binary(post_binary(client, BARE, {"inputs": [X], "outputs": outputs}, b""))
    assert np.frombuffer(found["scores"], np.float32).tolist() == ROWS


def test_no_rows(serve: MakeClient) -> None:
    """Without rows, the tensor has a column for each class all the same."""
    empty = X | {"shape": [0, 2], "data": []}
    (_, scores) = infer(serve(models.zipmap(3, 7)), BARE, inputs=[empty])["outputs"]
    assert (scores["shape"], scores["data"]) == ([0, 2], [])


def test_one_class(serve: MakeClient) -> None:
    """A single class is one column."""
    inputs = [X | {"shape": [4, 1]}]
    (_, scores) = infer(serve(models.zipmap("all")), BARE, inputs=inputs)["outputs"]
    assert (scores["shape"], scores["data"]) == ([4, 1], ROWS)


class Maps(Transform):
    """Answers with a map for each row, whose class is the row's first value."""

    outputs = (TensorSpec("maps", "seq(map(INT64, FP32))", None),)

    def after(self, outputs: NamedValues) -> NamedValues:
        """Return the maps."""
        return {"maps": [{int(row[0]): 1.0} for row in outputs["y"]]}


def test_other_classes(tmp_path: Path, make_client: MakeClient) -> None:
    """A row with other classes than the sample's is an error of the model, and names them."""
    sample = {"inputs": {"x": [[1, 2]]}, "outputs": {"maps": [{"3": 1.0}]}}
    package = write_package(tmp_path / "package", models.affine(), samples=[sample])
    client = make_client(create_app(Settings(model_path=package, web_concurrency=1), Maps))
    assert infer(client, INFER, inputs=[X | {"data": [1, 2, 1, 2]}])["outputs"][0]["data"] == [1, 1]
    reply = client.post(INFER, json={"inputs": [X | {"data": [1, 2, 2, 2]}]})
    assert reply.status_code == 500
    assert reply.get_json()["error"] == "output 'maps': expected the classes 3, got 5 in row 1"


@pytest.fixture
def sequence_and_sum(serve: MakeClient) -> FlaskClient:
    """Return a client of a model with the outputs parts, a sequence of tensors, and total, a tensor."""
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0),
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
    ]
    parts = helper.make_tensor_sequence_value_info("parts", models.FLOAT, None)
    return serve(models.model(nodes, [models.tensor("x")], [parts, models.tensor("total", shape=[])]))


def test_requested_outputs_only(sequence_and_sum: FlaskClient) -> None:
    """Only the requested outputs need a type that the protocol has."""
    reply = infer(sequence_and_sum, BARE, inputs=[X], outputs=[{"name": "total"}])
    assert reply["outputs"] == [{"name": "total", "datatype": "FP32", "shape": [], "data": [2.0]}]


@pytest.mark.parametrize(
    ("outputs", "advice"),
    [(None, "request only 'total' in 'outputs', or use /score"), ([{"name": "parts"}], "or use /score")],
)
def test_unsupported_output(sequence_and_sum: FlaskClient, outputs: Any, advice: str) -> None:
    """An output whose type the protocol does not have is refused, with the outputs that it has."""
    reply = sequence_and_sum.post(BARE, json={"inputs": [X], "outputs": outputs})
    assert reply.status_code == 400
    assert reply.get_json()["error"].startswith(
        "'parts' is seq(FP32), which this protocol does not support: "
    )
    assert reply.get_json()["error"].endswith(advice)


def test_document(sequence_and_sum: FlaskClient) -> None:
    """The API's description requires a list of the outputs that the protocol has."""
    path = get_document(sequence_and_sum)["paths"][BARE]["post"]
    schema = path["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["inputs", "outputs"]
    assert schema["properties"]["outputs"]["items"]["properties"]["name"]["enum"] == ["total"]
