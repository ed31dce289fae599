"""A real model that can be blocked, and that remembers what it ran."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from app.model.batcher import Batcher
from app.model.cost_model import CostModel
from app.model.job import Result
from app.model.onnx_model import Model

FOREVER = float("inf")


@contextmanager
def busy(model: Model) -> Iterator[list[list[float]]]:
    """Block the model, so that requests have to wait; yield the first column of each batch."""
    infer, unblocked = model.infer, threading.Event()
    batches: list[list[float]] = []

    def blocked(inputs: Any) -> dict[str, object]:
        unblocked.wait(30)
        array = next(iter(inputs.values()))
        batches.append(array.reshape(len(array), -1)[:, 0].tolist())
        return infer(inputs)

    cast(Any, model).infer = blocked
    try:
        yield batches
    finally:
        unblocked.set()


def make(model: Model, *, row_seconds: float = 2.0**-13, threads: int = 1, **arguments: Any) -> Batcher:
    """Return a batcher for a model that is expected to take the same time for each row."""
    arguments.setdefault("max_queue_rows", 10_000)
    cost = CostModel({1: row_seconds, 128: 128 * row_seconds})
    return Batcher(model, threads=threads, cost=cost, **arguments)


def start(batcher: Batcher) -> Future[Result]:
    """Submit a request of one row, 0, and return when it runs; the model must be blocked."""
    running = batcher.submit(rows(0), 1, FOREVER)
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    return running


def rows(*values: float) -> dict[str, np.ndarray]:
    """Return inputs of one row per value."""
    return {"x": np.array([[value, -value] for value in values], np.float32)}
