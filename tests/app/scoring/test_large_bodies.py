"""Large bodies and bodies of many values: answered on threads, or refused before anything is made of them."""

import asyncio
import gzip
import threading
import weakref
import zlib
from concurrent.futures import Future
from typing import Any

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from app.errors import DeadlineExceeded
from app.protocols import score
from app.scoring.scorer import LARGE_BODY_BYTES, LARGE_CSV_BYTES, Route, Scorer
from app.tensors import to_json
from app.tensors.json_document import count_values
from tests import models
from tests.asgi_client import AsgiClient
from tests.conftest import MakeClient

JSON = {"content-type": "application/json"}
V2 = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":'  # part: v2
INFER = "/v2/models/tiny/infer"  # part: v2
MANY = 50_000


def many(before: bytes, unit: bytes, after: bytes) -> bytes:
    """Return a document with a value many times, separated by commas."""
    return before + b",".join([unit] * MANY) + after


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", many(b'{"instances":[', b"{}", b"]}")),
        ("/score", many(b'{"instances":[', b'{"a":[]}', b"]}")),
        ("/score", many(b'{"instances":[', b'{"a":1,"b":2}', b"]}")),
        ("/score", many(b'{"inputs":[', b"null", b"]}")),
        ("/score", many(b'{"inputs":[', b'"1"', b"]}")),
        ("/score", many(b'{"inputs":[[1,2],', b"[null,1]", b"]}")),
        ("/score", many(b'{"a":[', b"1", b"]}")),
        ("/score", b'{"inputs":[' + b"[" * MANY),
        ("/score", b"{" + b",".join(b'"%d":1' % number for number in range(MANY)) + b"}"),
        (INFER, many(V2 + b'[[1,2]]}],"outputs":[', b'{"name":"y"}', b"]}")),  # part: v2
        (INFER, many(V2 + b"[", b'"1"', b"]}]}")),  # part: v2
        (INFER, many(b'{"inputs":[', b"{}", b"]}")),  # part: v2
        (INFER, many(V2[:-24] + b"[", b"1", b'],"data":[1,2]}]}')),  # part: v2
    ],
)
@pytest.mark.parametrize("coding", ["identity", "gzip", "x-gzip", "deflate"])
def test_too_many_values(serve: MakeClient, path: str, body: bytes, coding: str) -> None:
    """A document with more values than the limit is refused before it is parsed."""
    client = serve(models.affine(), max_json_values=40_000)
    path = path.replace("tiny", "bare")
    data = {"identity": body, "deflate": zlib.compress(body)}.get(coding) or gzip.compress(body)
    response = client.post(path, data=data, headers=JSON | {"content-encoding": coding})
    assert response.status_code == 413, response.text
    expected = "expected JSON with at most 40000 commas, colons and opening brackets, got more"
    assert response.get_json()["error"] == expected


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_numbers_are_not_limited(serve: MakeClient, form: str) -> None:
    """Arrays of numbers may have more values than the limit."""
    client = serve(models.affine(), max_json_values=1000)
    rows = [[number, 0.5] for number in range(20_000)]
    response = client.post("/score", json={form: rows})
    assert response.status_code == 200
    last = response.get_json()["outputs" if form == "inputs" else "predictions"]
    assert (last["y"][-1] if form == "inputs" else last[-1]["y"]) == [39_999, 2]


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"", 0), (b"1", 0), (b"[]", 1), (b'{"a":[1,2]}', 4), (b"[" * 600_000, 600_000), (b'",:[{"', 4)],
)
def test_count_values(text: bytes, count: int) -> None:
    """Commas, colons and opening brackets are counted, across windows and in strings."""
    assert count_values(text) == count


def test_many_arrays(serve: MakeClient) -> None:
    """A tensor of very many nested arrays is subject to the limit: its shape takes memory for each."""
    client = serve(models.affine(), max_json_values=1000)
    body = b'{"inputs":[' + b",".join([b"[]"] * 1_600_000) + b"]}"
    assert client.post("/score", data=body, headers=JSON).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[[%s,2]]}' % (b"1" * 1_000_000),
        b'{"inputs":[[0.%s,2]]}' % (b"1" * 1_000_000),
        b'{"inputs":[[1e%s,2]]}' % (b"1" * 1_000_000),
        b'{"inputs":"%s"}' % (b"a" * 1_000_000),
        b'{"inputs":"%s"}' % (b"\\u0061" * 200_000),
        b'{"%s":1}' % (b"a" * 1_000_000),
        b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs":[[1,2]]' + b" " * 1_000_000,
        b'"' * 100_000,
        b"\\" * 100_000,
    ],
)
def test_long_values(client: FlaskClient, body: bytes) -> None:
    """Long numbers, strings and names, deep nesting and white space get an answer, and a short message."""
    paths = ["/score"]
    paths.append(INFER)  # part: v2
    for path in paths:
        response = client.post(path, data=gzip.compress(body), headers=JSON | {"content-encoding": "gzip"})
        assert response.status_code in (200, 400), response.text
        assert len(response.data) < 100_000 + 1000 * (response.status_code == 200)


