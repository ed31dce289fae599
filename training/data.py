"""The wine data: its source, the split into training and held-out rows, and its hash.

`combine` adds what production saw, from snapshots. Change it for your own model: what the rows for training
are, which ones are held out, and by which slices models are compared.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

from training.errors import DataError
from training.snapshots import Columns, SnapshotRows

STRONG = 13.0  # % vol
HELD_OUT_SHARE = 0.25


@dataclass(frozen=True)
class Data:
    """Measured wines.

    Attributes:
        features: names of the columns of `x`, in the units of the dataset.
        classes: names of the growers.
        x: shape (rows, features). The numbers are float32, as in requests, but stored as float64 for the
            training.
        y: the grower, an index into `classes`, shape (rows,).
    """

    features: tuple[str, ...]
    classes: tuple[str, ...]
    x: NDArray[np.float64]
    y: NDArray[np.int64]


def load() -> Data:
    """Load all 178 wines with their 13 measurements, from scikit-learn's own files.

    https://archive.ics.uci.edu/dataset/109/wine
    """
    wine = load_wine()
    return Data(
        features=tuple(wine.feature_names),
        classes=tuple(wine.target_names.tolist()),
        x=wine.data.astype(np.float32).astype(np.float64),
        y=wine.target.astype(np.int64),
    )


def split(data: Data, seed: int) -> tuple[Data, Data]:
    """Split the rows into training and held-out rows, with the same share of each class."""
    x, x_held_out, y, y_held_out = train_test_split(
        data.x, data.y, test_size=HELD_OUT_SHARE, stratify=data.y, random_state=seed
    )
    return replace(data, x=x, y=y), replace(data, x=x_held_out, y=y_held_out)


def columns_of(data: Data) -> Columns:
    """Return the features and the label as columns, as a snapshot has them."""
    return {**dict(zip(data.features, data.x.T, strict=True)), "label": data.y}


def from_columns(columns: Columns, like: Data, source: str) -> Data:
    """Return the rows of a snapshot as data.

    Args:
        like: data with the same features and classes.

    Raises:
        DataError: a feature is missing, or a label is not the index of a class.
    """
    for name in (*like.features, "label"):
        if name not in columns:
            raise DataError(f"{source}: expected the column '{name}', got {', '.join(columns)}")
    label = columns["label"]
    if not np.isin(label, np.arange(len(like.classes))).all():
        wrong = [*dict.fromkeys(label[~np.isin(label, np.arange(len(like.classes)))].tolist())]
        raise DataError(f"{source}: expected labels from 0 to {len(like.classes) - 1}, got {wrong[:5]}")
    try:
        x = np.column_stack([columns[name].astype(np.float32) for name in like.features])
    except (TypeError, ValueError) as exc:
        raise DataError(f"{source}: expected numbers as features: {exc}") from exc
    return replace(like, x=x.astype(np.float64), y=label.astype(np.int64))


@dataclass(frozen=True)
class Combined:
    """The sample's data together with snapshots.

    Attributes:
        training: the sample's rows for training, then those of production, oldest first.
        held_out: the newest rows of production.
        repeated: rows of production that are not in `training`, because a held-out row has their features.
    """

    training: Data
    held_out: Data
    repeated: int


def combine(sample: Data, snapshots: Sequence[SnapshotRows]) -> Combined:
    """Add the rows of snapshots to the sample's rows for training.

    Held out are the held-out rows of the newest snapshot. A row that several snapshots have counts once.

    Args:
        sample: the sample's rows for training.
        snapshots: at least one.

    Raises:
        DataError: a snapshot lacks a feature, or has a label that is no class.
    """
    # Oldest first, so that of a row's labels that of the newest snapshot counts.
    snapshots = oldest_first(snapshots)
    newest = snapshots[-1]
    held_out = from_columns(newest.test, sample, f"snapshot {newest.snapshot.directory}")
    held_out_keys = {*keys(newest.test)}
    held_out_features = {row.tobytes() for row in held_out.x}
    rows: dict[tuple[str, int], tuple[int, NDArray[np.float64], int]] = {}
    for each in snapshots:
        for table in (each.train, each.test):
            data = from_columns(table, sample, f"snapshot {each.snapshot.directory}")
            for key, time, x, y in zip(keys(table), table["time"].tolist(), data.x, data.y, strict=True):
                if key not in held_out_keys:
                    rows[key] = (time, x, int(y))
    ordered = sorted(rows.items(), key=lambda item: (item[1][0], item[0]))
    kept = [(x, y) for _, (_, x, y) in ordered if x.tobytes() not in held_out_features]
    training = replace(
        sample,
        x=np.concatenate([sample.x, *(x.reshape(1, -1) for x, _ in kept)]),
        y=np.concatenate([sample.y, np.array([y for _, y in kept], np.int64)]),
    )
    return Combined(training, held_out, len(ordered) - len(kept))


def oldest_first(snapshots: Sequence[SnapshotRows]) -> list[SnapshotRows]:
    """Return snapshots in the order of their ends; the rows held out are those of the last."""
    return sorted(snapshots, key=lambda each: (each.snapshot.until, each.snapshot.digest))


def keys(columns: Columns) -> Iterator[tuple[str, int]]:
    """Return what identifies each row of a snapshot."""
    return zip(columns["id"].tolist(), columns["row"].tolist(), strict=True)


def slices(data: Data) -> Mapping[str, NDArray[Any]]:
    """Return name → the slice of each row, by which a new model is compared with the one in production."""
    alcohol = data.x[:, data.features.index("alcohol")]
    return {
        "grower": np.array(data.classes)[data.y],
        "strength": np.where(alcohol >= STRONG, "strong", "light"),
    }


def describe(data: Data, snapshots: Sequence[SnapshotRows] = ()) -> dict[str, Any]:
    """Describe the data for the manifest.

    The sha256 is that of `x`, row by row as float32, followed by `y` as int64, both little-endian.
    """
    content = data.x.astype("<f4").tobytes() + data.y.astype("<i8").tobytes()
    description = {
        "name": "scikit-learn wine",
        "version": version("scikit-learn"),
        "rows": len(data.x),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if not snapshots:
        return description
    references = [each.snapshot.reference() for each in snapshots]
    return description | {"name": "scikit-learn wine and production", "snapshots": references}
