"""A snapshot has each labelled row once, none that violates the schema, and always the same bytes."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from model_loader.errors import SnapshotError
from monitor.compact import compact
from monitor.lake import Lake
from monitor.snapshot import verify
from tests.monitor.conftest import Monitor
from tests.monitor.simulated import iso, publish, ship_rows
from tests.monitor.spool_writer import feedback, prediction

START = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA: dict[str, Any] = {
    "features": {
        "alcohol": {"type": "number", "min": 11.03, "max": 14.83, "max_missing": 0},
        "od280/od315": {"type": "number"},
        "bottles": {"type": "integer", "categories": [1, 6, 12]},
        "is_red": {"type": "boolean"},
        "name": {"type": "number", "pii": True},
        "grower": {"type": "number", "pii": "hash"},
    },
    "feedback": {"label": {"type": "label", "output": "label", "classes": [0, 1, 2]}},
}
MANIFEST: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 6]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": ["batch"]}],
    "features": [*SCHEMA["features"]],
}
COMMAND = ("snapshot", "--since", "7d", "--until", "2026-01-09")
ROWS = "SELECT * FROM read_parquet(['snapshot/train.parquet', 'snapshot/test.parquet'])"


def row(number: int, **inputs: Any) -> dict[str, Any]:
    """Return a prediction, an hour after the one before."""
    features = {"alcohol": 13.5, "od280/od315": 2.5, "bottles": 6.0, "is_red": 1.0, "grower": "5eb63bbb"}
    time = iso(START + number * timedelta(hours=1))
    return prediction(f"p{number:03}", time=time, inputs=features | inputs)


def ship(lake: Lake, spool: Path, rows: Iterable[dict[str, Any]], label: Any = 1) -> None:
    """Ship predictions, each with a label."""
    found = [*rows]
    ship_rows(lake, spool, "prediction", found)
    ship_rows(lake, spool, "feedback", [feedback(each["id"], label) for each in found])


@pytest.fixture
def models(workspace: Path) -> Path:
    """A store of models whose latest version has the schema."""
    publish(workspace / "model_store", 2, SCHEMA, **MANIFEST)
    return workspace / "model_store"


@pytest.fixture
def shipped(models: Path, file_lake: Lake, spool: Path) -> Lake:
    """A hundred labelled rows."""
    ship(file_lake, spool, map(row, range(100)))
    return file_lake


def document(path: str = "snapshot") -> dict[str, Any]:
    """Return the content of `snapshot.json`."""
    found: dict[str, Any] = json.loads((Path(path) / "snapshot.json").read_bytes())
    return found


def test_rows(shipped: Lake, monitor: Monitor) -> None:
    """The older three quarters are for training; columns have the features' names, and no withheld one."""
    code, out, err = monitor(*COMMAND, "--out", "snapshot")
    assert code == 0, err
    assert "100 predictions" in out
    snapshot = verify(Path("snapshot"))
    assert snapshot.digest in out
    assert {name: file.rows for name, file in snapshot.files.items()} == {
        "train.parquet": 75,
        "test.parquet": 25,
    }
    with duckdb.connect() as connection:
        found = connection.execute(f"{ROWS} ORDER BY time")
        columns = [column[0] for column in found.description or ()]
        first = found.fetchall()[0]
        ((older,),) = connection.execute("SELECT max(id) FROM 'snapshot/train.parquet'").fetchall()
        ((newer,),) = connection.execute("SELECT min(id) FROM 'snapshot/test.parquet'").fetchall()
    assert columns == ["id", "row", "time", "alcohol", "od280/od315", "bottles", "is_red", "label", "version"]
    assert first[:2] + first[3:] == ("p000", 0, 13.5, 2.5, 6, True, 1, 2)
    assert (older, newer) == ("p074", "p075")
    assert document()["withheld"] == ["grower", "name"]
    assert (document()["predictions"], document()["labelled"], document()["coverage"]) == (100, 100, 1.0)


