"""DataFrames in JSON, as pandas, MLflow and Azure Machine Learning write them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from app.errors import InvalidRequest
from app.protocols import score
from app.tensors import fast_json
from model_loader.package import TensorSpec
from tests import models
from tests.app.protocols.tables import FRAME, PREDICTIONS, column_model
from tests.app.scoring.refusal import assert_refused
from tests.conftest import MakeClient

WRITERS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "dataframe_split": lambda frame: {"dataframe_split": json.loads(frame.to_json(orient="split"))},
    "dataframe_records": lambda frame: {"dataframe_records": json.loads(frame.to_json(orient="records"))},
    "input_data": lambda frame: {"input_data": json.loads(frame.to_json(orient="split", index=False))},
    "instances": lambda frame: {"instances": json.loads(frame.to_json(orient="records"))},
    "split": lambda frame: json.loads(frame.to_json(orient="split")),
    "records": lambda frame: json.loads(frame.to_json(orient="records")),
}


@pytest.mark.parametrize("form", WRITERS)
def test_column_inputs(serve: MakeClient, form: str) -> None:
    """Columns are inputs by name, spaces in names included; a scalar fits an input of [n, 1]."""
    reply = serve(column_model()).post("/score", json=WRITERS[form](FRAME))
    assert reply.get_json()["predictions"] == PREDICTIONS


@pytest.mark.parametrize("form", WRITERS)
def test_features(client: FlaskClient, form: str) -> None:
    """The columns of a model with features are matched by name, in any order."""
    reply = client.post("/score", json=WRITERS[form](pd.DataFrame({"b": [2, 4, None], "a": [1, 3, 5]})))
    assert reply.get_json()["predictions"] == [{"y": [3, 5]}, {"y": [7, 9]}, {"y": [11, "NaN"]}]


@pytest.mark.parametrize("columns", [["b", "a"], [0, 1]])
@pytest.mark.parametrize("form", sorted(WRITERS.keys() - {"instances"}))
def test_by_position(serve: MakeClient, form: str, columns: list[Any]) -> None:
    """The columns of a single input of two dimensions without features are taken in the table's order."""
    frame = pd.DataFrame([[1.5, 2], [3, 4]], columns=columns)
    reply = serve(models.affine()).post("/score", json=WRITERS[form](frame))
    assert reply.get_json()["predictions"] == [{"y": [4, 5]}, {"y": [7, 9]}]


