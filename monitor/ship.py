"""Move closed segments from the spool into the capture store.

A segment is uploaded with `If-None-Match: *` under a name that its own determines, and then removed. So an
upload that is repeated, because the response was lost or the shipper died in between, changes nothing.
"""

import gzip
import io
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_loader.errors import ConflictError, DeniedError, StoreError
from model_loader.store import Store
from monitor.errors import MonitorError
from monitor.layout import Segment
from monitor.segments import LineCounts, close_if_abandoned, list_segments, remove_unnamed, whole_lines

# Most of the size, for a tenth of the time of level 9.
GZIP_LEVEL = 6
MAX_DELAY_S = 30.0


@dataclass
class Shipped:
    """What a pass over the spool has done.

    Attributes:
        rows: rows uploaded, also by an earlier attempt.
        torn: lines that were not whole, and are dropped.
        failure: why segments are left; None: none is.
    """

    segments: int = 0
    rows: int = 0
    torn: int = 0
    failure: str | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not self.segments and self.failure is None


class Stopped(BaseException):
    """A signal ended the work. It is raised between any two instructions, which loses and doubles nothing."""


def ship_once(spool: Path, store: Store) -> Shipped:
    """Upload every closed segment, and the open ones of dead workers.

    The first segment that the store does not take ends the pass: the others would fail as well. One that
    cannot be read or removed, or is denied, is left, and does not hold up the others: where the identity may
    only create blobs, a denial can mean that the blob exists.
    """
    result = Shipped()
    try:
        remove_unnamed(spool)
        for segment in list_segments(spool):
            try:
                closed = close_if_abandoned(spool, segment) if segment.is_open else segment
                if closed:
                    _ship_segment(spool, closed, store, result)
            except (MonitorError, DeniedError) as exc:
                result.failure = str(exc)
    except (MonitorError, StoreError) as exc:
        result.failure = str(exc)
    return result


def ship_forever(spool: Path, store: Store, interval_s: float, grace_s: float) -> Shipped:
    """Ship every `interval_s` seconds until SIGTERM or SIGINT; then what is left, for at most `grace_s`.

    Returns:
        What the last pass has done.
    """
    delay_s = interval_s
    with _raise_on(signal.SIGTERM, signal.SIGINT):
        try:
            while True:
                result = ship_once(spool, store)
                log_pass(result)
                delay_s = min(2 * delay_s, max(MAX_DELAY_S, interval_s)) if result.failure else interval_s
                time.sleep(delay_s)
        except Stopped:
            pass
    return _ship_rest(spool, store, grace_s)


def _ship_rest(spool: Path, store: Store, grace_s: float) -> Shipped:
    result = Shipped(failure="the grace period ended")
    with _raise_on(signal.SIGALRM):
        signal.setitimer(signal.ITIMER_REAL, grace_s)
        try:
            while result.failure is not None:
                result = ship_once(spool, store)
                log_pass(result)
                if result.failure is not None:
                    time.sleep(1)
        except Stopped:
            log_pass(result)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return result


def log_pass(result: Shipped) -> None:
    """Write a line of JSON about a pass that did something, to standard error."""
    if result.is_idle:
        return
    entry: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "logger": "ship"}
    entry |= {"segments": result.segments, "rows": result.rows, "torn": result.torn}
    if result.failure is not None:
        entry["failure"] = result.failure
    print(json.dumps(entry), file=sys.stderr, flush=True)


def _ship_segment(spool: Path, segment: Segment, store: Store, result: Shipped) -> None:
    path = spool / segment.path
    counts, content = LineCounts(), io.BytesIO()
    try:
        # Without time and file name, the same segment always gives the same bytes.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, content, mtime=0) as compressed:
            compressed.writelines(whole_lines(path, counts))
    except FileNotFoundError:
        return  # another shipper has moved it
    except OSError as exc:
        raise MonitorError(f"spool {spool}: {segment.path}: {exc.strerror}") from exc
    if counts.rows:
        with suppress(ConflictError):  # an earlier attempt has uploaded it
            store.write(segment.object_name, content.getvalue(), None)
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise MonitorError(f"spool {spool}: {segment.path}: {exc.strerror}") from exc
    result.segments += 1
    result.rows += counts.rows
    result.torn += counts.torn


@contextmanager
def _raise_on(*signals: signal.Signals) -> Iterator[None]:
    """Raise `Stopped` on the first of these signals, and ignore those that follow until the block ends."""

    def stop(*_: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    previous: list[tuple[signal.Signals, Any]] = [(each, signal.signal(each, stop)) for each in signals]
    try:
        yield
    finally:
        for each, handler in previous:
            signal.signal(each, handler)
