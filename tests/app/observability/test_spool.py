"""The spool of captured rows: segments, limits, and workers that end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from app.observability import segment_writer, spool_usage
from app.observability import spool as module
from app.observability.spool import Spool
from app.observability.spool_usage import SpoolUsage, measure

LINE = b'{"row": 0}\n'


def open_spool(directory: Path, *, segment_s: float = 60, max_bytes: int = 2**20) -> Spool:
    """Return a started spool of predictions."""
    spool = Spool(
        directory, "tiny", "prediction", segment_s=segment_s, usage=SpoolUsage(directory, max_bytes)
    )
    spool.start()
    return spool


def segments(directory: Path) -> list[Path]:
    """Return the segments, in the order in which they were opened."""
    return sorted((directory / "name=tiny" / "kind=prediction").iterdir())


def test_lines_are_written(tmp_path: Path) -> None:
    """Lines are in the open segment soon, and in a closed one after `close`."""
    spool = open_spool(tmp_path)
    assert spool.append(LINE * 3, 2)
    deadline = time.monotonic() + 5
    while not spool.take_outcomes() and time.monotonic() < deadline:
        time.sleep(0.01)
    (path,) = segments(tmp_path)
    assert path.name.endswith(".jsonl.open")
    assert path.read_bytes() == LINE * 3
    spool.close()
    (path,) = segments(tmp_path)
    assert path.suffix == ".jsonl"
    assert not spool.append(LINE, 1)
    assert spool.take_outcomes() == {"buffer_full": 1}


def test_segments_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is closed at its age, and at its size."""
    spool = open_spool(tmp_path, segment_s=0.2)
    spool.append_now(LINE, 1)
    deadline = time.monotonic() + 5
    while not segments(tmp_path)[0].name.endswith(".jsonl") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [path.suffix for path in segments(tmp_path)] == [".jsonl"]
    monkeypatch.setattr(segment_writer, "MAX_SEGMENT_BYTES", 2 * len(LINE))
    spool.append_now(LINE, 1)
    spool.append_now(LINE, 1)
    assert [path.suffix for path in segments(tmp_path)] == [".jsonl", ".jsonl"]
    spool.close()


def test_full_disk(tmp_path: Path) -> None:
    """Lines beyond the limit of all segments are dropped and counted, and kept again when there is space."""
    spool = open_spool(tmp_path, max_bytes=2 * len(LINE))
    assert [spool.append_now(LINE, 1) for _ in range(3)] == [True, True, False]
    assert spool.take_outcomes() == {"captured": 2, "disk_full": 1}
    for path in segments(tmp_path):  # shipped
        path.unlink()
    time.sleep(spool_usage.MEASURE_S)
    assert spool.append_now(LINE, 1)
    spool.close()


def test_failing_disk(tmp_path: Path) -> None:
    """Lines that are written in part are removed again: a segment has whole lines."""
    code = """
import resource, sys
from pathlib import Path
from app.observability.spool import Spool
from app.observability.spool_usage import SpoolUsage
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
root = Path(sys.argv[1])
spool = Spool(root, "tiny", "prediction", segment_s=60, usage=SpoolUsage(root, 2**20))
spool.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (25, 25))
print([spool.append_now(b'{"row": 0}\\n', 1) for _ in range(3)], dict(spool.take_outcomes()))
"""
    printed = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)
    assert printed == "[True, True, False] {'captured': 2, 'disk_full': 1}\n"
    (path,) = segments(tmp_path)
    assert path.read_bytes() == LINE * 2


def test_killed_worker(tmp_path: Path) -> None:
    """A worker that is killed leaves an open segment that nobody has locked, with all lines but the last."""
    code = """
import sys, time
from pathlib import Path
from app.observability.spool import Spool
from app.observability.spool_usage import SpoolUsage
root = Path(sys.argv[1])
spool = Spool(root, "tiny", "prediction", segment_s=60, usage=SpoolUsage(root, 2**30))
spool.start()
number = 0
while True:
    spool.append(b'{"row": %d}\\n' % number, 1)
    number += 1
    time.sleep(0.0005)
"""
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 10
    while (not measure(tmp_path).size > 1000) and time.monotonic() < deadline:
        time.sleep(0.05)
    (path,) = segments(tmp_path)
    assert is_locked(path)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert not is_locked(path)
    rows = [json.loads(line)["row"] for line in path.read_text().rpartition("\n")[0].splitlines()]
    assert rows == list(range(len(rows)))


