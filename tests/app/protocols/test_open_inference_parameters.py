"""The Open Inference Protocol: parameters of other servers, and the media type of Triton's client."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.app.protocols.open_inference import INFER, X, infer

Y = {"name": "y"}


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"outputs": [Y | {"parameters": {"classification": 2}}]}, "classification"),
        ({"outputs": [Y | {"class_count": 2}]}, "class_count"),
        ({"outputs": [Y | {"parameters": {"shared_memory_region": "r"}}]}, "shared_memory_region"),
        ({"outputs": [Y | {"parameters": {"shared_memory_byte_size": 8}}]}, "shared_memory_byte_size"),
        ({"inputs": [X | {"parameters": {"shared_memory_region": "r"}}]}, "shared_memory_region"),
        ({"inputs": [X | {"parameters": {"shared_memory_offset": 8}}]}, "shared_memory_offset"),
        ({"parameters": {"sequence_id": 7}}, "sequence_id"),
        ({"parameters": {"sequence_id": "seven"}}, "sequence_id"),
        ({"parameters": {"sequence_start": True}}, "sequence_start"),
        ({"parameters": {"sequence_end": True}}, "sequence_end"),
        ({"class_count": 1}, "class_count"),
    ],
)
def test_refused(client: FlaskClient, document: dict[str, Any], name: str) -> None:
    """A word that would change the answer in another server is refused by name, not ignored."""
    reply = client.post(INFER, json={"inputs": [X]} | document)
    assert reply.status_code == 400
    assert reply.get_json()["error"].startswith(f"'{name}' is not supported: ")


@pytest.mark.parametrize(
    "parameters",
    [
        {"priority": 1, "timeout": 1000, "headers": {"a": "b"}},
        {"sequence_id": 0, "sequence_start": False, "sequence_end": False},
        {"triton_enable_empty_final_response": True, "own": 42},
        None,
    ],
)
def test_accepted(client: FlaskClient, parameters: Any) -> None:
    """Parameters that do not change the answer are accepted."""
    assert infer(client, inputs=[X], parameters=parameters)["outputs"][0]["data"] == [3, 5]


def test_base64(client: FlaskClient) -> None:
    """TensorFlow Serving's form of bytes is refused."""
    reply = client.post(INFER, json={"inputs": [X | {"data": [{"b64": "AAAA"}, 1]}]})
    assert reply.status_code == 400
    assert "got an object at [0]" in reply.get_json()["error"]


def test_no_content_type(client: FlaskClient) -> None:
    """Triton's client sends no content type with JSON; a browser, which adds `Origin`, must send one."""
    body = json.dumps({"inputs": [X]}).encode()
    assert client.post(INFER, data=body).status_code == 200
    refused = client.post(INFER, data=body, headers={"origin": "https://example.org"})
    assert (refused.status_code, refused.get_json()["error"]) == (
        415,
        "expected content-type application/json or application/octet-stream, got none",
    )
