"""What the report shows: the quality, and what only people look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from monitor.config import Config
from monitor.database import Connection, rows
from monitor.drift import Change, find_changes
from monitor.estimate import estimate
from monitor.measures import Measure, measure
from monitor.quality import Quality, timestamp

WORST_ROWS = 10


@dataclass(frozen=True)
class Day:
    """The main metric of a day.

    Attributes:
        measured: from labels; None: too few.
        estimated: without labels.
    """

    date: datetime
    measured: Measure | None
    estimated: Measure | None


@dataclass(frozen=True)
class WrongRow:
    """A prediction that was far from the truth.

    Attributes:
        error: the loss of a class; the distance of a number.
    """

    version: int
    time: str
    id: str
    row: int
    truth: str
    predicted: str
    error: float


@dataclass(frozen=True)
class Findings:
    """The content of the report.

    Attributes:
        window, length: name and length of the longest window; only the quality is of others too.
        main: name of the metric that is shown over time, by version.
        days: by version.
        changes: by version; None: it has no baseline.
    """

    quality: Quality
    window: str
    length: timedelta
    main: Mapping[int, str]
    days: Mapping[int, tuple[Day, ...]]
    changes: Mapping[int, tuple[Change, ...] | None]
    worst: tuple[WrongRow, ...]


def find(connection: Connection, quality: Quality, config: Config) -> Findings:
    """Look for what the report shows, after the quality was calculated with the same connection.

    Raises:
        QueryError: the data cannot be read.
    """
    window, length = max(config.windows.items(), key=lambda item: item[1])
    where = f"time >= {timestamp(quality.at - length)} AND time < {timestamp(quality.at)}"
    main = {version: "accuracy" if names else "mae" for version, names in quality.classes.items()}
    changes: dict[int, tuple[Change, ...] | None] = {}
    for version, info in quality.infos.items():
        changes[version] = (
            tuple(find_changes(connection, version, info.baseline, where)) if info.baseline else None
        )
    return Findings(
        quality, window, length, main, _days(connection, quality, config, where, length, main), changes,
        _worst(connection, quality, where),
    )  # fmt: skip


def _days(
    connection: Connection,
    quality: Quality,
    config: Config,
    where: str,
    length: timedelta,
    main: Mapping[int, str],
) -> dict[int, tuple[Day, ...]]:
    """Return the main metric of each day of the longest window, or of each hour of two days or less."""
    unit = "day" if length > timedelta(days=2) else "hour"
    by = f"date_trunc('{unit}', time)"
    measured = measure(connection, quality.classes, where, by)
    estimated = estimate(connection, quality.classes, quality.calibrations, where, by)
    days: dict[int, tuple[Day, ...]] = {}
    for version in quality.classes:
        times = sorted({time for own, time in (*measured, *estimated) if own == version})
        found = []
        for time in times:
            group = measured.get((version, time))
            own = [each for each in (group.measures if group else ()) if each.metric == main[version]]
            # A day with a handful of labels is noise, whose band would hide the others.
            own = [each for each in own if each.rows >= config.min_slice_rows]
            expected = estimated.get((version, time), ())
            found.append(Day(time, own[0] if own else None, expected[0] if expected else None))
        days[version] = tuple(found)
    return days


def _worst(connection: Connection, quality: Quality, where: str) -> tuple[WrongRow, ...]:
    """Return the rows that were most wrong, newest first among equals; without their inputs."""
    sql = f"""
    SELECT version, strftime(time, '%Y-%m-%d %H:%M:%S'), id, row, truth, predicted, truth_value, value,
      coalesce(loss, abs(value - truth_value), (truth <> predicted OR truth < 0)::INTEGER) AS error
    FROM scored WHERE labelled AND {where} AND error > 0 AND isfinite(error)
      AND (truth IS NULL OR truth <> predicted OR truth < 0)
    ORDER BY error DESC, time DESC, id, row LIMIT {WORST_ROWS}"""
    worst = []
    for version, time, id_, row, truth, predicted, truth_value, value, error in rows(connection, sql):
        names = quality.classes.get(version, ())
        texts = (
            (_class_name(names, truth), _class_name(names, predicted))
            if names
            else (f"{truth_value:.6g}", f"{value:.6g}")
        )
        worst.append(WrongRow(version, time, id_, row, *texts, error))
    return tuple(worst)


def _class_name(names: Any, index: int | None) -> str:
    if index is None:
        return "none"
    return str(names[index]) if 0 <= index < len(names) else "another class"
