"""Overload: callers take turns, large requests run in slices, and late requests are refused."""

import threading
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from app.errors import DeadlineExceeded, InferenceFailed, QueueFull, TooManyRequests
from app.model.onnx_model import Model
from tests import models
from tests.app.model.blocked_model import FOREVER, busy, make, rows, start
from tests.app.model.conftest import load_bytes


def test_many_requests(model: Model) -> None:
    """A caller's request runs after one of another caller's fifty, not after all of them."""
    batcher = make(model, batch_rows=1)
    with busy(model) as batches:
        start(batcher)
        greedy = [batcher.submit(rows(n), 1, FOREVER, "greedy") for n in range(1, 51)]
        polite = [batcher.submit(rows(n), 1, FOREVER, "polite") for n in (-1, -2)]
    assert [future.result(10).batch_rows for future in (*greedy, *polite)] == [1] * 52
    assert [batch[0] for batch in batches[:6]] == [0, 1, -1, 2, -2, 3]


def test_many_rows(model: Model) -> None:
    """A caller's row runs after a slice of another caller's hundred rows; their outputs are complete."""
    batcher = make(model, batch_rows=8)
    with busy(model) as batches:
        start(batcher)
        greedy = [batcher.submit(rows(*range(1, 101)), 100, FOREVER, "greedy") for _ in range(8)]
        polite = batcher.submit(rows(-1), 1, FOREVER, "polite")
    for future in greedy:
        result = future.result(10)
        assert result.outputs["y"].tolist() == [[2 * n + 1, 1 - 2 * n] for n in range(1, 101)]
        assert (result.batch_rows, result.is_batch_leader) == (100, True)
    assert polite.result(10).outputs["y"].tolist() == [[-1, 3]]
    assert max(map(len, batches)) == 8
    assert -1 in [row for batch in batches[1:3] for row in batch]


def test_time_not_requests(model: Model) -> None:
    """Callers get the same time: one row each of five requests for five rows of a request."""
    batcher = make(model)
    with busy(model) as batches:
        start(batcher)
        futures = [batcher.submit(rows(*[1] * 5), 5, FOREVER, "large") for _ in range(2)]
        futures += [batcher.submit(rows(-1), 1, FOREVER, "small") for _ in range(10)]
    for future in futures:
        future.result(10)
    assert [batch[0] for batch in batches] == [0, 1, -1, -1, -1, -1, -1, 1, -1, -1, -1, -1, -1]


def test_many_callers(model: Model) -> None:
    """Any number of callers can wait; those beyond the limit share a turn."""
    batcher = make(model, batch_rows=1)
    with busy(model):
        start(batcher)
        futures = [batcher.submit(rows(n), 1, FOREVER, f"10.0.{n}.1") for n in range(300)]
    assert [future.result(10).outputs["y"][0, 0] for future in futures] == [2 * n + 1 for n in range(300)]
    assert (batcher.waiting_rows, batcher.in_flight) == (0, 0)


def test_slices_on_threads(tmp_path: Path) -> None:
    """Slices that run on several threads at the same time are put together in their order."""
    model = load_bytes(tmp_path, models.slow(size=16, layers=3))
    batcher = make(model, threads=3, batch_rows=4)
    requests = [np.random.default_rng(n).standard_normal((n, 16)).astype(np.float32) for n in range(40)]
    futures = [batcher.submit({"x": x}, len(x), FOREVER, str(len(x) % 3)) for x in requests]
    for x, future in zip(requests, futures, strict=True):
        np.testing.assert_allclose(
            future.result(10).outputs["y"], model.infer({"x": x})["y"], rtol=1e-5, atol=1e-6
        )