def test_answered_on_threads(client: AsgiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies, CSV of medium size and compressed ones are decoded on threads, others are not."""
    threads: list[str] = []
    decode = score.decode

    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return decode(*args)

    monkeypatch.setattr(score, "decode", noted)
    small = b'{"inputs":[[1,2]]}'
    expected = client.post("/score", data=small, headers=JSON).get_json()["outputs"]
    for data, coding in ((small.ljust(LARGE_BODY_BYTES + 1), "identity"), (gzip.compress(small), "gzip")):
        response = client.post("/score", data=data, headers=JSON | {"content-encoding": coding})
        assert response.get_json()["outputs"] == expected
    for size in (LARGE_CSV_BYTES, LARGE_CSV_BYTES + 1):
        for media_type, data in (("application/json", small), ("Text/CSV", b"a,b\n1,2")):
            body = data.ljust(size, b"\n")
            assert client.post("/score", data=body, content_type=media_type).status_code == 200
    own = threading.current_thread().name
    names = [name if name == own else name.partition("_")[0] for name in threads]
    assert names == [own, "decoding", "decoding", own, own, own, "decoding"]


def test_deadline_in_thread(serve: MakeClient) -> None:
    """A large body that waits for its thread at the deadline is 504, and the thread never sees it."""
    client = serve(models.affine(), request_timeout_ms=50)
    scorer: Scorer = client.application.extensions["service"].scorer
    release = threading.Event()
    running = scorer.decoding.submit(release.wait)
    try:
        body = b'{"inputs":[[1,2]]}'.ljust(LARGE_BODY_BYTES + 1)
        assert client.post("/score", data=body, headers=JSON).status_code == 504
    finally:
        release.set()
    assert running.result(5)


class Late:
    """A request whose deadline passes while its large body waits for the thread."""

    route = Route(score, "/score")
    headers = JSON
    address = ""

    def __init__(self) -> None:
        self.reference: weakref.ref[Any] | None = None

    async def body(self, *limits: Any) -> Any:
        class Body(bytearray):
            """A body of which the test can see whether it still exists."""

        body = Body(LARGE_BODY_BYTES + 1)
        self.reference = weakref.ref(body)
        return body

    async def wait(self, future: Future[Any], deadline: float) -> Any:
        assert self.reference
        assert self.reference()
        future.cancel()
        raise DeadlineExceeded("late")


def test_body_is_released_at_the_deadline(client: AsgiClient) -> None:
    """The queue of a thread does not keep the body of a request that has been answered."""
    scorer: Scorer = client.application.extensions["service"].scorer
    release, request = threading.Event(), Late()
    scorer.decoding.submit(release.wait)
    try:
        assert asyncio.run(scorer.answer(request)).status == 504
        assert request.reference
        assert not request.reference()
    finally:
        release.set()


@pytest.mark.parametrize("rows", [10, 70_000])
@pytest.mark.parametrize("datatype", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE])
def test_large_reply(serve: MakeClient, rows: int, datatype: int) -> None:
    """A large reply, which is written in slices, has the same values as a small one."""
    client = serve(models.identity(datatype, ["n", 2]))
    values = np.arange(2 * rows).reshape(-1, 2) / (4 if datatype != TensorProto.INT64 else 1)
    values = values.astype(np.int64) if datatype == TensorProto.INT64 else values
    for form, member in (("inputs", "outputs"), ("instances", "predictions")):
        body = client.post("/score", json={form: values.tolist()}).get_json()
        assert list(body) == [member, "id", "model_name", "model_version"]
        found = body[member]["y"] if form == "inputs" else [row["y"] for row in body[member]]
        assert found == values.tolist()


def test_large_reply_that_is_not_finite(serve: MakeClient) -> None:
    """NaN and infinities are strings in a large reply too."""
    client = serve(models.identity(TensorProto.FLOAT, ["n"]))
    values = [0.5] * 70_000 + ["NaN", "Infinity", "-Infinity"]
    assert client.post("/score", json={"inputs": values}).get_json()["outputs"]["y"] == values
    found = client.post("/score", json={"instances": values}).get_json()["predictions"]
    assert [row["y"] for row in found] == values


@pytest.mark.parametrize("shape", [(), (0,), (3,), (7, 2), (2, 3, 5), (2, 0), (1, 40)])
def test_append_json(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    """Arrays of every shape are the same in slices."""
    monkeypatch.setattr(to_json, "SLICE_ELEMENTS", 4)
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    text = bytearray(b"x")
    to_json.append_json(text, array)
    assert text[1:] == orjson.dumps(array.tolist())
