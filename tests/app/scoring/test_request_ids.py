"""Ids: those of a request come back, as they do from Azure ML's own server."""

import pytest
from flask.testing import FlaskClient

IDS = ("x-request-id", "x-ms-client-request-id", "x-ms-request-id")
BODY = {"inputs": [[1, 2]]}


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        ({}, (None, None, "own")),
        ({"x-request-id": "a"}, ("a", None, "a")),
        ({"x-ms-client-request-id": "c"}, (None, "c", "c")),
        ({"x-ms-request-id": "m"}, (None, "m", "m")),
        ({"x-request-id": "a", "x-ms-client-request-id": "c", "x-ms-request-id": "m"}, ("a", "c", "m")),
        ({"x-request-id": "a" * 100}, ("a" * 100, None, "a" * 100)),
        ({"x-ms-client-request-id": "\u00fc"}, (None, None, "own")),
    ],
)
@pytest.mark.parametrize("path", ["/score", "/healthz"])
def test_echoed(
    client: FlaskClient, path: str, given: dict[str, str], echoed: tuple[str | None, ...]
) -> None:
    """On every route; where there is none the service makes one, and names the request by it."""
    reply = (
        client.post(path, json=BODY, headers=given) if path == "/score" else client.get(path, headers=given)
    )
    assert reply.status_code == 200
    own = reply.headers["x-request-id"]
    wanted = [own if value == "own" else value for value in echoed]
    assert [own if wanted[0] else None, *(reply.headers.get(name) for name in IDS[1:])] == wanted
    assert own == (wanted[0] or own)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("path", ["/score", "/healthz"])
def test_too_long(client: FlaskClient, path: str, name: str) -> None:
    """An id of more than 100 characters is refused, and not echoed."""
    headers = {name: "x" * 101}
    reply = (
        client.post(path, json=BODY, headers=headers)
        if path == "/score"
        else client.get(path, headers=headers)
    )
    assert reply.status_code == 431
    assert reply.get_json()["error"] == f"expected {name} of at most 100 characters"
    assert "x" * 101 not in reply.headers.values()


def test_time(client: FlaskClient) -> None:
    """How long the model ran, in milliseconds."""
    headers = client.post("/score", json=BODY).headers
    assert 0 < float(headers["x-ms-run-fn-exec-ms"]) < 1000
