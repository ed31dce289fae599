"""Write segments as a worker does, following the contract of docs/data.md."""

import fcntl
import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SEQUENCE = itertools.count()


class SegmentWriter:
    """An open segment, locked until it is closed or its process dies."""

    def __init__(self, spool: Path, kind: str, name: str = "wine", start: datetime | None = None) -> None:
        start = start or datetime.now(UTC)
        stem = f"pod-1-{start:%Y%m%dT%H%M%S}{start.microsecond // 1000:03}Z-{next(SEQUENCE)}"
        directory = spool / f"name={name}/kind={kind}"
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{stem}.jsonl.open"
        hidden = directory / f".{stem}"
        self._file = hidden.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        hidden.rename(self.path)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows."""
        self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))

    def write_bytes(self, content: bytes) -> None:
        """Append bytes as they are."""
        self._file.write(content)

    def abandon(self) -> None:
        """Release the lock, as the kernel does when the process dies."""
        self._file.close()

    def close(self) -> Path:
        """Rename the segment, release the lock, and return its path."""
        closed = self.path.with_suffix("")
        self.path.rename(closed)
        self._file.close()
        return closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prediction(id_: str, row: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a row of kind=prediction."""
    return {
        "id": id_,
        "row": row,
        "time": "2026-01-02T03:04:05.000Z",
        "request_id": f"request-{id_}",
        "name": "wine",
        "version": 2,
        "digest": "sha256:00",
        "ratio": 1.0,
        "status": 200,
        "inputs": {"alcohol": 13.5},
        "outputs": {"label": 0, "probabilities": [0.8, 0.1, 0.1]},
    } | fields


def feedback(id_: str, value: Any, row: int = 0, metric: str = "label", **fields: Any) -> dict[str, Any]:
    """Return a row of kind=feedback."""
    time = "2026-01-02T04:00:00.000Z"
    return {"id": id_, "row": row, "time": time, "metric": metric, "value": value} | fields


def write_segment(spool: Path, kind: str, rows: Iterable[dict[str, Any]], **options: Any) -> Path:
    """Write a closed segment, and return its path."""
    writer = SegmentWriter(spool, kind, **options)
    writer.write(rows)
    return writer.close()
