"""Columns of requests say what their records say."""

from dataclasses import replace

import numpy as np

from app.errors import InvalidRequest
from app.records import Record, Records, Tensors

ANSWERED = Record(
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
    leads=False,
    arrived=1.125,
    decoded=1.25,
    inferred=1.375,
    traceparent="00-1",
)
FAULT = InvalidRequest("wrong")
REFUSED = Record("b", 2.0, "/score", status=400, error=FAULT)


def test_round_trip() -> None:
    """Each comes out as it went in, whatever came before it."""
    records = [
        ANSWERED,
        replace(ANSWERED, id="c", started=3.0),
        REFUSED,
        replace(ANSWERED, id="d", outputs=None, traceparent=""),
        replace(ANSWERED, id="e", rows=1),
        replace(REFUSED, id="f", error=InvalidRequest("wrong")),
        replace(REFUSED, id="g", error=None, status=404),
    ]
    columns = Records(records)
    assert [str(each) for each in columns] == [
        str(record) for record in records
    ]  # NaN is not equal to itself
    assert [each.error is record.error for each, record in zip(columns, records, strict=True)] == [True] * 7


def test_columns() -> None:
    """What is the same for requests that follow each other is there once, times for each."""
    columns = Records([ANSWERED, replace(ANSWERED, id="c", started=3.0), REFUSED, ANSWERED])
    assert [(kind.status, begin, end) for kind, begin, end in columns.runs()] == [
        (200, 0, 2),
        (400, 2, 3),
        (200, 3, 4),
    ]
    assert columns.ids == ["a", "c", "b", "a"]
    assert columns.times.started.tolist() == [1.0, 3.0, 2.0, 1.0]
    np.testing.assert_array_equal(columns.times.inferred, [1.375, 1.375, np.nan, 1.375])
    assert columns.tensors == {place: Tensors({"x": 1}, {"y": 2}) for place in (0, 1, 3)}


def test_none() -> None:
    """Of no requests there is nothing."""
    assert [*Records().runs()] == [*Records()] == []


def test_tensors_not_kept() -> None:
    """Tensors are not held by themselves."""
    columns = Records()
    columns.add(ANSWERED)
    columns.add(ANSWERED)
    columns.keep_tensors(ANSWERED)
    columns.add(REFUSED)
    columns.keep_tensors(REFUSED)
    assert columns.tensors.keys() == {1}
    assert [each.inputs for each in columns] == [None, {"x": 1}, None]
