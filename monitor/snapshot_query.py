"""The queries of a snapshot: its rows and what they violate, what was left out, and what is held out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from monitor.database import (
    Connection,
    by_date,
    compacted_stems,
    identifier,
    quote,
    read_days,
    read_segments,
    rows,
)
from monitor.errors import NoRows
from monitor.lake import LocalObject
from monitor.snapshot_columns import Column, extracted


def judged_query(name: str, metric: str, since: datetime, until: datetime, columns: Sequence[Column]) -> str:
    """Return the SQL for all predictions of a window, with their labels and the rules that they violate.

    Args:
        columns: of the features, then that of the label.
    """
    selected = ",\n  ".join(column.select for column in columns)
    rules = ",\n    ".join(
        f"CASE WHEN {rule.violated} THEN {quote(rule.name)} END"
        for column in columns
        for rule in column.rules
    )
    return (
        f"SELECT id, row, time,\n  {selected},\n  version,\n"
        "  value IS NOT NULL AS labelled, coalesce(different_labels > 1, false) AS conflicting,\n"
        # It also removes the rules that are not violated, NULL.
        f"  list_distinct([\n    {rules}]) AS violations\n"
        f"FROM (SELECT *, {extracted(columns[:-1])} FROM predictions)\n"
        f"LEFT JOIN (SELECT * FROM labels WHERE metric = {quote(metric)}) labels"
        " USING (name, id, row)\n"
        f"WHERE name = {quote(name)} AND coalesce(status, 200) = 200"
        f" AND time >= {quote(iso(since))} AND time < {quote(iso(until))}"
    )


def kept_rows(columns: Sequence[Column]) -> str:
    """Return the SQL for the rows that a snapshot has."""
    names = ", ".join(identifier(column.name) for column in columns)
    return (
        f"SELECT id, row, time, {names}, version FROM judged "
        "WHERE labelled AND NOT conflicting AND len(violations) = 0"
    )


def count_rows(connection: Connection) -> dict[str, Any]:
    """Return what `snapshot.json` says of the rows that were found."""
    ((predictions, labelled, conflicting, violating),) = rows(
        connection,
        "SELECT count(*), count(*) FILTER (labelled), count(*) FILTER (labelled AND conflicting), "
        "count(*) FILTER (labelled AND NOT conflicting AND len(violations) > 0) FROM judged",
    )
    violations = rows(
        connection,
        "SELECT unnest(violations) AS rule, count(*) FROM judged WHERE labelled AND NOT conflicting "
        "GROUP BY rule ORDER BY rule",
    )
    return {
        "predictions": predictions,
        "labelled": labelled,
        "coverage": labelled / predictions if predictions else 0.0,
        "conflicting": conflicting,
        "violating": violating,
        "violations": dict(violations),
    }


def find_split(connection: Connection, kept: str, count: int, test_share: float) -> str:
    """Return the time from which on rows are held out. Rows of the same time are not divided.

    Raises:
        NoRows: no row is older.
    """
    offset = min(count - 1, round(count * (1 - test_share)))
    sql = f"SELECT strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ') FROM ({kept}) ORDER BY time LIMIT 1 OFFSET "
    ((first,),), ((split,),) = rows(connection, f"{sql} 0"), rows(connection, f"{sql} {offset}")
    if first == split:
        raise NoRows(
            f"expected rows of different times, to hold out the newest, got {count} of which {offset + 1} or "
            f"more have the time {first}"
        )
    return str(split)


def count_lines(
    connection: Connection, objects: Sequence[LocalObject], since: datetime, until: datetime
) -> int:
    """Return the number of answered predictions in the files; what a day's file has, once."""
    total = 0
    found = [each for each in objects if each.object.kind == "prediction"]
    for date in by_date(found).values():
        days = [each.path for each in date if each.object.stem is None]
        stems = {stem for path in days for stem in compacted_stems(connection, path)}
        segments = [each.path for each in date if each.object.stem and each.object.stem not in stems]
        parts = [read_days("prediction", days)] if days else []
        parts += [read_segments("prediction", segments)] if segments else []
        ((count,),) = rows(
            connection,
            f"SELECT count(*) FROM ({' UNION ALL '.join(parts)}) WHERE coalesce(status, 200) = 200 "
            f"AND time >= {quote(iso(since))} AND time < {quote(iso(until))}",
        )
        total += count
    return total


def iso(time: datetime) -> str:
    """Return a time in UTC, RFC 3339, in seconds."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
