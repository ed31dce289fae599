"""The service under gunicorn: start, several workers, the end."""

import http.client
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.serving.lifecycle import GAUGE_MAX_AGE_S
from app.settings import Settings
from model_loader.package import MODEL_FILE
from tests import models
from tests.app.conftest import Server, StartServer
from tests.conftest import write_package

BODY = '{"inputs": [[1, 2]]}'
HEADERS = {"content-type": "application/json"}


def metric(server: Server, line: str) -> float:
    """The value of one line of /metrics."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", server.request("GET", "/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_start(package: Path, start_server: StartServer) -> None:
    """With two workers there is one line that says what is served, and its command's request is answered."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    _no_baseline, line = server.lines()
    assert re.match(
        r"serving tiny/3@sha256:[0-9a-f]{64} on port \d+ with 2 workers of 1 threads; try: curl",
        line["message"],
    )
    assert server.request("POST", "/score", {"instances": [{"a": 1, "b": 2}]})[0] == 200
    assert server.stop() == 0


@pytest.mark.parametrize("fault", ["sample", "file", "setting"])
def test_refused(tmp_path: Path, start_server: StartServer, fault: str) -> None:
    """What cannot be proven ends the start with exit code 1 and one message, also with four workers."""
    sample = {"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[3, 6]]}}
    package = write_package(tmp_path / "package", models.affine(), samples=[sample])
    words = "sample 0: output 'y': expected [[3, 6]], got [[3.0,5.0]]"
    if fault == "file":
        (package / MODEL_FILE).write_bytes(models.total())
        words = "model.onnx is not what was published"
    elif fault == "setting":
        words = "PORT has the value 'x'"
    server = start_server(package, WEB_CONCURRENCY="4", **({"PORT": "x"} if fault == "setting" else {}))
    assert server.process.wait(timeout=12) == 1  # less than the grace time
    assert server.log.read_text().count(words) == 1
    assert "Traceback" not in server.log.read_text()


def test_counts_over_workers(package: Path, start_server: StartServer) -> None:
    """Whichever worker is asked tells the counts of all, also when one was killed in between."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    line = 'model_requests_total{caller="anonymous",status="200"}'
    for _ in range(20):
        assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    time.sleep(1.5 * GAUGE_MAX_AGE_S)
    assert [metric(server, line) for _ in range(6)] == [20.0] * 6
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while len(set(server.workers()) - set(before)) != 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(20):
        assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    time.sleep(1.5 * GAUGE_MAX_AGE_S)
    assert [metric(server, line) for _ in range(6)] == [40.0] * 6
    text = server.request("GET", "/metrics")[1]
    assert len(re.findall(r"^model_info\{.*\} 1\.0$", text, re.MULTILINE)) == 1
    assert server.stop() == 0


def counters(server: Server) -> dict[str, float]:
    """All counters, and the numbers of histograms, as one scrape tells them."""
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(server.request("GET", "/metrics")[1]):
        if family.type in ("counter", "histogram"):
            for sample in family.samples:
                samples[f"{sample.name}{sorted(sample.labels.items())}"] = sample.value
    return samples


def gauges_of(server: Server) -> set[int]:
    """The workers that have gauges."""
    text = server.request("GET", "/metrics")[1]
    return {
        int(pid) for pid in re.findall(r'^worker_resident_memory_bytes\{pid="(\d+)"\}', text, re.MULTILINE)
    }


def test_counters_never_go_down(package: Path, start_server: StartServer) -> None:
    """Through a killed worker and a reload no count falls, and only the living have gauges."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    assert gauges_of(server) <= set(server.workers())
    scrapes = []
    for event in ("nothing", "kill", "reload"):
        before = set(server.workers())
        if event == "kill":
            os.kill(min(before), signal.SIGKILL)
        elif event == "reload":
            server.process.send_signal(signal.SIGHUP)
        expected = {"nothing": 2, "kill": 1, "reload": 0}[event]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            # A connection that the killed worker had accepted ends with it.
            with suppress(*((OSError, http.client.HTTPException) if event == "kill" else ())):
                server.request("POST", "/score", {"inputs": [[1, 2]]})
                scrapes.append(counters(server))
            now = set(server.workers())
            if len(now) == 2 and len(now & before) == expected and gauges_of(server) == now:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"{event}: gauges of {gauges_of(server)}, workers {server.workers()}")
    for earlier, later in pairwise(scrapes):
        assert all(later[name] >= value for name, value in earlier.items())
    assert scrapes[-1] != scrapes[0]


