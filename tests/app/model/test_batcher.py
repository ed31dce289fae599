"""The batcher: every request gets its own outputs, in a batch, separately or in slices."""

import random
import threading
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from app.errors import DeadlineExceeded, InferenceFailed, QueueFull
from app.model.job import Result
from app.model.onnx_model import Model
from tests import models
from tests.app.model.blocked_model import FOREVER, busy, make, rows, start
from tests.app.model.conftest import load_bytes


def test_inline(model: Model) -> None:
    """A small request runs in the caller's thread, a larger one does not."""
    batcher = make(model, max_queue_rows=10, inline_rows=2)
    result = batcher.run(rows(1, 2), 2)
    assert result
    assert result.outputs["y"].tolist() == [[3, -1], [5, -3]]
    assert batcher.run(rows(1, 2, 3), 3) is None


def test_batch(model: Model) -> None:
    """Requests that wait while the model is busy run as one batch, and each gets its own rows."""
    batcher = make(model, max_queue_rows=100, batch_rows=64)
    with busy(model):
        first = start(batcher)
        waiting = [batcher.submit(rows(*range(n, 2 * n)), n, FOREVER) for n in (1, 2, 3)]
    assert first.result().batch_rows == 1
    results = [future.result() for future in waiting]
    assert [result.batch_rows for result in results] == [6, 6, 6]
    assert [result.is_batch_leader for result in results] == [True, False, False]
    for n, result in zip((1, 2, 3), results, strict=True):
        assert result.outputs["y"].tolist() == [[2 * v + 1, 1 - 2 * v] for v in range(n, 2 * n)]


def test_random_groupings(tmp_path: Path) -> None:
    """Whatever requests share a batch, each gets the outputs that it would get separately."""
    model = load_bytes(tmp_path, models.slow(size=16, layers=3))
    batcher = make(model, threads=2, max_queue_rows=10_000, batch_rows=17)
    rng = random.Random(7)
    numbers = np.random.default_rng(7)
    for _ in range(20):
        requests = [numbers.standard_normal((rng.randint(0, 9), 16)).astype(np.float32) for _ in range(40)]
        futures = [batcher.submit({"x": request}, len(request), FOREVER) for request in requests]
        for request, future in zip(requests, futures, strict=True):
            np.testing.assert_allclose(
                future.result().outputs["y"], model.infer({"x": request})["y"], rtol=1e-5, atol=1e-6
            )


def test_different_shapes(tmp_path: Path) -> None:
    """Requests of different row shapes run in separate batches, and all are answered."""
    model = load_bytes(tmp_path, models.identity(models.FLOAT, ("batch", "length")))
    batcher = make(model, max_queue_rows=1000, batch_rows=64)
    with busy(model):
        futures = [
            batcher.submit({"x": np.full((1, length), length, np.float32)}, 1, FOREVER)
            for length in (1, 2, 1, 3, 2, 1)
        ]
    for length, future in zip((1, 2, 1, 3, 2, 1), futures, strict=True):
        assert future.result().outputs["y"].tolist() == [[length] * length]


def test_failed_batch(tmp_path: Path) -> None:
    """A request with bad data fails; the other requests of its batch are answered."""
    model = load_bytes(tmp_path, models.gather())
    batcher = make(model, max_queue_rows=100, batch_rows=64)
    with busy(model):
        futures = [batcher.submit({"i": np.array([i])}, 1, FOREVER) for i in (0, 1, 7, 2)]
    outcomes = [future.exception() or future.result() for future in futures]
    assert isinstance(outcomes[2], InferenceFailed)
    answered = [each for each in outcomes if isinstance(each, Result)]
    assert [each.outputs["y"].tolist() for each in answered] == [[10], [20], [30]]


def test_queue_full(model: Model) -> None:
    """Rows beyond the limit are rejected; a request larger than the limit may wait in an empty queue."""
    batcher = make(model, max_queue_rows=3, batch_rows=64)
    with busy(model):
        running = start(batcher)
        large = batcher.submit(rows(1, 2, 3, 4), 4, FOREVER)
        with pytest.raises(QueueFull, match="4 rows wait"):
            batcher.submit(rows(5), 1, FOREVER)
    assert running.result().batch_rows == 1
    assert large.result().batch_rows == 4


def test_queue_of_zero(model: Model) -> None:
    """Without a queue, a request is answered if the model is idle and rejected if it is busy."""
    batcher = make(model, max_queue_rows=0)
    assert batcher.submit(rows(1), 1, FOREVER).result().outputs["y"].tolist() == [[3, -1]]
    while not batcher.is_free:
        threading.Event().wait(0.001)
    with busy(model):
        running = start(batcher)
        with pytest.raises(QueueFull):
            batcher.submit(rows(5), 1, FOREVER)
    running.result()


def test_deadline(model: Model) -> None:
    """A request whose deadline passes in the queue does not run."""
    batcher = make(model, max_queue_rows=10, batch_rows=64)
    with busy(model):
        running = start(batcher)
        late = batcher.submit(rows(1), 1, monotonic() + 0.02)
        threading.Event().wait(0.1)
    assert isinstance(late.exception(), DeadlineExceeded)
    assert running.result()


def test_cancelled(model: Model) -> None:
    """A request whose client has disconnected leaves the queue at once and does not run."""
    batcher = make(model, max_queue_rows=10, batch_rows=64)
    with busy(model):
        running = start(batcher)
        cancelled = [batcher.submit(rows(1), 1, deadline) for deadline in (FOREVER, monotonic() + 0.05)]
        assert (batcher.waiting_rows, batcher.in_flight) == (2, 3)
        assert all(future.cancel() for future in cancelled)
        assert (batcher.waiting_rows, batcher.in_flight) == (0, 1)
        threading.Event().wait(0.1)
    assert running.result(10)
    assert batcher.submit(rows(1), 1, FOREVER).result(10).outputs["y"].tolist() == [[3, -1]]
