"""The document's schemas accept exactly the requests that the service accepts."""

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app.protocols import npy
from tests.app.openapi.documents import INVALID, KINDS, get_document, validator
from tests.conftest import MakeClient

PREDICT = "/v1/models/bare:predict"


@pytest.mark.parametrize("kind", KINDS)
def test_kind(serve: MakeClient, kind: str) -> None:
    """For every kind of model, requests and replies are valid, and invalid requests are rejected."""
    model, bodies = KINDS[kind]
    client = serve(model, allow_initializer_inputs="on")
    document = get_document(client)
    examples = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for body in (*bodies, *(item["value"] for item in examples.values())):
        is_table = isinstance(body, list) or not {"inputs", "instances"} & body.keys()
        assert validator(document, "PredictRequest").is_valid(body) is not is_table
        validator(document, "ScoreRequest").validate(body)
        for path, form in (("/score", "Score"), ("/invocations", "Invocations"), (PREDICT, "Predict")):
            reply = client.post(path, json=body)
            expected = 400 if is_table and path == PREDICT else 200
            assert reply.status_code == expected, (path, body, reply.text)
            validator(document, f"{form}Reply" if expected == 200 else "Error").validate(reply.get_json())
    for body in INVALID.get(kind, ()):
        assert not validator(document, "ScoreRequest").is_valid(body), body
        reply = client.post("/score", json=body)
        assert reply.status_code == 400
        validator(document, "Error").validate(reply.get_json())


@pytest.mark.parametrize(
    ("kind", "in_request", "in_reply"),
    [("affine", True, True), ("default", True, True), ("total", False, False), ("sequence", False, False)],
)
def test_npy(serve: MakeClient, kind: str, in_request: bool, in_reply: bool) -> None:
    """The document lists NumPy's format exactly where the service supports it."""
    client = serve(KINDS[kind][0])
    operation = get_document(client)["paths"]["/score"]["post"]
    assert (npy.MEDIA_TYPE in operation["requestBody"]["content"]) is in_request
    assert (npy.MEDIA_TYPE in operation["responses"]["200"]["content"]) is in_reply
    body = npy.write(np.array([[1, 2]], np.float32))
    headers = {"content-type": npy.MEDIA_TYPE, "accept": npy.MEDIA_TYPE}
    assert client.post("/score", data=body, headers=headers).status_code == (200 if in_request else 400)


def test_examples(client: FlaskClient) -> None:
    """The first sample is the example of both forms, with its reply, and by column name."""
    document = get_document(client)
    operation = document["paths"]["/score"]["post"]
    requests = operation["requestBody"]["content"]["application/json"]["examples"]
    replies = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert requests["rows"]["value"] == {"instances": [{"a": 1, "b": 2}]}
    assert requests["columns"]["value"] == {"inputs": {"x": [[1, 2], [3, 4]]}}
    for form, example in requests.items():
        reply = client.post("/score", json=example["value"]).get_json()
        assert reply | {"id": ""} == replies[form]["value"] | {"id": ""}
        validator(document, "ScoreReply").validate(replies[form]["value"])


@pytest.mark.parametrize(
    ("rows", "is_valid"),
    [
        ([{"a": 1, "b": None}, {"b": 2, "a": 1}], True),
        ([{"a": 1}], False),
        ([{"a": 1, "b": 2, "c": 3}], False),
        ([{"a": 1, "b": 2}, {"x": [1, 2]}], False),
        ([{"a": [1], "b": [2]}], False),
        ([], True),
    ],
)
def test_rows(client: FlaskClient, rows: Any, is_valid: bool) -> None:
    """Rows by column name are valid exactly if the service accepts them."""
    body = {"instances": rows}
    assert validator(get_document(client), "ScoreRequest").is_valid(body) is is_valid
    assert client.post("/score", json=body).status_code == (200 if is_valid else 400)