@pytest.mark.parametrize(
    ("body", "predictions"),
    [
        ({"input_data": [[1, 2], [3, 4]]}, [{"y": [3, 5]}, {"y": [7, 9]}]),
        ({"dataframe_split": {"columns": ["x"], "data": [[[1, 2]]]}}, [{"y": [3, 5]}]),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, []),
        ({"dataframe_records": []}, []),
    ],
)
def test_other_forms(client: FlaskClient, body: Any, predictions: Any) -> None:
    """Rows without names, cells that are rows of the input, and tables without rows are answered."""
    assert client.post("/score", json=body).get_json()["predictions"] == predictions


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"dataframe_split": [[1, 2]]}, "expected 'dataframe_split' to be an object of 'columns' and 'data'"),
        ({"input_data": {"a": [1], "b": [2]}}, "expected 'input_data' to be an object of 'columns' and 'd"),
        (
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]], "dtypes": []}},
            "'dataframe_split': unknown member 'dtypes'",
        ),
        ({"columns": "ab", "data": [[1, 2]]}, "expected 'columns' to be an array of names"),
        ({"columns": [["a", "b"]], "data": [[1]]}, "expected 'columns' to be an array of names"),
        ({"columns": ["a", "c"], "data": [[1, 2]]}, "unknown column 'c'; expected the columns 'a', 'b'"),
        ({"columns": ["a"], "data": [[1]]}, "missing column 'b'; expected the columns 'a', 'b'"),
        (
            {"columns": ["a", "b", "a"], "data": [[1, 2, 3]]},
            "column 'a' is given twice",
        ),
        ({"columns": ["a", "b"], "data": {}}, "expected 'data' to be an array of rows, got an object"),
        ({"columns": ["a", "b"], "data": [[1, 2], 3]}, "row 1: expected an array of 2 values, got 3"),
        ({"columns": ["a", "b"], "data": [[1, 2], [3]]}, "row 1: expected 2 values, one a column, got 1"),
        ({"columns": ["a", "b"], "data": [[1, "2"]]}, "expected FP32 [batch, 2], got '2' at [0, 1]"),
        ({"columns": ["a", "b"], "data": [[1, True]]}, "got true at [0, 1]"),
        ({"columns": ["a", "b"], "data": [[1, [2]]]}, "rows of different lengths"),
        ({"columns": ["a", "b"], "data": [[1, 2]], "index": 1}, "expected 'index' to be an array, got 1"),
        ({"dataframe_records": {"a": 1}}, "expected an array of rows, each an object of columns"),
        ({"dataframe_records": [[1, 2]]}, "expected an array of rows, each an object of columns"),
        ([{"a": 1, "b": 2}, {"a": 1}], "row 1: missing column 'b'"),
        ([{"a": 1, "b": 2}, [1, 2]], "row 1: expected an object of columns"),
        ([{"a": 1, "b": 2, "c": 3}], "unknown column 'c'; expected the columns 'a', 'b'"),
        ({"columns": ["a", "b"], "data": [], "instances": []}, "unknown member 'instances'"),
        ({"dataframe_split": {}, "params": {}}, "unknown member 'params' beside 'dataframe_split'"),
    ],
)
def test_invalid(client: FlaskClient, document: Any, words: str) -> None:
    """What does not fit is named, with what was expected."""
    assert_refused(client, 400, words, json=document)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["age", "job title", "count"], "missing column 'is_new'; expected the columns 'age', 'job_title'"),
        (["age", "job title", "job-title", "count", "is_new"], "both input 'job_title'"),
        (["age", "job_title", "job title", "count", "is_new"], "both input 'job_title'"),
        (["age", "job title", "count", "is_new", "Age"], "unknown column 'Age'"),
    ],
)
def test_invalid_columns(serve: MakeClient, names: list[str], words: str) -> None:
    """A column belongs to one input, and an input has one column."""
    body = {"columns": names, "data": [[1] * len(names)]}
    assert_refused(serve(column_model()), 400, words, json=body)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"age": "1"}, "input 'age': expected FP32 [n, 1], got '1' at [0]"),
        ({"age": True}, "got true at [0]"),
        ({"count": 1.5}, "input 'count': expected INT64 [n], got 1.5 at [0]"),
        ({"count": None}, "input 'count': expected INT64 [n], got null at [0]"),
        ({"job_title": 1}, "input 'job_title': expected STRING [n, 1], got 1 at [0]"),
        ({"is_new": 1}, "input 'is_new': expected BOOL [n, 1], got 1 at [0]"),
        ({"job_title": {"b64": "eA=="}}, "'b64' is not supported; send text as a string"),
    ],
)
def test_nothing_is_cast(serve: MakeClient, row: Any, words: str) -> None:
    """A scalar fits an input of [n, 1] only in its type."""
    valid = {"age": 1, "job_title": "a", "count": 2, "is_new": True}
    assert_refused(serve(column_model()), 400, words, json=[valid | row])


def test_instances_of_one_input(serve: MakeClient) -> None:
    """By row, too, an input has one column."""
    row = {"age": 1, "job_title": "a", "job title": "b", "count": 2, "is_new": True}
    words = "columns 'job_title' and 'job title' are both input 'job_title'"
    assert_refused(serve(column_model()), 400, words, json={"instances": [row]})


