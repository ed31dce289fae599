"""What workers verify at the start and at a reload, and what ONNX Runtime may not write into the log."""

import signal
import time
from pathlib import Path

import pytest

from app.model.file_hashes import CLOCK_NS
from tests import models
from tests.app.conftest import Server, StartServer
from tests.app.model.test_example_inputs import convolution


def reload(server: Server) -> None:
    """Reload the service, and wait until it serves with other workers or has ended."""
    before, count = server.workers(), len(server.lines())
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while server.process.poll() is None and not (
        any(line["message"].startswith("serving ") for line in server.lines()[count:])
        and not set(before) & set(server.workers())
    ):
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


def test_reload(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """Unchanged files are not hashed again by a reload; a changed one is, and ends the service."""
    time.sleep(2 * CLOCK_NS / 1e9)
    variables = {"SERVICE_RUN_DIRECTORY": str(tmp_path / "run"), "WEB_CONCURRENCY": "2"}
    server = start_server(package, **variables).wait_until_ready()
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("hash-*")}
    assert len(records) == 2  # model.onnx and samples.json
    reload(server)
    assert {path: path.stat().st_mtime_ns for path in records} == records
    file = package / "model.onnx"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reload(server)
    assert server.process.wait(timeout=20) != 0
    (refusal,) = [line["message"] for line in server.lines() if line["level"] == "critical"]
    assert "model.onnx is not what was published" in refusal


@pytest.mark.parametrize("model", [convolution(), models.gather(), models.quantized()])
def test_only_our_lines(tmp_path: Path, start_server: StartServer, model: bytes) -> None:
    """ONNX Runtime writes nothing: not when the warm-up tries values that fail, nor when a request does."""
    path = tmp_path / "bare.onnx"
    path.write_bytes(model)
    server = start_server(path, WEB_CONCURRENCY="1", INTRA_OP_NUM_THREADS="3").wait_until_ready()
    assert "ONNXRuntimeError" not in server.log.read_text()
    if model == models.gather():
        assert server.request("POST", "/score", {"inputs": {"i": [7]}})[0] == 500
    assert server.stop() == 0
    assert len(server.lines()) == len(server.log.read_text().splitlines())
