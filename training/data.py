"""The wine data: its source, the split into training and held-out rows, and its hash."""

import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

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


def describe(data: Data) -> dict[str, Any]:
    """Describe the data for the manifest.

    The sha256 is that of `x`, row by row as float32, followed by `y` as int64, both little-endian.
    """
    content = data.x.astype("<f4").tobytes() + data.y.astype("<i8").tobytes()
    return {
        "name": "scikit-learn wine",
        "version": version("scikit-learn"),
        "rows": len(data.x),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
