"""The request log: a line for each finished request."""

import json
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import create_app
from app.errors import InferenceFailed, InvalidRequest, RequestError
from app.observability.log_writer import writer
from app.observability.logging import logger
from app.observability.request_log import RequestLog
from app.observability.request_record import RequestRecord
from app.settings import Settings
from tests import models
from tests.app.conftest import ReadLog
from tests.conftest import MakeClient

BODY = {"inputs": [[1, 2]]}
HOSTILE = ['x",', '"', "\\", '","', "a,b", 'x","y', "%b%", '\\",\\"', "plain", '},{"time":']


def record(number: int, id_: str, error: RequestError | None = None, traceparent: str = "") -> RequestRecord:
    """Return a finished request, answered unless there is an error."""
    made = RequestRecord(
        id_, monotonic() - number, f"/v2/models/<name>/{number % 3}", caller=f"team {number % 2}%"
    )
    made.duration = number / 7000
    made.status, made.error, made.traceparent = 200, error, traceparent
    if error:
        made.status = error.status
    else:
        made.rows = 1 + number % 2
        made.batch_rows = 3
    return made


@pytest.mark.parametrize("together", [1, 4, 40])
def test_lines(log: ReadLog, together: int) -> None:
    """A line has the members of its request, whatever the ids contain and however requests are batched."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    records = [record(number, id_) for number, id_ in enumerate(HOSTILE * 2)]
    records += [record(number, id_, traceparent=trace) for number, id_ in enumerate(HOSTILE)]
    records += [
        record(number, id_, InvalidRequest('100 % "wrong"')) for number, id_ in enumerate(HOSTILE[:5])
    ]
    records += [record(number, id_, InferenceFailed("failed")) for number, id_ in enumerate(HOSTILE[5:])]
    log_requests = RequestLog(Settings(log_format="json"), "7")
    for begin in range(0, len(records), together):
        log_requests(records[begin : begin + together])
    lines = log()
    assert len(lines) == len(records)
    for line, one in zip(lines, records, strict=True):
        age = (datetime.now(UTC) - datetime.fromisoformat(line.pop("time"))).total_seconds()
        assert age == pytest.approx(monotonic() - one.started - one.duration, abs=1)
        assert line.pop("duration_ms") == round(one.duration * 1000, 3)
        expected: dict[str, object] = {
            "level": "error" if one.status == 500 else "info",
            "message": "request",
            "id": one.id,
            "route": one.route,
            "status": one.status,
            "model_version": "7",
            "caller": one.caller,
        }
        if one.batch_rows:
            expected |= {"rows": one.rows, "batch_rows": 3}
        if one.traceparent:
            expected["trace_id"] = "a" * 32
        if one.error:
            expected["error"] = str(one.error)
        assert line == expected


def test_no_successes(log: ReadLog) -> None:
    """With a ratio of 0 only failures are logged."""
    log_requests = RequestLog(Settings(log_format="json", log_success_ratio=0), "7")
    log_requests([record(1, "a")])
    assert log() == []
    log_requests([record(1, "a"), record(2, "b", InvalidRequest("wrong")), record(3, "c")])
    assert [(line["id"], line["error"]) for line in log()] == [("b", "wrong")]


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_lone_surrogate(capfd: pytest.CaptureFixture[str], log_format: str) -> None:
    """A text that is not valid Unicode is escaped, and the other lines are unchanged."""
    invalid = replace(record(0, "b", InvalidRequest("wrong \ud800")), inputs={"x": np.array(["\udfff"])})
    RequestLog(Settings(log_format=log_format, log_payloads="on"), "7")(
        [record(1, "a"), invalid, record(2, "c")]
    )
    writer.flush()
    first, escaped, last = capfd.readouterr().out.splitlines()
    assert "wrong \\ud800" in (json.loads(escaped)["error"] if log_format == "json" else escaped)
    assert "udfff" in escaped
    assert "\\ud" not in first + last


@pytest.mark.parametrize(
    ("path", "level", "status"),
    [
        ("/readyz", "debug", 200),
        ("/metrics", "debug", 200),
        ("/model", "info", 200),
        ("/nowhere", "info", 404),
    ],
)
def test_level(client: FlaskClient, log: ReadLog, path: str, level: str, status: int) -> None:
    """Every request has one line; successful probes have level debug."""
    client.get(path, headers={"x-request-id": "abc-1"})
    (line,) = log()
    assert (line["level"], line["status"], line["id"]) == (level, status, "abc-1")
    logger.setLevel(logging.INFO)
    client.get(path)
    assert len(log()) == (level == "info")


def test_scored_request(client: FlaskClient, log: ReadLog) -> None:
    """The line of a scored request."""
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


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "expected"),
    [
        (models.affine_and_echo(), {"x": [[1, None]], "words": ["NaN"]}, {"y": [[3, "NaN"]]}, ["y"]),
        (models.affine_and_echo(), {"x": [[1, "Infinity"]], "words": ["NaN"]}, {"echo": ["NaN"]}, None),
        (models.affine(), {"x": [[1, 2]]}, {"y": [[3, 5]]}, None),
        (models.sequence(), {"x": [[1], [None]]}, {"y": [[1], ["NaN"]]}, ["y"]),
    ],
)
def test_nan(
    serve: MakeClient, log: ReadLog, model: bytes, inputs: Any, outputs: Any, expected: list[str] | None
) -> None:
    """A missing value that leads to NaN is answered, and the line names the outputs."""
    reply = serve(model).post("/score", json={"inputs": inputs})
    assert reply.status_code == 200
    assert reply.get_json()["outputs"] | outputs == reply.get_json()["outputs"]
    assert log()[-1].get("nan_outputs") == expected


def test_text(
    settings: Settings, make_client: MakeClient, log: ReadLog, capfd: pytest.CaptureFixture[str]
) -> None:
    """For people a request is a line of text, which nothing that a client sends can break."""
    client = make_client(create_app(replace(settings, log_format="text")))
    client.post("/score", json={"inputs": [["a\nlevel=critical", 1]]}, headers={"x-request-id": "abc-1"})
    writer.flush()
    line = capfd.readouterr().out
    assert re.fullmatch(r"\d\d:\d\d:\d\d request id=abc-1 route=/score status=400 .*\n", line)


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
    """The line has the caller's trace id, unless its header is malformed."""
    method = "POST" if path == "/score" else "GET"
    client.open(path, method=method, json=BODY, headers={"traceparent": traceparent})
    (line,) = log()
    assert line.get("trace_id") == trace_id


def test_success_ratio(settings: Settings, make_client: MakeClient, log: ReadLog) -> None:
    """A share of the successes is logged, and every failure."""
    client = make_client(create_app(replace(settings, log_success_ratio=0.5)))
    for _ in range(200):
        assert client.post("/score", json=BODY).status_code == 200
        assert client.post("/score", json={}).status_code == 400
    statuses = [line["status"] for line in log()]
    assert statuses.count(400) == 200
    assert 60 < statuses.count(200) < 140


@pytest.mark.parametrize("payloads", ["on", "off"])
def test_payloads(settings: Settings, make_client: MakeClient, log: ReadLog, payloads: str) -> None:
    """Inputs and outputs are logged on request, truncated."""
    client = make_client(create_app(replace(settings, log_payloads=payloads)))
    client.post("/score", json={"inputs": [[1, None]]})
    client.post("/score", json={"inputs": [[1, 2]] * 1000})
    short, long = log()
    if payloads == "off":
        assert not {"inputs", "outputs"} & short.keys()
        return
    assert short["inputs"] == '{"x":[[1.0,"NaN"]]}'
    assert short["outputs"] == '{"y":[[3.0,"NaN"]]}'
    assert len(long["inputs"]) == 2000
