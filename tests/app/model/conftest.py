"""Fixtures of the model's tests."""

from pathlib import Path

import pytest

from app.model.onnx_model import Model, load, open_package
from app.settings import Settings
from tests import models


def load_bytes(directory: Path, data: bytes) -> Model:
    """Write a model into a directory and load it."""
    path = directory / "model.onnx"
    path.write_bytes(data)
    return load(open_package(path), Settings(model_path=path).resolved(1))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Return a model of y = 2·x + 1."""
    return load_bytes(tmp_path, models.affine())
