"""Invalid request bodies: each gets 400 and a message that names the invalid value."""

import tracemalloc
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from tests import models
from tests.app.scoring.refusal import assert_refused
from tests.conftest import MakeClient

ROW = {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b"   ", "not JSON"),
        (b"{", "not JSON"),
        (b'{"inputs": [[1, 2]]', "not JSON"),
        (b'{"inputs": [[1, 2]]} {}', "not JSON"),
        (b'{"inputs": [[1, 2],]}', "not JSON"),
        (b"{'inputs': [[1, 2]]}", "not JSON"),
        (b'{"inputs": [[NaN, 2]]}', 'JSON has no NaN: write "NaN" as a string, or null for a missing value'),
        (b'{"inputs": [[1, -Infinity]]}', 'JSON has no -Infinity: write "-Infinity" as a string'),
        (b'{"inputs": [["\xc3\xbc", Infinity]]}', 'JSON has no Infinity: write "Infinity" as a string'),
        (b'{"inputs": [[1e400, 2]]}', "not JSON: number is infinity"),
        (b'{"inputs": [[01, 2]]}', "not JSON"),
        (b'{"inputs": "\xff\xfe"}', "UTF-8"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"inputs": [[1, 2]', "not JSON"),
        (b'{"inputs": "\\ud800"}', "surrogate"),
        (b"[" * 10_000, "depth limit"),
        (b'{"inputs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "depth limit"),
        (b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}", "nested too deep"),
        (b'{"a":' * 10_000, "depth limit"),
        (b"\x93NUMPY", "not JSON"),
        (b"a=1&b=2", "not JSON"),
    ],
)
def test_bytes(client: FlaskClient, body: bytes, words: str) -> None:
    """A body must be a JSON document in UTF-8."""
    assert_refused(client, 400, words, data=body)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            None,
            "one of 'inputs', 'instances', 'dataframe_split', 'dataframe_records', 'input_data', got null",
        ),
        ([], "one of 'inputs', 'instances'"),
        ([[1, 2]], "'input_data', got an array"),
        (1, "'input_data', got 1"),
        ({}, "'input_data', got none"),
        ({"input": [[1, 2]]}, "'input_data', got 'input'"),
        ({"inputs": [[1, 2]], "instances": [[1, 2]]}, "'input_data', got 'inputs' and 'instances'"),
        ({"inputs": [[1, 2]], "rows": 1}, "unknown member 'rows' beside 'inputs'"),
        (
            {"inputs": [[1, 2]], "signature_name": "classify"},
            "expected 'signature_name' to be 'serving_default', got 'classify'",
        ),
        ({"inputs": {}}, "missing input 'x': expected FP32 [batch, 2]"),
        ({"inputs": {"X": [[1, 2]]}}, "unknown input 'X'; the model has 'x'"),
        ({"inputs": {"x": [[1, 2]], "y": 1}}, "unknown input 'y'"),
        ({"inputs": None}, "input 'x': expected FP32 [batch, 2], got"),
        ({"inputs": 1}, "input 'x': expected FP32 [batch, 2], got shape []"),
        ({"inputs": "1"}, "input 'x': expected FP32 [batch, 2], got '1'"),
        ({"inputs": [1, 2]}, "input 'x': expected FP32 [batch, 2], got shape [2]"),
        ({"inputs": [[1, 2, 3]]}, "input 'x': expected FP32 [batch, 2], got shape [1, 3]"),
        ({"inputs": [[[1, 2]]]}, "input 'x': expected FP32 [batch, 2], got shape [1, 1, 2]"),
        ({"inputs": [[]]}, "input 'x': expected FP32 [batch, 2], got shape [1, 0]"),
        ({"inputs": [[1, 2], [3]]}, "input 'x': expected FP32 [batch, 2], got rows of different lengths"),
        ({"inputs": [[1, 2], 3]}, "got rows of different lengths"),
        ({"inputs": [[1, [2]]]}, "got rows of different lengths"),
        ({"inputs": [[1, True]]}, "input 'x': expected FP32 [batch, 2], got true at [0, 1]"),
        ({"inputs": [[False, True]]}, "got false at [0, 0]"),
        ({"inputs": [[1, 2], [3, "4"]]}, "got '4' at [1, 1]"),
        ({"inputs": [["a", "b"]]}, "got 'a' at [0, 0]"),
        ({"inputs": [["nan", 1]]}, "got 'nan' at [0, 0]"),
        ({"inputs": [["Inf", 1]]}, "got 'Inf' at [0, 0]"),
        ({"inputs": [["+Infinity", 1]]}, "got '+Infinity' at [0, 0]"),
        ({"inputs": [["x" * 1000, 1]]}, "got 'xxxxxxxxxx"),
        ({"inputs": [[1, {}]]}, "got an object at [0, 1]"),
        ({"inputs": [[1e39, 2]]}, "got 1e+39 at [0, 0], out of range"),
        ({"inputs": [[2.0**200, 2]]}, "out of range"),
        ({"instances": None}, "expected 'instances' to be an array"),
        ({"instances": {"x": [1, 2]}}, "expected 'instances' to be an array"),
        ({"instances": [1, 2]}, "got shape [2]"),
        ({"instances": [[1, 2], [3]]}, "rows of different lengths"),
        ({"instances": [{"a": 1}]}, "instance 0: missing column 'b'"),
        ({"instances": [{}]}, "instance 0: missing column 'a'"),
        ({"instances": [ROW, {"a": 1}]}, "instance 1: missing column 'b'"),
        ({"instances": [ROW | {"c": 3}]}, "instance 0: unknown column 'c'"),
        ({"instances": [{"a": 1, "B": 2}]}, "instance 0: missing column 'b'"),
        ({"instances": [ROW, [1, 2]]}, "instance 1: expected an object of columns"),
        ({"instances": [ROW, None]}, "instance 1: expected an object of columns"),
        ({"instances": [ROW, 3]}, "instance 1: expected an object of columns"),
        ({"instances": [ROW, "ab"]}, "instance 1: expected an object of columns"),
        ({"instances": [[1, 2], ROW]}, "input 'x': expected FP32 [batch, 2], got"),
        ({"instances": [ROW | {"b": "2"}]}, "got '2' at [0, 1]"),
        ({"instances": [ROW | {"b": [2]}]}, "rows of different lengths"),
        ({"instances": [{"x": [1, 2]}, {"x": [1, 2], "y": 1}]}, "instance 1: unknown input 'y'"),
        ({"instances": [{"x": [1, 2]}, {}]}, "instance 1: missing input 'x'"),
    ],
)
def test_document(client: FlaskClient, document: Any, words: str) -> None:
    """A document must have the members and shapes that the model requires."""
    assert_refused(client, 400, words, data=orjson.dumps(document))


