"""The writer of log lines to standard output: it never delays who logs."""

import atexit
import os
import select
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from threading import Condition, Thread

STDOUT = 1
# About 16,000 lines of requests, which is what a busy worker logs in two seconds.
MAX_BUFFER_BYTES = 2**22
FLUSH_TIMEOUT_S = 1.0
# How long the thread waits for further lines. Waking it up costs the event loop as much as twenty lines.
DELAY_S = 0.02


class LogWriter:
    """Writes lines to a file descriptor, and counts the lines that it cannot write.

    A pipe to the collector of the log holds 64 KiB. While it is full, because the collector pauses, writing
    blocks. O_NONBLOCK would prevent that, but would apply to all processes that share the pipe or terminal.
    Therefore a thread writes, from a buffer with a limit.

    gunicorn's master must not have threads, since it forks. Until `start` is called, lines are written at
    once, or dropped while the pipe is full.
    """

    def __init__(self, output: int = STDOUT, max_buffer_bytes: int = MAX_BUFFER_BYTES) -> None:
        self._output = output
        self._max_buffer_bytes = max_buffer_bytes
        self._poll = select.poll()
        self._poll.register(output, select.POLLOUT)
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Start with nothing buffered. The thread does not survive a fork, and its lines are the parent's."""
        self._changed = Condition()
        self._pieces: deque[bytes] = deque()
        self._buffer_bytes = 0
        self._dropped = 0
        self._thread: Thread | None = None
        self._flush_timeout_s = FLUSH_TIMEOUT_S
        self._is_waiting = self._is_flushing = False

    def start(self) -> None:
        """Write from a thread until the process ends."""
        with self._changed:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def write(self, lines: bytes | bytearray) -> None:
        """Write whole lines, or count them as dropped if the buffer or the pipe is full."""
        with self._changed:
            for piece in _split(bytes(lines)):
                if self._thread is None:
                    if not self._write_now(piece):
                        self._drop(piece)
                elif self._buffer_bytes + len(piece) > self._max_buffer_bytes:
                    self._drop(piece)
                else:
                    self._pieces.append(piece)
                    self._buffer_bytes += len(piece)
            if self._is_waiting:
                self._is_waiting = False
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until the buffered lines are written, but not for long; then count the others as dropped."""
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
            is_written = self._changed.wait_for(lambda: not self._pieces, self._flush_timeout_s)
            self._is_flushing = False
            if not is_written:
                # Nobody reads the log: the next call would wait in vain, and the thread's write may not end.
                self._flush_timeout_s = 0.0
                while self._pieces:
                    self._drop(self._pieces.popleft())
                self._buffer_bytes = 0

    def take_dropped(self) -> int:
        """Return the number of lines that were dropped since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def _drop(self, piece: bytes) -> None:
        self._dropped += piece.count(b"\n")

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._pieces:
                    self._is_waiting = True
                    self._changed.wait_for(lambda: self._pieces)
                    self._changed.wait_for(lambda: self._is_flushing, DELAY_S)
                    if not self._pieces:
                        continue  # `flush` has dropped them
                piece = self._pieces[0]
            is_written = self._write_blocking(piece)
            with self._changed:
                # `flush` may have dropped it in the meantime.
                if self._pieces and self._pieces[0] is piece:
                    self._pieces.popleft()
                    self._buffer_bytes -= len(piece)
                    if not is_written:
                        self._drop(piece)
                    self._changed.notify_all()

    def _write_blocking(self, piece: bytes) -> bool:
        """Write lines, and return whether that succeeded."""
        # A full disk, or a collector that has gone, must not end the thread.
        with suppress(OSError):
            while piece:
                try:
                    piece = piece[os.write(self._output, piece) :]
                except BlockingIOError:  # another process has set O_NONBLOCK
                    self._poll.poll()
        return not piece

    def _write_now(self, piece: bytes) -> bool:
        """Write lines if there is room for them, and return whether that succeeded."""
        with suppress(OSError):
            # A pipe that is ready accepts PIPE_BUF bytes without blocking.
            while piece and self._poll.poll(0):
                piece = piece[os.write(self._output, piece[: select.PIPE_BUF]) :]
        return not piece


def _split(lines: bytes) -> Iterator[bytes]:
    """Yield lines in pieces of at most PIPE_BUF bytes, and a longer line as a piece of its own.

    Workers share the pipe, and a pipe does not interleave writes up to this size.
    """
    begin = 0
    while begin < len(lines):
        end = len(lines)
        if end - begin > select.PIPE_BUF:
            within = lines.rfind(b"\n", begin, begin + select.PIPE_BUF)
            end = (lines.find(b"\n", begin) if within < 0 else within) + 1 or end
        yield lines[begin:end]
        begin = end


# Standard output belongs to the process, and so does its writer.
writer = LogWriter()
atexit.register(writer.flush)
