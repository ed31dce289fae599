"""The metrics of the model and of scored requests."""

from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.errors import InvalidRequest
from app.observability.request_record import RequestRecord


def test_metrics(client: FlaskClient, app: Flask) -> None:
    """The model, its requests by status and caller, phases, and HTTP."""
    client.post("/score", json={"inputs": [[1, 2], [3, 4]]})
    client.post("/score", data=b"{", headers={"content-type": "application/json"})
    text = client.get("/metrics").text
    digest = app.extensions["service"].model.package.digest
    for line in (
        f'model_info{{digest="{digest}",name="tiny",version="3"}} 1.0',
        "model_trained_timestamp_seconds 1.7672256e+09",
        'model_evaluation{metric="accuracy"} 0.5',
        'model_requests_total{caller="anonymous",status="200"} 1.0',
        'model_requests_total{caller="anonymous",status="400"} 1.0',
        'model_rejected_total{reason="invalid"} 1.0',
        "model_infer_duration_seconds_count 1.0",
        "model_queue_duration_seconds_count 1.0",
        'model_batch_rows_bucket{le="1.0"} 0.0',
        'model_batch_rows_bucket{le="2.0"} 1.0',
        'flask_http_request_total{method="POST",status="200"} 1.0',
    ):
        assert line in text.splitlines(), line


@pytest.mark.parametrize("batches", [1, 6])
def test_records(client: FlaskClient, app: Flask, batches: int) -> None:
    """One request stands for each inference, and a request that was not answered has no phases."""
    metrics = app.extensions["service"].metrics
    times: dict[str, Any] = {
        "duration": 1.0,
        "arrived": 1.0,
        "decoded": 1.125,
        "queue_duration": 0.0,
        "infer_duration": 0.5,
        "inferred": 1.75,
    }
    answered = partial(RequestRecord, "id", 1.0, "/score", status=200, outputs={}, **times)
    batched = partial(answered, queue_duration=0.25, batch_rows=3)
    refused = RequestRecord("id", 1.0, "/score", status=400, error=InvalidRequest("wrong"))
    failed = RequestRecord("id", 1.0, "/v2", status=500, arrived=1.0, decoded=1.125)
    leader, follower = batched(is_batch_leader=True), batched(is_batch_leader=False)
    records = [leader, follower, refused, follower, failed, answered(batch_rows=1)]
    for begin in range(0, 6, 6 // batches):
        metrics(records[begin : begin + 6 // batches])
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'model_requests_total{caller="anonymous",status="200"} 4.0',
        'model_requests_total{caller="anonymous",status="400"} 1.0',
        'model_requests_total{caller="anonymous",status="500"} 1.0',
        'model_rejected_total{reason="invalid"} 1.0',
        'flask_http_request_total{method="POST",status="200"} 4.0',
        'flask_http_request_total{method="POST",status="400"} 1.0',
        'flask_http_request_total{method="POST",status="500"} 1.0',
        'flask_http_request_duration_seconds_count{method="POST",status="200",url_rule="/score"} 4.0',
        'flask_http_request_duration_seconds_sum{method="POST",status="200",url_rule="/score"} 4.0',
        'flask_http_request_duration_seconds_count{method="POST",status="500",url_rule="/v2"} 1.0',
        "model_decode_duration_seconds_count 4.0",
        "model_decode_duration_seconds_sum 0.5",
        "model_queue_duration_seconds_count 4.0",
        "model_queue_duration_seconds_sum 0.75",
        "model_infer_duration_seconds_count 2.0",
        "model_infer_duration_seconds_sum 1.0",
        "model_encode_duration_seconds_count 4.0",
        "model_encode_duration_seconds_sum 1.0",
        "model_batch_rows_count 2.0",
        "model_batch_rows_sum 4.0",
    ):
        assert line in lines, line


def test_invented_method(client: FlaskClient) -> None:
    """Methods that a client invents do not become labels."""
    assert client.open("/score", method="MADEUP").status_code == 405
    text = client.get("/metrics").text
    assert 'method="OTHER"' in text
    assert "MADEUP" not in text
