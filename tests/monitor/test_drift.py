"""What changed since training, beyond chance."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from model_loader.drafting.baseline import numeric_bins
from model_loader.package.baseline import Baseline, Distribution
from monitor.database import open_database
from monitor.drift import AS_TRAINED, CHANGED, TOO_FEW, find_changes
from monitor.lake import Lake
from monitor.ship import ship_once
from tests.monitor.spool_writer import prediction, write_segment

START = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "shift", "missing", "verdict"),
    [
        (6, 3.0, 0.0, TOO_FEW),
        (1000, 0.0, 0.0, AS_TRAINED),
        (1000, 1.0, 0.0, CHANGED),
        (1000, 0.0, 0.2, CHANGED),
    ],
)
def test_verdict(file_lake: Lake, spool: Path, rows: int, shift: float, missing: float, verdict: str) -> None:
    """A feature has changed if its values differ by more than chance, and few rows say nothing."""
    random = np.random.default_rng(1)
    bins = numeric_bins(random.standard_normal(500).astype(np.float32))
    expected = Distribution("x", tuple(bins["edges"]), (), tuple(bins["shares"]))
    values = random.standard_normal(rows) + shift
    values[: round(rows * missing)] = np.nan
    documents = [{"x": None if np.isnan(value) else float(value)} for value in values]
    lines = [prediction(f"id-{index}", inputs=document) for index, document in enumerate(documents)]
    write_segment(spool, "prediction", lines, start=START)
    ship_once(spool, file_lake.store)
    with open_database(file_lake, ["wine"]) as connection:
        (change,) = find_changes(connection, 2, Baseline(500, (expected,), ()), "true")
    assert (change.name, change.verdict, change.rows) == ("x", verdict, rows)
    assert (change.psi > 0.1) == (shift == 1)


def test_parts(file_lake: Lake, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read in parts is counted as if it was read at once, with missing, nested and other values."""
    lines = []
    for index in range(40):
        inputs = {"x": [index % 4, None], "kind": "ab?"[index % 3]} if index % 5 else {}
        lines.append(prediction(f"id-{index}", inputs=inputs, outputs={"y": {"a": 0.5}}))
    write_segment(spool, "prediction", lines, start=START)
    ship_once(spool, file_lake.store)
    baseline = Baseline(
        500,
        (Distribution("x", (0, 1, 2), (), (0.5, 0.5)), Distribution("kind", (), ("a", "b"), (0.5, 0.5))),
        (Distribution("y", (0, 1), (), (1,)), Distribution("none", (0, 1), (), (1,))),
    )
    with open_database(file_lake, ["wine"]) as connection:
        whole = find_changes(connection, 2, baseline, "true")
        monkeypatch.setattr("monitor.drift.FETCH_ROWS", 7)
        assert find_changes(connection, 2, baseline, "true") == whole
    assert {each.name: each.rows for each in whole} == {"x": 32, "kind": 32, "y": 40}
    shares = {each.name: [share for _, _, share in each.bins] for each in whole}
    # Of 64 values 8 are 0, 16 are 1 or 2, 8 are 3, and 32 are missing.
    assert shares["x"] == [8 / 64, 16 / 64, 32 / 64, 8 / 64]
    assert shares["y"] == [1, 0, 0]
