"""Compressed bodies: read as they were, and never larger than the limit."""

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
    """What many call `deflate`: without zlib's header."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
    ],
)
def test_coding(client: FlaskClient, coding: str, data: bytes) -> None:
    """Every coding gives the same answer."""
    headers = {"content-encoding": coding, "content-type": "application/json"}
    reply = client.post("/score", data=data, headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.get_json()["outputs"] == {"y": [[3, 5]]}


@pytest.mark.parametrize(
    ("coding", "data", "words"),
    [
        ("gzip", BODY, "is not gzip"),
        ("gzip", zlib.compress(BODY), "is not gzip"),
        ("gzip", b"", "ends early"),
        ("gzip", gzip.compress(BODY)[:-9], "ends early"),
        ("gzip", gzip.compress(BODY)[:-1] + b"\xff", "is not gzip"),
        ("gzip", gzip.compress(BODY) + b"x", "goes on after its end"),
        ("deflate", gzip.compress(BODY), "is not deflate"),
        ("deflate", zlib.compress(BODY)[:-1], "ends early"),
        ("deflate", b"", "ends early"),
        ("deflate", b"\xff", "is not deflate"),
    ],
)
def test_broken(client: FlaskClient, coding: str, data: bytes, words: str) -> None:
    """What is not in the coding, or not all of it, is refused."""
    reply = client.post(
        "/score", data=data, headers={"content-encoding": coding, "content-type": "application/json"}
    )
    assert reply.status_code == 400
    assert words in reply.get_json()["error"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bomb(serve: MakeClient, coding: str) -> None:
    """A few kilobytes that stand for many megabytes are refused before they are that."""
    client = serve(models.affine(), max_body_bytes=100_000)
    data = b" " * 50_000_000
    bomb = gzip.compress(data) if coding == "gzip" else zlib.compress(data)
    assert len(bomb) < 100_000
    reply = client.post(
        "/score", data=bomb, headers={"content-encoding": coding, "content-type": "application/json"}
    )
    assert reply.status_code == 413
    assert "at most 100000 bytes when inflated" in reply.get_json()["error"]


def test_refused_is_given_back(serve: MakeClient) -> None:
    """What was read of a refused request is gone with its answer, not when the garbage collector comes."""
    client = serve(models.affine(), max_body_bytes=100_000)
    gc.collect()
    gc.disable()
    try:
        assert client.post("/score", data=gzip.compress(b" " * 10**6), headers=GZIP).status_code == 413
        assert not [each for each in gc.get_objects() if isinstance(each, BodyTooLarge)]
    finally:
        gc.enable()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("path", ["/score", "/v2/models/tiny/infer"])
def test_compressed_reply(client: FlaskClient, path: str, coding: str) -> None:
    """Who asks for one coding gets its answer in it; errors stay as they are."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    body = {"inputs": [[1, 2]]} if path == "/score" else {"inputs": [tensor]}
    plain = client.post(path, json=body).get_json()
    reply = client.post(path, json=body, headers={"accept-encoding": coding})
    assert reply.headers["content-encoding"] == coding
    assert json.loads(inflate(reply.data, coding, 10_000)) | {"id": ""} == plain | {"id": ""}
    assert int(reply.headers["content-length"]) == len(reply.data)
    refused = client.post(path, json={}, headers={"accept-encoding": coding})
    assert refused.get_json()["error"]


@pytest.mark.parametrize("accept", ["gzip, deflate", "gzip, deflate, br, zstd", "*", "identity", "br", ""])
def test_plain_reply(client: FlaskClient, accept: str) -> None:
    """What HTTP libraries send by themselves asks for nothing."""
    reply = client.post("/score", json={"inputs": [[1, 2]]}, headers={"accept-encoding": accept})
    assert "content-encoding" not in reply.headers
    assert reply.get_json()["outputs"] == {"y": [[3, 5]]}
