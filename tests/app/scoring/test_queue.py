"""Requests that wait for the model."""

import threading

import numpy as np

from tests import models
from tests.conftest import MakeClient


def test_queue_full_and_deadline(serve: MakeClient) -> None:
    """A full queue is answered with 503 and Retry-After, a request past its deadline with 504."""
    client = serve(models.slow(), max_queue_rows=1, request_timeout_ms=100, batching="off")
    batcher = client.application.extensions["scorebox"].scorer.batcher
    rows = np.full((200, 1000), 0.5, np.float32)
    running = batcher.submit({"x": rows}, 200, deadline=float("inf"))
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    batcher.submit({"x": rows[:1]}, 1, deadline=float("inf"))
    response = client.post("/score", json={"inputs": [[0.5] * 1000]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.get_json()["error"] == "1 rows wait for the model already"
    running.result()
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    batcher.submit({"x": rows}, 200, deadline=float("inf"))
    while batcher.waiting_rows:
        threading.Event().wait(0.001)
    assert client.post("/score", json={"inputs": [[0.5] * 1000]}).status_code == 504
    text = client.get("/metrics").text
    assert 'model_rejected_total{reason="queue_full"} 1.0' in text
    assert 'model_rejected_total{reason="deadline"} 1.0' in text
