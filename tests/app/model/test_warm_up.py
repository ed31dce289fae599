"""The warm-up: which models get batches, and which requests run in the caller's thread."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from app.model.onnx_model import Model
from app.model.served_model import ServedModel
from app.model.warm_up import is_batchable, warm_up
from app.settings import Settings
from tests import models
from tests.app.model.conftest import load_bytes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (models.affine(), True),
        (models.slow(size=8, layers=2), True),
        (models.total(), False),  # an output without a batch dimension
        (models.identity(models.FLOAT, (3,)), False),  # no free dimension
        (models.sequence(), False),
        (
            models.model(
                [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
                [models.tensor("x")],
                [models.tensor("y")],
            ),
            False,  # its rows depend on each other
        ),
        (
            models.model(
                [
                    helper.make_node("ReduceMean", ["x"], ["m"], keepdims=1, noop_with_empty_axes=0),
                    helper.make_node("Sub", ["x", "m"], ["y"]),
                ],
                [models.tensor("x")],
                [models.tensor("y")],
            ),
            False,
        ),
    ],
    ids=["affine", "network", "total", "fixed", "sequence", "softmax", "centred"],
)
def test_is_batchable(tmp_path: Path, data: bytes, expected: bool) -> None:
    """Only a model whose rows are independent gets batches; running it decides, not its graph."""
    model = load_bytes(tmp_path, data)
    generator = np.random.default_rng(1)
    requests = [
        {
            name: generator.standard_normal(
                [size if isinstance(size, int) else rows for size in spec.shape or ()]
            ).astype(np.float32)
            for name, spec in model.inputs.items()
        }
        for rows in (1, 2)
    ]
    assert is_batchable(model, requests, 1e-3, 1e-5) is expected


def test_equal_rows(model: Model) -> None:
    """Equal rows are not evidence: the mean over such a batch would be the same, too."""
    ones = {"x": np.ones((1, 2), np.float32)}
    assert not is_batchable(model, [], 1e-3, 1e-5)
    assert not is_batchable(model, [ones, ones], 1e-3, 1e-5)
    assert is_batchable(model, [ones, {"x": np.zeros((1, 2), np.float32)}], 1e-3, 1e-5)


def test_warm_up(tmp_path: Path) -> None:
    """Requests to a fast model run in the caller's thread, requests to a slow one do not."""
    settings = Settings().resolved(1)
    fast = warm_up(ServedModel(load_bytes(tmp_path, models.affine())), (), settings)
    assert fast.inline_rows > 0
    slow = warm_up(ServedModel(load_bytes(tmp_path, models.slow())), (), settings)
    assert slow.inline_rows == 0
    assert warm_up(ServedModel(load_bytes(tmp_path, models.gather())), (), settings).inline_rows > 0