@pytest.mark.parametrize(
    ("datatype", "value", "words"),
    [
        (TensorProto.INT64, 1.5, "expected INT64 [n], got 1.5 at [0]"),
        (TensorProto.INT64, True, "got true at [0]"),
        (TensorProto.INT64, None, "got null at [0]"),
        (TensorProto.INT64, "1", "got '1' at [0]"),
        (TensorProto.INT64, "NaN", "got 'NaN' at [0]"),
        (TensorProto.INT64, 2.0**70, "out of range"),
        (TensorProto.INT64, 2**63, "got 9223372036854775808 at [0], out of range"),
        (TensorProto.UINT64, -1, "got -1 at [0], out of range 0 to 18446744073709551615"),
        (TensorProto.UINT64, 2.0**64, "out of range"),
        (TensorProto.UINT8, 300, "expected UINT8 [n], got 300 at [0], out of range 0 to 255"),
        (TensorProto.UINT8, -1, "out of range 0 to 255"),
        (TensorProto.INT8, 128, "out of range -128 to 127"),
        (TensorProto.INT32, 2**31, "out of range"),
        (TensorProto.BOOL, 1, "expected BOOL [n], got 1 at [0]"),
        (TensorProto.BOOL, "true", "got 'true' at [0]"),
        (TensorProto.BOOL, None, "got null at [0]"),
        (TensorProto.STRING, 1, "expected STRING [n], got 1 at [0]"),
        (TensorProto.STRING, None, "got null at [0]"),
        (TensorProto.STRING, ["a"], "expected STRING [n], got shape ["),
        (TensorProto.FLOAT16, 70000, "expected FP16 [n], got 70000 at [0], out of range"),
        (TensorProto.BFLOAT16, 1e39, "out of range"),
        (TensorProto.FLOAT8E4M3FN, 1000, "out of range"),
        (TensorProto.FLOAT8E4M3FN, "Infinity", "which the type does not have"),
        (TensorProto.DOUBLE, True, "expected FP64 [n], got true at [0]"),
    ],
)
def test_value(serve: MakeClient, datatype: int, value: Any, words: str) -> None:
    """A value of a wrong type or out of range is refused, also if another one follows it."""
    client = serve(models.identity(datatype))
    assert_refused(client, 400, words, data=orjson.dumps({"inputs": {"x": [value]}}))
    assert_refused(client, 400, words, data=orjson.dumps({"inputs": {"x": [value, value]}}))


