"""The routes beside scoring: health, model, metrics; and what is logged."""

import base64
import hashlib
import json
import logging
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from onnx import TensorProto
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from app import create_app
from app.observability.logging import logger
from app.observability.metrics import SECONDS
from app.observability.request_record import RecordBatch, RequestRecord
from app.serving.lifecycle import announce
from app.settings import Settings
from model_loader.package import digest_of
from tests import models
from tests.app.conftest import ReadLog
from tests.conftest import MakeClient

BODY = {"inputs": [[1, 2]]}


def test_home(client: FlaskClient) -> None:
    """A probe that asks for nothing in particular hears that the service is healthy."""
    assert (client.get("/").text, client.get("/").content_type) == ("Healthy", "text/plain; charset=utf-8")


def test_home_page(client: FlaskClient) -> None:
    """A browser gets the page, in which nothing runs but its own script, and which asks this host alone."""
    page = client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert page.headers["vary"] == client.get("/").headers["vary"] == "accept"
    sources = dict(part.split(maxsplit=1) for part in page.headers["content-security-policy"].split("; "))
    for tag in ("script", "style"):
        inside = page.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        expected = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert sources[f"{tag}-src"] == f"'sha256-{expected}'"
    assert (sources["default-src"], sources["connect-src"]) == ("'none'", "'self'")
    headers = {"accept": "text/html", "if-none-match": page.headers["etag"]}
    assert client.get("/", headers=headers).status_code == 304


def test_ready_until_draining(client: FlaskClient, app: Flask) -> None:
    """Ready once the model is proven, not ready from the moment the process drains; alive all the time."""
    assert client.get("/readyz").status_code == 200
    app.extensions["scorebox"].draining.set()
    reply = client.get("/readyz")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "draining" in reply.get_json()["error"]
    assert client.get("/healthz").status_code == 200
    assert client.post("/score", json=BODY).status_code == 200


def test_model(client: FlaskClient, package: Path) -> None:
    """The manifest, the digest that names it, and the signature of the model that was loaded."""
    reply = client.get("/model").get_json()
    manifest = (package / "manifest.json").read_bytes()
    assert reply["digest"] == digest_of(manifest)
    assert reply["manifest"] == json.loads(manifest)
    assert reply["outputs"] == [{"name": "y", "datatype": "FP32", "shape": ["batch", 2]}]


@pytest.mark.parametrize("noted", ["own", "another", "nonsense", None])
def test_model_signed(settings: Settings, noted: str | None) -> None:
    """`signed` is true only where the loader noted that it verified the signature of this very digest."""
    package = settings.model_path
    digest = digest_of((package / "manifest.json").read_bytes())
    notes = {"own": json.dumps({"digest": digest}), "another": '{"digest": "sha256:0"}', "nonsense": "["}
    if noted:
        (package / "verified.json").write_text(notes[noted])
    assert create_app(settings).test_client().get("/model").get_json()["signed"] is (noted == "own")


def test_queue_full_and_deadline(serve: MakeClient) -> None:
    """With the model busy, more rows than may wait get 503 with Retry-After; who waits too long gets 504."""
    client = serve(models.slow(), max_queue_rows=1, request_timeout_ms=100, batching="off")
    batcher = client.application.extensions["scorebox"].scorer.batcher
    rows = np.full((200, 1000), 0.5, np.float32)
    running = batcher.submit({"x": rows}, 200, deadline=float("inf"))
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    batcher.submit({"x": rows[:1]}, 1, deadline=float("inf"))
    reply = client.post("/score", json={"inputs": [[0.5] * 1000]})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.get_json()["error"] == "1 rows wait for the model already"
    running.result()
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    batcher.submit({"x": rows}, 200, deadline=float("inf"))
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    assert client.post("/score", json={"inputs": [[0.5] * 1000]}).status_code == 504
    text = client.get("/metrics").text
    assert 'model_rejected_total{reason="queue_full"} 1.0' in text
    assert 'model_rejected_total{reason="deadline"} 1.0' in text


def test_metrics(client: FlaskClient, app: Flask) -> None:
    """The model's metrics, and those of HTTP."""
    client.post("/score", json={"inputs": [[1, 2], [3, 4]]})
    client.post("/score", data=b"{")
    text = client.get("/metrics").text
    digest = app.extensions["scorebox"].model.package.digest
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


