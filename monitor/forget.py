"""Delete the rows of a person or a request from every file, and prove that none is left.

A key is the id of a prediction, the id of a request, a caller, or a value as the files have it, which
for personal data is its hash. A number has the same key in any form: 4711.0 and 4711. A row with it is
deleted, and all rows with the same prediction id: its feedback, and the rows of the same request.
"""

import gzip
import io
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.package.hashed_values import decimal_digits
from monitor.database import COLUMNS, Connection, connect, quote, read_days, rows, run
from monitor.errors import MonitorError
from monitor.lake import Lake, LocalObject
from monitor.segments import LineCounts, list_segments, whole_lines

GZIP_LEVEL = 6
ROW_GROUP_ROWS = 100_000
MIN_KEY_CHARACTERS = 4
# Columns of a row whose value may be a key.
KEY_COLUMNS = ("id", "request_id", "caller")


@dataclass(frozen=True)
class Forgotten:
    """What was deleted.

    Attributes:
        files: objects that were rewritten or removed.
        searched: objects that were searched again afterwards, and have nothing left.
    """

    rows: int
    files: int
    searched: int


def forget(lake: Lake, models: Sequence[str], keys: Collection[str], spool: Path | None = None) -> Forgotten:
    """Delete every row with one of the keys.

    Args:
        spool: must have no row with a key; None: there is none.

    Raises:
        MonitorError: a key is too short, the spool has rows with it, or rows are left.
        StoreError: the store cannot be read or written.
    """
    for key in keys:
        if len(key) < MIN_KEY_CHARACTERS:
            raise MonitorError(f"expected a key of {MIN_KEY_CHARACTERS} characters or more, got {len(key)}")
    deleted = files = searched = 0
    with connect() as connection:
        for model in models:
            objects = lake.local(model)
            ids = {id_ for each in objects for id_ in _ids(connection, each, keys)}
            if spool:
                _check_spool(spool, model, keys, ids)
            for each in objects:
                if count := _rewrite(connection, lake, each, ids):
                    deleted, files = deleted + count, files + 1
            lake.purge()
            left = lake.local(model)
            searched += len(left)
            for each in left:
                found = _ids(connection, each, keys) | _present(connection, each, ids)
                if found:
                    raise MonitorError(f"{each.object.name} still has rows of the key: run the command again")
    return Forgotten(deleted, files, searched)


def key_forms(text: str) -> set[str]:
    """Return a key as it was given and, of a number, as it is compared and hashed: `11.03` of `11.030`."""
    return {text, decimal_digits(text) or text}


def has_key(row: Any, keys: Collection[str]) -> bool:
    """Return whether a row has one of the keys as one of its ids, its caller, or a value."""
    if any(row.get(column) in keys for column in KEY_COLUMNS):
        return True
    return any(text in keys for column in ("inputs", "outputs", "value") for text in _texts(row.get(column)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from {str(value), json.dumps(value), decimal_digits(str(value)) or ""}


def _ids(connection: Connection, local: LocalObject, keys: Collection[str]) -> set[str]:
    """Return the prediction ids of the rows of an object that have a key."""
    return {row["id"] for row in _candidates(connection, local, keys) if has_key(row, keys)}


def _candidates(connection: Connection, local: LocalObject, keys: Collection[str]) -> Iterator[Any]:
    """Yield rows that have the text of a key, wherever that is."""
    # A key that is not ASCII may be escaped or not.
    texts = {*keys, *(json.dumps(key)[1:-1] for key in keys)}
    if local.object.stem is not None:
        encoded = [text.encode() for text in texts]
        for line in _lines(local.path):
            if any(text in line for text in encoded):
                yield json.loads(line)
        return
    columns = [*COLUMNS[local.object.kind]]
    searched = [name for name in columns if COLUMNS[local.object.kind][name] in ("VARCHAR", "JSON")]
    condition = " OR ".join(
        f"contains({name}::VARCHAR, {quote(each)})" for name in searched for each in sorted(texts)
    )
    names = [name for name in columns if name in ("id", "request_id", "caller", "inputs", "outputs", "value")]
    sql = f"SELECT {', '.join(names)} FROM ({read_days(local.object.kind, [local.path])}) WHERE {condition}"
    for values in rows(connection, sql):
        row = dict(zip(names, values, strict=True))
        for name in ("inputs", "outputs", "value"):
            if row.get(name) is not None:
                row[name] = json.loads(row[name])
        yield row


def _present(connection: Connection, local: LocalObject, ids: set[str]) -> set[str]:
    """Return those of the prediction ids that an object has."""
    if not ids:
        return set()
    if local.object.stem is not None:
        return {row["id"] for row in map(json.loads, _lines(local.path))} & ids
    sql = f"SELECT DISTINCT id FROM ({read_days(local.object.kind, [local.path])}) WHERE id IN {_in(ids)}"
    return {id_ for (id_,) in rows(connection, sql)}


def _rewrite(connection: Connection, lake: Lake, local: LocalObject, ids: set[str]) -> int:
    """Write an object again without the rows of these ids, and return their number.

    The object keeps its name: a shipper that repeats an upload must find that it is there.
    """
    if not _present(connection, local, ids):
        return 0
    if local.object.stem is None:
        return _rewrite_day(connection, lake, local, ids)
    count, content = 0, io.BytesIO()
    with gzip.GzipFile("", "wb", GZIP_LEVEL, content, mtime=0) as compressed:
        for line in _lines(local.path):
            if json.loads(line)["id"] in ids:
                count += 1
            else:
                compressed.write(line)
    content.seek(0)
    lake.store.upload(local.object.name, content)
    return count


def _rewrite_day(connection: Connection, lake: Lake, local: LocalObject, ids: set[str]) -> int:
    source = os.fspath(local.path)
    selection = read_days(local.object.kind, [local.path])
    ((count,),) = rows(connection, f"SELECT count(*) FROM ({selection}) WHERE id IN {_in(ids)}")
    metadata = rows(
        connection, f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({quote(source)})"
    )
    pairs = ", ".join(f"{name}: {quote(value)}" for name, value in metadata)
    with tempfile.TemporaryDirectory(prefix="scoring-forget-") as directory:
        file = Path(directory) / "day.parquet"
        run(
            connection,
            f"COPY (SELECT * FROM ({selection}) WHERE id NOT IN {_in(ids)} ORDER BY time) "
            f"TO {quote(os.fspath(file))} (FORMAT parquet, COMPRESSION zstd, "
            f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}, KV_METADATA {{{pairs}}})",
        )
        try:
            with file.open("rb") as content:
                lake.store.upload(local.object.name, content)
        except OSError as exc:
            raise MonitorError(f"{file}: {exc.strerror}") from exc
    return int(count)


def _check_spool(spool: Path, model: str, keys: Collection[str], ids: set[str]) -> None:
    """Refuse to work while the spool has rows that would be shipped afterwards."""
    for segment in list_segments(spool):
        if segment.name != model:
            continue
        try:
            for line in whole_lines(spool / segment.path, LineCounts()):
                row = json.loads(line)
                if row.get("id") in ids or has_key(row, keys):
                    raise MonitorError(
                        f"{segment.path} in the spool has rows of the key: run 'ship' when the segment is "
                        "closed, and this command again"
                    )
        except OSError as exc:
            raise MonitorError(f"spool {spool}: {segment.path}: {exc.strerror}") from exc


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            yield from file
    except (OSError, EOFError) as exc:
        raise MonitorError(f"{path}: {exc}") from exc


def _in(ids: set[str]) -> str:
    return f"({', '.join(map(quote, sorted(ids)))})"
