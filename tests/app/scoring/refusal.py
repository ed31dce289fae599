"""Check of a refused request, shared by several tests."""

from typing import Any

from flask.testing import FlaskClient


def assert_refused(client: FlaskClient, status: int, words: str, **request: Any) -> None:
    """Check that a POST to `/score` gets a status and an error with its id and certain words."""
    response = client.post("/score", **({"content_type": "application/json"} | request))
    body = response.get_json()
    assert (response.status_code, words in body["error"]) == (status, True), body["error"]
    assert body["id"] == response.headers["x-request-id"]
