"""Drafts: packages that are not published yet."""

import json
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from model_loader.package.draft import read_draft
from model_loader.registry.check import check_files
from model_loader.registry.publish import publish_draft
from model_loader.registry.versions import PublishedVersion
from model_loader.store import Store
from tests import models

SAMPLES: list[dict[str, Any]] = [
    {"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[3, 5]]}, "rtol": 1e-4, "atol": 1e-5}
]
MANIFEST = {"name": "tiny", "features": ["a", "b"], "metrics": {"accuracy": 0.97, "log_loss": 0.1}}


def write_draft(path: Path, model: bytes | None = None, **manifest: Any) -> Path:
    """Write a draft into the directory `path`; keywords replace fields of its manifest."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(model or models.affine())
    (path / "samples.json").write_text(json.dumps(SAMPLES))
    (path / "manifest.json").write_text(json.dumps(MANIFEST | manifest))
    return path


def publish(path: Path, store: Store, **options: Any) -> PublishedVersion:
    """Publish a draft without the self-test, which takes a second."""
    return publish_draft(check_files(read_draft(path)), store, **options)


def write_external(path: Path, location: str = "weights.bin", columns: int = 4) -> Path:
    """Write a draft of y = x · w, with its weights, FP32 zeros [1024, columns], in an external file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1024, columns])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    model = models.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.tensor("x", shape=("batch", 1024))],
        [models.tensor("y", shape=("batch", columns))],
        [weights],
    )
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(model)
    (path / "manifest.json").write_text(json.dumps({"name": "tiny"}))
    if (path / location).resolve().is_relative_to(path.resolve()):
        (path / location).parent.mkdir(parents=True, exist_ok=True)
        with (path / location).open("wb") as file:
            file.truncate(1024 * columns * 4)
    return path