def test_metrics_of_many(client: FlaskClient, app: Flask) -> None:
    """Of requests counted together one stands for each inference, and those not answered have no phases."""
    metrics = app.extensions["scorebox"].metrics
    metrics.counts_http = True
    times: dict[str, Any] = {
        "duration": 1.0,
        "arrived": 1.0,
        "decoded": 1.125,
        "queue_duration": 0.0,
        "infer_duration": 0.5,
        "inferred": 1.75,
    }
    answered = partial(RequestRecord, "id", 1.0, "/score", status=200, outputs={}, **times)
    together = partial(answered, queue_duration=0.25, batch_rows=3)
    refused = RequestRecord("id", 1.0, "/score", status=400)
    failed = RequestRecord("id", 1.0, "/score", status=500, arrived=1.0, decoded=1.125)
    is_batch_leader, follows = together(is_batch_leader=True), together(is_batch_leader=False)
    metrics(RecordBatch([is_batch_leader, follows, refused, follows, failed, answered(batch_rows=1)]))
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'model_requests_total{caller="anonymous",status="200"} 4.0',
        'model_requests_total{caller="anonymous",status="400"} 1.0',
        'model_requests_total{caller="anonymous",status="500"} 1.0',
        'flask_http_request_total{method="POST",status="200"} 4.0',
        'flask_http_request_total{method="POST",status="400"} 1.0',
        'flask_http_request_total{method="POST",status="500"} 1.0',
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


@pytest.mark.parametrize("most_bytes", [8, 64, 2**20])
def test_metrics_put_by(app: Flask, monkeypatch: pytest.MonkeyPatch, most_bytes: int) -> None:
    """However many may wait, a histogram says what it would if it had seen them one by one."""
    monkeypatch.setattr("app.observability.histogram_buffer.MOST_TALLY_BYTES", most_bytes)
    metrics = app.extensions["scorebox"].metrics
    metrics.defer = lambda _flush: None
    registry, name = CollectorRegistry(), "model_infer_duration_seconds"
    one_by_one = Histogram(name, "", buckets=SECONDS, registry=registry)
    record = partial(RequestRecord, "id", 1.0, "/score", status=200, outputs={}, batch_rows=1, inferred=1.75)
    refused = RequestRecord("id", 1.0, "/score", status=400)
    for durations in ([0.25], [0.0, 2**-15, 0.5, 3.0, 99.0], [0.25, 2**-9, 10.0]):
        for part in (durations, durations[:2]):
            metrics(RecordBatch([*(record(infer_duration=each) for each in part), refused]))
            for each in part:
                one_by_one.observe(each)
        metrics.flush()
        counted, expected = (
            re.findall(rf"^{name}_(?!created).*", generate_latest(each).decode(), re.MULTILINE)
            for each in (metrics.registry, registry)
        )
        assert counted == expected


def test_made_up_method(client: FlaskClient) -> None:
    """Methods that somebody makes up do not become labels."""
    assert client.open("/score", method="MADEUP").status_code == 405
    text = client.get("/metrics").text
    assert 'method="OTHER"' in text
    assert "MADEUP" not in text