def test_scalar_is_not_a_column_of_several(serve: MakeClient) -> None:
    """A scalar does not fit another shape than [n, 1], and the columnar form has no rows."""
    client = serve(models.identity(TensorProto.FLOAT, ["n", 2]))
    assert_refused(client, 400, "got shape [1]", json={"instances": [{"x": 1}]})
    client = serve(models.identity(TensorProto.FLOAT, ["n", 1]))
    assert client.post("/score", json={"instances": [1, 2]}).get_json()["predictions"] == [
        {"y": [1]},
        {"y": [2]},
    ]
    assert_refused(client, 400, "got shape [2]", json={"inputs": [1, 2]})


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64"])
@pytest.mark.parametrize("has_features", [True, False])
@pytest.mark.parametrize("wrap", [lambda table: table, lambda table: {"input_data": table}])
def test_large(
    datatype: str, has_features: bool, wrap: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large table of numbers is read without an object for each, with the same result."""
    dtype = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}[datatype]
    array = np.random.default_rng(0).integers(-100, 100, (2000, 3)).astype(dtype)
    array = array / 7 if datatype == "FP64" else array
    names = ["a b", "b", "c"]
    specs = {name: TensorSpec(name, datatype, ("n", 1)) for name in names}
    if has_features:
        specs = {"x": TensorSpec("x", datatype, ("n", 3))}
    order = [2, 0, 1]
    table = {"index": [*range(2000)], "columns": [names[i] for i in order], "data": array[:, order].tolist()}
    body = json.dumps(wrap(table)).encode()
    # The values of the index, and nothing else, become objects.
    read, rows = score.decode_json(body, specs, names if has_features else None, 2100)
    monkeypatch.setattr(fast_json, "LARGE_BYTES", 1 << 40)
    expected, _ = score.decode_json(body, specs, names if has_features else None, 20_000)
    assert rows == 2000
    joined = np.hstack([*read.values()])
    assert (joined == array).all()
    for name, value in read.items():
        assert (value.dtype, value.shape) == (expected[name].dtype, expected[name].shape)
        assert value.tobytes() == expected[name].tobytes()


@pytest.mark.parametrize(
    "data", ['[["1", 2]]', "[[1], [2]]", "[[1, 2], [3]]", "[1, 2]", "[[1, null]]", "[[1, 1e39]]", "[[1, 2.5]"]
)
@pytest.mark.parametrize("template", ['{"columns": ["a", "b"], "data": %s}', '{"input_data": {"data": %s}}'])
def test_large_falls_back(data: str, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not a table of numbers gets the same answer whatever its size."""
    body = (template % data).encode()
    specs = {"x": TensorSpec("x", "FP32", ("n", 2))}

    def outcome(large_bytes: int) -> Any:
        monkeypatch.setattr(fast_json, "LARGE_BYTES", large_bytes)
        try:
            return repr(score.decode_json(body, specs, ("a", "b"), 100))
        except InvalidRequest as exc:
            return str(exc)

    assert outcome(0) == outcome(1 << 40)


def test_too_many_values(serve: MakeClient) -> None:
    """Tables of objects or strings are limited as other documents."""
    client = serve(models.affine(), max_json_values=1000)
    assert_refused(client, 413, "at most 1000", json=[{"a": 1, "b": 2}] * 500)
    assert_refused(client, 413, "at most 1000", json={"columns": ["a", "b"], "data": [["1", 2]] * 500})


def test_many_columns() -> None:
    """The time for a wide table grows with its columns, and a message does not have all of them."""
    names = [f"column {i}" for i in range(30_000)]
    specs = {"x": TensorSpec("x", "FP32", ("n", len(names)))}
    table = {"columns": names[::-1], "data": [[*range(len(names))]]}
    inputs, _ = score.decode_json(orjson.dumps(table), specs, names, 1_000_000)
    assert inputs["x"][0].tolist() == [*range(len(names))][::-1]
    with pytest.raises(InvalidRequest, match="unknown column 'a'; expected the columns 'column 0'") as error:
        score.decode_json(orjson.dumps(table | {"columns": ["a"]}), specs, names, 1_000_000)
    assert len(str(error.value)) < 1000
