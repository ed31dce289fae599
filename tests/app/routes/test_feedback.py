"""`POST /feedback`: what is refused, and with which words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from app import create_app
from app.protocols.feedback import MAX_BODY_BYTES
from app.settings import Settings
from tests import models
from tests.conftest import MakeClient, write_package

ID = "0123456789abcdef0123456789abcdef"
SCHEMA = {
    "feedback": {
        "label": {"type": "label", "output": "y", "classes": [0, 1, 2]},
        "comment": {"type": "label"},
        "revenue": {"type": "number"},
        "bought": {"type": "boolean"},
    }
}


@pytest.fixture
def feedback_client(tmp_path: Path, make_client: MakeClient) -> Iterator[FlaskClient]:
    """Return a client of a service that keeps feedback."""
    package = write_package(tmp_path / "package", models.identity(TensorProto.INT64, ("n",)), schema=SCHEMA)
    app = create_app(Settings(model_path=package, web_concurrency=1, capture_dir=tmp_path / "spool"))
    yield make_client(app)
    app.extensions["service"].capture.close()


@pytest.mark.parametrize(
    "item",
    [
        {"label": 2},
        {"row": 7, "label": 0, "revenue": 1.5, "bought": True, "comment": "late"},
        {"revenue": -3},
        {"comment": 12},
    ],
)
def test_accepted(feedback_client: FlaskClient, item: Any) -> None:
    """Each metric of the schema is accepted, several in one item too."""
    response = feedback_client.post("/feedback", json={"id": ID, **item})
    assert (response.status_code, response.json) == (202, {"accepted": len(item.keys() - {"row"})})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "the body is not JSON"),
        ("7", "expected an object with 'id' and a metric, or a list of them, got 7"),
        ("[]", "expected an object with 'id' and a metric, or a list of them, got an array"),
        ("[3]", "item 0: expected an object with 'id' and a metric, got 3"),
        ('{"label": 1}', "expected 'id' to be the x-prediction-id of an answer, got none"),
        ('{"id": "x", "label": 1}', "expected 'id' to be the x-prediction-id of an answer, got 'x'"),
        ({"id": ID}, "expected a metric: label, comment, revenue, bought"),
        ({"id": ID, "row": -1, "label": 1}, "expected 'row' to be a whole number from 0, got -1"),
        ({"id": ID, "row": True, "label": 1}, "expected 'row' to be a whole number from 0, got true"),
        ({"id": ID, "labl": 1}, "unknown metric 'labl'; expected label, comment, revenue, bought"),
        ({"id": ID, "label": 3}, "metric 'label': expected one of 0, 1, 2, got 3"),
        ({"id": ID, "label": True}, "metric 'label': expected one of 0, 1, 2, got True"),
        ({"id": ID, "label": None}, "metric 'label': expected one of 0, 1, 2, got None"),
        ({"id": ID, "revenue": "1"}, "metric 'revenue': expected a finite number, got '1'"),
        ({"id": ID, "bought": 1}, "metric 'bought': expected true or false, got 1"),
        ({"id": ID, "comment": 1.5}, "metric 'comment': expected a whole number, true, false, or text"),
        (
            {"id": ID, "comment": "x" * 1001},
            "metric 'comment': expected a whole number, true, false, or text",
        ),
        ([{"id": ID, "label": 1}, {"id": ID, "label": 9}], "item 1: metric 'label': expected one of"),
    ],
)
def test_refused(feedback_client: FlaskClient, tmp_path: Path, body: Any, message: str) -> None:
    """A body with any fault is refused as a whole, with the metric's name."""
    data = body if isinstance(body, str) else json.dumps(body)
    response = feedback_client.post("/feedback", data=data, content_type="application/json")
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"].startswith(message)
    assert not list((tmp_path / "spool").rglob("*.jsonl*"))


def test_size(feedback_client: FlaskClient) -> None:
    """A body above the limit is refused."""
    response = feedback_client.post(
        "/feedback", data=b" " * (MAX_BODY_BYTES + 1), content_type="application/json"
    )
    assert response.status_code == 413


def test_media_type(feedback_client: FlaskClient) -> None:
    """Only JSON is accepted: the page of another site cannot send it unasked."""
    response = feedback_client.post("/feedback", data="{}", content_type="text/plain")
    assert response.status_code == 415


def test_described(feedback_client: FlaskClient) -> None:
    """The API's document has the metrics with their classes."""
    document = feedback_client.get("/openapi.json").get_json()
    item, several = document["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]["anyOf"]
    assert several["items"] == item
    assert item["properties"].keys() == {"id", "row", *SCHEMA["feedback"]}
    assert item["properties"]["label"] == {"enum": [0, 1, 2]}


def test_off(client: FlaskClient) -> None:
    """Without CAPTURE_DIR there is no place for feedback, and the message says so."""
    response = client.post("/feedback", json={"id": ID, "y": 1})
    assert response.status_code == 404
    assert response.json is not None
    assert "CAPTURE_DIR" in response.json["error"]
