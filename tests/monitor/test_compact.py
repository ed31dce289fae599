"""A day is one file, with every row of it once; queries do not see the difference."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor import compact as monitor_compact
from monitor.compact import compact
from monitor.database import open_database, rows
from monitor.errors import MonitorError
from monitor.forget import forget
from monitor.lake import Lake
from monitor.ship import ship_once
from tests.monitor.conftest import Monitor
from tests.monitor.spool_writer import SegmentWriter, feedback, prediction, write_segment

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COUNTS = "SELECT (SELECT count(*) FROM predictions), (SELECT count(*) FROM feedback)"


def write(spool: Path, lake: Lake, *ids: str) -> None:
    """Ship a segment of predictions and one of labels."""
    write_segment(spool, "prediction", map(prediction, ids), start=START)
    write_segment(spool, "feedback", [feedback(id_, 0) for id_ in ids], start=START)
    assert ship_once(spool, lake.store).failure is None


def counts(lake: Lake) -> tuple[int, int]:
    """Return the number of predictions and of labels."""
    with open_database(lake, ["wine"]) as connection:
        ((predictions, labels),) = rows(connection, COUNTS)
    return predictions, labels


@pytest.mark.parametrize("remove", [False, True])
def test_compact(spool: Path, lake: Lake, remove: bool) -> None:
    """Compacting again changes nothing; late segments of the day are included by the next time."""
    write(spool, lake, "a", "b")
    assert counts(lake) == (2, 2)
    days = compact(lake, "wine", remove=remove)
    assert [(day.kind, day.date, day.segments, day.rows) for day in days] == [
        ("prediction", "2026-01-02", 1, 2),
        ("feedback", "2026-01-02", 1, 2),
    ]
    assert counts(lake) == (2, 2)
    before = lake.store.etags("v1/")
    assert compact(lake, "wine", remove=remove) == []
    assert lake.store.etags("v1/") == before

    write(spool, lake, "c")
    assert counts(lake) == (3, 3)
    assert [day.rows for day in compact(lake, "wine", remove=remove)] == [3, 3]
    assert counts(lake) == (3, 3)
    names = lake.store.names("v1/")
    assert len([name for name in names if name.endswith(".parquet")]) == 2
    assert len([name for name in names if name.endswith(".gz")]) == (0 if remove else 4)


def test_two_files_of_a_day(spool: Path, lake: Lake) -> None:
    """Two files that overlap, as two compactions at the same time write them, count once."""
    write(spool, lake, "a")
    compact(lake, "wine")
    (first,) = (name for name in lake.store.names("v1/") if "prediction" in name and "day-" in name)
    content = b"".join(lake.store.chunks(first))
    write(spool, lake, "b")
    compact(lake, "wine")
    lake.store.write(first, content, None)
    assert counts(lake) == (2, 2)
    assert [day.rows for day in compact(lake, "wine")] == [2]
    assert counts(lake) == (2, 2)


@pytest.mark.parametrize("remove", [False, True])
def test_forget_meanwhile(spool: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, remove: bool) -> None:
    """Rows that are deleted after a day was read, and before its file is uploaded, are not in the file."""
    write(spool, lake, "id-a", "id-b")
    compact(lake, "wine", remove=True)
    write(spool, lake, "id-c", "id-d")
    keys = ["id-a", "id-c"]
    wrapped = monitor_compact._write

    def written(*args: Any) -> int:
        count = wrapped(*args)
        if keys:
            assert forget(lake, ["wine"], [keys.pop(0)]).rows
        return count

    monkeypatch.setattr(monitor_compact, "_write", written)
    days = compact(lake, "wine", remove=remove)
    assert [day.rows for day in days] == [2, 2]
    with open_database(lake, ["wine"]) as connection:
        for view in ("predictions", "feedback"):
            assert rows(connection, f"SELECT id FROM {view} ORDER BY id") == [("id-b",), ("id-d",)]


def test_changes_without_end(spool: Path, file_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that changes each time that it is read ends the command, and stays as it is."""
    write(spool, file_lake, "id-a", "id-b")
    before = file_lake.store.names("v1/")
    (path,) = (each.path for each in file_lake.local("wine") if each.object.kind == "prediction")
    wrapped = monitor_compact._write

    def written(*args: Any) -> int:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        return wrapped(*args)

    monkeypatch.setattr(monitor_compact, "_write", written)
    with pytest.raises(MonitorError, match="changes while it is compacted: try again"):
        compact(file_lake, "wine", remove=True)
    assert file_lake.store.names("v1/") == before


def test_row_twice(spool: Path, file_lake: Lake) -> None:
    """A segment under two names counts once, before and after it is compacted."""
    for _ in range(2):
        write_segment(spool, "prediction", [prediction("a"), prediction("a", 1)], start=START)
    ship_once(spool, file_lake.store)
    assert counts(file_lake) == (2, 0)
    assert [day.rows for day in compact(file_lake, "wine")] == [2]


def test_open_segment_is_read(spool: Path, file_lake: Lake, monitor: Monitor) -> None:
    """Queries read what workers have written so far, without a torn last line."""
    writer = SegmentWriter(spool, "prediction", start=START)
    writer.write([prediction("a")])
    writer.write_bytes(b'{"id": "b"')
    code, out, _ = monitor("query", "--csv", "SELECT id, version, inputs->>'alcohol' FROM predictions")
    assert code == 0
    assert out.splitlines()[1:] == ["a,2,13.5"]
    writer.abandon()


def test_joined(spool: Path, file_lake: Lake) -> None:
    """A prediction has its last label, and how many there were."""
    write_segment(spool, "prediction", [prediction("a"), prediction("b")], start=START)
    labels = [
        feedback("a", 1),
        feedback("a", 2, time="2026-01-03T00:00:00Z"),
        feedback("a", 1.0, time="2026-01-02T05:00:00Z"),
        feedback("z", 1),
    ]
    write_segment(spool, "feedback", labels, start=START)
    ship_once(spool, file_lake.store)
    sql = "SELECT id, value, labels, different_labels FROM joined ORDER BY id"
    with open_database(file_lake, ["wine"]) as connection:
        assert rows(connection, sql) == [("a", "2", 3, 2), ("b", None, None, None)]


def test_query_forms(spool: Path, monitor: Monitor) -> None:
    """A query is printed as a table, as CSV or as JSON; a wrong one says what is wrong."""
    write_segment(spool, "prediction", [prediction("a")])
    sql = "SELECT version, count(*) AS rows, 1.5 AS x, NULL AS y FROM predictions GROUP BY version"
    assert monitor("query", sql)[1] == "version  rows  x    y\n2        1     1.5\n"
    assert monitor("query", "--csv", sql)[1] == "version,rows,x,y\r\n2,1,1.5,\r\n"
    assert monitor("query", "--json", sql)[1] == '{"version": 2, "rows": 1, "x": 1.5, "y": null}\n'
    code, out, err = monitor("query", "SELECT nothing FROM predictions")
    assert (code, out) == (1, "")
    assert err.startswith('monitor: Binder Error: Referenced column "nothing" not found')


def test_no_data(monitor: Monitor) -> None:
    """Without data, the message says where it would come from."""
    code, _, err = monitor("query", "SELECT 1")
    assert code == 1
    assert "has no data: set CAPTURE_DIR" in err
