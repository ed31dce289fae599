"""Simulated predictions and feedback, for the capture store and for pandas."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.lake import Lake
from monitor.ship import ship_once
from tests.conftest import write_package
from tests.monitor.spool_writer import write_segment

AT = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def iso(time: datetime) -> str:
    """Return a time as capture writes it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def ship_rows(lake: Lake, spool: Path, kind: str, rows: Iterable[dict[str, Any]]) -> None:
    """Ship rows in the segments of their days."""
    days: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        days.setdefault(row["time"][:10], []).append(row)
    for day, of_day in days.items():
        write_segment(spool, kind, of_day, start=datetime.fromisoformat(f"{day}T00:00:00+00:00"))
    assert ship_once(spool, lake.store).failure is None


def publish(root: Path, version: int, schema: dict[str, Any], **manifest: Any) -> None:
    """Write a version of the model `wine` into a store of models, which the monitor only reads."""
    path = write_package(root / f"wine/{version}", b"model", name="wine", version=version, **manifest)
    (path / "schema.json").write_text(json.dumps(schema))


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities, shape (rows, classes)."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result
