"""The wines: where they come from, which to train on, and what proves that they are the same."""

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
        x: shape (rows, features). Every number is a float32, as the model will get it, held as a float64
            for the arithmetic of the training.
        y: the grower, an index into `classes`, shape (rows,).
    """

    features: tuple[str, ...]
    classes: tuple[str, ...]
    x: NDArray[np.float64]
    y: NDArray[np.int64]


def load() -> Data:
    """All 178 wines with their 13 measurements, from scikit-learn's own files.

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
    """The rows to train on and the rows held out, with each class's share the same in both."""
    x, x_held_out, y, y_held_out = train_test_split(
        data.x, data.y, test_size=HELD_OUT_SHARE, stratify=data.y, random_state=seed
    )
    return replace(data, x=x, y=y), replace(data, x=x_held_out, y=y_held_out)


def describe(data: Data) -> dict[str, Any]:
    """For the manifest; the sha256 is of `x` by rows as float32, then `y` as int64, both little-endian."""
    content = data.x.astype("<f4").tobytes() + data.y.astype("<i8").tobytes()
    return {
        "name": "scikit-learn wine",
        "version": version("scikit-learn"),
        "rows": len(data.x),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
