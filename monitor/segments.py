"""Segments in the spool: whose worker is dead, and their whole lines.

A worker holds an exclusive `flock` on its open segment from before the name ends in `.jsonl.open` until after
it has renamed the segment to `.jsonl`. The kernel releases the lock of a process that dies, and the lock is
seen in all containers of a pod, whose process ids are not.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from monitor.errors import MonitorError
from monitor.layout import Segment, parse_segment

# A longer line is not read into memory; it is also DuckDB's limit.
MAX_LINE_BYTES = 16 * 1024 * 1024
# A worker gives a segment its name at once.
UNNAMED_S = 60.0
# Columns of DuckDB have 32 bits for the row and the status.
MAX_NUMBER = 2**31 - 1


@dataclass
class LineCounts:
    """What was read of segments.

    Attributes:
        rows: whole lines that are a row.
        torn: other lines: the last one of a worker that died, or what a full disk left.
    """

    rows: int = 0
    torn: int = 0


def list_segments(spool: Path) -> list[Segment]:
    """Return the segments of a spool, oldest first; an absent directory has none.

    Raises:
        MonitorError: the directory cannot be read.
    """
    try:
        paths = [
            path.relative_to(spool).as_posix()
            for model in _entries(spool)
            for kind in _entries(model)
            for path in _entries(kind)
            if path.is_file()
        ]
    except OSError as exc:
        raise MonitorError(f"spool {spool}: {exc.strerror}") from exc
    found = [segment for path in paths if (segment := parse_segment(path))]
    return sorted(found, key=lambda segment: (segment.stem.split("-")[-2], segment.path))


def _entries(directory: Path) -> list[Path]:
    """Return what a directory has; Path.glob would skip one that cannot be read."""
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def close_if_abandoned(spool: Path, segment: Segment) -> Segment | None:
    """Close the open segment of a dead worker, and return it; None if its worker lives or has closed it.

    Raises:
        MonitorError: the segment cannot be opened or renamed.
    """
    closed = replace(segment, is_open=False)
    try:
        with (spool / segment.path).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (spool / segment.path).rename(spool / closed.path)
    except (BlockingIOError, FileNotFoundError):
        return None
    except OSError as exc:
        raise MonitorError(f"spool {spool}: {segment.path}: {exc.strerror}") from exc
    return closed


def remove_unnamed(spool: Path) -> None:
    """Remove the empty files of workers that died between the creation of a segment and its locking.

    Raises:
        MonitorError: one of them cannot be removed.
    """
    try:
        for path in spool.glob("name=*/kind=*/.*.jsonl"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > UNNAMED_S:
                    path.unlink()
    except OSError as exc:
        raise MonitorError(f"spool {spool}: {exc.strerror}") from exc


def whole_lines(path: Path, counts: LineCounts) -> Iterator[bytes]:
    """Yield the lines of a segment that are rows, each with its line break.

    Args:
        counts: counts the lines as they are read.

    Raises:
        OSError: the segment cannot be read.
    """
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            # No beginning of an object is an object, so one without a line break is whole too.
            if _is_row(line):
                counts.rows += 1
                yield line if line.endswith(b"\n") else line + b"\n"
            else:
                counts.torn += 1


def _is_row(line: bytes) -> bool:
    """Return whether DuckDB can read a line: one that it cannot read would end every query."""
    try:
        row = json.loads(line, parse_constant=_refuse)
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            return False
        datetime.fromisoformat(row["time"])
        numbers = (row["row"], row.get("status") or 0, row.get("version") or 0)
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    except (ValueError, TypeError, KeyError):
        return False
    return all(type(number) is int and abs(number) <= MAX_NUMBER for number in numbers)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
