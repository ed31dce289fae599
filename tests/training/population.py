"""A simulated production of the wine model: noisy wines, what they turned out to be, and its snapshots."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.store import open_store
from monitor.config import Config
from monitor.lake import Lake
from monitor.ship import ship_once
from monitor.snapshot import Selection, take
from tests.monitor.spool_writer import feedback, prediction, write_segment
from training.data import load

STORE = Path(__file__).parents[2] / "model_store"
# Measurements differ by this share of their standard deviation.
NOISE = 0.15
Label = Callable[[NDArray[np.int64]], NDArray[np.int64]]


def as_before(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The growers make the wines that they have always made."""
    return y


def changed(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The growers have swapped their vineyards."""
    return (y + 1) % 3


def wines(rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw wines: measurements of one in the sample, with noise, and its grower."""
    random, data = np.random.default_rng(seed), load()
    chosen = random.integers(0, len(data.x), rows)
    noise = random.standard_normal((rows, data.x.shape[1])) * NOISE * data.x.std(axis=0)
    x = np.round(np.abs(data.x[chosen] + noise), 3).astype(np.float32).astype(np.float64)
    return x, data.y[chosen]


def make_snapshot(
    path: Path,
    *,
    rows: int = 800,
    label: Label = as_before,
    seed: int = 1,
    inputs: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda _, values: values,
) -> Path:
    """Simulate an hour of production and its labels, and take a snapshot of it.

    Args:
        path: of the simulation; the snapshot is in `path / "snapshot"`.
        label: from the growers as they were to what is reported.
        inputs: from number and features of a row to what was captured.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    x, y = wines(rows, seed)
    names = load().features
    times = [now - timedelta(hours=1) + number * timedelta(hours=1) / rows for number in range(rows)]
    predictions, labels = [], []
    for number, (values, truth) in enumerate(zip(x, label(y), strict=True)):
        time = times[number].isoformat(timespec="microseconds").replace("+00:00", "Z")
        features = inputs(
            number, dict(zip(names, values.astype(np.float32).astype(str).astype(float), strict=True))
        )
        predictions.append(prediction(f"{path.name}-{number:05}", time=time, inputs=features))
        labels.append(feedback(f"{path.name}-{number:05}", int(truth), time=time))
    lake = Lake(f"file:{path / 'captured'}")
    for kind, found in (("prediction", predictions), ("feedback", labels)):
        write_segment(path / "spool", kind, found, start=now - timedelta(hours=1))
    assert ship_once(path / "spool", lake.store).failure is None
    selection = Selection("wine", now - timedelta(days=1), now)
    take(lake, open_store(f"file:{STORE}"), Config(), selection, path / "snapshot")
    return path / "snapshot"
