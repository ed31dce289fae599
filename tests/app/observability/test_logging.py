"""Every line of the service is JSON, whoever writes it, and a log that nobody reads delays nothing."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests import models
from tests.app.conftest import Server, StartServer

LONG = {"inputs": [[1, 2]] * 1000}


def free_port() -> int:
    """Return a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def replace_worker(server: Server) -> None:
    """Kill a worker, and wait for the one that replaces it."""
    before = set(server.workers())
    os.kill(max(before), signal.SIGKILL)  # not one that drains
    deadline = time.monotonic() + 20
    while len(set(server.workers()) - before) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_lines_are_json(package: Path, start_server: StartServer) -> None:
    """gunicorn's lines are JSON, in the workers and in the master, also after a reload."""
    server = start_server(package, WEB_CONCURRENCY="1").wait_until_ready()
    for _ in range(2):
        replace_worker(server)
        server.process.send_signal(signal.SIGHUP)
        time.sleep(2)
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert sum("Perhaps out of memory?" in line["message"] for line in lines) == 2
    assert {*map(type, lines)} == {dict}


@pytest.mark.parametrize("fault", ["setting", "port", "directory"])
def test_failed_start(package: Path, tmp_path: Path, start_server: StartServer, fault: str) -> None:
    """A start that fails before there is a worker is explained in JSON."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        variables = {
            "setting": {"PORT": "x"},
            "port": {"PORT": str(other.getsockname()[1])},
            "directory": {"TMPDIR": str(tmp_path / "missing"), "SERVICE_RUN_DIRECTORY": "/dev/null/run"},
        }[fault]
        server = start_server(package, WEB_CONCURRENCY="1", **variables)
        assert server.process.wait(timeout=30) == 1
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {line["level"] for line in lines} <= {"error", "critical"}
    words = {"setting": "PORT has the value 'x'", "port": "in use", "directory": "no directory to write to"}
    assert words[fault] in lines[0]["message"]


def test_failed_inference(tmp_path: Path, start_server: StartServer) -> None:
    """ONNX Runtime writes no lines of its own: its message is in the request's line."""
    path = tmp_path / "gather.onnx"
    path.write_bytes(models.gather())
    server = start_server(path, WEB_CONCURRENCY="1").wait_until_ready()
    status, _ = server.request("POST", "/score", {"inputs": [99]})
    assert status == 500
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert "out of data bounds" in next(line["error"] for line in lines if line.get("status") == 500)


def test_unread_log(package: Path, start_server: StartServer) -> None:
    """If nobody reads the log, lines are dropped and counted; requests, probes, restart and stop go on."""
    reader, output = os.pipe()
    with os.fdopen(reader, "rb") as log:
        variables = {"PORT": str(free_port()), "LOG_PAYLOADS": "on", "WEB_CONCURRENCY": "2"}
        server = start_server(package, output=output, **variables)
        os.close(output)
        server.port = int(variables["PORT"])
        deadline = time.monotonic() + 30
        status = 0
        while status != 200:
            assert time.monotonic() < deadline
            with suppress(OSError, HTTPException):
                status = server.request("GET", "/readyz")[0]
        while server.metric("log_lines_dropped_total") < 100:
            for _ in range(100):
                started = time.monotonic()
                assert server.request("POST", "/score", LONG)[0] == 200
                assert time.monotonic() - started < 1
        replace_worker(server)
        assert server.request("GET", "/readyz")[0] == 200
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0
        lines = log.read().splitlines()
        assert {json.loads(line)["message"] for line in lines[:10]} >= {"request"}