def is_locked(path: Path) -> bool:
    """Return whether a process has locked a segment."""
    with subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)"],
        stdin=os.open(path, os.O_RDONLY),
        stderr=subprocess.DEVNULL,
    ) as process:
        return process.wait() != 0


def test_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the buffer is dropped and counted, and nobody waits."""
    monkeypatch.setattr(module, "MAX_BUFFER_BYTES", len(LINE))
    spool = Spool(tmp_path, "tiny", "prediction", segment_s=60, usage=SpoolUsage(tmp_path, 2**20))
    assert spool.append(LINE, 1)
    assert not spool.append(LINE, 2)
    assert spool.take_outcomes() == {"buffer_full": 2}


def test_encoding_fails(tmp_path: Path) -> None:
    """What the thread cannot encode is counted, and the lines beside it are written."""

    def fail() -> bytes:
        raise TypeError

    spool = open_spool(tmp_path)
    spool.append(LINE, 2)
    spool.append_large(fail, 10, 1)
    spool.append_large(lambda: LINE, 10, 1)
    spool.close()
    assert spool.take_outcomes() == {"captured": 3, "not_encoded": 1}
    assert segments(tmp_path)[0].read_bytes() == LINE * 2


def test_removed_directory(tmp_path: Path) -> None:
    """If the directory or the segment is removed, the next lines are in a new one."""
    spool = open_spool(tmp_path / "spool")
    (tmp_path / "spool/name=tiny/kind=prediction").rmdir()
    assert spool.append_now(LINE, 1)
    shutil.rmtree(tmp_path / "spool")
    assert spool.append_now(LINE, 1)
    assert segments(tmp_path / "spool")[0].read_bytes() == LINE
    spool.close()


def test_unwritable_directory(tmp_path: Path) -> None:
    """If the directory cannot be written to, lines are dropped and counted, and no descriptor leaks."""
    spool = open_spool(tmp_path / "spool")
    shutil.rmtree(tmp_path / "spool")
    (tmp_path / "spool").touch()
    before = len([*Path("/proc/self/fd").iterdir()])
    assert not any(spool.append_now(LINE, 1) for _ in range(20))
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    (tmp_path / "spool").unlink()
    assert spool.append_now(LINE, 1)
    spool.close()
    assert spool.take_outcomes() == {"disk_full": 20, "captured": 1}


def test_hanging_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a write hangs, nobody waits who must not, and what is left at the end is counted."""
    monkeypatch.setattr(module, "DISK_TIMEOUT_S", 0.2)
    is_done = Event()
    monkeypatch.setattr(segment_writer.SegmentWriter, "_append", lambda *_: is_done.wait(20))
    spool = open_spool(tmp_path)
    assert spool.append(LINE, 1)
    time.sleep(module.DELAY_S + 0.3)  # the thread writes now
    start = time.monotonic()
    assert spool.append(LINE, 2)
    spool.count("not_sampled", 1)
    assert spool.take_outcomes() == {"not_sampled": 1}
    assert time.monotonic() - start < 0.1
    assert not spool.append_now(LINE, 4)
    spool.close()
    assert time.monotonic() - start < 2
    assert spool.take_outcomes() == {"buffer_full": 7}
    is_done.set()


def test_fork(tmp_path: Path) -> None:
    """A child process of a hook does not hold the lock on the segment."""
    spool = open_spool(tmp_path)
    spool.append_now(LINE, 1)
    ready, end = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(end[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    (path,) = segments(tmp_path)
    assert is_locked(path)
    spool.close()
    (path,) = segments(tmp_path)
    is_free = not is_locked(path)
    os.write(end[1], b"x")
    os.waitpid(child, 0)
    for descriptor in (*ready, *end):
        os.close(descriptor)
    assert is_free


def test_same_pod(tmp_path: Path) -> None:
    """Two workers with the same host, process id and moment have segments of different names."""
    spools = [open_spool(tmp_path / directory) for directory in "ab"]
    for spool in spools:
        spool.append_now(LINE, 1)
        spool.close()
    first, second = (segments(tmp_path / directory)[0].name.split("-")[-3] for directory in "ab")
    assert first != second
    assert first.partition("x")[0] == second.partition("x")[0] == str(os.getpid())


def test_empty(tmp_path: Path) -> None:
    """An empty spool has no oldest line."""
    size, oldest = measure(tmp_path)
    assert size == 0
    assert oldest != oldest
