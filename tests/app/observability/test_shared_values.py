"""The files of the metrics: a full file system ends no worker, and dead workers leave no files behind."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.errors import StartupError
from app.observability.shared_values import INITIAL_BYTES, ClaimedDict
from tests.app.conftest import Server, StartServer

BODY = {"inputs": [[1, 2]]}
SIZE = 2**20


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """Provide a small tmpfs."""
    directory = tmp_path / "tmpfs"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root and CAP_SYS_ADMIN")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path, free_bytes: int = 0) -> Path:
    """Fill a file system, and return the file that fills it."""
    file = directory / "fill"
    with suppress(OSError), file.open("wb", buffering=0) as output:
        while True:
            output.write(bytes(4096))
    os.truncate(file, file.stat().st_size - free_bytes)
    return file


def replaced(server: Server, pid: int) -> None:
    """Kill a worker, and wait until all workers serve again."""
    number = len(server.workers())
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while pid in server.workers() or len(server.workers()) < number or not has_all_gauges(server):
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


def has_all_gauges(server: Server) -> bool:
    """Return whether every worker has started to refresh its gauges, after which it creates no more files."""
    with suppress(OSError):
        times = [server.metric(f'worker_cpu_seconds{{pid="{pid}"}}') for pid in server.workers()]
        return all(times)
    return False


def test_growth(tmpfs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without space new keys are not stored, known ones are; with space again, all are."""
    values = ClaimedDict(str(tmpfs / "counter_0.db"))
    file = fill(tmpfs)
    keys = [json.dumps(["metric", "metric_total", {"label": str(number)}, "help"]) for number in range(1000)]
    for key in keys:
        values.read_value(key)
        values.write_value(key, 1.0, 0.0)
    stored = {key: value for key, value, _ in values.read_all_values()}  # type: ignore[no-untyped-call]
    assert list(stored) == keys[: len(stored)]
    assert 0.9 * INITIAL_BYTES < (tmpfs / "counter_0.db").stat().st_size == INITIAL_BYTES
    assert caplog.text.count("no space for the metrics, new series are not counted") == 1
    file.unlink()
    for key in keys:
        values.write_value(key, 2.0, 0.0)
    stored = {key: value for key, value, _ in values.read_all_values()}  # type: ignore[no-untyped-call]
    assert stored == dict.fromkeys(keys, 2.0)
    # All of the file's space is claimed, which a sparse file's is not.
    stat = (tmpfs / "counter_0.db").stat()
    assert stat.st_blocks * 512 == stat.st_size > INITIAL_BYTES
    values.close()  # type: ignore[no-untyped-call]


def test_creation(tmpfs: Path) -> None:
    """Without space a new file is refused, and nothing remains of it."""
    fill(tmpfs, free_bytes=INITIAL_BYTES - 4096)
    with pytest.raises(StartupError, match=r"no space for the metrics: No space left on device: .*counter_0"):
        ClaimedDict(str(tmpfs / "counter_0.db"))
    assert [file.name for file in tmpfs.iterdir()] == ["fill"]


@pytest.mark.parametrize("free_bytes", [0, 8192, 2 * INITIAL_BYTES])
def test_full_at_start(package: Path, tmpfs: Path, start_server: StartServer, free_bytes: int) -> None:
    """A full file system ends the start with exit code 1 and one line, for all workers."""
    fill(tmpfs, free_bytes)
    server = start_server(package, WEB_CONCURRENCY="2", SERVICE_RUN_DIRECTORY=str(tmpfs / "run"))
    assert server.process.wait(timeout=20) == 1
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (line,) = (line for line in lines if line["level"] == "critical")
    assert "No space left on device" in line["message"]
    assert "Traceback" not in server.log.read_text()


def test_full_later(package: Path, tmpfs: Path, start_server: StartServer) -> None:
    """On a file system that is full, requests are answered and counted, and workers are replaced."""
    directory = tmpfs / "run"
    server = start_server(package, WEB_CONCURRENCY="1", SERVICE_RUN_DIRECTORY=str(directory))
    server.wait_until_ready()
    fill(tmpfs)
    line = 'model_requests_total{caller="anonymous",status="200"}'
    for number in (1, 2):
        assert server.request("POST", "/score", BODY)[0] == 200
        time.sleep(0.2)  # until the request is counted
        replaced(server, server.workers()[0])
        assert server.metric(line) == number
    assert server.stop() == 0
    assert "SIGBUS" not in server.log.read_text()


def test_dead_workers(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """A new worker continues the files of a dead one: nothing is lost, and the files do not multiply."""
    directory = tmp_path / "metrics"
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(directory), "WEB_CONCURRENCY": "2"}
    server = start_server(package, **variables).wait_until_ready()
    while not has_all_gauges(server):
        time.sleep(0.05)
    files = len(list(directory.glob("*.db")))
    started = server.metric("process_start_time_seconds")
    for number in range(1, 5):
        assert server.request("POST", "/score", BODY)[0] == 200
        time.sleep(0.2)  # until the request is counted
        replaced(server, max(server.workers()))
        replaced(server, min(server.workers()))
        assert server.metric('model_requests_total{caller="anonymous",status="200"}') == number
        assert server.metric("process_start_time_seconds") == started
    assert len(list(directory.glob("*.db"))) == files
    assert server.stop() == 0


def test_damaged_file(package: Path, tmp_path: Path, start_server: StartServer) -> None:
    """A scrape that fails is answered with an error in JSON, and its reason is logged."""
    directory = tmp_path / "metrics"
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(directory), "WEB_CONCURRENCY": "1"}
    server = start_server(package, **variables).wait_until_ready()
    (directory / "counter_99.db").write_bytes(b"\x20\0\0\0\0\0\0\0\xff\0\0\0" + b"\xff" * 20)
    status, text = server.request("GET", "/metrics")
    assert (status, json.loads(text)["error"]) == (500, "internal error; see the log for details")
    assert server.request("POST", "/score", BODY)[0] == 200
    assert server.stop() == 0
    assert any(line["message"].endswith(" failed") for line in server.lines())
