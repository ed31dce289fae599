"""The spool: lines are buffered, and a thread appends them to segments; see `segment_writer`."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import NamedTuple

from app.observability.segment_writer import SegmentWriter
from app.observability.spool_usage import MEASURE_S, SpoolUsage

# About one second of a busy worker; beyond it the disk is slower than the requests.
MAX_BUFFER_BYTES = 2**24
# How long the thread waits for further lines: what a killed worker loses, and each time that the thread runs,
# the event loop waits for it.
DELAY_S = 0.2
# How long `append_now` waits for the disk, and `close` for the thread.
DISK_TIMEOUT_S = 2.0
# What becomes of a request.
CAPTURED, NOT_SAMPLED = "captured", "not_sampled"
DISK_FULL, BUFFER_FULL, NOT_ENCODED = "disk_full", "buffer_full", "not_encoded"


class _Piece(NamedTuple):
    """Whole lines, or what encodes them, their bytes, and the number of requests that they are of."""

    lines: bytes | Callable[[], bytes]
    size: int
    requests: int


class Spool:
    """Appends lines to segments of one kind, from a thread, and counts what became of each request.

    `append`, `count` and `take_outcomes` never wait for the disk: if the buffer or the space for all segments
    is full, lines are dropped. The lock of the buffer is not held while the disk is used.
    """

    def __init__(self, root: Path, name: str, kind: str, *, segment_s: float, usage: SpoolUsage) -> None:
        """
        Args:
            root: directory of all segments.
            name: of the model.
            kind: `prediction` or `feedback`.
            segment_s: age in seconds at which a segment is closed.
            usage: of `root`, shared by all kinds.
        """
        self.directory = root / f"name={name}" / f"kind={kind}"
        self._usage = usage
        self._segment = SegmentWriter(self.directory, usage, segment_s)
        self._disk = Lock()  # guards the segment
        self._idle_s = min(MEASURE_S, segment_s / 4)
        self._changed = Condition()  # guards what follows
        self._pieces: list[_Piece] = []
        self._buffer_bytes = 0
        self._unwritten_requests = 0
        self._outcomes: Counter[str] = Counter()
        self._is_waiting = self._is_closing = self._is_given_up = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Write from a thread until `close`.

        Raises:
            OSError: the directory cannot be created or written to.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(self.directory))
        self._thread = Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def append(self, lines: bytes, requests: int) -> bool:
        """Append whole lines later; return False if they are dropped because the disk is too slow.

        Args:
            requests: number of requests that the lines are of.
        """
        return self._buffer(lines, len(lines), requests)

    def _buffer(self, lines: bytes | Callable[[], bytes], size: int, requests: int) -> bool:
        with self._changed:
            # An empty buffer takes a request of any size: otherwise a large one could never be captured.
            is_full = self._buffer_bytes > 0 and self._buffer_bytes + size > MAX_BUFFER_BYTES
            if is_full or self._is_closing:
                self._outcomes[BUFFER_FULL] += requests
                return False
            self._pieces.append(_Piece(lines, size, requests))
            self._buffer_bytes += size
            self._unwritten_requests += requests
            if self._is_waiting:
                self._is_waiting = False
                self._changed.notify_all()
            return True

    def append_large(self, encode: Callable[[], bytes], size: int, requests: int) -> bool:
        """Append lines that the thread encodes, since that takes long; otherwise as `append`.

        Args:
            encode: returns the lines; a TypeError or ValueError means that they cannot be encoded.
            size: expected bytes of the lines.
        """
        return self._buffer(encode, size, requests)

    def append_now(self, lines: bytes, requests: int) -> bool:
        """Append whole lines in the caller's thread, and return whether they are in the segment.

        It waits for the disk, but not long for other threads that do.
        """
        if not self._disk.acquire(timeout=DISK_TIMEOUT_S):
            self.count(BUFFER_FULL, requests)
            return False
        try:
            is_written = self._segment.write(lines)
        finally:
            self._disk.release()
        self.count(CAPTURED if is_written else DISK_FULL, requests)
        return is_written

    def count(self, outcome: str, requests: int) -> None:
        """Count requests that have no lines."""
        with self._changed:
            self._outcomes[outcome] += requests

    def take_outcomes(self) -> Counter[str]:
        """Return outcome → number of requests since the last call."""
        with self._changed:
            outcomes, self._outcomes = self._outcomes, Counter()
            return outcomes

    def close(self) -> None:
        """Write what is buffered, and close the segment; do not wait long for a disk that hangs."""
        with self._changed:
            self._is_closing = True
            self._is_waiting = False
            self._changed.notify_all()
        if self._thread:
            self._thread.join(DISK_TIMEOUT_S)
        with self._changed:
            self._is_given_up = True
            if self._unwritten_requests:
                self._outcomes[BUFFER_FULL] += self._unwritten_requests
                self._unwritten_requests = 0

    def _write(self, pieces: Sequence[_Piece]) -> Counter[str]:
        """Write pieces, all or none, and return outcome → number of requests."""
        outcomes: Counter[str] = Counter()
        lines: list[bytes] = []
        requests = 0
        for piece in pieces:
            try:
                lines.append(piece.lines if isinstance(piece.lines, bytes) else piece.lines())
                requests += piece.requests
            except (TypeError, ValueError):
                outcomes[NOT_ENCODED] += piece.requests
        if requests:
            with self._disk:
                is_written = self._segment.write(b"".join(lines))
            outcomes[CAPTURED if is_written else DISK_FULL] += requests
        return outcomes

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            with self._changed:
                if not self._pieces and not self._is_closing:
                    self._is_waiting = True
                    self._changed.wait_for(lambda: not self._is_waiting, self._idle_s)
                    self._is_waiting = False
                if self._pieces:
                    self._changed.wait_for(lambda: self._is_closing, DELAY_S)
                # Nothing is appended after `close`, so the last turn takes all there is.
                is_closing = self._is_closing
                pieces, self._pieces = self._pieces, []
            outcomes = self._write(pieces)
            with self._changed:
                self._buffer_bytes -= sum(piece.size for piece in pieces)
                if not self._is_given_up:
                    self._outcomes.update(outcomes)
                    self._unwritten_requests -= outcomes.total()
            with self._disk:
                if is_closing:
                    self._segment.close()
                else:
                    self._segment.close_if_old()
            self._usage.refresh()
