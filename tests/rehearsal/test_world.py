"""Tests of the simulated population."""

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.rehearsal.world import CONCEPT, DRIFTED, FEATURE, LABEL_DELAY_S, WINES, Population, World
from training.data import load

MODEL = Path(__file__).parents[2] / "model_store/wine/2/model.onnx"
SAMPLE = 2000


def test_population() -> None:
    """The sample's model is right about the wines before the drift only; classes stay as frequent."""
    data = load()
    population = Population(data)
    wines = [population.draw() for _ in range(SAMPLE)]
    x = np.array([wine.values for wine in wines], np.float32)
    assert (x >= data.x.min(axis=0) - 1e-3).all()
    assert (x <= data.x.max(axis=0) + 1e-3).all()
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    (labels,) = session.run(["label"], {"x": x})
    accuracy = {
        name: np.mean(labels == [concept[wine.drawn] for wine in wines])
        for name, concept in (("before", CONCEPT), ("after", DRIFTED))
    }
    assert accuracy["before"] > 0.95
    assert accuracy["after"] < 0.05
    for concept in (CONCEPT, DRIFTED):
        shares = np.bincount([concept[wine.drawn] for wine in wines]) / SAMPLE
        assert shares == pytest.approx([1 / 3] * 3, abs=0.05)


@pytest.fixture
def service() -> Iterator[tuple[str, list[Any]]]:
    """URL of a server that accepts feedback once, and the bodies that it got."""
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies.append((self.path, json.loads(body)))
            self.send_response(202 if len(bodies) == 1 else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        server.shutdown()
        thread.join()


def test_labels(service: tuple[str, list[Any]]) -> None:
    """Each answered request gets its label after the delay; what is refused is noted."""
    url, bodies = service
    with World(url) as world:
        world.violating_share = 1.0
        request = world.request()
        assert json.loads(request.body)["inputs"]["x"][0][FEATURE] < 0
        request.answered("a")
        _wait(lambda: world.labels == WINES)
        ((path, labels),) = bodies
        assert path == "/feedback"
        assert [(label["id"], label["row"]) for label in labels] == [("a", row) for row in range(WINES)]
        assert {label["label"] for label in labels} <= CONCEPT.keys()
        world.request().answered("b")
        _wait(lambda: bool(world.failures))
    assert world.labels == WINES
    assert world.failures[0].startswith("503")


def _wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LABEL_DELAY_S[1] + 5
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)
