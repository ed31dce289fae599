"""Natural batching: together or alone, every request gets its own answer."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, cast

import numpy as np
import pytest
from onnx import helper

from app.errors import DeadlineExceeded, InferenceFailed, QueueFull
from app.model.batcher import Batcher, Result
from app.model.onnx_model import Model, load, open_package
from app.model.served_model import ServedModel
from app.model.warm_up import proves_batching, warm_up
from app.settings import Settings
from tests import models

FOREVER = float("inf")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """y = 2·x + 1."""
    return make(tmp_path, models.affine())


def make(path: Path, data: bytes) -> Model:
    """A loaded model."""
    (path / "model.onnx").write_bytes(data)
    file = path / "model.onnx"
    return load(open_package(file), Settings(model_path=file).resolved(1))


@contextmanager
def busy(model: Model) -> Iterator[None]:
    """Keeps the model from answering, so that requests wait together."""
    infer, gate = model.infer, threading.Event()

    def wait(inputs: Any) -> dict[str, object]:
        gate.wait(30)
        return infer(inputs)

    monkey = cast(Any, model)
    monkey.infer = wait
    yield
    gate.set()


def rows(*values: float) -> dict[str, np.ndarray]:
    """One input with a row a value."""
    return {"x": np.array([[value, -value] for value in values], np.float32)}


def test_inline(model: Model) -> None:
    """A fast request runs in the caller's thread, a longer one does not."""
    batcher = Batcher(model, threads=1, max_queue_rows=10, inline_rows=2)
    result = batcher.run(rows(1, 2), 2)
    assert result
    assert result.outputs["y"].tolist() == [[3, -1], [5, -3]]
    assert batcher.run(rows(1, 2, 3), 3) is None


def test_together(model: Model) -> None:
    """Requests that wait while the model is busy run as one, and each gets its own rows."""
    batcher = Batcher(model, threads=1, max_queue_rows=100, max_batch_rows=64)
    with busy(model):
        first = batcher.submit(rows(0), 1, FOREVER)
        while batcher.waiting_rows:
            threading.Event().wait(0.001)
        waiting = [batcher.submit(rows(*range(n, 2 * n)), n, FOREVER) for n in (1, 2, 3)]
    assert first.result().batch_rows == 1
    results = [future.result() for future in waiting]
    assert [result.batch_rows for result in results] == [6, 6, 6]
    assert [result.is_batch_leader for result in results] == [True, False, False]
    for n, result in zip((1, 2, 3), results, strict=True):
        assert result.outputs["y"].tolist() == [[2 * v + 1, 1 - 2 * v] for v in range(n, 2 * n)]


def test_random_groupings(tmp_path: Path) -> None:
    """However requests fall together, the answers are those that they get alone."""
    model = make(tmp_path, models.slow(size=16, layers=3))
    batcher = Batcher(model, threads=2, max_queue_rows=10_000, max_batch_rows=17)
    choose = random.Random(7)
    numbers = np.random.default_rng(7)
    for _ in range(20):
        requests = [numbers.standard_normal((choose.randint(0, 9), 16)).astype(np.float32) for _ in range(40)]
        futures = [batcher.submit({"x": request}, len(request), FOREVER) for request in requests]
        for request, future in zip(requests, futures, strict=True):
            np.testing.assert_allclose(
                future.result().outputs["y"], model.infer({"x": request})["y"], rtol=1e-5, atol=1e-6
            )


def test_other_kinds_wait_their_turn(tmp_path: Path) -> None:
    """Requests of other dimensions do not run together, and none is left behind."""
    model = make(tmp_path, models.identity(models.FLOAT, ("batch", "length")))
    batcher = Batcher(model, threads=1, max_queue_rows=1000, max_batch_rows=64)
    with busy(model):
        futures = [
            batcher.submit({"x": np.full((1, length), length, np.float32)}, 1, FOREVER)
            for length in (1, 2, 1, 3, 2, 1)
        ]
    for length, future in zip((1, 2, 1, 3, 2, 1), futures, strict=True):
        assert future.result().outputs["y"].tolist() == [[length] * length]


def test_one_fails_alone(tmp_path: Path) -> None:
    """One request's bad data fails that request; those that ran with it are answered."""
    model = make(tmp_path, models.gather())
    batcher = Batcher(model, threads=1, max_queue_rows=100, max_batch_rows=64)
    with busy(model):
        futures = [batcher.submit({"i": np.array([i])}, 1, FOREVER) for i in (0, 1, 7, 2)]
    outcomes = [future.exception() or future.result() for future in futures]
    assert isinstance(outcomes[2], InferenceFailed)
    answered = [each for each in outcomes if isinstance(each, Result)]
    assert [each.outputs["y"].tolist() for each in answered] == [[10], [20], [30]]


