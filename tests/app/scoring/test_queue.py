"""Requests that wait for the model."""

import threading

import numpy as np

from tests import models
from tests.app.model.blocked_model import FOREVER, busy
from tests.conftest import MakeClient


def test_refused_and_late(serve: MakeClient) -> None:
    """A full queue is 503, a caller's own full share of it 429, and a request past its deadline 504."""
    model = models.slow(size=200)
    client = serve(model, max_queue_rows=4, request_timeout_ms=500, batching="off", caller_header="x-caller")
    batcher = client.application.extensions["service"].scorer.batcher
    row = [[0.5] * 200]
    inputs = {"x": np.array(row, np.float32)}

    def post(caller: str) -> tuple[int, str | None, str]:
        response = client.post("/score", json={"inputs": row}, headers={"x-caller": caller})
        return response.status_code, response.headers.get("retry-after"), response.get_json().get("error")

    with busy(batcher.model):
        batcher.submit(inputs, 1, FOREVER, "alice")
        while batcher.waiting_rows:
            threading.Event().wait(0.001)
        for _ in range(2):
            batcher.submit(inputs, 1, FOREVER, "alice")
        assert post("alice") == (429, "1", "2 rows of this caller wait for the model already")
        late = "the request was not answered before its deadline"
        assert post("bob") == (504, None, late)
        batcher.submit(inputs, 1, FOREVER, "carol")
        batcher.submit(inputs, 1, FOREVER, "dave")
        assert post("bob") == (503, "1", "4 rows wait for the model already")
    text = client.get("/metrics").text
    for reason in ("queue_full", "over_share", "deadline"):
        assert f'model_rejected_total{{reason="{reason}"}} 1.0' in text
