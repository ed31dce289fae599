"""The last hour: rings that workers share, requests, data, and their routes."""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from app import create_app
from app.errors import SettingsError
from app.observability import prometheus_history, recent_requests, shared_ring
from app.observability.prometheus_history import PrometheusError, PrometheusHistory
from app.observability.recent_requests import RecentRequests, quantile
from app.observability.shared_ring import SharedRing
from app.settings import Settings
from tests.app.conftest import ROOT
from tests.conftest import MakeClient

NOW = 1_700_000_000.0


class Clock:
    """A clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        for module in (shared_ring, recent_requests):
            monkeypatch.setattr(module, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the rings."""
    return Clock(monkeypatch)


def ring_of(directory: Path | None, pid: int, monkeypatch: pytest.MonkeyPatch) -> SharedRing:
    """Return the ring of a worker."""
    with monkeypatch.context() as context:
        context.setattr(os, "getpid", lambda: pid)
        return SharedRing("ring", directory, steps=4, step_s=10, columns=3)


def test_workers_share(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker reads the sums of all of them, also of one that has ended."""
    first, second = (ring_of(tmp_path, pid, monkeypatch) for pid in (1, 2))
    first.add(np.array([1.0, 2.0]), np.array([5.0]))
    first.add(np.array([1.0, 2.0]), np.array([3.0]))
    second.add(np.array([10.0, 0.0]), np.array([7.0]))
    first.write()
    began, columns = second.read()
    assert (began, columns.tolist()) == (NOW - 30, [[0, 0, 0]] * 3 + [[12, 4, 12]])


def test_steps_move_on(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is kept for as long as the ring is, and then is not taken for a later one."""
    for directory in (tmp_path, None):
        clock.now = NOW
        ring = ring_of(directory, 1, monkeypatch)
        for i in range(3):
            ring.add(np.array([i + 1.0]))
            clock.now += 10
        assert ring.read()[1][:, 0].tolist() == [1, 2, 3, 0]
        clock.now += 20
        assert ring.read()[1][:, 0].tolist() == [3, 0, 0, 0]
        clock.now += 10_000
        assert ring.read()[1].sum() == 0


def test_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of workers that ended long ago are removed; one that is cut off is read so far."""
    old, cut = tmp_path / "ring-8", tmp_path / "ring-9"
    old.write_bytes(b"\1" * 64)
    os.utime(old, (0, 0))
    cut.write_bytes(b"\0" * 13)
    ring = ring_of(tmp_path, 1, monkeypatch)
    assert (old.exists(), cut.exists()) == (False, True)
    assert ring.read()[1].sum() == 0


def test_full_disk(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without space nothing fails, and the log says so once."""
    ring = ring_of(tmp_path, 1, monkeypatch)

    def fail(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    for _ in range(3):
        ring.add(np.array([1.0]))
        ring.write()
    assert [record.message for record in caplog.records] == [
        "no space for the page's last hour, it is not kept: [Errno 28] No space left on device"
    ]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_quantiles(share: float) -> None:
    """A quantile of the bins is within 8 % of that of the values."""
    values = np.random.default_rng(3).lognormal(-6, 1, 5000)
    bins = recent_requests.BOUNDS.searchsorted(values)
    counts = np.bincount(bins, minlength=len(recent_requests.BOUNDS) + 1).astype(float)
    assert quantile(counts, share) == pytest.approx(np.quantile(values, share), rel=0.08)
    assert quantile(np.zeros(len(counts)), share) is None
    slow = np.zeros(len(counts))
    slow[-1] = 1
    assert quantile(slow, share) == pytest.approx(10.0)


def test_requests(clock: Clock) -> None:
    """Requests are counted by what they were; only answers have a duration."""
    waiting = [0]
    recent = RecentRequests(None, lambda: waiting[0])
    recent.count(200, None, np.array([0.001, 0.001]))
    waiting[0] = 9
    recent.count(400, "invalid", np.array([5.0]))
    recent.count(503, "queue_full", np.array([5.0]))
    recent.count(429, "over_share", np.array([5.0]))
    waiting[0] = 4
    recent.refresh()
    clock.now += 10
    hour = recent.last_hour(started=NOW)
    assert (hour["from"], hour["step_s"]) == (NOW, 10)
    assert {name: values for name, values in hour["steps"].items() if not name.startswith("p")} == {
        "requests": [0.5], "client_errors": [0.2], "server_errors": [0.1], "shed": [0.2], "queue_rows": [9.0]
    }  # fmt: skip
    assert hour["hour"]["requests"] == 5
    assert hour["hour"]["p99"] == pytest.approx(0.001, rel=0.2)
    assert len(recent.last_hour(started=NOW - 100)["steps"]["requests"]) == 11
    assert len(recent.last_hour(started=0)["steps"]["requests"]) == recent_requests.STEPS - 1


def test_current_step(clock: Clock) -> None:
    """A step that is not over is in the hour only; the first has the rates of the time since the start."""
    recent = RecentRequests(None, lambda: 0)
    clock.now += 4
    recent.count(200, None, np.full(8, 0.001))
    assert recent.last_hour(started=NOW)["steps"]["requests"] == [2.0]
    assert recent.last_hour(started=clock.now)["steps"]["requests"] == [8.0]
    clock.now = NOW + 12
    recent.count(200, None, np.full(2, 0.001))
    hour = recent.last_hour(started=NOW)
    assert (hour["steps"]["requests"], len(hour["steps"]["p50"])) == ([0.8], 1)
    assert hour["hour"]["requests"] == 10


def test_routes(make_client: MakeClient) -> None:
    """The routes tell state, last hour and data without a key, as the metrics do."""
    settings = Settings(
        model_path=ROOT / "model_store/wine/2", web_concurrency=1, stage="staging", release="r1"
    )
    app = create_app(settings)
    client = make_client(app)
    client.post("/score", json={"inputs": [[1] * 13] * 3})
    client.post("/score", json={"inputs": "no"})
    reply = client.get("/recent").get_json()
    assert (reply["state"], reply["stage"], reply["release"], reply["source"]) == (
        "ready", "staging", "r1", "service"
    )  # fmt: skip
    assert (reply["callers"], reply["rejected"]) == ({"anonymous": 2}, {"invalid": 1})
    assert (reply["hour"]["requests"], reply["hour"]["client_errors"]) == (2, 1)
    response = client.get("/recent")
    assert (reply["version"], reply["digest"]) == ("2", response.headers["x-model-digest"])
    data = client.get("/recent/data").get_json()
    assert (data["rows"], data["baseline_rows"]) == ({"1h": 3, "15m": 3}, 133)
    assert data["pod"] == reply["pod"]
    alcohol = data["distributions"][0]
    assert (alcohol["name"], sum(alcohol["1h"]), alcohol["1h"][alcohol["bins"].index("outside")]) == (
        "alcohol", 3, 3
    )  # fmt: skip
    assert reply["draining_since"] is None
    before = time.time()
    app.extensions["service"].draining.set()
    reading = client.get("/recent").get_json()
    assert reading["state"] == "draining"
    assert before <= reading["draining_since"] <= time.time()


class Prometheus:
    """A server that answers like Prometheus, with what a test gives it."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.answers: dict[str, list[Any]] = {}
        self.broken: bytes | None = None
        self.delay_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parameters = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                outer.queries.append(parameters["query"])
                time.sleep(outer.delay_s)
                result = next(
                    (answer for text, answer in outer.answers.items() if text in parameters["query"]), []
                )
                document = json.dumps({"status": "success", "data": {"result": result}}).encode()
                with suppress(OSError):  # the client has gone
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(document if outer.broken is None else outer.broken)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    """A running server."""
    stub = Prometheus()
    thread = threading.Thread(target=stub.server.serve_forever)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


def test_prometheus(
    prometheus: Prometheus, make_client: MakeClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PROMETHEUS_URL, the hour is that of all replicas, and the quality is the monitor's."""
    end = int(time.time())
    monkeypatch.setattr(prometheus_history, "time", lambda: end)
    labels = {"metric": "accuracy", "version": "3", "window": "1d"}
    prometheus.answers = {
        "sum(rate(model_requests_total{job": [{"metric": {}, "values": [[end, "2.5"], [end - 30, "NaN"]]}],
        "model_quality_rows": [{"metric": labels, "value": [end, "120"]}],
        "model_quality_limit": [
            {"metric": {"metric": "accuracy", "version": "3", "side": "min"}, "value": [end, "0.9"]}
        ],
        "model_quality{": [
            {"metric": labels | {"bound": bound}, "value": [end, value]}
            for bound, value in (("value", "0.95"), ("low", "0.93"), ("high", "0.97"))
        ],
    }
    app = create_app(
        Settings(
            model_path=settings.model_path,
            web_concurrency=1,
            prometheus_url=prometheus.url,
            prometheus_selector='job="demo"',
        )
    )
    client = make_client(app)
    reply = client.get("/recent").get_json()
    assert (reply["source"], reply["problem"], reply["step_s"]) == ("prometheus", None, 30)
    assert reply["steps"]["requests"][-2:] == [None, 2.5]
    assert reply["steps"]["server_errors"][-2:] == [None, 0.0]
    assert all('job="demo"' in query for query in prometheus.queries)
    (measure,) = client.get("/recent/data").get_json()["quality"]
    assert measure == labels | {"value": 0.95, "low": 0.93, "high": 0.97, "rows": 120, "limit": 0.9}
    asked = len(prometheus.queries)
    client.get("/recent")
    assert len(prometheus.queries) == asked


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[]",
        b'{"data": {"result": [1]}}',
        b'{"data": {"result": null}}',
        b'{"data": {"result": {"a": 1}}}',
        b'{"data": {"result": [{"metric": [], "value": [0, "1"], "values": 1}]}}',
        b'{"data": {"result": [{"metric": {"bound": {}}, "value": [0, "1"], "values": [[1e999, 1]]}]}}',
        b"[" * 100_000,
        b'{"data": {"result": [{"values": [["a", "b"]]}]}}',
        None,
    ],
)
def test_no_prometheus(
    prometheus: Prometheus, make_client: MakeClient, settings: Settings, content: bytes | None
) -> None:
    """If Prometheus is unreachable or answers nonsense, the replica's own hour is there, with the reason."""
    prometheus.broken = content
    url = prometheus.url if content else "http://127.0.0.1:1"
    app = create_app(Settings(model_path=settings.model_path, web_concurrency=1, prometheus_url=url))
    client = make_client(app)
    for _ in range(2):
        reply = client.get("/recent")
        assert (reply.status_code, reply.get_json()["source"]) == (200, "service")
        assert "Prometheus" in reply.get_json()["problem"]
    assert client.get("/recent/data").get_json()["quality"] == []


