"""The Open Inference Protocol: large JSON is read without Python objects, with the same results."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import create_app
from app.errors import RequestError
from app.model.served_model import ServedModel
from app.protocols import open_inference
from app.settings import Settings
from app.tensors import fast_json
from tests import models
from tests.app.protocols.open_inference import INFER, X

Decode = Callable[[bytes, int], Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """Return a model with the inputs FP32 a [n] and INT64 b [n]."""
    path = tmp_path_factory.mktemp("model") / "total.onnx"
    path.write_bytes(models.total())
    served: ServedModel = (
        create_app(Settings(model_path=Path(path), web_concurrency=1)).extensions["service"].model
    )
    return served


@pytest.fixture
def decode(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> Decode:
    """Return a function that decodes a body, by `fast_json` if it has at least `min_bytes` bytes."""

    def outcome(body: bytes, min_bytes: int) -> Any:
        monkeypatch.setattr(fast_json, "LARGE_BYTES", min_bytes)
        try:
            decoded = open_inference.decode(body, {}, model, 10_000)
        except RequestError as exc:
            return str(exc)
        return {name: (each.dtype, each.shape, each.tobytes()) for name, each in decoded.inputs.items()}

    return outcome


A = '{"name":"a","datatype":"FP32","shape":[2],"data":[1,2.5]}'
B = '{"name":"b","datatype":"INT64","shape":[2],"data":[3,4]}'


@pytest.mark.parametrize(
    "document",
    [
        f'{{"inputs":[{A},{B}]}}',
        f'{{"inputs":[{B},{A}],"outputs":[{{"name":"s"}}]}}',
        f' {{ "id" : "x" , "inputs" : [ {A} , {B} ] }} ',
        f'{{"inputs":[{{"data" : [ [1,2.5] ],"shape":[2],"datatype":"FP32","name":"a"}},{B}]}}',
        f'{{"inputs":[{{"data":\n[1, 2.5]\t,"shape":[2],"datatype":"FP32","name":"a"}},{B}]}}',
        f'{{"inputs":[{A},{B.replace("3,4", "[3],[4]")}]}}',
        f'{{"inputs":[{A},{B.replace("3,4", "3,4.5")}]}}',
        f'{{"inputs":[{A},{B.replace("3,4", "3,null")}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1,null")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1,true")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1,1e39")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1,2,3")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1,,2")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "01,2")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "1,2]")},{B}]}}',
        f'{{"inputs":[{A.replace("[1,2.5]", "[1,2.5")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", "")},{B}]}}',
        f'{{"inputs":[{A.replace("1,2.5", chr(34) + "NaN" + chr(34) + ",1")},{B}]}}',
        f'{{"inputs":[{A.replace("[1,2.5]", "1")},{B}]}}',
        f'{{"inputs":[{A.replace("[1,2.5]", "{}")},{B}]}}',
        f'{{"inputs":[{A[:-1]},"data":[7,8]}},{B}]}}',
        f'{{"inputs":[{A[:-1]},"data":"x"}},{B}]}}',
        f'{{"inputs":[{A[:-1]},"d\\u0061ta":[7,8]}},{B}]}}',
        f'{{"inputs":[{A[:-1]},"\\"data":[7,8]}},{B}]}}',
        f'{{"inputs":[{A[:-1]},"x\\\\":"data","y":[7,8]}},{B}]}}',
        f'{{"inputs":[{A[:-1]},"parameters":{{"data":[1,,2]}}}},{B}]}}',
        f'{{"inputs":[{A[:-1]},"parameters":{{"data":[1,2]}}}},{B}]}}',
        f'{{"inputs":[{A},{B}],"data":[1,2]}}',
        f'{{"inputs":[{A},{B}],"data":[1,,2]}}',
        f'{{"inputs":[{A},{A}]}}',
        '{"inputs":{"data":[1,2]}}',
        f'[{A},{B}]',
        '"data":[1,2]',
        '{"data":[',
    ],
)  # fmt: skip
def test_same_result(decode: Decode, document: str) -> None:
    """The arrays and the errors are those of small documents."""
    assert decode(document.encode(), 0) == decode(document.encode(), 10**9)


def test_mutations(decode: Decode) -> None:
    """So are those of mutated documents."""
    rng = random.Random(3)
    for _ in range(3000):
        text = list(f'{{"inputs":[{A},{B}],"parameters":{{"data":[1]}},"id":"data"}}')
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(3)] = rng.choice(
                ['"', "[", "]", "{", "}", ",", ":", "\\", "1", ".", ""]
            )
        body = "".join(text).encode()
        assert decode(body, 0) == decode(body, 10**9), body


def test_numbers_are_not_limited(decode: Decode) -> None:
    """Arrays of numbers may have more values than the limit, the rest of the document may not."""
    count = 30_000
    body = {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [count], "data": [0.5] * count},
            {"name": "b", "datatype": "INT64", "shape": [count], "data": list(range(count))},
        ]
    }
    found = decode(json.dumps(body).encode(), 0)
    assert found["a"] == (np.float32, (count,), np.full(count, 0.5, np.float32).tobytes())
    assert found["b"] == (np.int64, (count,), np.arange(count).tobytes())
    found = decode(json.dumps(body | {"outputs": [{"name": "s"}] * 5000}).encode(), 0)
    assert "at most 10000 commas" in found


@pytest.mark.parametrize("unit", ['"data":[', '"data":[1],', '{"data":[]},', '"data":[1]}'])
def test_many_tensors(decode: Decode, unit: str) -> None:
    """Any number of members that look like a tensor's takes time in proportion to the body."""
    body = ('{"inputs":[' + unit * 300_000).encode()
    assert "at most 10000 commas" in decode(body, 0)


def test_longer_than_shape(client: FlaskClient) -> None:
    """Data that are longer than their shape are refused by their length."""
    response = client.post(INFER, json={"inputs": [X | {"data": [1] * 100_000}]})
    assert response.get_json()["error"] == (
        "input 'x': expected 2 elements for shape [1, 2], got 100000 elements"
    )
