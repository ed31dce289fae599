"""Every type of inputs and outputs that ONNX Runtime supports on the CPU, over HTTP."""

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from tests import models
from tests.conftest import MakeClient


def score(client: FlaskClient, **body: Any) -> Any:
    """Score a request successfully and return the response's JSON."""
    reply = client.post("/score", json=body)
    assert reply.status_code == 200, reply.text
    return reply.get_json()


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        (TensorProto.BOOL, [True, False]),
        (TensorProto.UINT8, [0, 255]),
        (TensorProto.UINT16, [0, 65535]),
        (TensorProto.UINT32, [0, 2**32 - 1]),
        (TensorProto.UINT64, [0, 2**64 - 1, 2**63]),
        (TensorProto.INT8, [-128, 127]),
        (TensorProto.INT16, [-32768, 32767]),
        (TensorProto.INT32, [-(2**31), 2**31 - 1]),
        (TensorProto.INT64, [-(2**63), 2**63 - 1, 2**53 + 1]),
        (TensorProto.FLOAT16, [0.5, -65504.0, "NaN", "Infinity"]),
        (TensorProto.BFLOAT16, [0.5, -3.0, 1024.0, "NaN", "-Infinity"]),
        (TensorProto.FLOAT, [0.1, -3.4028235e38, 1e-45, 1.2e21, "NaN", "Infinity", "-Infinity"]),
        (TensorProto.DOUBLE, [0.1, 1e308, "NaN", "Infinity", "-Infinity"]),
        (TensorProto.STRING, ["", "Grüße", "a\u0000b", "NaN", "\U0001f377"]),
        (TensorProto.FLOAT8E4M3FN, [0.5, -448.0, "NaN"]),
        (TensorProto.FLOAT8E4M3FNUZ, [0.5, -240.0, "NaN"]),
        (TensorProto.FLOAT8E5M2, [0.5, -57344.0, "NaN", "Infinity"]),
        (TensorProto.FLOAT8E5M2FNUZ, [0.5, -57344.0, "NaN"]),
    ],
    ids=lambda value: TensorProto.DataType.Name(value) if isinstance(value, int) else "",
)
def test_tensor(serve: MakeClient, datatype: int, values: list[Any]) -> None:
    """The extreme values of each type are returned unchanged, in any shape and row by row."""
    client = serve(models.identity(datatype, None))
    for value in (values, values[0], [[values[0]], [values[1]]]):
        assert score(client, inputs={"x": value})["outputs"]["y"] == value
    assert [row["y"] for row in score(client, instances=values)["predictions"]] == values


@pytest.mark.parametrize(
    ("datatype", "values"), [(TensorProto.INT4, [-8, 7, 3]), (TensorProto.UINT4, [0, 15, 3])]
)
def test_four_bit_integers(serve: MakeClient, datatype: int, values: list[int]) -> None:
    """Four-bit integers are packed for ONNX Runtime, an odd number of them too, and unpacked again."""
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    client = serve(
        models.model([cast], [models.tensor("x", datatype, ["n"])], [models.tensor("y", shape=["n"])])
    )
    assert score(client, inputs={"x": values})["outputs"]["y"] == values
    back = helper.make_node("Cast", ["x"], ["y"], to=datatype)
    client = serve(
        models.model([back], [models.tensor("x", shape=["n"])], [models.tensor("y", datatype, ["n"])])
    )
    assert score(client, inputs={"x": values})["outputs"]["y"] == values


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, 2.0), (2**63, 2.0**63), (None, "NaN"), ([], []), ([[1, None]], [[1.0, "NaN"]])],
)
def test_float_takes_any_number(serve: MakeClient, value: Any, expected: Any) -> None:
    """A float type takes integers, and null for a missing value."""
    client = serve(models.identity(TensorProto.DOUBLE, None))
    assert score(client, inputs=value)["outputs"]["y"] == expected


def test_integer_takes_integral_float(serve: MakeClient) -> None:
    """An integer type takes 2.0, next to large integers that keep every digit."""
    client = serve(models.identity(TensorProto.INT64))
    assert score(client, inputs=[2.0, 2**53 + 1])["outputs"]["y"] == [2, 2**53 + 1]


def test_float32_keeps_its_digits(serve: MakeClient) -> None:
    """A 32-bit 0.1 is answered as 0.1, also next to NaN and row by row."""
    client = serve(models.identity(TensorProto.FLOAT))
    assert score(client, inputs=[0.1])["outputs"]["y"] == [0.1]
    assert score(client, inputs=[0.1, None])["outputs"]["y"] == [0.1, "NaN"]
    assert score(client, instances=[0.1])["predictions"] == [{"y": 0.1}]


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        (["n", 3], [], []),
        (["n", 3, "m"], [], []),
        ([2, "m"], [[], []], [[], []]),
        ([None, 0], [[], [], []], [[], [], []]),
    ],
)
@pytest.mark.parametrize(
    "datatype", [TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT8, TensorProto.BFLOAT16]
)
def test_zero_length(serve: MakeClient, datatype: int, shape: Any, value: Any, expected: Any) -> None:
    """Nested lists end at a dimension of size 0; the rest of the shape is the model's."""
    assert score(serve(models.identity(datatype, shape)), inputs={"x": value})["outputs"]["y"] == expected


