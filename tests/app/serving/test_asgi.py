"""The ASGI application: which requests it answers itself, and what becomes of a client that leaves."""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvloop
from flask import Flask

from app import create_app
from app.errors import DeadlineExceeded, InferenceFailed, RequestError
from app.model.job import Result
from app.observability.request_record import MAX_BATCH, RequestRecord
from app.scoring.scorer import Response
from app.serving.asgi import AsgiApp, PushedRequest
from app.serving.lifecycle import flush_observers
from app.serving.observer_buffer import FLUSH_S, ObserverBuffer
from app.settings import Settings
from tests import models
from tests.conftest import MakeClient

BODY = b'{"inputs": [[1, 2]]}'
HEADERS = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "path",
    [
        "//score",
        "///score",
        "/%2Fscore",
        "/score/",
        "/./score",
        "/score/..",
        "//v2/models/tiny/infer",  # part: v2
        "/v2//models/tiny/infer",  # part: v2
        "/v2/models/tiny/infer/",  # part: v2
        "//healthz",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_path_that_is_not_canonical(app: Flask, method: str, path: str) -> None:
    """A path is never normalized: 404 at once, without reading the body, and not counted as the route."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body is read")

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    path = path.replace("%2F", "/")
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b""}
    scope["headers"] = [(b"content-length", b"20"), (b"content-type", b"application/json")]
    uvloop.run(AsgiApp(app)(scope, receive, send))
    assert messages[0]["status"] == 404
    assert b"no such route" in messages[1]["body"]
    text = app.test_client().get("/metrics").text
    assert 'url_rule="/score"' not in text
    assert "model_requests_total{" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/score",
        "/v2/models/tiny/infer",  # part: v2
        "/v2/models/tiny/versions/3/infer",  # part: v2
    ],
)
def test_flask_scores_nothing(
    app: Flask, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Under the ASGI application Flask's scoring view gets no request, whatever the method."""

    def fail(**_names: str) -> None:
        raise AssertionError("Flask's view was called")

    monkeypatch.setitem(app.view_functions, "score.score", fail)
    client = make_client(app)
    assert client.post(path, data=b"{", headers=HEADERS).status_code == 400
    assert client.post("/v2/models/other/infer", data=b"{").status_code == 404  # part: v2
    for method in ("GET", "HEAD", "PUT", "OPTIONS", "MADEUP"):
        assert client.open(path, method=method).status_code == 405


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"method": "post"}, 404),
        ({"path": "/api/score", "root_path": "/api"}, 415),
        ({"path": "/api/score"}, 404),
    ],
)
def test_unusual_scope(app: Flask, scope: dict[str, Any], status: int) -> None:
    """Other ASGI servers may pass a method in lower case or a root path; Flask scores nothing then either."""
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body is read")

    async def send(message: Any) -> None:
        messages.append(message)

    usual = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/score", "query_string": b""}
    headers = [(b"content-type", b"text/plain")]
    uvloop.run(AsgiApp(app)(usual | {"headers": headers} | scope, receive, send))
    assert messages[0]["status"] == status
    assert dict(messages[0]["headers"])[b"x-request-id"]


class Waiting:
    """A service with a slow model that is busy, and the records of its finished requests."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.write_bytes(models.affine())
        self.records: list[RequestRecord] = []
        flask = create_app(Settings(model_path=path, web_concurrency=1))
        self.app = AsgiApp(flask, ObserverBuffer([self.records.extend], lambda: False))
        self.future: Future[Any] = Future()
        batcher = self.app.service.scorer.batcher
        monkeypatch.setattr(batcher, "run", lambda *_: None)
        monkeypatch.setattr(batcher, "submit", lambda *_: self.future)

    def answer(self) -> Any:
        """Return the rest of the answer to a request that waits for the model."""
        request, answer = self.app.start(self.app.service.routes["/score"], HEADERS, "")
        request.append(BODY)
        request.is_complete = True
        return self.app.resume(answer, answer.send(None))


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return Waiting(tmp_path / "model.onnx", monkeypatch)


def answer_at_once(asgi: AsgiApp) -> Response:
    """Answer a request as the HTTP protocol does, first without its body."""
    request, answer = asgi.start(asgi.service.routes["/score"], HEADERS, "")
    assert answer.send(None) is None
    assert not request.append(BODY)
    request.is_complete = True
    with pytest.raises(StopIteration) as end:
        answer.send(None)
    response: Response = end.value.value
    return response


def test_answer_at_once(app: Flask) -> None:
    """A request waits for its body only, and is then answered without a task if the model answers at once."""

    async def run() -> None:
        assert answer_at_once(AsgiApp(app)).status == 200

    uvloop.run(run())


def test_body_is_released(app: Flask) -> None:
    """A request does not keep its body: it may wait for the model long after it is decoded."""
    request = PushedRequest(app.extensions["service"].routes["/score"], {}, "", BODY, is_complete=True)
    assert uvloop.run(request.body(100, 0.0, None)) == BODY
    assert request.content == b""


def test_late_counts(app: Flask) -> None:
    """At the end of a worker everything is counted, also a full batch that waits for the next one."""

    async def run() -> None:
        asgi = AsgiApp(app)
        for _ in range(MAX_BATCH + 1):
            answer_at_once(asgi)
        await asyncio.sleep(0)
        flush_observers(SimpleNamespace(asgi=asgi))

    uvloop.run(run())
    value = app.extensions["service"].metrics.registry.get_sample_value
    assert value("model_requests_total", {"status": "200", "caller": "anonymous"}) == MAX_BATCH + 1


def test_answer_later(waiting: Waiting) -> None:
    """A request that was started outside of a task is finished in one."""
    result = Result({"y": np.zeros((1, 2), np.float32)}, 0.0, 0.0, 1)

    async def run() -> Response:
        task = asyncio.create_task(waiting.answer())
        await asyncio.sleep(0)
        threading.Timer(0.01, waiting.future.set_result, [result]).start()
        response: Response = await task
        return response

    assert b'"y":[[0.0,0.0]]' in uvloop.run(run()).body


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), InferenceFailed("failed")])
def test_failure_later(waiting: Waiting, error: RequestError) -> None:
    """An error of the model, or a deadline that passes in the queue, becomes the response."""

    async def run() -> Response:
        task = asyncio.create_task(waiting.answer())
        await asyncio.sleep(0)
        threading.Timer(0.01, waiting.future.set_exception, [error]).start()
        response: Response = await task
        await asyncio.sleep(4 * FLUSH_S)
        return response

    assert uvloop.run(run()).status == error.status
    assert [record.status for record in waiting.records] == [error.status]


@pytest.mark.parametrize("started", [True, False])
def test_client_leaves(waiting: Waiting, started: bool) -> None:
    """If the client disconnects, the record has status 499, and the queued request is cancelled."""

    async def run() -> None:
        task = asyncio.create_task(waiting.answer())
        if started:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(4 * FLUSH_S)

    uvloop.run(run())
    assert [record.status for record in waiting.records] == [499]
    assert waiting.future.cancelled() is started
