"""The trainer's fields of the manifest; `publish` adds the others."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.metrics import classification_intervals
from model_loader.source_commit import commit_url, source_commit
from training.data import Data, slices

COMMIT_LINK = "Training commit"  # the card shows the link at the fact of this name
FRAMEWORKS = ("numpy", "onnx", "scikit-learn", "skl2onnx")


def make_manifest(
    name: str,
    seed: int,
    training: Data,
    *,
    data: Mapping[str, Any],
    metrics: Mapping[str, float],
    started: str,
    c: float,
    parent: int | None,
) -> dict[str, Any]:
    """Return the trainer's fields of the manifest; `publish` adds the others."""
    commit = source_commit(Path(__file__).parent)
    url = commit and commit_url(Path(__file__).parent, commit)
    manifest: dict[str, Any] = {
        "name": name,
        "features": training.features,
        "classes": training.classes,
        "metrics": metrics,
        "data": data,
        "training": {
            "commit": commit,
            "started": started,
            "finished": now(),
            "frameworks": {"python": platform.python_version()}
            | {name: version(name) for name in FRAMEWORKS},
            "hyperparameters": {"classifier": "LogisticRegression", "c": c},
            "seed": seed,
        },
    }
    manifest |= {} if parent is None else {"parent": parent}
    return manifest | ({"links": {COMMIT_LINK: url}} if url else {})


def describe_certainty(
    held_out: Data, label: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[int]
) -> dict[str, Any]:
    """Return the metrics' intervals, and the accuracy in each slice of the data.

    Args:
        label: predicted of each row, shape (rows,).
        probabilities: shape (rows, classes).
        classes: the label of each column of `probabilities`.
    """
    intervals = classification_intervals(held_out.y, label, probabilities, classes)
    parts = [
        (f"{name}={value}", values == value)
        for name, values in slices(held_out).items()
        for value in np.unique(values).tolist()
    ]
    return {
        "intervals": {name: [round(end, 6) for end in ends] for name, ends in intervals.items()},
        "slices": [
            {
                "name": name,
                "rows": int(chosen.sum()),
                "metrics": {"accuracy": round(float((held_out.y == label)[chosen].mean()), 6)},
            }
            for name, chosen in parts
        ],
    }


def now() -> str:
    """Return the time, RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