def test_same_bytes(shipped: Lake, spool: Path, monitor: Monitor) -> None:
    """The same query on the same files writes the same bytes; another query or file has another digest."""
    digests = {}
    for name, arguments in (
        ("one", COMMAND),
        ("two", COMMAND),
        ("later", (*COMMAND[:2], "6d", *COMMAND[3:])),
    ):
        assert monitor(*arguments, "--out", name)[0] == 0
        digests[name] = verify(Path(name)).digest
    assert digests["one"] == digests["two"] != digests["later"]
    for file in ("snapshot.json", "train.parquet", "test.parquet"):
        assert (Path("one") / file).read_bytes() == (Path("two") / file).read_bytes()
    # A label that changes nothing is another file all the same.
    ship_rows(shipped, spool, "feedback", [feedback("p001", 1, time="2026-01-05T00:00:00Z")])
    assert monitor(*COMMAND, "--out", "three")[0] == 0
    assert verify(Path("three")).digest != digests["one"]
    assert document("three")["files"] == document("one")["files"]


def test_other_rows(shipped: Lake, spool: Path, monitor: Monitor) -> None:
    """A row that is added changes the rows' own hash; predictions after the end change nothing."""
    assert monitor(*COMMAND, "--out", "one")[0] == 0
    ship_rows(shipped, spool, "prediction", [row(24 * 20)])
    assert monitor(*COMMAND, "--out", "one")[0] == 0
    before = document("one")
    ship(shipped, spool, [row(24 * 6)])
    assert monitor(*COMMAND, "--out", "one")[0] == 0
    assert document("one")["files"] != before["files"]
    assert len(before["sources"]) == 6


def test_tampered(shipped: Lake, monitor: Monitor) -> None:
    """A snapshot with a changed row is found, and the file is named."""
    assert monitor(*COMMAND, "--out", "snapshot")[0] == 0
    changed = Path("snapshot/train.parquet")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (CASE id WHEN 'p003' THEN 2 ELSE label END AS label) FROM '{changed}') "
            "TO 'changed.parquet' (FORMAT parquet)"
        )
    Path("changed.parquet").replace(changed)
    with pytest.raises(SnapshotError, match=r"snapshot/train.parquet was changed: expected sha256"):
        verify(Path("snapshot"))


@pytest.mark.parametrize(
    ("inputs", "rule"),
    [
        ({"alcohol": 11.02}, "alcohol: below"),
        ({"alcohol": 14.84}, "alcohol: above"),
        ({"alcohol": None}, "alcohol: missing"),
        ({"alcohol": "13.5"}, "alcohol: type"),
        ({"bottles": 6.5}, "bottles: type"),
        ({"bottles": 7.0}, "bottles: category"),
        ({"is_red": 2.0}, "is_red: type"),
    ],
)
def test_violations(
    models: Path, file_lake: Lake, spool: Path, monitor: Monitor, inputs: dict[str, Any], rule: str
) -> None:
    """A row that violates a rule of the schema is left out, and counted by the rule."""
    ship(file_lake, spool, [*map(row, range(10)), row(10, **inputs)])
    code, out, err = monitor(*COMMAND, "--out", "snapshot")
    assert code == 0, err
    assert verify(Path("snapshot")).rows == 10
    assert document()["violating"] == 1
    assert document()["violations"][rule] == 1
    assert f"{rule}: 1" in out


def test_allowed(models: Path, file_lake: Lake, spool: Path, monitor: Monitor) -> None:
    """Limits are compared as FP32; a value may be missing where the schema does not forbid it."""
    rows = [row(0, alcohol=11.03), row(1, alcohol=14.83), row(2, **{"od280/od315": None, "bottles": None})]
    ship(file_lake, spool, rows)
    assert monitor(*COMMAND, "--out", "snapshot")[0] == 0
    assert verify(Path("snapshot")).rows == 3
    assert document()["violations"] == {}


def test_labels(models: Path, file_lake: Lake, spool: Path, monitor: Monitor) -> None:
    """Labels that contradict each other, are of no class, or missing, are left out; the same twice is one."""
    ship(file_lake, spool, map(row, range(8)))
    ship_rows(file_lake, spool, "prediction", [row(8), row(9), prediction("failed", status=500, inputs=None)])
    late = "2026-01-03T00:00:00Z"
    more = [("p001", 2, late), ("p002", 1, late), ("p002", 1.0, late), ("p008", 7, late)]
    ship_rows(file_lake, spool, "feedback", [feedback(id_, value, time=at) for id_, value, at in more])
    assert monitor(*COMMAND, "--out", "snapshot")[0] == 0
    found = document()
    assert (found["predictions"], found["labelled"], found["conflicting"], found["violating"]) == (
        10,
        9,
        1,
        1,
    )
    assert found["violations"] == {"label: category": 1}
    assert verify(Path("snapshot")).rows == 7


