"""Write each day's rows into one Parquet file beside its segments.

The file's name is the hash of the stems in it: compacting again writes the same file, and two compactions at
the same time write two files, whose rows readers take once. An older file of the day is removed after the new
one, which has its rows, is complete.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.database import (
    MEMORY,
    STEMS_KEY,
    Connection,
    by_date,
    compacted_stems,
    connect,
    distinct,
    quote,
    read_days,
    read_segments,
    rows,
    run,
)
from monitor.errors import MonitorError
from monitor.lake import Lake, LocalObject
from monitor.layout import KINDS, Kind, directory, model_prefix

ROW_GROUP_ROWS = 100_000
ATTEMPTS = 3


class _SourcesChanged(Exception):
    """Objects of a day were rewritten or removed since they were read."""


@dataclass(frozen=True)
class CompactedDay:
    """What was written for a day.

    Attributes:
        segments: number of segments in the file.
    """

    model: str
    kind: Kind
    date: str
    segments: int
    rows: int


def compact(
    lake: Lake, model: str, *, date: str | None = None, remove: bool = False, memory: str = MEMORY
) -> list[CompactedDay]:
    """Compact every day of a model that has segments which its Parquet file does not have.

    Args:
        date: the only day, YYYY-MM-DD; None: all.
        remove: remove the segments afterwards.
        memory: limit of DuckDB's memory.

    Raises:
        MonitorError, StoreError: the data cannot be read or written.
    """
    done = []
    etags = lake.store.etags(model_prefix(model))
    found = [each for each in lake.local(model) if date in (None, each.object.date)]
    with connect(memory) as connection:
        for kind in KINDS:
            days = by_date([each for each in found if each.object.kind == kind])
            for day, objects in sorted(days.items()):
                written, objects = _compact_unchanged(connection, lake, model, kind, day, objects, etags)
                done += [written] if written else []
                if remove:
                    for each in objects:
                        if each.object.stem is not None:
                            lake.store.delete(each.object.name)
    return done


def _compact_unchanged(
    connection: Connection,
    lake: Lake,
    model: str,
    kind: Kind,
    date: str,
    objects: Sequence[LocalObject],
    etags: Mapping[str, str],
) -> tuple[CompactedDay | None, list[LocalObject]]:
    """Compact a day, again if its objects change meanwhile; return what was written, and the objects."""
    for _ in range(ATTEMPTS):
        try:
            return _compact_day(connection, lake, model, kind, date, objects, etags), [*objects]
        except _SourcesChanged:
            etags = lake.store.etags(directory(model, kind, date))
            objects = [
                each
                for each in lake.local(model, since=date)
                if (each.object.kind, each.object.date) == (kind, date)
            ]
    raise MonitorError(f"{directory(model, kind, date)} changes while it is compacted: try again")


def _compact_day(
    connection: Connection,
    lake: Lake,
    model: str,
    kind: Kind,
    date: str,
    objects: Sequence[LocalObject],
    etags: Mapping[str, str],
) -> CompactedDay | None:
    """Write the file of a day and remove the older ones; None if there is nothing to do.

    Args:
        etags: of the objects, from before they were read.

    Raises:
        _SourcesChanged: the objects have other ETags now, so nothing was written. Rows that `forget` has
            deleted from them would be back in the file.
    """
    old = [each for each in objects if each.object.stem is None]
    stems = {stem for each in old for stem in compacted_stems(connection, each.path)}
    new = {each.object.stem: each.path for each in objects if each.object.stem not in (None, *stems)}
    if not new and len(old) == 1:
        return None
    names = sorted({*stems, *(stem for stem in new if stem)})
    name = f"day-{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}.parquet"
    parts = [read_days(kind, [each.path for each in old])] if old else []
    parts += [read_segments(kind, [*new.values()])] if new else []
    target = f"{directory(model, kind, date)}{name}"
    with tempfile.TemporaryDirectory(prefix="scoring-compact-") as temporary:
        file = Path(temporary) / name
        count = _write(connection, kind, " UNION ALL ".join(parts), names, file)
        before = {each.object.name: etags.get(each.object.name) for each in objects}
        now = lake.store.etags(directory(model, kind, date))
        if any(now.get(source) != etag for source, etag in before.items()):
            raise _SourcesChanged
        try:
            with file.open("rb") as content:
                lake.store.upload(target, content)
        except OSError as exc:
            raise MonitorError(f"{file}: {exc.strerror}") from exc
    now = lake.store.etags(directory(model, kind, date))
    if any(now.get(source, etag) != etag for source, etag in before.items() if source != target):
        raise MonitorError(
            f"{target}: files of the day were rewritten during its upload: if that was 'forget', run it again"
        )
    for each in old:
        if each.object.name != target:
            lake.store.delete(each.object.name)
    return CompactedDay(model, kind, date, len(names), count)


def _write(connection: Connection, kind: Kind, select: str, stems: Sequence[str], file: Path) -> int:
    """Write the different rows of a selection, and return their number."""
    _copy(connection, select, stems, file)
    # Few days have a row twice, and to find that out takes a fraction of the memory and time of DISTINCT.
    key = "hash(id, row)" if kind == "prediction" else "hash(id, row, time, caller, metric, value)"
    written = read_days(kind, [file])
    ((total, different),) = rows(connection, f"SELECT count(*), count(DISTINCT {key}) FROM ({written})")
    if total != different:
        other = file.with_suffix(".distinct")
        _copy(connection, distinct(kind, written), stems, other)
        other.replace(file)
        ((total,),) = rows(connection, f"SELECT count(*) FROM ({written})")
    return int(total)


def _copy(connection: Connection, select: str, stems: Sequence[str], file: Path) -> None:
    run(
        connection,
        f"COPY (SELECT * FROM ({select}) ORDER BY time) TO {quote(os.fspath(file))} "
        f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}, "
        f"KV_METADATA {{{STEMS_KEY}: {quote(chr(10).join(stems))}}})",
    )