def test_slow_prometheus(prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    """All queries together have 2 s; meanwhile other threads do not wait, and get what was read before."""
    monkeypatch.setattr(prometheus_history, "MAX_AGE_S", 0.0)
    history = PrometheusHistory(prometheus.url, "")
    before = history.quality()
    prometheus.delay_s = 0.5
    outcomes: list[Any] = []

    def read() -> None:
        try:
            outcomes.append(history.last_hour())
        except PrometheusError as exc:
            outcomes.append(str(exc))

    thread = threading.Thread(target=read)
    began = time.monotonic()
    thread.start()
    while len(prometheus.queries) < 4:
        time.sleep(0.01)
    assert history.quality() == before
    with pytest.raises(PrometheusError, match="has not been read yet"):
        history.last_hour()
    assert outcomes == []
    thread.join()
    assert time.monotonic() - began < 3.5
    assert re.search(r"within 2 s|timed out", outcomes[0])


@pytest.mark.parametrize(
    "variables",
    [
        {"PROMETHEUS_URL": "prometheus:9090"},
        {"PROMETHEUS_URL": "ftp://prometheus"},
        {"PROMETHEUS_URL": "http://user:secret@prometheus"},
        {"PROMETHEUS_SELECTOR": "job=demo"},
        {"PROMETHEUS_SELECTOR": 'job="demo"} or {a="b"'},
    ],
)
def test_settings(variables: dict[str, str]) -> None:
    """A URL or selector that is not valid stops the start, and the message names the variable."""
    with pytest.raises(SettingsError, match=next(iter(variables))) as raised:
        Settings.from_environ(variables)
    assert "secret" not in str(raised.value)
