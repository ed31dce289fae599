"""The lineage of a version that was trained on a snapshot that `monitor snapshot` has frozen."""

import json
from pathlib import Path

import duckdb
import pytest

from model_loader.snapshot_files import verify
from monitor.lake import Lake
from tests.monitor.conftest import Monitor
from tests.monitor.simulated import publish
from tests.monitor.test_snapshot import COMMAND, MANIFEST, SCHEMA, models, shipped

__all__ = ["models", "shipped"]
CHANGED = "* REPLACE (CASE WHEN id = 'p007' THEN 2 ELSE label END AS label)"


@pytest.mark.parametrize("change", ["nothing", "row", "query"])
def test_snapshot(shipped: Lake, workspace: Path, monitor: Monitor, change: str) -> None:
    """A frozen snapshot is verified; one with a changed row or query is found and named."""
    assert monitor(*COMMAND, "--out", "snapshots/one")[0] == 0
    snapshot = verify(Path("snapshots/one"))
    data = {"name": "wine and production", "snapshots": [snapshot.reference()]}
    publish(workspace / "model_store", 3, SCHEMA, **MANIFEST, data=data)
    train = workspace / "snapshots/one/train.parquet"
    if change == "row":
        with duckdb.connect() as connection:
            connection.execute(f"COPY (SELECT {CHANGED} FROM '{train}') TO '{train}.new' (FORMAT parquet)")
        Path(f"{train}.new").rename(train)
    if change == "query":
        path = workspace / "snapshots/one/snapshot.json"
        path.write_text(path.read_text().replace('"query": "SELECT', '"query": "SELECT DISTINCT'))
    _, out, _ = monitor("lineage", "wine/3", "--snapshots", "snapshots", "--json")
    link = json.loads(out)["links"]["snapshots"]
    expected = {
        "nothing": [], "row": ["one/train.parquet"], "query": ["snapshots/*/snapshot.json"],
    }  # fmt: skip
    assert [problem["what"] for problem in link["problems"]] == expected[change]
    assert link["state"] == ("broken" if expected[change] else "verified")
    assert link["facts"]["snapshots"] == [snapshot.reference()]
    if change == "query":
        assert snapshot.digest in link["problems"][0]["expected"]
