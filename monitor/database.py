"""DuckDB over the objects of the capture store: the views `predictions`, `feedback`, `labels`, `joined`.

A prediction is one row, whatever number of files has it: a segment may be in its own object and in that of
its day. Feedback is one row for each line; lines that are equal in every field are the same line.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from monitor.errors import MonitorError, QueryError
from monitor.lake import Lake, LocalObject
from monitor.layout import KINDS, Kind
from monitor.segments import LineCounts, list_segments, whole_lines

Connection = duckdb.DuckDBPyConnection
COLUMNS: Mapping[Kind, Mapping[str, str]] = {
    "prediction": {
        "id": "VARCHAR", "row": "INTEGER", "time": "TIMESTAMPTZ", "request_id": "VARCHAR",
        "caller": "VARCHAR", "version": "BIGINT", "digest": "VARCHAR", "ratio": "DOUBLE", "status": "INTEGER",
        "reason": "VARCHAR", "inputs": "JSON", "outputs": "JSON",
    },
    "feedback": {
        "id": "VARCHAR", "row": "INTEGER", "time": "TIMESTAMPTZ", "caller": "VARCHAR", "metric": "VARCHAR",
        "value": "JSON",
    },
}  # fmt: skip
VIEWS: Mapping[Kind, str] = {"prediction": "predictions", "feedback": "feedback"}
# Key in the metadata of a day's Parquet file: the stems of the segments in it, a line each.
STEMS_KEY = "stems"
MEMORY = "2GB"
# The label of a prediction is the last one that came; `value` breaks a tie, so that the result is defined.
DERIVED_VIEWS = """
CREATE VIEW labels AS
SELECT name, id, row, metric,
       arg_max(value::VARCHAR, struct_pack(t := time, v := value::VARCHAR))::JSON AS value,
       count(*) AS labels,
       count(DISTINCT coalesce(try_cast(value->>'$' AS DOUBLE)::VARCHAR, value->>'$')) AS different_labels,
       min(time) AS first_label, max(time) AS last_label
FROM feedback GROUP BY ALL;
CREATE VIEW joined AS
SELECT predictions.*, metric, value, labels, different_labels, first_label, last_label
FROM predictions LEFT JOIN labels USING (name, id, row);
"""


@contextmanager
def open_database(
    lake: Lake,
    models: Sequence[str],
    *,
    spool: Path | None = None,
    since: str = "",
    objects: Sequence[LocalObject] | None = None,
    memory: str = MEMORY,
) -> Iterator[Connection]:
    """Open a database with the views over the data of some models.

    Args:
        spool: whose segments are read too, as far as they are written; None: none.
        since: the first date of objects, YYYY-MM-DD; empty: all.
        objects: of the models, to be read instead of those that the store has now.
        memory: limit of DuckDB's memory, such as 2GB; more data is processed on disk.

    Raises:
        MonitorError, StoreError: the data cannot be read.
    """
    with connect(memory) as connection, tempfile.TemporaryDirectory(prefix="scoring-spool-") as copies:
        # The spool first: a segment that is shipped in the meantime is then read twice, and counts once.
        copied = _copy_spool(spool, Path(copies)) if spool else {}
        selects: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
        for model in models:
            found = lake.local(model, since) if objects is None else objects
            for kind in KINDS:
                of_kind = [each for each in found if each.object.kind == kind and each.object.model == model]
                selects[kind] += _selects(connection, model, kind, of_kind, copied.get((model, kind), {}))
        for kind in KINDS:
            union = " UNION ALL ".join(selects[kind] or [_empty(kind)])
            run(connection, f"CREATE VIEW {VIEWS[kind]} AS {union}")
        run(connection, DERIVED_VIEWS)
        yield connection


@contextmanager
def connect(memory: str = MEMORY) -> Iterator[Connection]:
    """Open an empty database, whose temporary files are removed at the end.

    Raises:
        QueryError: `memory` is not a size.
    """
    with tempfile.TemporaryDirectory(prefix="scoring-monitor-") as directory:
        connection = duckdb.connect()
        try:
            run(connection, "SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
            run(connection, "SET enable_progress_bar = false")
            run(connection, f"SET temp_directory = {quote(directory)}; SET memory_limit = {quote(memory)}")
            yield connection
        finally:
            connection.close()


def run(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> Connection:
    """Run a query.

    Raises:
        QueryError: DuckDB rejects it, or cannot read a file.
    """
    try:
        return connection.execute(sql, list(parameters) or None)
    except duckdb.Error as exc:
        raise QueryError(str(exc).strip()) from exc


def rows(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a query and return its rows; exceptions as `run`."""
    try:
        return run(connection, sql, parameters).fetchall()
    except duckdb.Error as exc:
        raise QueryError(str(exc).strip()) from exc


