"""Captured rows and the labels that came for them since."""

from typing import Any

from model_loader.text_tables import short
from monitor.database import Connection, rows
from monitor.errors import MonitorError
from monitor.lineage.links import Link, Problem, absent, checked, counted
from monitor.lineage.published import Published

COLUMNS = "id, row, time, request_id, caller, name, version, digest, status"
MAX_ROWS = 100


def find_rows(connection: Connection, id_: str) -> list[dict[str, Any]]:
    """Return the captured rows of a prediction's or a request's id, without their inputs and outputs.

    Raises:
        MonitorError: there are none.
    """
    where = "id = ? OR request_id = ?"
    sql = f"SELECT {COLUMNS} FROM predictions WHERE {where} ORDER BY id, row LIMIT {MAX_ROWS}"
    found = [dict(zip(COLUMNS.split(", "), row, strict=True)) for row in rows(connection, sql, [id_, id_])]
    if not found:
        raise MonitorError(
            f"no captured row has the prediction or request id {id_!r:.120}, and nothing else has this name: "
            "the request may not have been captured yet, or is not in this store"
        )
    return found


def prediction_link(captured: list[dict[str, Any]], published: Published) -> Link:
    """Return the link of captured rows: each one's digest compared with that of its version's manifest."""
    problems: list[Problem] = []
    for row in captured:
        if row["version"] == published.version and row["digest"] != published.digest:
            what = f"captured row {row['id']}/{row['row']}: digest"
            problems.append(Problem(what, f"{published.digest}, of {published.path}", str(row["digest"])))
    first = captured[0]
    text = f"{first['id']}, {counted(len(captured), 'row')}, at {first['time']:%Y-%m-%dT%H:%M:%SZ}, "
    text += f"{published.path}@{short(str(first['digest']))}"
    text += f", caller {first['caller']}" if first["caller"] else ""
    facts = {"rows": [row | {"time": row["time"].isoformat()} for row in captured]}
    return checked("prediction", text, facts, problems)


def predictions_link(connection: Connection, published: Published) -> Link:
    """Return the link of all captured rows of a version."""
    sql = """
    SELECT digest, count(*), min(time), max(time) FROM predictions
    WHERE name = ? AND version = ? GROUP BY digest ORDER BY digest"""
    found = rows(connection, sql, [published.name, published.version])
    if not found:
        return absent("predictions", f"no row of {published.path} was captured")
    problems = [
        Problem(f"{count} captured rows: digest", f"{published.digest}, of {published.path}", str(digest))
        for digest, count, _, _ in found
        if digest != published.digest
    ]
    total = sum(count for _, count, _, _ in found)
    first, last = min(each[2] for each in found), max(each[3] for each in found)
    facts = {"rows": total, "first": first.isoformat(), "last": last.isoformat()}
    text = f"{counted(total, 'row')} from {first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}"
    return checked("predictions", text, facts, problems)


def labels_link(connection: Connection, published: Published, ids: list[str]) -> Link:
    """Return the link of the labels since: those of some predictions, or the count of all of a version.

    Args:
        ids: of the predictions; empty: all.
    """
    if not ids:
        sql = """
        SELECT metric, count(*), max(last_label) FROM joined
        WHERE name = ? AND version = ? AND metric IS NOT NULL GROUP BY metric ORDER BY metric"""
        counts = rows(connection, sql, [published.name, published.version])
        facts: dict[str, Any] = {metric: {"rows": n, "last": last.isoformat()} for metric, n, last in counts}
        text = ", ".join(f"{counted(n, 'row')} with {metric}" for metric, n, _ in counts)
        return checked("labels", text, facts, state="stated") if counts else absent("labels", "none came yet")
    marks = ", ".join("?" * len(ids))
    sql = f"""
    SELECT id, row, metric, value->>'$', labels, different_labels, last_label FROM labels
    WHERE name = ? AND id IN ({marks}) ORDER BY ALL LIMIT {MAX_ROWS}"""
    names = ("id", "row", "metric", "value", "labels", "different_labels", "last_label")
    labels = [dict(zip(names, row, strict=True)) for row in rows(connection, sql, [published.name, *ids])]
    if not labels:
        return absent("labels", "none came yet")
    facts = {"labels": [each | {"last_label": each["last_label"].isoformat()} for each in labels]}
    texts = [
        f"row {each['row']}: {each['metric']} {each['value']} at {each['last_label']:%Y-%m-%dT%H:%M:%SZ}"
        for each in labels
    ]
    return checked("labels", "; ".join(texts), facts, state="stated")
