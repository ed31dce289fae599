"""Shutdown and reload: no request is lost."""

import http.client
import json
import signal
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests import models
from tests.app.conftest import Server, StartServer

BODY = '{"inputs": [[1, 2]]}'
HEADERS = {"content-type": "application/json"}


class Poster(threading.Thread):
    """Sends requests one after another on a kept-alive connection, until the server announces its end."""

    def __init__(self, server: Server, *, reconnects: bool = False) -> None:
        """
        Args:
            reconnects: connect again whenever the server closes the connection, until this is unset.
        """
        super().__init__()
        self.server = server
        self.reconnects = reconnects
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        """Send requests and count the outcomes."""
        connection = self.server.connect()
        while (self.reconnects or not self.outcomes["closed"]) and not self.outcomes["lost"]:
            try:
                connection.request("POST", "/score", BODY, HEADERS)
                response = connection.getresponse()
                is_correct = response.status == 200 and b'"y":[[3.0,5.0]]' in response.read()
                self.outcomes["correct" if is_correct else "wrong"] += 1
                if response.headers["connection"] == "close":
                    self.outcomes["closed"] += 1
                    connection.close()
            except (OSError, http.client.HTTPException):
                self.outcomes["lost"] += 1
        connection.close()


@pytest.mark.usefixtures("fast_http")
def test_nothing_lost_at_sigterm(package: Path, start_server: StartServer) -> None:
    """After SIGTERM every request on an accepted connection is answered, and its close is announced."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    posters = [Poster(server) for _ in range(8)]
    for poster in posters:
        poster.start()
    time.sleep(1)
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 25
    for poster in posters:
        poster.join()
    total = sum((poster.outcomes for poster in posters), Counter[str]())
    assert (total["lost"], total["wrong"], total["closed"]) == (0, 0, 8)
    assert total["correct"] > 100
    assert list(server.log.parent.glob("demo-*")) == []


@pytest.mark.usefixtures("fast_http")
def test_nothing_lost_over_reloads(package: Path, start_server: StartServer) -> None:
    """Clients that send requests without pause lose none while the workers are replaced three times."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    posters = [Poster(server, reconnects=True) for _ in range(16)]
    for poster in posters:
        poster.start()
    for number in range(3):
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            announcements = sum(line["message"].startswith("serving ") for line in server.lines())
            if announcements == number + 2 and len(server.workers()) == 2:
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"reload {number} did not end")
    for poster in posters:
        poster.reconnects = False
    assert server.stop() == 0
    for poster in posters:
        poster.join()
    total = sum((poster.outcomes for poster in posters), Counter[str]())
    assert (total["lost"], total["wrong"]) == (0, 0)
    assert total["closed"] > 16
    assert total["correct"] > 1000


@pytest.mark.usefixtures("fast_http")
def test_late_request_at_sigterm(package: Path, start_server: StartServer) -> None:
    """A client that sends its first request after the worker stopped accepting connections is answered."""
    server = start_server(package, WEB_CONCURRENCY="1", DRAIN_DELAY_S="1").wait_until_ready()
    with closing(server.connect()) as connection:
        connection.connect()
        server.process.terminate()
        time.sleep(2)
        connection.request("POST", "/score", BODY, HEADERS)
        response = connection.getresponse()
        assert (response.status, response.headers["connection"]) == (200, "close")
    assert server.process.wait(timeout=20) == 0


@pytest.mark.usefixtures("fast_http")
def test_queued_requests_at_sigterm(tmp_path: Path, start_server: StartServer) -> None:
    """Running and queued requests are answered after SIGTERM, while readiness fails."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    server = start_server(path, WEB_CONCURRENCY="1", BATCHING="off").wait_until_ready()
    body = {"inputs": [[0.5] * 1000] * 64}
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(server.request("POST", "/score", body)[0]))
        for _ in range(4)
    ]
    with closing(server.connect()) as connection:
        connection.request("GET", "/readyz")
        assert connection.getresponse().read() == b'{"status":"ready"}\n'
        for thread in threads:
            thread.start()
        while server.metric("model_infer_duration_seconds_count") == 0:
            time.sleep(0.01)
        assert len(statuses) < 4
        server.process.terminate()
        time.sleep(0.1)
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        assert (response.status, response.headers["connection"]) == (503, "close")
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert server.process.wait(timeout=30) == 0


def test_reload(package: Path, start_server: StartServer) -> None:
    """SIGHUP replaces the workers, and the new ones log what they serve."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if sum(line["message"].startswith("serving ") for line in server.lines()) == 2:
            break
        time.sleep(0.05)
    else:
        pytest.fail(server.log.read_text())
    # A draining worker may answer some of these requests.
    assert 200 in {server.request("GET", "/readyz")[0] for _ in range(100)}
    assert server.stop() == 0


def test_sigterm_behind_reloads(package: Path, start_server: StartServer) -> None:
    """SIGTERM is not kept behind queued SIGHUPs, each of which would start new workers first."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    for _ in range(20):
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.005)
    assert server.stop() == 0
    assert sum(line["message"].startswith("serving ") for line in server.lines()) < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_quick_stop_during_inference(
    tmp_path: Path, start_server: StartServer, number: signal.Signals
) -> None:
    """SIGINT and SIGQUIT end the service at once, without an abort while the model runs."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    server = start_server(path, WEB_CONCURRENCY="1").wait_until_ready()
    with closing(server.connect()) as connection:
        connection.request("POST", "/score", json.dumps({"inputs": [[0.5] * 1000] * 500}), HEADERS)
        time.sleep(0.3)
        started = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - started < 5
    log = server.log.read_text()
    assert "terminate called" not in log
    assert "SIGABRT" not in log


@pytest.mark.usefixtures("fast_http")
def test_connections_at_sigterm(package: Path, start_server: StartServer) -> None:
    """Clients that connect without pause while the service ends are answered or refused, never reset."""
    server = start_server(package, WEB_CONCURRENCY="1", LOG_SUCCESS_RATIO="0").wait_until_ready()
    outcomes: Counter[str] = Counter()

    def post() -> None:
        while not outcomes["ConnectionRefusedError"]:
            try:
                outcomes[str(server.request("POST", "/score", {"inputs": [[1, 2]]})[0])] += 1
            except (OSError, http.client.HTTPException) as exc:
                outcomes[type(exc).__name__] += 1

    threads = [threading.Thread(target=post) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert set(outcomes) == {"200", "ConnectionRefusedError"}