def quote(text: str) -> str:
    """Return an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def json_pointer(name: str) -> str:
    """Return the SQL literal of a JSON Pointer to a member: DuckDB takes `/x` and `$x` for more than a name.

    https://www.rfc-editor.org/rfc/rfc6901, section 3
    """
    return quote("/" + name.replace("~", "~0").replace("/", "~1"))


def read_segments(kind: Kind, paths: Sequence[Path]) -> str:
    """Return the SQL that reads segments; a field that a line does not have is NULL."""
    columns = ", ".join(f"{name}: {quote(type_)}" for name, type_ in COLUMNS[kind].items())
    return (
        f"SELECT {', '.join(COLUMNS[kind])} FROM read_json({_list(paths)}, format = 'newline_delimited', "
        f"hive_partitioning = false, columns = {{{columns}}})"
    )


def read_days(kind: Kind, paths: Sequence[Path]) -> str:
    """Return the SQL that reads compacted days."""
    return f"SELECT {', '.join(COLUMNS[kind])} FROM read_parquet({_list(paths)}, hive_partitioning = false)"


def compacted_stems(connection: Connection, path: Path) -> set[str]:
    """Return the stems of the segments that a compacted day has."""
    sql = f"SELECT decode(value) FROM parquet_kv_metadata({quote(os.fspath(path))}) WHERE decode(key) = ?"
    return {stem for (text,) in rows(connection, sql, [STEMS_KEY]) for stem in text.split("\n")}


def distinct(kind: Kind, select: str) -> str:
    """Return the SQL for the different rows of a selection."""
    return f"SELECT DISTINCT {'ON (id, row) ' if kind == 'prediction' else ''}* FROM ({select})"


def by_date(objects: Sequence[LocalObject]) -> dict[str, list[LocalObject]]:
    """Group objects by their date."""
    dates = defaultdict(list)
    for each in objects:
        dates[each.object.date].append(each)
    return dates


def _selects(
    connection: Connection, model: str, kind: Kind, objects: Sequence[LocalObject], copied: Mapping[str, Path]
) -> Iterator[str]:
    """Yield the SQL for a model's rows.

    Args:
        copied: stem → copy of a segment in the spool.
    """
    clean: list[Path] = []
    days: list[Path] = []
    segments: dict[str, Path] = {}
    shipped: set[str] = set()
    for date in by_date(objects).values():
        compacted = [each.path for each in date if each.object.stem is None]
        stems = {stem for path in compacted for stem in compacted_stems(connection, path)}
        others = {each.object.stem: each.path for each in date if each.object.stem not in (None, *stems)}
        shipped |= stems | {each.object.stem for each in date if each.object.stem}
        if others or len(compacted) > 1:
            days += compacted
            segments |= {stem: path for stem, path in others.items() if stem}
        else:
            # Compaction has left one row of each already.
            clean += compacted
    segments |= {stem: path for stem, path in copied.items() if stem not in shipped}
    name = f"SELECT {quote(model)} AS name, * FROM "
    if clean:
        yield f"{name}({read_days(kind, clean)})"
    mixed = [read_days(kind, days)] if days else []
    mixed += [read_segments(kind, [*segments.values()])] if segments else []
    if mixed:
        yield f"{name}({distinct(kind, ' UNION ALL '.join(mixed))})"


def _empty(kind: Kind) -> str:
    columns = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in COLUMNS[kind].items())
    return f"SELECT NULL::VARCHAR AS name, {columns} WHERE false"


def _copy_spool(spool: Path, target: Path) -> dict[tuple[str, Kind], dict[str, Path]]:
    """Copy the whole lines of a spool's segments, whose last one may still be being written."""
    copies: dict[tuple[str, Kind], dict[str, Path]] = defaultdict(dict)
    for segment in list_segments(spool):
        source, copy = spool / segment.path, target / f"{len(copies)}-{segment.stem}.jsonl"
        try:
            if not source.is_file():
                source = source.with_suffix("")  # closed in the meantime
            with copy.open("wb") as file:
                file.writelines(whole_lines(source, LineCounts()))
        except FileNotFoundError:
            continue  # shipped in the meantime
        except OSError as exc:
            raise MonitorError(f"spool {spool}: {segment.path}: {exc.strerror}") from exc
        copies[segment.name, segment.kind][segment.stem] = copy
    return copies


def _list(paths: Sequence[Path]) -> str:
    return f"[{', '.join(quote(os.fspath(path)) for path in paths)}]"