def test_full(model: Model) -> None:
    """More rows than may wait are refused; one request larger than the queue may wait alone."""
    batcher = Batcher(model, threads=1, max_queue_rows=3, max_batch_rows=64)
    with busy(model):
        running = batcher.submit(rows(0), 1, FOREVER)
        while batcher.waiting_rows:
            threading.Event().wait(0.001)
        large = batcher.submit(rows(1, 2, 3, 4), 4, FOREVER)
        with pytest.raises(QueueFull, match="4 rows wait"):
            batcher.submit(rows(5), 1, FOREVER)
    assert running.result().batch_rows == 1
    assert large.result().batch_rows == 4


def test_none_may_wait(model: Model) -> None:
    """With a queue of no rows, a request is answered by a free model and refused by a busy one."""
    batcher = Batcher(model, threads=1, max_queue_rows=0)
    assert batcher.submit(rows(1), 1, FOREVER).result().outputs["y"].tolist() == [[3, -1]]
    while not batcher.is_free:
        threading.Event().wait(0.001)
    with busy(model):
        running = batcher.submit(rows(0), 1, FOREVER)
        while batcher.waiting_rows:
            threading.Event().wait(0.001)
        with pytest.raises(QueueFull):
            batcher.submit(rows(5), 1, FOREVER)
    running.result()


def test_deadline(model: Model) -> None:
    """A request whose deadline passes while it waits does not run."""
    batcher = Batcher(model, threads=1, max_queue_rows=10, max_batch_rows=64)
    with busy(model):
        running = batcher.submit(rows(0), 1, FOREVER)
        while batcher.waiting_rows:
            threading.Event().wait(0.001)
        late = batcher.submit(rows(1), 1, monotonic() + 0.02)
        threading.Event().wait(0.1)
    assert isinstance(late.exception(), DeadlineExceeded)
    assert running.result()


def test_cancelled(model: Model) -> None:
    """A request whose client has left does not run, past its deadline or not; the next one is answered."""
    batcher = Batcher(model, threads=1, max_queue_rows=10, max_batch_rows=64)
    with busy(model):
        running = batcher.submit(rows(0), 1, FOREVER)
        while batcher.waiting_rows:
            threading.Event().wait(0.001)
        left = [batcher.submit(rows(1), 1, deadline) for deadline in (FOREVER, monotonic())]
        assert all(future.cancel() for future in left)
    assert running.result(10)
    assert batcher.submit(rows(1), 1, FOREVER).result(10).outputs["y"].tolist() == [[3, -1]]


@pytest.mark.parametrize(
    ("data", "proven"),
    [
        (models.affine(), True),
        (models.slow(size=8, layers=2), True),
        (models.total(), False),  # an output without rows
        (models.identity(models.FLOAT, (3,)), False),  # no free dimension
        (models.sequence(), False),
        (
            models.model(
                [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
                [models.tensor("x")],
                [models.tensor("y")],
            ),
            False,  # its rows belong together
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
def test_proof(tmp_path: Path, data: bytes, proven: bool) -> None:
    """Only a model whose rows do not know of each other is given batches; it is tried, not believed."""
    model = make(tmp_path, data)
    numbers = np.random.default_rng(1)
    requests = [
        {
            name: numbers.standard_normal(
                [size if isinstance(size, int) else rows for size in spec.shape or ()]
            ).astype(np.float32)
            for name, spec in model.inputs.items()
        }
        for rows in (1, 2)
    ]
    assert proves_batching(model, requests, 1e-3, 1e-5) is proven


def test_proof_needs_different_rows(model: Model) -> None:
    """The same row twice proves nothing: a mean over the batch would be the same, too."""
    same = {"x": np.ones((1, 2), np.float32)}
    assert not proves_batching(model, [], 1e-3, 1e-5)
    assert not proves_batching(model, [same, same], 1e-3, 1e-5)
    assert proves_batching(model, [same, {"x": np.zeros((1, 2), np.float32)}], 1e-3, 1e-5)


def test_warm_up(tmp_path: Path) -> None:
    """A fast model answers inline, a slow one does not; batching can be switched off."""
    settings = Settings().resolved(1)
    fast = warm_up(ServedModel(make(tmp_path, models.affine())), (), settings)
    assert fast.inline_rows > 0
    slow = warm_up(ServedModel(make(tmp_path, models.slow())), (), settings)
    assert slow.inline_rows == 0
    assert warm_up(ServedModel(make(tmp_path, models.gather())), (), settings).inline_rows > 0
