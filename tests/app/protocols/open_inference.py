"""Requests and replies of the Open Inference Protocol for tests."""

import json
from typing import Any

from flask.testing import FlaskClient

INFER = "/v2/models/tiny/infer"
BARE = "/v2/models/bare/infer"
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
LENGTH = "Inference-Header-Content-Length"


def infer(client: FlaskClient, path: str = INFER, **document: Any) -> Any:
    """Send a request, and return the JSON of the successful reply."""
    reply = client.post(path, json=document)
    assert reply.status_code == 200, reply.text
    return reply.get_json()


def post_binary(client: FlaskClient, path: str, document: Any, data: bytes) -> Any:
    """Send a request with binary data after the JSON."""
    head = json.dumps(document).encode()
    return client.post(
        path, data=head + data, headers={LENGTH: str(len(head)), "content-type": "application/octet-stream"}
    )


def read_binary(reply: Any) -> tuple[Any, dict[str, bytes]]:
    """Return a reply's JSON and the bytes of its binary outputs."""
    size = int(reply.headers[LENGTH])
    assert reply.content_type == "application/octet-stream"
    document, rest = json.loads(reply.data[:size]), reply.data[size:]
    found = {}
    for output in document["outputs"]:
        if count := output.get("parameters", {}).get("binary_data_size"):
            assert "data" not in output
            found[output["name"]], rest = rest[:count], rest[count:]
    assert rest == b""
    return document, found
