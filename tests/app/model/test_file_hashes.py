"""Files are hashed once for all workers of a container, and again if they have changed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.model.file_hashes import CLOCK_NS, FileHashes
from model_loader.package import hash_file
from tests.app.conftest import ROOT

SIZE = 2**24
# Prints the hash, and how many bytes the process has read for it.
CODE = """if True:
    import re, sys
    from pathlib import Path
    from app.model.file_hashes import FileHashes

    def read_bytes() -> int:
        return int(re.search(r"rchar: (\\d+)", Path("/proc/self/io").read_text())[1])

    before = read_bytes()
    entry = FileHashes(Path(sys.argv[1])).hash_file(Path(sys.argv[2]))
    print(entry.sha256, read_bytes() - before)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that was written before the clock's last tick."""
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(SIZE))
    time.sleep(2 * CLOCK_NS / 1e9)
    return path


def test_once_for_all_workers(file: Path, tmp_path: Path) -> None:
    """Of four workers that start together one hashes a file; all get the hash."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", CODE, str(tmp_path / "run"), str(file)]
    workers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    results = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert {digest for digest, _ in results} == {hash_file(file).sha256}
    counts = sorted(int(count) for _, count in results)
    assert counts[-1] >= SIZE
    assert sum(counts[:-1]) < SIZE / 10


def rewrite(file: Path) -> None:
    """Write other bytes into the same file."""
    file.write_bytes(os.urandom(SIZE))


def rewrite_with_old_time(file: Path) -> None:
    """Write other bytes, and set the modification time to what it was."""
    stat = file.stat()
    rewrite(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace(file: Path) -> None:
    """Replace the file, as a pull does."""
    other = file.with_name("other")
    rewrite(other)
    other.replace(file)


@pytest.mark.parametrize("change", [rewrite, rewrite_with_old_time, replace])
def test_changed(file: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A file that has changed is hashed again, by the same process and by the next one."""
    hashes, first = FileHashes(tmp_path), hash_file(file)
    assert hashes.hash_file(file) == first
    change(file)
    assert hashes.hash_file(file) == FileHashes(tmp_path).hash_file(file) == hash_file(file) != first


def test_broken_record(file: Path, tmp_path: Path) -> None:
    """A record that was not written to its end is not used, and one that cannot be written is not needed."""
    (tmp_path / "run").mkdir()
    FileHashes(tmp_path / "run").hash_file(file)
    (record,) = (tmp_path / "run").iterdir()
    for content in (b"", b"[", record.read_bytes()[:-9], b"[1, {}]", b"[1, 2, 3]"):
        record.write_bytes(content)
        assert FileHashes(tmp_path / "run").hash_file(file) == hash_file(file)
    assert FileHashes(tmp_path / "missing").hash_file(file) == hash_file(file)
