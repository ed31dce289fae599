"""Compressed bodies: requests are decompressed up to the limit, responses compressed on request."""

import gc
import gzip
import json
import zlib

import pytest
from flask.testing import FlaskClient

from app.errors import BodyTooLarge
from app.scoring.compression import inflate
from tests import models
from tests.conftest import MakeClient

GZIP = {"content-encoding": "gzip", "content-type": "application/json"}
BODY = b'{"inputs": [[1, 2]]}'


def raw_deflate(data: bytes) -> bytes:
    """Compress as many clients do for `deflate`: without zlib's header."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:7]) + gzip.compress(b"") + gzip.compress(BODY[7:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
    ],
)
def test_coding(client: FlaskClient, coding: str, data: bytes) -> None:
    """Requests in every coding get the same outputs."""
    headers = {"content-encoding": coding, "content-type": "application/json"}
    response = client.post("/score", data=data, headers=headers)
    assert response.status_code == 200, response.text
    assert response.get_json()["outputs"] == {"y": [[3, 5]]}


@pytest.mark.parametrize(
    ("coding", "data", "words"),
    [
        ("gzip", BODY, "is not gzip"),
        ("gzip", zlib.compress(BODY), "is not gzip"),
        ("gzip", b"", "ends early"),
        ("gzip", gzip.compress(BODY)[:-9], "ends early"),
        ("gzip", gzip.compress(BODY)[:-1] + b"\xff", "is not gzip"),
        ("gzip", gzip.compress(BODY) + b"x", "ends early"),
        ("gzip", gzip.compress(BODY) + BODY, "is not gzip"),
        ("gzip", gzip.compress(BODY) + gzip.compress(b" ")[:-1], "ends early"),
        ("gzip", gzip.compress(BODY) + gzip.compress(b"") * 10_000, "it has too many members"),
        ("deflate", gzip.compress(BODY), "is not deflate"),
        ("deflate", zlib.compress(BODY)[:-1], "ends early"),
        ("deflate", b"", "ends early"),
        ("deflate", zlib.compress(BODY) * 2, "there is data after its end"),
        ("deflate", b"\xff", "is not deflate"),
    ],
)
def test_invalid_body(client: FlaskClient, coding: str, data: bytes, words: str) -> None:
    """A body that is not in its coding, or incomplete, is refused."""
    response = client.post(
        "/score", data=data, headers={"content-encoding": coding, "content-type": "application/json"}
    )
    assert response.status_code == 400
    assert words in response.get_json()["error"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_zip_bomb(serve: MakeClient, coding: str) -> None:
    """A small body that would decompress to many megabytes is refused."""
    client = serve(models.affine(), max_inflated_bytes=100_000)
    data = b" " * 50_000_000
    bomb = gzip.compress(data) if coding == "gzip" else zlib.compress(data)
    assert len(bomb) < 100_000
    response = client.post(
        "/score", data=bomb, headers={"content-encoding": coding, "content-type": "application/json"}
    )
    assert response.status_code == 413
    assert "at most 100000 bytes after decompression" in response.get_json()["error"]


def test_refused_body_is_freed(serve: MakeClient) -> None:
    """The body of a refused request is freed with its response, without the garbage collector."""
    client = serve(models.affine(), max_inflated_bytes=100_000)
    gc.collect()
    gc.disable()
    try:
        assert client.post("/score", data=gzip.compress(b" " * 10**6), headers=GZIP).status_code == 413
        # Its thread has returned from that call when it runs the next one.
        client.application.extensions["service"].scorer.decoding.submit(gc.isenabled).result()
        assert not [each for each in gc.get_objects() if type(each) is BodyTooLarge]
    finally:
        gc.enable()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "path",
    [
        "/score",
        "/v2/models/tiny/infer",  # part: v2
    ],
)
def test_compressed_response(client: FlaskClient, path: str, coding: str) -> None:
    """A request that accepts exactly one coding gets its response in it; errors are not compressed."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    body = {"inputs": [[1, 2]]} if path == "/score" else {"inputs": [tensor]}
    expected = client.post(path, json=body).get_json()
    response = client.post(path, json=body, headers={"accept-encoding": coding})
    assert response.headers["content-encoding"] == coding
    assert json.loads(inflate(response.data, coding, 10_000)) | {"id": ""} == expected | {"id": ""}
    assert int(response.headers["content-length"]) == len(response.data)
    refused = client.post(path, json={}, headers={"accept-encoding": coding})
    assert refused.get_json()["error"]


@pytest.mark.parametrize("accept", ["gzip, deflate", "gzip, deflate, br, zstd", "*", "identity", "br", ""])
def test_uncompressed_response(client: FlaskClient, accept: str) -> None:
    """The `Accept-Encoding` that HTTP libraries send by default does not request compression."""
    response = client.post("/score", json={"inputs": [[1, 2]]}, headers={"accept-encoding": accept})
    assert "content-encoding" not in response.headers
    assert response.get_json()["outputs"] == {"y": [[3, 5]]}