class Poster(threading.Thread):
    """Posts without pause over a kept-alive connection, until it is told that the connection closes."""

    def __init__(self, server: Server, *, stays: bool = False) -> None:
        """
        Args:
            stays: whether it connects again when told that the connection closes, until it is unset.
        """
        super().__init__()
        self.server = server
        self.stays = stays
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        """Posts; every outcome is counted."""
        connection = self.server.connect()
        while (self.stays or not self.outcomes["closed"]) and not self.outcomes["lost"]:
            try:
                connection.request("POST", "/score", BODY, HEADERS)
                reply = connection.getresponse()
                answered = reply.status == 200 and b'"y":[[3.0,5.0]]' in reply.read()
                self.outcomes["answered" if answered else "wrong"] += 1
                if reply.headers["connection"] == "close":
                    self.outcomes["closed"] += 1
                    connection.close()
            except (OSError, http.client.HTTPException):
                self.outcomes["lost"] += 1
        connection.close()


def test_nothing_lost_at_sigterm(package: Path, start_server: StartServer) -> None:
    """At SIGTERM every request on an accepted connection is answered, and its close is told beforehand."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    posters = [Poster(server) for _ in range(8)]
    for poster in posters:
        poster.start()
    time.sleep(1)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 25
    for poster in posters:
        poster.join()
    total = sum((poster.outcomes for poster in posters), Counter[str]())
    assert (total["lost"], total["wrong"], total["closed"]) == (0, 0, 8)
    assert total["answered"] > 100
    assert list(server.log.parent.glob("scorebox-*")) == []


def test_nothing_lost_over_reloads(package: Path, start_server: StartServer) -> None:
    """Clients that post without pause lose no request while the workers are replaced three times."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    posters = [Poster(server, stays=True) for _ in range(16)]
    for poster in posters:
        poster.start()
    for number in range(3):
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            served = sum(line["message"].startswith("serving ") for line in server.lines())
            if served == number + 2 and len(server.workers()) == 2:
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"reload {number} did not end")
    for poster in posters:
        poster.stays = False
    assert server.stop() == 0
    for poster in posters:
        poster.join()
    total = sum((poster.outcomes for poster in posters), Counter[str]())
    assert (total["lost"], total["wrong"]) == (0, 0)
    assert total["closed"] > 16
    assert total["answered"] > 1000


def test_late_request_at_sigterm(package: Path, start_server: StartServer) -> None:
    """Who has connected but not yet sent anything when the worker stops accepting is answered too."""
    server = start_server(package, WEB_CONCURRENCY="1", DRAIN_DELAY_S="1").wait_until_ready()
    with closing(server.connect()) as connection:
        connection.connect()
        server.process.terminate()
        time.sleep(2)
        connection.request("POST", "/score", BODY, HEADERS)
        reply = connection.getresponse()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert server.process.wait(timeout=20) == 0


def test_queued_finish_at_sigterm(tmp_path: Path, start_server: StartServer) -> None:
    """Slow requests, one running and others queued behind it, are all answered after SIGTERM."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    server = start_server(path, WEB_CONCURRENCY="1").wait_until_ready()
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
        while metric(server, "model_infer_duration_seconds_count") == 0:
            time.sleep(0.01)
        assert len(statuses) < 4
        server.process.terminate()
        time.sleep(0.1)
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        assert (reply.status, reply.headers["connection"]) == (503, "close")
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert server.process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"5\r\n{}",
        b"2\r\n{}\r\n",
    ],
    ids=["no_length", "cut_off", "no_end"],
)
def test_malformed_chunks(package: Path, start_server: StartServer, body: bytes) -> None:
    """A body whose chunks are malformed or end early: it is refused, or the connection ends."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        reply = connection.recv(4096)
    assert reply == b"" or reply.startswith(b"HTTP/1.1 400 ")
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    assert "Traceback" not in server.log.read_text()
    assert '"status":500' not in server.log.read_text()
    assert server.stop() == 0


