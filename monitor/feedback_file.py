"""Labels from a file: validated by the schema, and written to the capture store as a segment."""

import gzip
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from model_loader.errors import ConflictError
from model_loader.package.schema import FeedbackSchema
from model_loader.registry.versions import version_numbers
from model_loader.store import Store
from monitor.config import Config
from monitor.database import Connection, compacted_stems, connect, quote, run
from monitor.errors import FeedbackError, QueryError
from monitor.lake import Lake
from monitor.layout import Segment
from monitor.targets import find_target, read_version

READERS = {".csv": "read_csv({}, all_varchar = true, header = true)", ".parquet": "read_parquet({})"}
# Columns that are not metrics.
KEYS = ("id", "row", "time")
MAX_ID_CHARACTERS = 200
MAX_ROW = 2**31 - 1
BOOLEANS = {"true": True, "false": False}
FETCH_ROWS = 10_000


def import_feedback(
    lake: Lake, name: str, models: Store, config: Config, file: Path, version: int | None = None
) -> int:
    """Add the labels of a file, and return their number. A file that was added before changes nothing.

    Args:
        file: CSV or Parquet with the column `id`, optionally `row` and `time`, and one for each metric.
        version: whose schema validates; None: the latest that is published.

    Raises:
        FeedbackError: the file has a wrong column or value; the message names its line and metric.
        MonitorError, LoaderError: a file or store cannot be read or written.
    """
    metrics = known_metrics(models, name, config, version)
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError as exc:
        raise FeedbackError(f"{file}: {exc.strerror}") from exc
    now = datetime.now(UTC)
    count, content = 0, io.BytesIO()
    with connect() as connection, gzip.GzipFile("", "wb", fileobj=content, mtime=0) as compressed:
        for row in _labels(connection, file, metrics, now):
            compressed.write(json.dumps(row).encode() + b"\n")
            count += 1
        if not count:
            raise FeedbackError(f"{file}: it has no labels")
        is_known = any(stem.startswith(f"file-{digest}-") for stem in _stems(connection, lake, name))
    if not is_known:
        stem = f"file-{digest}-{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z-0"
        with suppress(ConflictError):
            lake.store.write(Segment(name, "feedback", stem).object_name, content.getvalue(), None)
    return count


def known_metrics(models: Store, name: str, config: Config, version: int | None) -> dict[str, FeedbackSchema]:
    """Return the metrics that may be reported: those of the schema, else those of the configuration.

    Raises:
        FeedbackError: neither has one.
        LoaderError: the store of models cannot be read.
    """
    numbers = [version] if version is not None else version_numbers(models, name)[-1:]
    found: dict[str, FeedbackSchema] = {}
    for number in numbers:
        info = read_version(models, name, number)
        found |= info.schema.feedback if info.schema else {}
        if not found and (target := find_target(info, config)):
            kind = "number" if target.is_number else "label"
            found[target.metric] = FeedbackSchema(target.metric, kind, target.output, target.classes)
    if config.target and config.target.metric not in found:
        target_type = "label" if config.target.classes or config.target.probabilities else "number"
        found[config.target.metric] = FeedbackSchema(
            config.target.metric, target_type, config.target.output, config.target.classes
        )
    for each in config.business:
        kind = "boolean" if each.aggregate == "rate" else "number"
        found.setdefault(each.metric, FeedbackSchema(each.metric, kind))
    if not found:
        raise FeedbackError(
            f"no schema.json of {name} in the store {models.url} has feedback: publish one, or declare "
            "a target in monitor.toml"
        )
    return found


def _labels(
    connection: Connection, file: Path, metrics: Mapping[str, FeedbackSchema], now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield a line of kind=feedback for each value of the file."""
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise FeedbackError(f"{file}: expected a file named .csv or .parquet")
    try:
        result = run(connection, f"SELECT * FROM {reader.format(quote(os.fspath(file)))}")
    except QueryError as exc:
        raise FeedbackError(f"{file}: {exc}") from exc
    columns = [column[0] for column in result.description or ()]
    for column in columns:
        if column not in (*KEYS, *metrics):
            raise FeedbackError(f"{file}: unknown column '{column}'; the metrics are {', '.join(metrics)}")
    if "id" not in columns or not set(columns) & set(metrics):
        raise FeedbackError(f"{file}: expected the column 'id', and one or more of {', '.join(metrics)}")
    line = 1
    try:
        while found := result.fetchmany(FETCH_ROWS):
            for values in found:
                line += 1
                row = dict(zip(columns, values, strict=True))
                keys = _keys(f"{file}: line {line}", row, now)
                for metric, schema in metrics.items():
                    if row.get(metric) is not None:
                        value = _value(f"{file}: line {line}: '{metric}'", schema, row[metric])
                        yield keys | {"metric": metric, "value": value}
    except duckdb.Error as exc:
        raise FeedbackError(f"{file}: {exc}") from exc


def _keys(where: str, row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return id, row and time of a line."""
    id_ = row["id"]
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_ID_CHARACTERS or not id_.isprintable():
        raise FeedbackError(f"{where}: expected 'id' to be a text of up to {MAX_ID_CHARACTERS} characters")
    number = str(row.get("row") if row.get("row") is not None else 0)
    if not (number.isascii() and number.isdecimal() and int(number) <= MAX_ROW):
        raise FeedbackError(f"{where}: expected 'row' to be a number from 0, got {number!r:.40}")
    time = row.get("time") or now
    try:
        parsed = time if isinstance(time, datetime) else datetime.fromisoformat(str(time))
    except ValueError as exc:
        raise FeedbackError(f"{where}: expected 'time' as in 2026-01-02T03:04:05Z, got {time!r:.40}") from exc
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    text = parsed.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"id": id_, "row": int(number), "time": text}


def _value(where: str, schema: FeedbackSchema, value: Any) -> Any:
    """Return a value as JSON has it.

    Raises:
        FeedbackError: the schema does not allow it.
    """
    if schema.type == "number":
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise FeedbackError(f"{where}: expected a finite number, got {value!r:.40}")
        return number
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if schema.type == "boolean":
        if text not in BOOLEANS:
            raise FeedbackError(f"{where}: expected true or false, got {value!r:.40}")
        return BOOLEANS[text]
    classes = {str(each).lower() if isinstance(each, bool) else str(each): each for each in schema.classes}
    if not classes:
        return _plain(value)
    if text not in classes:
        raise FeedbackError(f"{where}: expected one of {', '.join([*classes][:20])}, got {value!r:.40}")
    return classes[text]


def _plain(value: Any) -> Any:
    """Return a label without declared classes: a whole number if it is one, else a text or a boolean."""
    if isinstance(value, bool | int):
        return value
    text = str(value)
    # No more digits than the integers of JSON's readers have.
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _stems(connection: Connection, lake: Lake, name: str) -> Iterator[str]:
    """Yield the stems of all feedback in the store, compacted or not."""
    for each in lake.local(name):
        if each.object.kind == "feedback":
            yield from [each.object.stem] if each.object.stem else compacted_stems(connection, each.path)
