"""Requests that are refused by their headers, route or size, and requests on which the model fails."""

import pytest
from flask.testing import FlaskClient

from tests import models
from tests.app.conftest import ReadLog
from tests.app.scoring.refusal import assert_refused
from tests.conftest import MakeClient


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (
            {"content-type": "text/plain"},
            "expected content-type application/json or application/x-npy, got 'text/plain'",
        ),
        ({"content-type": "application/x-www-form-urlencoded"}, "got 'application/x-www-form-urlencoded'"),
        ({"content-type": "application/json+x"}, "got 'application/json+x'"),
        ({"content-type": "application/json", "content-encoding": "br"}, "got 'br'"),
    ],
)
def test_media_type(client: FlaskClient, headers: dict[str, str], words: str) -> None:
    """Unsupported media types and codings get 415."""
    response = client.post("/score", data=b'{"inputs": [[1, 2]]}', headers=headers)
    assert response.status_code == 415
    assert words in response.get_json()["error"]


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "Application/JSON"])
def test_media_type_of_json(client: FlaskClient, content_type: str | None) -> None:
    """JSON is recognized in any spelling of its media type, and assumed if there is none."""
    assert client.post("/score", data=b'{"inputs": [[1, 2]]}', content_type=content_type).status_code == 200


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
    assert client.post("/score", data=b'{"inputs": [[1, 2]]}'.ljust(100)).status_code == 200


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
    assert client.post("/score", data=b'{"inputs": [1]}').get_json()["outputs"]["y"] == [20.0]
