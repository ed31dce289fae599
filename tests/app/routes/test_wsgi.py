"""Through Flask alone the service answers as through the ASGI application."""

import gzip
import io
import re
import threading
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.routes.score import run
from app.settings import Settings
from tests import models
from tests.asgi_client import AsgiClient
from tests.conftest import MakeClient

JSON = {"content-type": "application/json"}
NPY = io.BytesIO()
np.save(NPY, np.ones((2, 2), np.float32))
GZIP = gzip.compress(b'{"inputs": [[1, 2]]}')
COUNTS = re.compile(r"^(?:model_requests|model_rejected|flask_http\w+)_total\{.*", re.MULTILINE)


def seen(client: Any, **request: Any) -> tuple[int, dict[str, str], bytes]:
    """Send a request; return status, headers and body of the response without what differs each time."""
    response = client.open(**request)
    headers = {
        name.lower(): value
        for name, value in response.headers.items()
        if name.lower()
        not in ("date", "x-request-id", "x-prediction-id", "x-ms-request-id", "x-ms-run-fn-exec-ms")
    }
    body = response.data
    if headers.get("content-encoding") == "gzip":
        body, headers["content-length"] = gzip.decompress(body), "depends on the id"
    return response.status_code, headers, re.sub(rb'"id":"[0-9a-f]{32}"', b"", body)


@pytest.mark.parametrize(
    "request_",
    [
        {"path": "/score", "json": {"inputs": [[1, 2]]}},
        {"path": "/score", "json": {"instances": [{"a": 1, "b": 2}]}},
        {"path": "/score", "data": NPY.getvalue(), "content_type": "application/x-npy"},
        {"path": "/score", "data": GZIP, "headers": JSON | {"content-encoding": "gzip"}},
        {"path": "/score", "json": {"inputs": [[1, 2]]}, "headers": {"accept-encoding": "gzip"}},
        {"path": "/score", "json": {"inputs": [[1, 2, 3]]}},
        {"path": "/score", "data": b"{"},
        {"path": "/score", "data": b"{", "headers": JSON},
        {"path": "/score", "data": b"1" * 2000, "headers": JSON},
        {"path": "/score", "data": b"x", "content_type": "text/plain"},
        {"path": "/score", "json": {"inputs": [[1, 2]]}, "headers": {"x-request-id": "x" * 101}},
        # part: v2
        {
            "path": "/v2/models/tiny/versions/3/infer",
            "json": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]},
        },
        # end: v2
        {"path": "/v2/models/other/infer", "json": {}},
        {"path": "/score", "data": "b,a\n2,1\n", "content_type": "text/csv"},
        {"path": "/invocations", "json": {"inputs": [[1, 2]]}},
        {"path": "/v1/models/tiny:predict", "json": {"inputs": [[1, 2]]}},
        {"path": "/v1/models/tiny%3Apredict", "json": {"instances": [[1, 2]]}},
        {"path": "/v1/models/other:predict", "json": {}},
        {"path": "/v1/models/tiny:predict", "method": "GET"},
        {"path": "/ping", "method": "GET"},
        {"path": "/", "json": {"inputs": [[1, 2]]}, "environ_overrides": {"PATH_INFO": "//score"}},
        {"path": "/", "json": {}, "environ_overrides": {"PATH_INFO": "/v2/models/mod\xc3\xa8le/infer"}},
        {"path": "/score", "method": "GET"},
        {"path": "/score", "method": "MADEUP"},
        {"path": "/model", "method": "GET"},
        {"path": "/", "method": "GET", "headers": {"accept": "text/html"}},
        {"path": "/openapi.json", "method": "GET"},
        {"path": "/nowhere", "method": "GET"},
    ],
    ids=lambda request: f"{request.get('method', 'POST')} {request['path']}",
)  # fmt: skip
def test_same_answer(settings: Settings, request_: dict[str, Any]) -> None:
    """Status, headers, body and counts are the same."""
    counts = []
    answers = []
    for make in (Flask.test_client, AsgiClient):
        app = create_app(Settings(model_path=settings.model_path, web_concurrency=1, max_body_bytes=1000))
        client: Any = make(app)
        answers.append(seen(client, **{"method": "POST", **request_}))
        text = client.get("/metrics").text
        counts.append(COUNTS.findall(text))
    assert answers[0] == answers[1]
    assert counts[0] == counts[1]


def test_authentication(settings: Settings, tmp_path: Any) -> None:
    """Without a key Flask's view answers 401, and reads no body."""
    keys = tmp_path / "keys"
    keys.write_text(f"team:{'0' * 64}\n")
    app = create_app(Settings(model_path=settings.model_path, web_concurrency=1, api_keys_file=keys))
    body = io.BytesIO(b"{}")
    response = app.test_client().post("/score", input_stream=body, content_length=2)
    assert response.status_code == 401
    assert body.tell() == 0


def test_counted_at_once(app: Flask) -> None:
    """Requests are counted without another one following them: this process may not answer /metrics."""
    for _ in range(50):
        assert app.test_client().post("/score", json={"inputs": [[1, 2]]}).status_code == 200
    value = app.extensions["service"].metrics.registry.get_sample_value
    assert value("model_requests_total", {"status": "200", "caller": "anonymous"}) == 50


def test_several_at_once(serve: MakeClient) -> None:
    """A model that does not answer at once blocks the thread of its request, and no other."""
    app: Flask = serve(models.slow()).application
    body = {"inputs": [[0.5] * 1000] * 8}
    statuses: list[int] = []

    def post() -> None:
        client: FlaskClient = app.test_client()
        statuses.append(client.post("/score", json=body).status_code)

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert app.test_client().get("/healthz").status_code == 200
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8


def test_deadline(settings: Settings) -> None:
    """A body that takes too long is answered with 504."""

    class Slow(io.RawIOBase):
        def readinto(self, buffer: Any) -> int:
            threading.Event().wait(0.02)
            buffer[:1] = b" "
            return 1

        def readable(self) -> bool:
            return True

    app = create_app(Settings(model_path=settings.model_path, web_concurrency=1, request_timeout_ms=50))
    environ = {"wsgi.input": Slow(), "CONTENT_LENGTH": "1000"}
    response = app.test_client().post("/score", environ_overrides=environ, content_type="application/json")
    assert response.status_code == 504


def test_body_that_ends_early(app: Flask) -> None:
    """A client that disconnects amid its body is answered with 400."""
    environ = {"wsgi.input": io.BytesIO(b"{"), "CONTENT_LENGTH": "10"}
    response = app.test_client().post("/score", environ_overrides=environ, content_type="application/json")
    assert response.status_code == 400
    assert "ended early" in response.get_json()["error"]


def test_no_event_loop() -> None:
    """What waits for an event loop is refused, instead of never being finished."""

    class Pending:
        def __await__(self) -> Any:
            yield self

    async def wait() -> None:
        await Pending()

    with pytest.raises(RuntimeError, match="waits for an event loop"):
        run(wait())