@pytest.mark.parametrize("remove", [False, True])
def test_duplicates(models: Path, file_lake: Lake, spool: Path, monitor: Monitor, remove: bool) -> None:
    """A row that two files have counts once; a compacted day has the same rows as its segments."""
    ship(file_lake, spool, map(row, range(10)))
    ship_rows(file_lake, spool, "prediction", map(row, range(3)))
    assert monitor(*COMMAND, "--out", "before")[0] == 0
    assert (document("before")["duplicates"], verify(Path("before")).rows) == (3, 10)
    compact(file_lake, "wine", remove=remove)
    assert monitor(*COMMAND, "--out", "after")[0] == 0
    assert document("after")["duplicates"] == 0
    assert document("after")["files"] == document("before")["files"]


def test_container(models: Path, lake: Lake, spool: Path, monitor: Monitor) -> None:
    """The store of a snapshot may be a container."""
    ship(lake, spool, map(row, range(10)))
    code, _, err = monitor(*COMMAND, "--out", "snapshot", "--cache", "cache")
    assert code == 0, err
    assert verify(Path("snapshot")).rows == 10


def test_optional(models: Path, file_lake: Lake, spool: Path, monitor: Monitor) -> None:
    """A pipeline can go on without a snapshot where nothing was captured, or nothing of it has a label."""
    optional = (*COMMAND, "--out", "snapshot", "--optional", "--name", "wine")
    code, out, err = monitor(*optional)
    assert (code, out, err) == (0, f"no snapshot: the store {file_lake.store.url} has no data of wine\n", "")
    code, out, err = monitor(*optional[:-2])
    assert (code, err) == (0, "")
    assert out.startswith(f"no snapshot: the store {file_lake.store.url} has no data: set CAPTURE_DIR")
    ship_rows(file_lake, spool, "prediction", [row(0)])
    for window in (
        ["--since", "9000-01-01", "--until", "9999-12-31"],
        ["--since", "30d", "--until", "0002-01-01"],
    ):
        code, out, err = monitor("snapshot", *window, *optional[-5:])
        assert (code, err, "can be used, got 0: 0 predictions, 0 with 'label'" in out) == (0, "", True)
    code, out, _ = monitor(*optional)
    assert (code, "1 predictions, 0 with 'label'" in out) == (0, True)
    assert out.startswith("no snapshot: ")
    ship_rows(file_lake, spool, "feedback", [feedback("p000", 1)])
    assert "no snapshot: expected rows of different times" in monitor(*optional)[1]
    ship(file_lake, spool, [row(1)])
    assert "expected 3 labelled rows of wine" in monitor(*optional, "--min-rows", "3")[1]
    assert not Path("snapshot/snapshot.json").exists()
    assert monitor(*optional, "--min-rows", "2")[0] == 0
    assert verify(Path("snapshot")).rows == 2


def test_refusals(models: Path, file_lake: Lake, spool: Path, monitor: Monitor) -> None:
    """Without labels, with rows of one time, or in a directory with other files, nothing is written."""
    ship_rows(file_lake, spool, "prediction", [row(0)])
    assert "1 predictions, 0 with 'label'" in monitor(*COMMAND, "--out", "snapshot")[2]
    ship_rows(file_lake, spool, "feedback", [feedback("p000", 1)])
    assert "expected rows of different times" in monitor(*COMMAND, "--out", "snapshot")[2]
    ship(file_lake, spool, [row(1)])
    assert "expected a metric that the schema" in monitor(*COMMAND, "--out", "s", "--metric", "revenue")[2]
    assert monitor("snapshot", "--since", "soon", "--out", "snapshot")[0] == 2
    Path("other").mkdir()
    Path("other/notes.txt").touch()
    assert "expected an empty directory" in monitor(*COMMAND, "--out", "other")[2]
    with pytest.raises(SnapshotError, match="no snapshot in other"):
        verify(Path("other"))
