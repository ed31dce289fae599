"""Metrics of several workers."""

import http.client
import os
import re
import signal
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.serving.lifecycle import GAUGE_MAX_AGE_S
from tests.app.conftest import Server, StartServer


def test_counts_over_workers(package: Path, start_server: StartServer) -> None:
    """Every worker reports the counts of all workers, including one that was killed."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    line = 'model_requests_total{caller="anonymous",status="200"}'
    for _ in range(20):
        assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    time.sleep(1.5 * GAUGE_MAX_AGE_S)
    assert [server.metric(line) for _ in range(6)] == [20.0] * 6
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while len(set(server.workers()) - set(before)) != 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(20):
        assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
    time.sleep(1.5 * GAUGE_MAX_AGE_S)
    assert [server.metric(line) for _ in range(6)] == [40.0] * 6
    text = server.request("GET", "/metrics")[1]
    assert len(re.findall(r"^model_info\{.*\} 1\.0$", text, re.MULTILINE)) == 1
    assert server.stop() == 0


def counters(server: Server) -> dict[str, float]:
    """Return the samples of all counters and histograms in one scrape."""
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(server.request("GET", "/metrics")[1]):
        if family.type in ("counter", "histogram"):
            for sample in family.samples:
                samples[f"{sample.name}{sorted(sample.labels.items())}"] = sample.value
    return samples


def workers_with_gauges(server: Server) -> set[int]:
    """Return the process ids of the workers in the gauges."""
    text = server.request("GET", "/metrics")[1]
    return {
        int(pid) for pid in re.findall(r'^worker_resident_memory_bytes\{pid="(\d+)"\}', text, re.MULTILINE)
    }


def test_counters_never_go_down(package: Path, start_server: StartServer) -> None:
    """No counter decreases when a worker is killed or on a reload, and only running workers have gauges."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    assert workers_with_gauges(server) <= set(server.workers())
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
            # Killing a worker closes the connections that it had accepted.
            with suppress(*((OSError, http.client.HTTPException) if event == "kill" else ())):
                server.request("POST", "/score", {"inputs": [[1, 2]]})
                scrapes.append(counters(server))
            now = set(server.workers())
            if len(now) == 2 and len(now & before) == expected and workers_with_gauges(server) == now:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"{event}: gauges of {workers_with_gauges(server)}, workers {server.workers()}")
    for earlier, later in pairwise(scrapes):
        assert all(later[name] >= value for name, value in earlier.items())
    assert scrapes[-1] != scrapes[0]


def test_configured_metrics_directory(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """In a configured metrics directory, old metrics are removed, but no file with another name."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "mine.db").touch()
    (directory / "counter_1.db").touch()
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(directory), "WEB_CONCURRENCY": "1"}
    server = start_server(package, **variables).wait_until_ready()
    assert (directory / "mine.db").exists()
    assert not (directory / "counter_1.db").exists()
    assert server.stop() == 0