@pytest.mark.parametrize(
    ("datatype", "values", "words"),
    [
        (TensorProto.INT64, [1, True], "got true at [1]"),
        (TensorProto.INT64, [1, 2.5], "got 2.5 at [1]"),
        (TensorProto.INT64, [1, 2.0**53], "too large to be exact"),
        (TensorProto.UINT8, [1, 256], "got 256 at [1], out of range"),
        (TensorProto.UINT64, [2**63, -1], "got -1 at [1], out of range"),
        (TensorProto.FLOAT, [None, True], "got true at [1]"),
        (TensorProto.FLOAT, [0.5, "0.5"], "got '0.5' at [1]"),
        (TensorProto.FLOAT, ["NaN", 1e39], "got 1e+39 at [1], out of range"),
        (TensorProto.BOOL, [True, 0], "got 0 at [1]"),
        (TensorProto.STRING, ["a", 1], "got 1 at [1]"),
    ],
)
def test_invalid_after_valid(serve: MakeClient, datatype: int, values: list[Any], words: str) -> None:
    """A value that NumPy would convert to the type of the valid ones before it is named with its position."""
    assert_refused(serve(models.identity(datatype)), 400, words, data=orjson.dumps({"inputs": values}))


@pytest.mark.parametrize("integer", [b"-9223372036854775809", b"9223372036854775808", b"1e300"])
def test_integer_beyond_64_bits(serve: MakeClient, integer: bytes) -> None:
    """An integer that JSON parsers read as a float is refused, not rounded into the range."""
    client = serve(models.identity(TensorProto.INT64))
    assert_refused(client, 400, "out of range", data=b'{"inputs": [%s]}' % integer)


def test_names_are_truncated(client: FlaskClient) -> None:
    """A name of a megabyte is truncated in the error message."""
    for body in ({"x" * 10**6: 1}, {"inputs": {"x" * 10**6: 1}}, {"instances": [{"x" * 10**6: 1, "b": 2}]}):
        response = client.post("/score", json=body)
        assert response.status_code == 400
        assert len(response.data) < 1000


def test_memory_of_strings(client: FlaskClient) -> None:
    """One long string among many short ones takes memory in proportion to the body, not to their product."""
    body = orjson.dumps({"inputs": ["x" * 500_000] + [""] * 100_000})
    tracemalloc.start()
    assert_refused(client, 400, "got 'xxx", data=body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(body)


def test_integer_of_many_digits(serve: MakeClient) -> None:
    """2**70 in decimal digits is refused."""
    body = b'{"inputs": [1180591620717411303424]}'
    assert_refused(serve(models.identity(TensorProto.INT64)), 400, "out of range", data=body)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"a": [1, 2], "b": [1]}, "input 'b': expected INT64 [n], got shape [1] where input 'a' has n = 2"),
        ({"a": [1]}, "missing input 'b': expected INT64 [n]"),
        ([1], "expected 'inputs' to be an object of 'a', 'b'"),
        ({"a": [1], "b": [0.5]}, "input 'b': expected INT64 [n], got 0.5 at [0]"),
    ],
)
def test_several_inputs(serve: MakeClient, inputs: Any, words: str) -> None:
    """The invalid input is named, and a symbolic dimension has one size in all inputs."""
    assert_refused(serve(models.total()), 400, words, data=orjson.dumps({"inputs": inputs}))


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([{"a": 1, "b": 2}, {"a": 1}], "instance 1: missing input 'b'"),
        ([[1, 2]], "expected each instance to be an object of 'a', 'b'"),
        ([{"a": 1, "b": 2}], "output 'f' does not have one element per instance: use 'inputs' instead"),
    ],
)
def test_several_inputs_by_row(serve: MakeClient, instances: Any, words: str) -> None:
    """Each row has every input, and a model without one output element per row cannot be called by row."""
    assert_refused(serve(models.total()), 400, words, data=orjson.dumps({"instances": instances}))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, "expected seq(FP32), got an object"),
        (1, "expected seq(FP32), got 1"),
        ([["a"]], "got 'a' at [0]"),
    ],
)
def test_sequence(serve: MakeClient, value: Any, words: str) -> None:
    """A sequence must be an array of tensors."""
    assert_refused(serve(models.sequence()), 400, words, data=orjson.dumps({"inputs": {"x": value}}))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "expected map(INT64, FP32), got an array"),
        ({"a": 1}, "got the key 'a'"),
        ({"1": "x"}, "got 'x' at []"),
        ({"1": [1, 2]}, "got an array for the key '1'"),
        ({"01": 1}, "got the key '01'"),
        ({"9" * 30: 1}, "got the key '999"),
        ({"9" * 5000: 1}, "got the key '999"),
        ({str(2**63): 1}, "got the key '9223372036854775808'"),
    ],
)
def test_map(serve: MakeClient, value: Any, words: str) -> None:
    """A map must be an object with keys and values of the map's types."""
    client = serve(models.vectorizer(TensorProto.INT64, int64_vocabulary=[1, 2]))
    assert_refused(client, 400, words, data=orjson.dumps({"inputs": {"x": value}}))