def test_failed_slice(tmp_path: Path) -> None:
    """A request fails with its first slice that fails, and the rest of it does not run."""
    model = load_bytes(tmp_path, models.gather())
    batcher = make(model, batch_rows=2)
    with busy(model) as batches:
        failed = batcher.submit({"i": np.array([0, 1, 7, 1, 2, 2, 2, 2])}, 8, FOREVER)
        answered = batcher.submit({"i": np.array([2, 1])}, 2, FOREVER)
    assert isinstance(failed.exception(10), InferenceFailed)
    assert answered.result(10).outputs["y"].tolist() == [30, 20]
    assert len(batches) == 3


def test_cancelled_slices(model: Model) -> None:
    """The rest of a request whose deadline has passed does not run."""
    batcher = make(model, batch_rows=2)
    with busy(model) as batches:
        future = batcher.submit(rows(*range(100)), 100, FOREVER)
        while batcher.waiting_rows == 100:
            threading.Event().wait(0.001)
        assert (future.cancel(), batcher.waiting_rows, batcher.in_flight) == (True, 0, 0)
    assert batcher.submit(rows(5), 1, FOREVER).result(10).outputs["y"].tolist() == [[11, -9]]
    assert batches == [[0, 1], [5]]


def test_no_chance(model: Model) -> None:
    """A request that takes longer than until its deadline is refused although the model is idle."""
    batcher = make(model, row_seconds=1.0, batch_rows=1)
    with pytest.raises(QueueFull, match=r"about 5.0 s for 5 rows, and 2.0 s are left") as caught:
        batcher.submit(rows(*range(5)), 5, monotonic() + 2)
    assert caught.value.headers == {"retry-after": "4"}
    with pytest.raises(DeadlineExceeded):
        batcher.submit(rows(1), 1, monotonic())
    assert (batcher.waiting_rows, batcher.in_flight) == (0, 0)


def test_over_share(model: Model) -> None:
    """A caller whose requests take the time gets 429 where another caller is accepted, else 503."""
    batcher = make(model, row_seconds=1.0, batch_rows=1)
    with busy(model):
        start(batcher)  # for one more second
        futures = [batcher.submit(rows(1), 1, monotonic() + 14, "greedy") for _ in range(6)]
        with pytest.raises(TooManyRequests, match="6 rows of this caller wait") as refused:
            batcher.submit(rows(1), 1, monotonic() + 14.5, "greedy")
        assert refused.value.headers == {"retry-after": "1"}
        with pytest.raises(TooManyRequests) as refused:
            batcher.submit(rows(1, 2, 3), 3, monotonic() + 13.5, "greedy")
        assert refused.value.headers == {"retry-after": "4"}
        futures += [batcher.submit(rows(1), 1, monotonic() + 14, "polite")]
        with pytest.raises(QueueFull, match="7 rows wait"):
            batcher.submit(rows(1), 1, monotonic() + 4, "third")
        for future in futures:
            future.cancel()


def test_rows_for_others(model: Model) -> None:
    """One caller cannot take all rows of the queue: it has no more than are left for others."""
    batcher = make(model, max_queue_rows=10)
    with busy(model):
        start(batcher)
        for _ in range(5):
            batcher.submit(rows(1), 1, FOREVER, "greedy")
        with pytest.raises(TooManyRequests):
            batcher.submit(rows(1), 1, FOREVER, "greedy")
        batcher.submit(rows(1, 2), 2, FOREVER, "second")
        with pytest.raises(QueueFull):
            batcher.submit(rows(1, 2, 3, 4), 4, FOREVER, "third")
        batcher.submit(rows(1, 2, 3), 3, FOREVER, "third")


def test_batch_and_deadline(model: Model) -> None:
    """A batch is not so large that it outlasts the earliest deadline in it."""
    batcher = make(model, row_seconds=1.0, batch_rows=64)
    with busy(model) as batches:
        start(batcher)
        early = batcher.submit(rows(1), 1, monotonic() + 80)
        late = [batcher.submit(rows(2), 1, FOREVER) for _ in range(60)]
        early_deadline = batcher.submit(rows(3), 1, monotonic() + 200)
    for future in (early, *late, early_deadline):
        future.result(10)
    assert len(batches[1]) == 62