def test_stalled_bodies(package: Path, start_server: StartServer) -> None:
    """Clients that stop within their bodies get 504 at the deadline; others are answered meanwhile."""
    server = start_server(package, WEB_CONCURRENCY="1", REQUEST_TIMEOUT_MS="1000").wait_until_ready()
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
    stalled = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(40)]
    for connection in stalled:
        connection.sendall(head)
    assert server.request("GET", "/readyz")[0] == 200
    assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    for connection in stalled:
        assert connection.recv(4096).startswith(b"HTTP/1.1 504 ")
        connection.close()
    assert server.stop() == 0


def test_overload(tmp_path: Path, start_server: StartServer) -> None:
    """With more requests than may wait, at the defaults, the rest get 503, and probes are answered."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(models.slow())
    variables = {"WEB_CONCURRENCY": "1", "REQUEST_TIMEOUT_MS": "2000", "MAX_QUEUE_ROWS": "100"}
    server = start_server(path, **variables).wait_until_ready()
    outcomes: Counter[int] = Counter()

    def post() -> None:
        outcomes[server.request("POST", "/score", {"inputs": [[0.5] * 1000] * 4})[0]] += 1

    threads = [threading.Thread(target=post) for _ in range(150)]
    for thread in threads:
        thread.start()
    assert server.request("GET", "/readyz")[0] == 200
    assert sum(outcomes.values()) < 150
    for thread in threads:
        thread.join()
    assert {200, 503} <= set(outcomes) <= {200, 503, 504}
    assert server.stop() == 0


def test_one_replica_one_model(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """A worker that replaces one that died does not serve another model beside its siblings."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    write_package(package, models.affine(), version=4)
    os.kill(server.workers()[0], signal.SIGKILL)
    assert server.process.wait(timeout=20) == 1
    assert "tiny/4@" in server.log.read_text()
    assert "but this service serves tiny/3@" in server.log.read_text()


def test_metrics_directory_of_somebody_else(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """A directory that is given is used, made where it is missing, and no file of others is removed."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "mine.db").touch()
    (directory / "counter_1.db").touch()
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(directory), "WEB_CONCURRENCY": "1"}
    server = start_server(package, **variables).wait_until_ready()
    assert (directory / "mine.db").exists()
    assert not (directory / "counter_1.db").exists()
    assert server.stop() == 0


def test_reload(package: Path, start_server: StartServer) -> None:
    """SIGHUP starts workers anew, with the model that is there now, and says what they serve."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if sum(line["message"].startswith("serving ") for line in server.lines()) == 2:
            break
        time.sleep(0.05)
    else:
        pytest.fail(server.log.read_text())
    # An old worker, which drains, may answer some of them.
    assert 200 in {server.request("GET", "/readyz")[0] for _ in range(100)}
    assert server.stop() == 0


def test_connection_is_kept(package: Path, start_server: StartServer) -> None:
    """An idle connection is kept for its time, which is longer by default than an ingress keeps it (75 s)."""
    assert Settings().keepalive_s > 75
    server = start_server(package, WEB_CONCURRENCY="1", KEEPALIVE_S="1").wait_until_ready()
    with closing(server.connect()) as connection:

        def post() -> bytes:
            connection.request("POST", "/score", BODY, HEADERS)
            return connection.getresponse().read()

        for pause in (0.0, 0.5, 0.5):
            time.sleep(pause)
            assert b"outputs" in post()
        time.sleep(2.5)
        with pytest.raises(ConnectionError):
            post()
    assert server.stop() == 0
