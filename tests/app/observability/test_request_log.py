"""The log of requests: many at once say what each would say."""

import fcntl
import json
import logging
import os
import sys
from datetime import UTC, datetime
from select import PIPE_BUF
from time import monotonic

import pytest

from app.errors import InferenceFailed, InvalidRequest, RequestError
from app.observability.logging import PIPE_BYTES, configure
from app.observability.request_log import RequestLog
from app.observability.request_record import RecordBatch, RequestRecord
from app.serving.observer_buffer import LATER_RECORDS
from app.settings import Settings
from tests.app.conftest import ReadLog

HOSTILE = ['x",', '"', "\\", '","', "a,b", 'x","y', "%b%", '\\",\\"', "plain", '},{"time":']


def record(number: int, id_: str, error: RequestError | None = None, traceparent: str = "") -> RequestRecord:
    """A request that is over; those with an even number were answered."""
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
def test_together(log: ReadLog, together: int) -> None:
    """Whatever is in an id, and however the requests differ, each line is its own."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    records = [record(number, id_) for number, id_ in enumerate(HOSTILE * 2)]
    records += [record(number, id_, traceparent=trace) for number, id_ in enumerate(HOSTILE)]
    records += [
        record(number, id_, InvalidRequest('100 % "wrong"')) for number, id_ in enumerate(HOSTILE[:5])
    ]
    records += [record(number, id_, InferenceFailed("failed")) for number, id_ in enumerate(HOSTILE[5:])]
    log_request = RequestLog(Settings(log_format="json"), "7")
    for begin in range(0, len(records), together):
        log_request(RecordBatch(records[begin : begin + together]))
    lines = log()
    assert len(lines) == len(records)
    for line, one in zip(lines, records, strict=True):
        ended = (datetime.now(UTC) - datetime.fromisoformat(line.pop("time"))).total_seconds()
        assert ended == pytest.approx(monotonic() - one.started - one.duration, abs=1)
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


def test_share(log: ReadLog) -> None:
    """With a ratio of 0 only failures are logged; where there are none, nothing is."""
    log_request = RequestLog(Settings(log_format="json", log_success_ratio=0), "7")
    log_request(RecordBatch([record(1, "a")]))
    assert log() == []
    log_request(RecordBatch([record(1, "a"), record(2, "b", InvalidRequest("wrong")), record(3, "c")]))
    assert [(line["id"], line["error"]) for line in log()] == [("b", "wrong")]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a program choose a pipe's size")
def test_late_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who collects the log may be late by several batches before an answer waits for it."""
    for logger in map(logging.getLogger, ("scorebox", "gunicorn.error", "opentelemetry")):
        for attribute in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    settings = Settings(log_format="json")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as collected, os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        configure(settings)
        assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) == PIPE_BYTES
        log_request = RequestLog(settings, "7")
        for _ in range(4):
            log_request(RecordBatch([record(number, f"{number:032x}") for number in range(LATER_RECORDS)]))
        output.close()
        assert len(collected.readlines()) == 4 * LATER_RECORDS


@pytest.mark.parametrize("most", [7, 1000, 2**20])
def test_whole_lines(log: ReadLog, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Lines go out whole, since workers share a pipe; what is not taken at once is written on."""
    write, pieces = os.write, []

    def noted(output: int, data: bytes) -> int:
        pieces.append(data)
        return write(output, data[:most])

    monkeypatch.setattr(os, "write", noted)
    ids = [f"{number}" * (1 + number % 90) for number in range(1000)] + ["long" * PIPE_BUF] + ["a", "b"] * 40
    RequestLog(Settings(log_format="json"), "7")(RecordBatch([record(0, id_) for id_ in ids]))
    assert [line["id"] for line in log()] == ids
    if most >= max(map(len, pieces)):
        assert all(piece.endswith(b"\n") for piece in pieces)
        assert [len(piece) > PIPE_BUF for piece in pieces].count(True) == 1


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("is_read", [False, True])
def test_nobody_reads(monkeypatch: pytest.MonkeyPatch, is_read: bool) -> None:
    """A log that cannot be written costs its lines, and nothing else."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as collected, os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        if not is_read:
            collected.close()
        RequestLog(Settings(log_format="json"), "7")(RecordBatch([record(0, "a")]))
        assert not is_read or json.loads(collected.readline())["id"] == "a"
