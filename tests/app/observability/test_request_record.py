"""Columns of requests say what their records say."""

from dataclasses import replace

import numpy as np

from app.errors import InvalidRequest
from app.observability.request_record import RecordBatch, RequestRecord, Tensors

ANSWERED = RequestRecord(
    "a",
    1.0,
    "/score",
    caller="team",
    status=200,
    duration=0.5,
    rows=2,
    inputs={"x": 1},
    outputs={"y": 2},
    queue_duration=0.0625,
    infer_duration=0.125,
    batch_rows=3,
    is_batch_leader=False,
    arrived=1.125,
    decoded=1.25,
    inferred=1.375,
    traceparent="00-1",
)
FAULT = InvalidRequest("wrong")
REFUSED = RequestRecord("b", 2.0, "/score", status=400, error=FAULT)


RECORDS = [
    ANSWERED,
    replace(ANSWERED, id="c", started=3.0),
    REFUSED,
    replace(ANSWERED, id="d", outputs=None, traceparent=""),
    replace(ANSWERED, id="e", rows=1),
    replace(REFUSED, id="f", error=InvalidRequest("wrong")),
    replace(REFUSED, id="g", error=None, status=404),
]


def test_columns() -> None:
    """Each column says of each request what its record does."""
    columns = RecordBatch(RECORDS)
    assert [*columns] == RECORDS
    assert columns.ids == ["a", "c", "b", "d", "e", "f", "g"]
    for name, values in columns.times._asdict().items():
        np.testing.assert_array_equal(values, [getattr(record, name) for record in RECORDS])
    assert columns.traceparents == dict.fromkeys((0, 1, 4), "00-1")
    both = Tensors({"x": 1}, {"y": 2})
    assert columns.tensors == {0: both, 1: both, 3: Tensors({"x": 1}, None), 4: both}


def test_runs() -> None:
    """What is the same for requests that follow each other is there once; two errors are never the same."""
    groups = RecordBatch(RECORDS).groups
    assert [(begin, end) for _, begin, end in groups] == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    for kind, begin, end in groups:
        for record in RECORDS[begin:end]:
            assert all(getattr(record, name) is value for name, value in kind._asdict().items())


def test_none() -> None:
    """Of no requests there is nothing."""
    assert [*RecordBatch([]).groups] == [*RecordBatch([])] == []