def test_no_instances(client: FlaskClient) -> None:
    """A request without instances gets no predictions."""
    assert score(client, instances=[])["predictions"] == []


def test_default_initializer(serve: MakeClient) -> None:
    """An input with a default may be missing; values without a name are then for the other input."""
    client = serve(models.with_default(), allow_initializer_inputs="on")
    assert score(client, inputs=[[1, 2]])["outputs"]["y"] == [[11, 22]]
    assert score(client, instances=[[1, 2]])["predictions"] == [{"y": [11, 22]}]
    assert score(client, inputs={"x": [[1, 2]], "b": [0, 0]})["outputs"]["y"] == [[1, 2]]


def test_weights_are_no_inputs(serve: MakeClient) -> None:
    """A weight that the graph lists as an input is no input, and a request that sends it is refused."""
    client = serve(models.with_default())
    assert [spec["name"] for spec in client.get("/model").get_json()["inputs"]] == ["x"]
    assert [spec["name"] for spec in client.get("/v2/models/bare").get_json()["inputs"]] == ["x"]  # part: v2
    assert '"b"' not in client.get("/openapi.json").text
    assert score(client, instances=[{"x": [1, 2]}])["predictions"] == [{"y": [11, 22]}]
    weight = {"name": "b", "datatype": "FP32", "shape": [2], "data": [0, 0]}  # part: v2
    for path, body in (
        ("/score", {"inputs": {"x": [[1, 2]], "b": [0, 0]}}),
        ("/score", {"instances": [{"x": [1, 2], "b": 0}]}),
        ("/v2/models/bare/infer", {"inputs": [weight]}),  # part: v2
    ):
        reply = client.post(path, json=body)
        assert reply.status_code == 400
        assert "'b' is a weight of the model" in reply.get_json()["error"]
        assert "ALLOW_INITIALIZER_INPUTS=on" in reply.get_json()["error"]


def test_unknown_dimensions(serve: MakeClient) -> None:
    """Dimensions named `?` are unknown, each by itself: their sizes need not be equal."""
    client = serve(models.identity(models.FLOAT, ["?", "?", 1]))
    assert client.get("/model").get_json()["inputs"][0]["shape"] == [None, None, 1]
    assert score(client, inputs=[[[1], [2]]])["outputs"]["y"] == [[[1], [2]]]


def test_shared_symbol(serve: MakeClient) -> None:
    """Two inputs whose shared symbolic dimension has the same size are answered."""
    client = serve(models.total())
    reply = score(client, inputs={"a": [1, 2], "b": [3, 4]})
    assert reply["outputs"] == {"s": [4, 6], "f": 10}


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (TensorProto.FLOAT, [[1.5], [], [2.0, "NaN"]]),
        (TensorProto.INT64, [[1], [2, 3]]),
        (TensorProto.STRING, [["a", "b"], []]),
        (TensorProto.BOOL, [[True]]),
        (TensorProto.FLOAT, []),
    ],
)
def test_sequence(serve: MakeClient, datatype: int, value: Any) -> None:
    """A sequence is an array of tensors of any shapes."""
    assert score(serve(models.sequence(datatype)), inputs={"x": value})["outputs"]["y"] == value


@pytest.mark.parametrize(("value", "expected"), [([1.0], True), (None, False)])
def test_optional(serve: MakeClient, value: Any, expected: bool) -> None:
    """An optional input may be null or missing."""
    client = serve(models.optional())
    assert score(client, inputs={"x": value})["outputs"]["y"] is expected
    assert score(client, inputs={})["outputs"]["y"] is False


@pytest.mark.parametrize(
    ("key", "vocabulary", "value"),
    [
        (TensorProto.STRING, {"string_vocabulary": ["a", "b"]}, {"b": 2.5}),
        (TensorProto.INT64, {"int64_vocabulary": [-1, 2]}, {"2": 2.5}),
    ],
)
def test_map_input(serve: MakeClient, key: int, vocabulary: Any, value: Any) -> None:
    """A map is a JSON object whose integer keys are strings, with or without the input's name around it."""
    client = serve(models.vectorizer(key, **vocabulary))
    for inputs in (value, {"x": value}):
        assert score(client, inputs=inputs)["outputs"]["y"] == [[0, 2.5]]


def test_zipmap(serve: MakeClient) -> None:
    """A scikit-learn classifier with ZipMap returns an object of class → probability for each row."""
    features, labels = load_wine(return_X_y=True)
    classifier = LogisticRegression(max_iter=10_000).fit(features / features.max(axis=0), labels)
    rows = (features / features.max(axis=0)).astype(np.float32)[:5]
    client = serve(to_onnx(classifier, rows[:1]).SerializeToString())
    expected = classifier.predict_proba(rows)
    outputs = score(client, inputs=rows.tolist())["outputs"]
    assert [[row[key] for key in "012"] for row in outputs["output_probability"]] == [
        pytest.approx(row, abs=1e-5) for row in expected
    ]
    for row, answer in zip(expected, score(client, instances=rows.tolist())["predictions"], strict=True):
        assert answer["output_label"] == row.argmax()
        assert answer["output_probability"] == pytest.approx(dict(zip("012", row, strict=True)), abs=1e-5)
