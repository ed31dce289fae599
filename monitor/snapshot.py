"""Freeze labelled rows of production as Parquet files, with the query that made them.

The same query on the same files writes the same bytes: rows have a fixed order, one thread writes, and no
file has the time of its creation.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from model_loader.errors import NotFoundError
from model_loader.package import encode, hash_file
from model_loader.registry.ledger import read_ledger
from model_loader.registry.versions import find
from model_loader.snapshot_files import (
    FILES,
    SCHEMA,
    SNAPSHOT_FILE,
    TEST_FILE,
    TRAIN_FILE,
    Snapshot,
    read,
    verify,
)
from model_loader.source_commit import source_commit
from model_loader.store import Store
from model_loader.store.atomic import atomic_write
from monitor.config import Config
from monitor.database import MEMORY, Connection, open_database, quote, rows, run
from monitor.errors import MonitorError, NoRows
from monitor.lake import Lake, LocalObject
from monitor.snapshot_columns import feature_columns, label_column
from monitor.snapshot_query import count_lines, count_rows, find_split, iso, judged_query, kept_rows
from monitor.targets import Target, VersionInfo, find_target, read_version

__all__ = ["Selection", "Snapshot", "read", "take", "verify"]

ROW_GROUP_ROWS = 100_000
TEST_SHARE = 0.25
DAY = timedelta(days=1)
# A day before the first, or after the last, there is no time any more.
FIRST, LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Selection:
    """Which rows a snapshot has.

    Attributes:
        name: of the model.
        since, until: the time of the predictions; `until` is not included.
        metric: of the feedback that is the label; None: what the serving version's schema says.
        version: whose features and schema the rows have; None: that in production, else the latest.
        test_share: share of the newest rows, which are held out.
    """

    name: str
    since: datetime
    until: datetime
    metric: str | None = None
    version: int | None = None
    test_share: float = TEST_SHARE
    min_rows: int = 1


def take(
    lake: Lake, models: Store, config: Config, selection: Selection, out: Path, memory: str = MEMORY
) -> Snapshot:
    """Write a snapshot into the directory `out`, and return it.

    Raises:
        NoRows: there are fewer labelled rows than `min_rows`.
        MonitorError: the data cannot be read, or `out` has other files.
        LoaderError: a store cannot be read.
    """
    name = selection.name
    version = serving_version(models, name) if selection.version is None else selection.version
    info = read_version(models, name, version)
    target = _target(info, config, selection.metric)
    columns, withheld = feature_columns(info)
    columns.append(label_column(target, _datatype(info, target)))
    since, until = (
        each.astimezone(UTC).replace(microsecond=0) for each in (selection.since, selection.until)
    )
    objects = _find_objects(lake, name, since, until)
    fingerprint = _fingerprint(objects)
    query, kept = judged_query(name, target.metric, since, until, columns), kept_rows(columns)
    _prepare(out)
    with open_database(lake, [name], objects=objects, memory=memory) as connection:
        # Several threads would write the row groups in any order.
        run(connection, "SET threads = 1")
        run(connection, f"CREATE TEMP TABLE judged AS {query}")
        counts = count_rows(connection)
        count = counts["labelled"] - counts["conflicting"] - counts["violating"]
        if count < selection.min_rows:
            raise NoRows(
                f"expected {selection.min_rows} labelled rows of {name} from {iso(since)} to {iso(until)} "
                f"that can be used, got {count}: {counts['predictions']} predictions, "
                f"{counts['labelled']} with '{target.metric}', {counts['conflicting']} with "
                f"conflicting labels, {counts['violating']} that violate the schema"
            )
        split = find_split(connection, kept, count, selection.test_share)
        files = {
            file: _write(connection, f"{kept} AND time {rule} {quote(split)}", out / file)
            for file, rule in ((TRAIN_FILE, "<"), (TEST_FILE, ">="))
        }
        lines = count_lines(connection, objects, since, until)
    if _fingerprint(objects) != fingerprint:
        raise MonitorError(f"the store {lake.store.url} changed while it was read: try again")
    document = {
        "schema": SCHEMA,
        "name": name,
        "metric": target.metric,
        "since": iso(since),
        "until": iso(until),
        "version": version,
        "query": query,
        "sources": {each.object.name: hash_file(each.path).sha256 for each in objects},
        "test_share": selection.test_share,
        "test_since": split,
        "files": files,
        **counts,
        "duplicates": lines - counts["predictions"],
        "withheld": sorted(withheld),
        "commit": source_commit(Path(__file__).parent),
    }
    with atomic_write(out / SNAPSHOT_FILE) as file:
        file.write(encode(document))
    return verify(out)


def serving_version(models: Store, name: str) -> int:
    """Return the version in production, else the latest.

    Raises:
        LoaderError: no version is published, or the store cannot be read.
    """
    try:
        return read_ledger(models, name).current("production").version
    except NotFoundError:
        return find(models, name, "latest").manifest.version


def _target(info: VersionInfo, config: Config, metric: str | None) -> Target:
    """Return what the label is the truth of.

    Raises:
        MonitorError: neither schema nor configuration says it, or they have no such metric.
    """
    found = find_target(info, config)
    if found and metric in (None, found.metric):
        return found
    known = info.schema.feedback if info.schema else {}
    if metric is None or metric not in known:
        names = ", ".join({*known, *([found.metric] if found else [])}) or "none"
        raise MonitorError(f"expected a metric that the schema or monitor.toml has, {names}, got {metric}")
    schema = known[metric]
    classes = (False, True) if schema.type == "boolean" else schema.classes
    return Target(schema.metric, schema.output or "", classes=classes, is_number=schema.type == "number")


def _datatype(info: VersionInfo, target: Target) -> str | None:
    specs = info.manifest.outputs if info.manifest else ()
    return next((str(spec["datatype"]) for spec in specs if spec["name"] == target.output), None)


def _write(connection: Connection, select: str, path: Path) -> dict[str, Any]:
    """Write a Parquet file, and return what `snapshot.json` says of it."""
    temporary = path.with_name(f".{path.name}")
    try:
        run(
            connection,
            f"COPY ({select} ORDER BY time, id, row) TO {quote(os.fspath(temporary))} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})",
        )
        ((count,),) = rows(connection, f"SELECT count(*) FROM read_parquet({quote(os.fspath(temporary))})")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return {**asdict(hash_file(path)), "rows": count}


def _prepare(out: Path) -> None:
    """Create the directory; an older snapshot in it is no snapshot any more.

    Raises:
        MonitorError: it has other files, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in out.iterdir():
            if path.name not in (SNAPSHOT_FILE, *FILES):
                raise MonitorError(
                    f"{out}: expected an empty directory, or that of a snapshot, got {path.name}"
                )
        (out / SNAPSHOT_FILE).unlink(missing_ok=True)
    except OSError as exc:
        raise MonitorError(f"{out}: {exc.strerror}") from exc


def _find_objects(lake: Lake, name: str, since: datetime, until: datetime) -> list[LocalObject]:
    """Return the objects that may have predictions of a window, or their labels, which come later.

    The name of an object has the time at which its segment was opened.
    """
    last = f"{min(until, LAST) + DAY:%Y-%m-%d}"
    found = lake.local(name, f"{max(since, FIRST) - DAY:%Y-%m-%d}")
    return [each for each in found if each.object.kind == "feedback" or each.object.date <= last]


def _fingerprint(objects: Sequence[LocalObject]) -> dict[str, tuple[int, int] | None]:
    """Return what changes if an object is rewritten, or removed: None. More objects may come all the time."""
    found: dict[str, tuple[int, int] | None] = {}
    for each in objects:
        try:
            status = each.path.stat()
            found[each.object.name] = (status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            found[each.object.name] = None
    return found
