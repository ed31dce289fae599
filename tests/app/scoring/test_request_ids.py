"""Request ids: a response repeats those of its request, as Azure ML's own server does."""

import pytest
from flask.testing import FlaskClient

IDS = ("x-request-id", "x-ms-client-request-id", "x-ms-request-id")
BODY = {"inputs": [[1, 2]]}


@pytest.mark.parametrize(
    ("sent", "echoed"),
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
def test_echoed(client: FlaskClient, path: str, sent: dict[str, str], echoed: tuple[str | None, ...]) -> None:
    """Every route echoes the request's ids, and generates an id if there is none."""
    response = (
        client.post(path, json=BODY, headers=sent) if path == "/score" else client.get(path, headers=sent)
    )
    assert response.status_code == 200
    own = response.headers["x-request-id"]
    expected = [own if value == "own" else value for value in echoed]
    assert [own if expected[0] else None, *(response.headers.get(name) for name in IDS[1:])] == expected
    assert own == (expected[0] or own)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("path", ["/score", "/healthz"])
def test_too_long(client: FlaskClient, path: str, name: str) -> None:
    """An id of more than 100 characters is refused, and not echoed."""
    headers = {name: "x" * 101}
    response = (
        client.post(path, json=BODY, headers=headers)
        if path == "/score"
        else client.get(path, headers=headers)
    )
    assert response.status_code == 431
    assert response.get_json()["error"] == f"expected {name} of at most 100 characters"
    assert "x" * 101 not in response.headers.values()


def test_duration(client: FlaskClient) -> None:
    """A response states how long the model ran, in milliseconds."""
    headers = client.post("/score", json=BODY).headers
    assert 0 < float(headers["x-ms-run-fn-exec-ms"]) < 1000
