"""Requests that are refused by their headers, route or size, and requests on which the model fails."""

import asyncio
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.scoring.compression import CODINGS
from app.scoring.scorer import Response, Scorer
from tests import models
from tests.app.conftest import ReadLog
from tests.app.scoring.refusal import assert_refused
from tests.conftest import MakeClient


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (
            {"content-type": "text/plain"},
            "expected content-type application/json or text/csv or application/x-npy, got 'text/plain'",
        ),
        ({"content-type": "application/x-www-form-urlencoded"}, "got 'application/x-www-form-urlencoded'"),
        ({"content-type": "application/json+x"}, "got 'application/json+x'"),
        (
            {"content-type": ""},
            "expected content-type application/json or text/csv or application/x-npy, got none",
        ),
        ({}, "got none"),
    ],
)
def test_media_type(client: FlaskClient, headers: dict[str, str], words: str) -> None:
    """Unsupported and missing media types get 415."""
    response = client.post("/score", data=b'{"inputs": [[1, 2]]}', headers=headers)
    assert response.status_code == 415
    assert words in response.get_json()["error"]


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd"])
def test_coding(client: FlaskClient, coding: str) -> None:
    """Unsupported codings get 415, with the supported ones in `Accept-Encoding`."""
    headers = {"content-type": "application/json", "content-encoding": coding}
    response = client.post("/score", data=b'{"inputs": [[1, 2]]}', headers=headers)
    assert response.status_code == 415
    assert f"got '{coding}'" in response.get_json()["error"]
    assert set(response.headers["accept-encoding"].split(", ")) == CODINGS.keys() - {"x-gzip"}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_media_type_of_json(client: FlaskClient, content_type: str) -> None:
    """JSON is recognized in any spelling of its media type."""
    assert client.post("/score", data=b'{"inputs": [[1, 2]]}', content_type=content_type).status_code == 200


def test_media_type_not_required(serve: MakeClient) -> None:
    """A setting allows requests without a media type; their bodies are JSON."""
    client = serve(models.affine(), require_content_type="off")
    assert client.post("/score", data=b'{"inputs": [[1, 2]]}').status_code == 200
    assert client.post("/score", data=b"{}", content_type="text/plain").status_code == 415


@pytest.mark.parametrize("length", ["101", "9" * 19, "9" * 20, "9" * 5000, "0" * 5000 + "101"])
def test_length(serve: MakeClient, length: str) -> None:
    """An announced length of any number of digits gets an answer."""
    client = serve(models.affine(), max_body_bytes=100)
    response = asyncio.run(announce(client, length))
    assert response.status == 413
    assert b"at most 100 bytes, got" in response.body


async def announce(client: FlaskClient, length: str) -> Response:
    """Return the response to a request whose body must not be read."""

    class Unread:
        route = client.application.extensions["service"].routes["/score"]
        headers = {"content-type": "application/json", "content-length": length}  # noqa: RUF012
        address = ""

        async def body(self, *limits: Any) -> bytes:
            raise AssertionError("the body was read")

        async def wait(self, *future: Any) -> Any:
            raise AssertionError("nothing to wait for")

    scorer: Scorer = client.application.extensions["service"].scorer
    return await scorer.answer(Unread())


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/score", 405, "/score does not support GET"),
        ("PUT", "/score", 405, "/score does not support PUT"),
        ("DELETE", "/score", 405, "/score does not support DELETE"),
        ("OPTIONS", "/score", 405, "/score does not support OPTIONS"),
        ("POST", "/model", 405, "/model does not support POST"),
        ("POST", "/scores", 404, "no such route: /scores"),
        ("GET", "/static/x", 404, "no such route: /static/x"),
    ],
)
def test_route(client: FlaskClient, method: str, path: str, status: int, words: str) -> None:
    """Unknown routes get 404, and unsupported methods 405 with the allowed ones."""
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.get_json()["error"] == words
    assert ("POST" in response.headers.get("allow", "")) == (path == "/score")


def test_too_large(serve: MakeClient) -> None:
    """A body above the limit is refused by its announced length, before any of it is read."""
    client = serve(models.affine(), max_body_bytes=100)

    class Unread:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("the body was read")

    environ = {"wsgi.input": Unread(), "CONTENT_LENGTH": "101"}
    assert_refused(client, 413, "at most 100 bytes, got 101", environ_overrides=environ)
    assert_refused(client, 413, "at most 100 bytes", data=b" " * 101)
    assert (
        client.post(
            "/score", data=b'{"inputs": [[1, 2]]}'.ljust(100), content_type="application/json"
        ).status_code
        == 200
    )


def test_too_large_without_length(serve: MakeClient) -> None:
    """A body without an announced length is read up to the limit only."""
    client = serve(models.affine(), max_body_bytes=100)
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    assert_refused(client, 413, "got more", data=b" " * 10_000, environ_overrides=environ)


def test_refusal_is_logged_as_info(client: FlaskClient, log: ReadLog) -> None:
    """A refused request is one log line at level info, without a traceback."""
    assert_refused(client, 400, "not JSON", data=b"{")
    (line,) = log()
    assert (line["level"], line["status"]) == ("info", 400)
    assert "traceback" not in line


def test_model_failure(serve: MakeClient, log: ReadLog) -> None:
    """A model that fails on its inputs causes a 500, with the traceback in the log only."""
    client = serve(models.gather())
    assert_refused(client, 500, "the model failed: [ONNXRuntimeError]", data=b'{"inputs": [7]}')
    (line,) = log()
    assert "ONNXRuntimeError" in line["traceback"]
    assert client.post("/score", json={"inputs": [1]}).get_json()["outputs"]["y"] == [20.0]
