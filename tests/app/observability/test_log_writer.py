"""The writer of log lines: it never blocks, and counts the lines that it drops."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import PIPE_BUF

import pytest

from app.observability.log_writer import LogWriter

PIPE_BYTES = 2**16
LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Provide the two ends of a pipe.

    The end that is written to stays open: the thread of a writer may still use it, and must not write to a
    later file with the same descriptor.
    """
    reader, output = os.pipe()
    yield reader, output
    with suppress(OSError):
        os.close(reader)


def read_all(end: int) -> bytes:
    """Read what is in a pipe."""
    os.set_blocking(end, False)
    parts = []
    with suppress(BlockingIOError):
        while part := os.read(end, PIPE_BYTES):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("is_blocking", [True, False])
@pytest.mark.parametrize("has_thread", [True, False])
def test_unread_pipe(pipe: tuple[int, int], has_thread: bool, is_blocking: bool) -> None:
    """If nobody reads, writing returns at once, and every line is either in the pipe or counted."""
    reader, output = pipe
    os.set_blocking(output, is_blocking)
    writer = LogWriter(output, max_buffer_bytes=PIPE_BYTES)
    if has_thread:
        writer.start()
    started = time.monotonic()
    for _ in range(50):
        writer.write(LINE * 100)
    assert time.monotonic() - started < 1
    writer.flush()
    assert time.monotonic() - started < 3
    written = read_all(reader)
    # The lines that the thread was writing when `flush` gave up may be written after all.
    lost = 5000 - written.count(b"\n")
    assert lost <= writer.take_dropped() <= lost + PIPE_BUF // len(LINE)
    assert set(written.splitlines(keepends=True)) == {LINE}
    assert writer.take_dropped() == 0


def test_slow_reader(pipe: tuple[int, int]) -> None:
    """Lines that fit into the buffer are written when the reader continues."""
    reader, output = pipe
    writer = LogWriter(output)
    writer.start()
    writer.write(LINE * 3000)
    time.sleep(0.1)
    read = b""
    while len(read) < 3000 * len(LINE):
        read += os.read(reader, PIPE_BYTES)
    writer.flush()
    assert (read, writer.take_dropped()) == (LINE * 3000, 0)


@pytest.mark.parametrize("has_thread", [True, False])
def test_whole_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_thread: bool) -> None:
    """Processes share a pipe, so lines are written whole, in pieces that a pipe does not interleave."""
    write, pieces = os.write, []

    def write_some(output: int, data: bytes) -> int:
        pieces.append(data)
        return write(output, data)

    monkeypatch.setattr(os, "write", write_some)
    lines = b"".join(b"%d\n" % 7**number for number in range(1000)) + b"long" * PIPE_BUF + b"\n" + LINE * 90
    with (tmp_path / "log").open("wb") as output:
        writer = LogWriter(output.fileno())
        if has_thread:
            writer.start()
        writer.write(lines)
        writer.flush()
    assert (tmp_path / "log").read_bytes() == b"".join(pieces) == lines
    whole = [piece for piece in pieces if piece.endswith(b"\n") and len(piece) <= PIPE_BUF]
    assert b"".join(whole).count(b"\n") >= 1089


@pytest.mark.parametrize("has_thread", [True, False])
@pytest.mark.parametrize("fault", ["full disk", "no reader"])
def test_fault(pipe: tuple[int, int], has_thread: bool, fault: str) -> None:
    """Lines that cannot be written are counted."""
    reader, output = pipe
    if fault == "full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        os.close(reader)
    writer = LogWriter(output)
    if has_thread:
        writer.start()
    writer.write(LINE * 3)
    writer.flush()
    assert writer.take_dropped() == 3


def test_fork(pipe: tuple[int, int]) -> None:
    """A forked process writes its own lines, and not those that its parent has buffered."""
    reader, output = pipe
    writer = LogWriter(output)
    writer.start()
    writer.write(LINE * 1000)
    pid = os.fork()
    if not pid:
        writer.start()
        writer.write(b"child\n")
        writer.flush()
        os._exit(writer.take_dropped())
    os.waitpid(pid, os.WNOHANG)
    read = b""
    while read.count(b"\n") < 1001:
        read += os.read(reader, PIPE_BYTES)
    assert (read.count(LINE), read.count(b"child\n")) == (1000, 1)
