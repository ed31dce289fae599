"""The trainer's fields of the manifest; `publish` adds the others."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_loader.source_commit import source_commit
from training.data import Data

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
    manifest = {
        "name": name,
        "features": training.features,
        "classes": training.classes,
        "metrics": metrics,
        "data": data,
        "training": {
            "commit": source_commit(Path(__file__).parent),
            "started": started,
            "finished": now(),
            "frameworks": {"python": platform.python_version()}
            | {name: version(name) for name in FRAMEWORKS},
            "hyperparameters": {"classifier": "LogisticRegression", "c": c},
            "seed": seed,
        },
    }
    return manifest if parent is None else manifest | {"parent": parent}


def now() -> str:
    """Return the time, RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
