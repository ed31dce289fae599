"""The counters of pods, read from a real Prometheus: restarts, and pods that come and go."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from release.errors import NotEnoughData
from release.pod_counters import PodCounters, TrackCounts
from release.prometheus import Prometheus, Series
from tests.release.prometheus_server import running_prometheus, target

NAMESPACE = "production"
LABELS = {"__name__": "model_requests_total", "track": "canary", "status": "200"}
PODS = ("canary/a", "canary/b", "control/a", "stable/a", "stable/b")


class Cluster:
    """Pods whose counter of requests a test sets; a pod without one does not answer.

    Attributes:
        requests: pod → value.
        errors: likewise; a pod without errors has no such counter.
    """

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self._scrapes = 0
        self._scraped = threading.Condition()

    def metrics(self, pod: str) -> str | None:
        """Return the text that Prometheus scrapes, or None if the pod does not answer."""
        with self._scraped:
            if pod not in self.requests:
                return None
            self._scrapes += 1
            self._scraped.notify_all()
            lines = [f'model_requests_total{{status="200",caller="a"}} {self.requests[pod]}']
            if pod in self.errors:
                lines.append(f'model_requests_total{{status="500",caller="a"}} {self.errors[pod]}')
            return "\n".join([*lines, ""])

    def wait(self) -> None:
        """Wait until Prometheus has stored what all pods have counted."""
        with self._scraped:
            wanted = self._scrapes + 2 * len(self.requests) + 1
            assert self._scraped.wait_for(lambda: self._scrapes >= wanted, timeout=30)
        time.sleep(0.3)


class Handler(BaseHTTPRequestHandler):
    """Serves the metrics of a pod at `/TRACK/POD`."""

    def __init__(self, cluster: Cluster, *args: object) -> None:
        self.cluster = cluster
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send the metrics."""
        text = self.cluster.metrics(self.path[1:])
        content = (text or "").encode()
        self.send_response(503 if text is None else 200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster with a canary, a control and a stable pod, and their past."""
    cluster = Cluster()
    cluster.requests = {"canary/a": 10, "control/a": 20, "stable/a": 5000}
    cluster.errors = {"stable/a": 70}
    return cluster


@pytest.fixture
def counters(cluster: Cluster, tmp_path: Path) -> Iterator[PodCounters]:
    """Return the counters of the cluster, read for the first time."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, cluster)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        targets = [target(address, f"/{pod}", NAMESPACE, pod.split("/")[0]) for pod in PODS]
        with running_prometheus(tmp_path, targets, scrape_interval_ms=200) as (url, _):
            cluster.wait()
            counters = PodCounters(Prometheus(url), NAMESPACE)
            look = counters.read()
            assert (look.canary, look.control, look.stable) == (TrackCounts(),) * 3
            yield counters
        server.shutdown()
        thread.join()


def test_increases(cluster: Cluster, counters: PodCounters) -> None:
    """Only what was counted since the last read counts, from an error's first occurrence on."""
    cluster.requests |= {"canary/a": 17, "stable/a": 5100}
    cluster.errors |= {"canary/a": 2}
    cluster.wait()
    look = counters.read()
    assert look.canary == TrackCounts(requests=9, answered=7, errors=2)
    assert look.control.requests == 0
    assert look.stable == TrackCounts(requests=100, answered=100)
    assert counters.read().stable.requests == 0


def test_restarts(cluster: Cluster, counters: PodCounters) -> None:
    """A counter that is reset, also twice between two reads, loses nothing that Prometheus has scraped."""
    for value in (14, 3, 1, 6):
        cluster.requests["canary/a"] = value
        cluster.wait()
    assert counters.read().canary.requests == 4 + 3 + 1 + 5


def test_new_pods(cluster: Cluster, counters: PodCounters) -> None:
    """A pod that appears counts with all its requests."""
    cluster.requests |= {"stable/b": 8, "canary/b": 5}
    cluster.wait()
    look = counters.read()
    assert (look.canary.requests, look.stable.requests) == (5, 8)


def test_vanished_pods(cluster: Cluster, counters: PodCounters) -> None:
    """A pod that vanishes keeps what it had; if it returns, its past does not count again."""
    cluster.requests["stable/a"] = 5010
    cluster.wait()
    del cluster.requests["stable/a"]
    cluster.wait()
    assert counters.read().stable.requests == 10
    cluster.requests["stable/a"] = 5013
    cluster.wait()
    assert counters.read().stable.requests == 3


def test_failed_read(cluster: Cluster, counters: PodCounters, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that fails loses nothing."""
    cluster.requests["canary/a"] = 12
    cluster.wait()
    with monkeypatch.context() as patch:
        patch.setattr(counters, "_prometheus", Prometheus("http://127.0.0.1:9"))
        with pytest.raises(NotEnoughData, match="is unreachable"):
            counters.read()
    assert counters.read().canary.requests == 2


class LatePrometheus(Prometheus):
    """A server that shows a sample of before the first read only after it, as managed Prometheus may."""

    def vector(self, query: str) -> list[Series]:
        """Return the counter as of 100 s: the sample of 90 s is not there yet."""
        return [Series(LABELS, ((100.0, 10.0),))]

    def matrix(self, query: str) -> list[Series]:
        """Return all samples, and a series of which the first read saw nothing."""
        samples = ((80.0, 10.0), (90.0, 310.0), (105.0, 312.0))
        return [Series(LABELS, samples), Series(LABELS | {"status": "500"}, ((90.0, 30.0), (105.0, 31.0)))]


def test_late_samples() -> None:
    """What was counted before the first read does not count, however late Prometheus shows it."""
    counters = PodCounters(LatePrometheus("http://unused"), NAMESPACE)
    counters.read()
    assert counters.read().canary == TrackCounts(requests=3, answered=2, errors=1)
    assert counters.read().canary.requests == 0