def test_unexpected_error(client: FlaskClient, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of ours is a 500 that tells nothing of the inside; the log tells it."""

    def fail(*args: Any) -> None:
        raise ZeroDivisionError("secret inside")

    app.extensions["scorebox"].scorer.callers.caller = fail
    reply = client.get("/model")
    assert reply.status_code == 500
    assert reply.get_json()["error"] == "internal error; the log has the rest"
    assert "secret inside" in caplog.text


@pytest.mark.parametrize(
    ("path", "level", "status"),
    [
        ("/readyz", "debug", 200),
        ("/metrics", "debug", 200),
        ("/model", "info", 200),
        ("/nowhere", "info", 404),
    ],
)
def test_log_line(client: FlaskClient, log: ReadLog, path: str, level: str, status: int) -> None:
    """One line a request; probes that succeed only at level debug."""
    client.get(path, headers={"x-request-id": "abc-1"})
    (line,) = log()
    assert (line["level"], line["status"], line["id"]) == (level, status, "abc-1")
    logger.setLevel(logging.INFO)
    client.get(path)
    assert len(log()) == (level == "info")


def test_log_line_of_scoring(client: FlaskClient, log: ReadLog) -> None:
    """One line a scored request."""
    client.post("/score", json=BODY, headers={"x-request-id": "abc-1"})
    (line,) = log()
    moment = datetime.fromisoformat(line.pop("time"))
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 5
    assert line.pop("duration_ms") > 0
    assert line == {
        "level": "info",
        "message": "request",
        "id": "abc-1",
        "route": "/score",
        "status": 200,
        "model_version": "3",
        "caller": "anonymous",
        "rows": 1,
        "batch_rows": 1,
    }


@pytest.mark.parametrize("id_", ["100%", "%s%%d", 'a"b', "\\", "'"])
def test_log_line_of_odd_id(client: FlaskClient, log: ReadLog, id_: str) -> None:
    """An id is logged as it was sent, whatever a line is made with."""
    client.post("/score", json=BODY, headers={"x-request-id": id_})
    (line,) = log()
    assert line["id"] == id_


def test_log_as_text(
    settings: Settings, door: MakeClient, log: ReadLog, capfd: pytest.CaptureFixture[str]
) -> None:
    """For people a request is a line of text, which nothing that a client sends can break."""
    client = door(create_app(replace(settings, log_format="text")))
    client.post("/score", json={"inputs": [["a\nlevel=critical", 1]]}, headers={"x-request-id": "abc-1"})
    line = capfd.readouterr().out
    assert re.fullmatch(r"\d\d:\d\d:\d\d request id=abc-1 route=/score status=400 .*\n", line)


def test_log_of_many(app: Flask, log: ReadLog) -> None:
    """Lines that come together are all written, none torn."""
    records = [RequestRecord(f"{number}", time.monotonic(), "/score", status=200) for number in range(500)]
    app.extensions["scorebox"].log_request(RecordBatch(records))
    assert [line["id"] for line in log()] == [record.id for record in records]


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"00-{'ab' * 16}-{'12' * 8}-01", "ab" * 16),
        (f"00-{'0' * 32}-{'12' * 8}-01", None),
        (f"00-{'ab' * 16}-{'0' * 16}-01", None),
        (f"ff-{'ab' * 16}-{'12' * 8}-01", None),
        (f"00-{'AB' * 16}-{'12' * 8}-01", None),
        ("00-ab", None),
        ("x" * 5000, None),
    ],
)
@pytest.mark.parametrize("path", ["/score", "/model"])
def test_trace_id(
    client: FlaskClient, log: ReadLog, path: str, traceparent: str, trace_id: str | None
) -> None:
    """A caller's trace is named in the log line, unless its header is malformed."""
    method = "POST" if path == "/score" else "GET"
    client.open(path, method=method, json=BODY, headers={"traceparent": traceparent})
    (line,) = log()
    assert line.get("trace_id") == trace_id


def test_log_success_ratio(settings: Settings, door: MakeClient, log: ReadLog) -> None:
    """Of successes only a share is logged, of failures none is left out."""
    client = door(create_app(replace(settings, log_success_ratio=0.5)))
    for _ in range(200):
        assert client.post("/score", json=BODY).status_code == 200
        assert client.post("/score", json={}).status_code == 400
    statuses = [line["status"] for line in log()]
    assert statuses.count(400) == 200
    assert 60 < statuses.count(200) < 140


@pytest.mark.parametrize("payloads", ["on", "off"])
def test_log_payloads(settings: Settings, door: MakeClient, log: ReadLog, payloads: str) -> None:
    """What the model took and gave is logged where it is asked for, cut to a length."""
    client = door(create_app(replace(settings, log_payloads=payloads)))
    client.post("/score", json={"inputs": [[1, None]]})
    client.post("/score", json={"inputs": [[1, 2]] * 1000})
    short, long = log()
    if payloads == "off":
        assert not {"inputs", "outputs"} & short.keys()
        return
    assert short["inputs"] == '{"x":[[1.0,"NaN"]]}'
    assert short["outputs"] == '{"y":[[3.0,"NaN"]]}'
    assert len(long["inputs"]) == 2000


def test_announced(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The start says which model, how many workers and threads, and a command that scores it."""
    caplog.set_level(logging.INFO, "scorebox")
    announce(app.extensions["scorebox"], port=8080)
    missing, line = caplog.messages
    assert "has no baseline.json: drift is not counted" in missing
    assert line.startswith("serving tiny/3@sha256:")
    assert "with 1 workers of 1 threads" in line
    assert """-d '{"instances":[{"a":1,"b":2}]}'""" in line


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (models.total(), """-d '{"inputs":{"a":[0],"b":[0]}}'"""),
        (models.identity(TensorProto.STRING), """-d '{"inputs":{"x":[""]}}'"""),
        (models.identity(models.FLOAT, ("n", 3, 224, 224)), "curl -s localhost:8080/model"),
    ],
)
def test_announced_without_samples(
    serve: MakeClient, model: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without samples the command is made from the signature, and the log says what is missing."""
    caplog.set_level(logging.INFO, "scorebox")
    announce(serve(model).application.extensions["scorebox"], port=8080)
    *missing, line = caplog.messages
    assert "has no samples.json" in missing[0]
    assert "has no manifest" in missing[1]
    assert line.endswith(words)
