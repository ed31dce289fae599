"""`/score` in NumPy's format."""

import io
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from tests import models
from tests.conftest import MakeClient

NPY = {"content-type": "application/x-npy", "accept": "application/x-npy"}


def dump(array: Any, **options: Any) -> bytes:
    """Return the bytes that `numpy.save` writes."""
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        (TensorProto.FLOAT, np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32)),
        (TensorProto.FLOAT, np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))),
        (TensorProto.FLOAT, np.zeros((0, 3), np.float32)),
        (TensorProto.FLOAT, np.float32(3.0)),
        (TensorProto.FLOAT16, np.array([1, 2], np.float16)),
        (TensorProto.DOUBLE, np.array([1e308])),
        (TensorProto.BOOL, np.array([True, False])),
        (TensorProto.INT8, np.array([-128], np.int8)),
        (TensorProto.UINT64, np.array([2**64 - 1], np.uint64)),
        (TensorProto.BFLOAT16, np.array([1, -3], ml_dtypes.bfloat16)),
        (TensorProto.STRING, np.array(["ab", "Grüße", ""])),
    ],
)
def test_round_trip(serve: MakeClient, datatype: int, array: np.ndarray) -> None:
    """Every datatype is returned bit for bit."""
    reply = serve(models.identity(datatype, None)).post("/score", data=dump(array), headers=NPY)
    assert reply.status_code == 200, reply.text
    assert reply.content_type == "application/x-npy"
    returned = np.load(io.BytesIO(reply.data))
    if array.dtype.kind == "V" or array.dtype == ml_dtypes.bfloat16:
        returned = returned.view(array.dtype)
    assert returned.shape == array.shape
    assert returned.tobytes() == np.asarray(array, order="C").tobytes()


def test_mixed(client: FlaskClient) -> None:
    """The request or the reply can be JSON."""
    array = np.array([[1, 2], [3, 4]], np.float32)
    reply = client.post("/score", data=dump(array), headers={"content-type": "application/x-npy"})
    assert reply.get_json()["outputs"] == {"y": [[3, 5], [7, 9]]}
    reply = client.post("/score", json={"inputs": [[1, 2]]}, headers={"accept": "application/x-npy"})
    assert np.load(io.BytesIO(reply.data)).tolist() == [[3, 5]]


GOOD = dump(np.array([[1, 2]], np.float32))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not an array in NumPy's format"),
        (b"{}", "is not an array in NumPy's format"),
        (GOOD[:20], "is not an array in NumPy's format"),
        (GOOD[:6] + b"\x09\x00" + GOOD[8:], "is not an array in NumPy's format"),
        (GOOD[:-1], "7 bytes for shape [1, 2]"),
        (GOOD + b"x", "9 bytes for shape [1, 2]"),
        (GOOD.replace(b"(1, 2), ", b"(2**9,),"), "is not an array in NumPy's format"),
        (GOOD.replace(b"(1, 2), ", b"(-1,-2),"), "is not an array in NumPy's format"),
        (GOOD.replace(b"(1, 2), ", b"(1, (2),"), "is not an array in NumPy's format"),
        (GOOD.replace(b"(1, 2), }", b"(1 2), } "), "is not an array in NumPy's format"),
        (GOOD.replace(b"<f4", b"<zz"), "is not an array in NumPy's format"),
        (GOOD.replace(b"<f4", b"<z4"), "is not an array in NumPy's format"),
        (dump(np.array([[1, 2]])), "an array of int64"),
        (dump(np.array([[1, 2]], ">f4")), "an array of >f4"),
        (dump(np.array([["a", "b"]])), "an array of <U1"),
        (dump(np.array([[{}, 1]], object), allow_pickle=True), "contains pickled objects"),
        (dump(np.array([[1, 2, 3]], np.float32)), "expected FP32 [batch, 2], got shape [1, 3]"),
        (dump(np.array([1, 2], np.float32)), "got shape [2]"),
        (dump(np.zeros(1, [("a", "f4")])), "is not an array in NumPy's format"),
    ],
)
def test_rejected(client: FlaskClient, data: bytes, words: str) -> None:
    """Pickles, other datatypes and shapes, and wrong lengths are rejected."""
    reply = client.post("/score", data=data, headers=NPY)
    assert reply.status_code == 400, reply.data
    assert words in reply.get_json()["error"]


def test_several(serve: MakeClient) -> None:
    """A model with several inputs or outputs cannot use this format."""
    client = serve(models.total())
    reply = client.post("/score", data=GOOD, headers={"content-type": "application/x-npy"})
    assert (reply.status_code, "model with one input" in reply.get_json()["error"]) == (400, True)
    reply = client.post(
        "/score", json={"inputs": {"a": [1], "b": [2]}}, headers={"accept": "application/x-npy"}
    )
    assert (reply.status_code, "model with one tensor output" in reply.get_json()["error"]) == (400, True)
