"""Labels from files: what the schema allows, once."""

import json
from pathlib import Path

import duckdb
import pytest

from monitor.compact import compact
from monitor.database import open_database, rows
from monitor.lake import Lake
from tests.monitor.conftest import Monitor
from tests.monitor.simulated import publish
from tests.monitor.spool_writer import prediction, write_segment

SCHEMA = {
    "outputs": {"label": {"type": "integer"}},
    "feedback": {
        "label": {"type": "label", "output": "label", "classes": [0, 1, 2]},
        "revenue": {"type": "number"},
        "returned": {"type": "boolean"},
    },
}


@pytest.fixture
def captured(spool: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured prediction of a model that has a schema."""
    publish(workspace / "models", 2, SCHEMA)
    monkeypatch.setenv("MODEL_STORE", "file:models")
    write_segment(spool, "prediction", [prediction("a")])


def labels(lake: Lake) -> list[tuple[object, ...]]:
    """Return id, row, metric and value of all feedback."""
    with open_database(lake, ["wine"]) as connection:
        return rows(connection, "SELECT id, row, metric, value::VARCHAR FROM feedback ORDER BY ALL")


EXPECTED = [
    ("a", 0, "label", "2"),
    ("a", 0, "returned", "true"),
    ("a", 0, "revenue", "1.5"),
    ("b", 3, "label", "0"),
]


def test_csv(captured: None, file_lake: Lake, workspace: Path, monitor: Monitor) -> None:
    """Every value of a CSV file is a label; the same file again changes nothing, also after compaction."""
    file = workspace / "labels.csv"
    file.write_text("id,row,time,label,revenue,returned\na,,2026-01-02,2,1.5,true\nb,3,,0,,\n")
    for _ in range(2):
        assert monitor("feedback", file)[:2] == (0, "added 4 labels of wine to file:captured\n")
        assert labels(file_lake) == EXPECTED
        compact(file_lake, "wine", remove=True)


def test_parquet(captured: None, file_lake: Lake, workspace: Path, monitor: Monitor) -> None:
    """A Parquet file has types of its own."""
    file = workspace / "labels.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'a' AS id, 0 AS row, 2 AS label, 1.5 AS revenue, true AS returned "
            f"UNION ALL SELECT 'b', 3, 0, NULL, NULL) TO '{file}'"
        )
    assert monitor("feedback", file)[0] == 0
    assert labels(file_lake) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label\na,5\n", "labels.csv: line 2: 'label': expected one of 0, 1, 2, got '5'"),
        ("id,label\na,1\nb,x\n", "labels.csv: line 3: 'label': expected one of 0, 1, 2, got 'x'"),
        ("id,revenue\na,inf\n", "labels.csv: line 2: 'revenue': expected a finite number, got 'inf'"),
        ("id,returned\na,yes\n", "labels.csv: line 2: 'returned': expected true or false, got 'yes'"),
        ("id,row,label\na,-1,1\n", "labels.csv: line 2: expected 'row' to be a number from 0, got '-1'"),
        ("id,time,label\na,noon,1\n", "labels.csv: line 2: expected 'time' as in 2026-01-02T03:04:05Z"),
        ("id,label\n,1\n", "labels.csv: line 2: expected 'id' to be a text of up to 200 characters"),
        ("id,other\na,1\n", "unknown column 'other'; the metrics are label, revenue, returned"),
        ("label\n1\n", "expected the column 'id', and one or more of label, revenue, returned"),
        ("id,label\n", "it has no labels"),
    ],
)
def test_wrong_file(
    captured: None, file_lake: Lake, workspace: Path, monitor: Monitor, content: str, message: str
) -> None:
    """A wrong value is refused with its line, and nothing of the file is added."""
    (workspace / "labels.csv").write_text(content)
    code, _, err = monitor("feedback", "labels.csv")
    assert code == 1
    assert message in err
    assert labels(file_lake) == []


def test_undeclared_labels(captured: None, file_lake: Lake, workspace: Path, monitor: Monitor) -> None:
    """Without declared classes, a whole number is a number, and everything else a text."""
    publish(workspace / "models", 2, {"feedback": {"label": {"type": "label", "output": "label"}}})
    texts = ["-5", "--5", "-", "5.0", "9" * 18, "9" * 19, "٣"]
    (workspace / "labels.csv").write_text(
        "id,label\n" + "".join(f"a{i},{text}\n" for i, text in enumerate(texts))
    )
    assert monitor("feedback", "labels.csv")[0] == 0
    assert [json.loads(str(value)) for *_, value in labels(file_lake)] == [
        -5, "--5", "-", "5.0", int("9" * 18), "9" * 19, "٣"
    ]  # fmt: skip


def test_other_files(captured: None, monitor: Monitor) -> None:
    """A missing file and an unknown type are refused."""
    assert "labels.csv: No such file" in monitor("feedback", "labels.csv")[2]
    Path("labels.txt").write_text("id,label\na,1\n")
    assert "expected a file named .csv or .parquet" in monitor("feedback", "labels.txt")[2]


def test_no_schema(spool: Path, monitor: Monitor) -> None:
    """Without a schema and a configuration, nothing says what a label may be."""
    write_segment(spool, "prediction", [prediction("a")])
    Path("labels.csv").write_text("id,label\na,1\n")
    assert "no schema.json of wine in the store" in monitor("feedback", "labels.csv")[2]
    Path("monitor.toml").write_text('[target]\noutput = "label"\nclasses = [0, 1]\n')
    assert monitor("feedback", "labels.csv")[0] == 0
