"""The warm-up: which models get batches, and which requests run in the caller's thread."""

from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from onnx import TensorProto, helper

from app.model.batching import batching_obstacle
from app.model.onnx_model import Model
from app.model.self_test import load_and_verify
from app.model.served_model import ServedModel
from app.model.transform import Transform
from app.model.warm_up import measure, warm_up
from app.settings import Settings
from model_loader.package.samples import Sample
from tests import models
from tests.app.model.conftest import load_bytes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (models.affine(), ""),
        (models.slow(size=8, layers=2), ""),
        (models.total(), "the outputs have no batch dimension"),
        (models.identity(models.FLOAT, (3,)), "the outputs have no batch dimension"),
        (models.sequence(), "the outputs have no batch dimension"),
        (models.quantized(), "output 'y' of a row depends on the other rows of a batch"),
        (
            models.model(
                [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
                [models.tensor("x")],
                [models.tensor("y")],
            ),
            "output 'y' of a row depends on the other rows of a batch",
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
            "output 'y' of a row depends on the other rows of a batch",
        ),
    ],
    ids=["affine", "network", "total", "fixed", "sequence", "quantized", "softmax", "centred"],
)
def test_batching(tmp_path: Path, data: bytes, expected: str) -> None:
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
    assert batching_obstacle(model, requests) == expected


def test_equal_rows(model: Model) -> None:
    """Equal rows are not evidence: the mean over such a batch would be the same, too."""
    ones, rows = {"x": np.ones((1, 2), np.float32)}, {"x": np.array([[1, 2], [3, 4]], np.float32)}
    assert "nothing to test it with" in batching_obstacle(model, [])
    assert "no two different rows" in batching_obstacle(model, [ones, ones])
    assert not batching_obstacle(model, [rows])
    assert not batching_obstacle(model, [ones, {"x": np.zeros((1, 2), np.float32)}])


def test_warm_up(tmp_path: Path) -> None:
    """Requests to a fast model run in the caller's thread, requests to a slow one do not."""
    settings = Settings().resolved(1)
    fast = warm_up(ServedModel(load_bytes(tmp_path, models.affine()), Transform), (), settings)
    assert fast.inline_rows > 0
    slow = warm_up(ServedModel(load_bytes(tmp_path, models.slow()), Transform), (), settings)
    assert slow.inline_rows == 0
    gather = warm_up(ServedModel(load_bytes(tmp_path, models.gather()), Transform), (), settings)
    assert gather.inline_rows > 0
    assert fast.batching.startswith("up to ")
    assert gather.batching.startswith("every request runs by itself: the samples have no two different rows")


@pytest.mark.parametrize("shape", [[None, 0], [0], []])
def test_no_values(tmp_path: Path, shape: list[int | None]) -> None:
    """A model whose inputs have no values, or no rows, is warmed up, too."""
    path = tmp_path / "empty.onnx"
    path.write_bytes(models.identity(TensorProto.INT64, shape))
    settings = Settings(model_path=path).resolved(1)
    verified = load_and_verify(settings, Transform)
    assert warm_up(verified.model, (), settings).inline_rows > 0


def test_tolerance_of_samples(tmp_path: Path) -> None:
    """A tolerance in samples.json that fits a quantized model does not make its rows independent."""
    rows = [[0.5] * 8, [4.0] * 8]
    outputs = [[0.0] * 8] * 2
    samples = [Sample({"x": rows}, {"y": outputs}, rtol=0.0, atol=100.0)]
    served = ServedModel(load_bytes(tmp_path, models.quantized()), Transform)
    assert "depends on the other rows" in warm_up(served, samples, Settings().resolved(1)).batching


def test_measure(tmp_path: Path) -> None:
    """Larger batches are measured, in a bounded time."""
    began = monotonic()
    model = load_bytes(tmp_path, models.slow())
    cost = measure(model, [{"x": np.ones((1, 1000), np.float32)}], 128)
    assert monotonic() - began < 10
    assert 0 < cost.predict(1) <= cost.predict(64) < 64 * 20 * cost.predict(1)
    assert measure(model, [], 128).predict(2) == 2 * measure(model, [], 128).predict(1)
