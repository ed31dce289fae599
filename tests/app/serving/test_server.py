"""The service under gunicorn: start, replaced workers and kept-alive connections."""

import os
import re
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from app.settings import Settings
from model_loader.package import MODEL_FILE
from tests import models
from tests.app.conftest import StartServer
from tests.app.serving.test_worker import wait_for_workers
from tests.conftest import write_package

BODY = '{"inputs": [[1, 2]]}'
HEADERS = {"content-type": "application/json"}


def test_start(package: Path, start_server: StartServer) -> None:
    """Two workers log once what they serve, and answer requests."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    _no_baseline, _batches, line = server.lines()
    assert re.match(
        r"serving tiny/3@sha256:[0-9a-f]{64} on port \d+ with 2 workers of 1 threads; try: curl",
        line["message"],
    )
    assert server.request("POST", "/score", {"instances": [{"a": 1, "b": 2}]})[0] == 200
    assert server.stop() == 0


@pytest.mark.parametrize("fault", ["sample", "file", "setting"])
def test_failed_start(tmp_path: Path, start_server: StartServer, fault: str) -> None:
    """A model or setting that is invalid ends the start with exit code 1 and one message for all workers."""
    sample = {"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[3, 6]]}}
    package = write_package(tmp_path / "package", models.affine(), samples=[sample])
    words = "sample 0: output 'y': expected [[3, 6]], got [[3.0,5.0]]"
    if fault == "file":
        (package / MODEL_FILE).write_bytes(models.total())
        words = "model.onnx is not what was published"
    elif fault == "setting":
        words = "PORT has the value 'x'"
    server = start_server(package, WEB_CONCURRENCY="4", **({"PORT": "x"} if fault == "setting" else {}))
    assert server.process.wait(timeout=12) == 1  # less than gunicorn's graceful timeout
    assert server.log.read_text().count(words) == 1
    assert "Traceback" not in server.log.read_text()


def test_one_replica_one_model(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """The service ends if a worker that replaces a dead one finds another model."""
    server = start_server(package, WEB_CONCURRENCY="2").wait_until_ready()
    write_package(package, models.affine(), version=4)
    os.kill(server.workers()[0], signal.SIGKILL)
    assert server.process.wait(timeout=20) == 1
    assert "tiny/4@" in server.log.read_text()
    assert "but this service serves tiny/3@" in server.log.read_text()


def test_keep_alive(package: Path, start_server: StartServer) -> None:
    """An idle connection is kept for KEEPALIVE_S, by default longer than an ingress keeps it (75 s)."""
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


def test_given_run_directory(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """A directory that is given is created; the notes of an earlier start in it are ignored."""
    directory = tmp_path / "run"
    for _ in range(2):
        server = start_server(package, SERVICE_RUN_DIRECTORY=str(directory), WEB_CONCURRENCY="2")
        server.wait_until_ready()
        assert server.stop() == 0
        (directory / "serving").write_text("other/1@sha256:0")
        (directory / "refused").write_text("an earlier reason")


def test_hanging_worker_is_replaced(package: Path, start_server: StartServer) -> None:
    """A worker whose event loop hangs for WORKER_TIMEOUT_S is killed and replaced, and the log names it."""
    server = start_server(package, WEB_CONCURRENCY="2", WORKER_TIMEOUT_S="2").wait_until_ready()
    wait_for_workers(server, 2)
    hanging, other = server.workers()
    os.kill(hanging, signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while hanging in server.workers() or len(server.workers()) < 2:
        assert server.request("POST", "/score", {"inputs": [[1, 2]]})[0] == 200
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert other in server.workers()
    assert f"WORKER TIMEOUT (pid:{hanging})" in server.log.read_text()
    assert server.stop() == 0
