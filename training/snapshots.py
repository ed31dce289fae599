"""Snapshots of production as columns: labelled rows, frozen by `python -m monitor snapshot`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from model_loader.snapshot_files import TEST_FILE, TRAIN_FILE, Snapshot, verify
from training.errors import DataError

# A column by its name; all have the same length. A missing number is NaN, another missing value None.
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SnapshotRows:
    """The rows of a snapshot.

    Attributes:
        train: the older rows.
        test: the newest rows, which are held out. `time` is in microseconds since 1970, UTC.
    """

    snapshot: Snapshot
    train: Columns
    test: Columns


def read_snapshot(directory: Path, name: str) -> SnapshotRows:
    """Verify a snapshot of the model `name`, and read its rows.

    Raises:
        SnapshotError: a file is missing or was changed.
        DataError: the snapshot is of another model, or a file is no Parquet file.
    """
    snapshot = verify(directory)
    if snapshot.name != name:
        raise DataError(f"{directory}: expected a snapshot of {name}, got one of {snapshot.name}")
    return SnapshotRows(snapshot, _read(directory / TRAIN_FILE), _read(directory / TEST_FILE))


def _read(path: Path) -> Columns:
    sql = "SELECT * REPLACE (epoch_us(time) AS time) FROM read_parquet(?) ORDER BY time, id, row"
    try:
        with duckdb.connect() as connection:
            found = connection.execute(sql, [os.fspath(path)]).fetchnumpy()
    except duckdb.Error as exc:
        raise DataError(f"{path}: {exc}") from exc
    return {name: _filled(values) for name, values in found.items()}


def _filled(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array whose missing values are NaN, or None where the type has no NaN."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if not np.ma.getmaskarray(values).any():
        return values.data
    kind = np.float64 if values.dtype.kind in "fiu" else np.object_
    filled: NDArray[Any] = values.data.astype(kind)
    filled[np.ma.getmaskarray(values)] = np.nan if kind is np.float64 else None
    return filled
