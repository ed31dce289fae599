"""How good the model is: measures by version and window, counts of labels, slices, business metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from model_loader import mean_intervals
from model_loader.store import Store
from monitor.business import business_measures
from monitor.config import BusinessMetric, Config
from monitor.database import Connection, identifier, rows
from monitor.errors import MonitorError
from monitor.estimate import Calibrations, estimate, read_calibrations
from monitor.limits import Limit, limits_of
from monitor.measures import Group, Key, Measure, measure
from monitor.scored import create_scored
from monitor.targets import Target, VersionInfo, business_metrics, find_target, read_version

# Further values of a slice are left out: its expression is no category.
MAX_SLICE_VALUES = 50


@dataclass(frozen=True)
class LabelCounts:
    """Predictions of a version in a window, and their labels.

    Attributes:
        predictions: answered rows.
        failures: rows that were answered with an error.
        labelled: rows with a label.
        late: rows whose first label came later than `late_after`.
        double: rows with more than one label, all equal.
        conflicting: rows with different labels; the last one counts.
        undeclared: rows whose label or answer is none of the declared classes; they count as wrong.
        median_delay_s, p90_delay_s: of the first label after its prediction.
    """

    predictions: int
    failures: int
    labelled: int
    late: int
    double: int
    conflicting: int
    undeclared: int
    median_delay_s: float | None
    p90_delay_s: float | None

    @property
    def coverage(self) -> Measure:
        """The share of predictions that have a label."""
        share = self.labelled / self.predictions if self.predictions else 0.0
        low, high = mean_intervals.wilson(self.labelled, self.predictions)
        return Measure("label_coverage", share, low, high, self.predictions)


@dataclass(frozen=True)
class WindowQuality:
    """What is known of a version in a window.

    Attributes:
        measured: from labels.
        estimates: without them.
        has_enough_labels: whether the estimates are not reported.
        slices: name of the slice → its value → its measures.
    """

    version: int
    window: str
    counts: LabelCounts
    measured: Group = field(default_factory=lambda: Group(()))
    estimates: tuple[Measure, ...] = ()
    has_enough_labels: bool = False
    business: tuple[Measure, ...] = ()
    slices: Mapping[str, Mapping[str, Group]] = field(default_factory=dict)


@dataclass(frozen=True)
class Quality:
    """The quality of a model.

    Attributes:
        at: end of the windows.
        windows: newest version first, shortest window first.
        unmatched: window → labels that came in it and are of no captured prediction.
        targets: version → what its labels are the truth of; None: nothing says it, or there is a fault.
        faults: version → why it has no measures although its target is known.
        classes: version → names of its classes.
        calibrations: how the confidence was calibrated.
        limits: version → limits of its measures.
        business: the declared business metrics.
        longest_window: name of the longest window.
    """

    name: str
    at: datetime
    windows: tuple[WindowQuality, ...]
    unmatched: Mapping[str, int]
    targets: Mapping[int, Target | None]
    faults: Mapping[int, str]
    classes: Mapping[int, Sequence[str]]
    infos: Mapping[int, VersionInfo]
    calibrations: Calibrations
    limits: Mapping[int, tuple[Limit, ...]]
    business: tuple[BusinessMetric, ...]
    longest_window: str


def calculate(connection: Connection, name: str, models: Store, config: Config, at: datetime) -> Quality:
    """Calculate the quality of a model in each window before `at`, and leave the table `scored`.

    Args:
        connection: of `open_database`.
        models: store of the model's versions.

    Raises:
        MonitorError: the data cannot be read, or a slice cannot be calculated.
        LoaderError: the store of models cannot be read.
    """
    found = rows(
        connection, "SELECT DISTINCT version FROM predictions WHERE version IS NOT NULL ORDER BY ALL"
    )
    infos = {version: read_version(models, name, version) for (version,) in found}
    targets = {version: find_target(info, config) for version, info in infos.items()}
    known = {version: target for version, target in targets.items() if target}
    scored = create_scored(connection, known, config.slices)
    classes = scored.classes
    for version in scored.faults:
        targets[version] = None
        del known[version]
    calibrations = read_calibrations(connection, f"time < {timestamp(at)}")
    declared = business_metrics(infos, config)
    windows: list[WindowQuality] = []
    unmatched = {}
    for window, length in config.windows.items():
        where = f"time >= {timestamp(at - length)} AND time < {timestamp(at)}"
        counts = _label_counts(connection, known, where, config)
        measured = measure(connection, classes, where)
        estimates = estimate(connection, classes, calibrations, where)
        business = business_measures(connection, declared, where)
        slices = {slice_: _slice(connection, classes, slice_, where, config) for slice_ in config.slices}
        unmatched[window] = _unmatched(connection, where)
        for version, of_version in counts.items():
            windows.append(
                WindowQuality(
                    version,
                    window,
                    of_version,
                    measured.get((version, None), Group(())),
                    estimates.get((version, None), ()),
                    of_version.labelled >= config.min_labels,
                    business.get(version, ()),
                    {
                        slice_: {
                            str(value): group for (own, value), group in groups.items() if own == version
                        }
                        for slice_, groups in slices.items()
                    },
                )
            )
    order = [*config.windows]
    windows.sort(key=lambda each: (-each.version, order.index(each.window)))
    limits = {
        version: tuple(limits_of(config.limits, (info.manifest.metrics if info.manifest else None) or {}))
        for version, info in infos.items()
    }
    longest = max(config.windows, key=lambda window: config.windows[window])
    return Quality(
        name,
        at,
        tuple(windows),
        unmatched,
        targets,
        scored.faults,
        classes,
        infos,
        calibrations,
        limits,
        declared,
        longest,
    )


def timestamp(time: datetime) -> str:
    """Return an SQL literal.

    Raises:
        MonitorError: the time has no time zone.
    """
    if time.tzinfo is None:
        raise MonitorError(f"expected a time with a time zone, got {time}")
    return f"TIMESTAMPTZ '{time.isoformat(sep=' ')}'"


def _label_counts(
    connection: Connection, targets: Mapping[int, Target], where: str, config: Config
) -> dict[int, LabelCounts]:
    answered = f"""
    SELECT version, count(*), count_if(coalesce(status, 200) <> 200) FROM predictions
    WHERE version IS NOT NULL AND {where} GROUP BY ALL"""
    late = config.late_after.total_seconds()
    labelled = f"""
    WITH delays AS (SELECT *, epoch_us(first_label) / 1e6 - epoch_us(time) / 1e6 AS delay
                    FROM scored WHERE labelled AND {where})
    SELECT version, count(*), count_if(delay > {late}), count_if(labels > 1 AND different_labels = 1),
      count_if(different_labels > 1), count_if(truth < 0 OR predicted < 0), median(delay),
      quantile_cont(delay, 0.9)
    FROM delays GROUP BY ALL"""
    of_labels = {version: counts for version, *counts in rows(connection, labelled)}
    result = {}
    nothing = (0, 0, 0, 0, 0, None, None)
    for version, total, failures in rows(connection, answered):
        counts: list[Any] = of_labels.get(version, [*nothing])
        if version not in targets:
            counts = [*nothing]
        result[version] = LabelCounts(total - failures, failures, *counts)
    return result


def _unmatched(connection: Connection, where: str) -> int:
    """Return the number of rows and metrics that feedback came for, and that no prediction is known of."""
    sql = f"""
    SELECT count(*) FROM (SELECT DISTINCT name, id, row, metric FROM feedback WHERE {where}) reported
    ANTI JOIN predictions USING (name, id, row)"""
    ((count,),) = rows(connection, sql)
    return int(count)


def _slice(
    connection: Connection, classes: Mapping[int, Sequence[str]], name: str, where: str, config: Config
) -> dict[Key, Group]:
    """Return the measures of each value of a slice that has enough labelled rows."""
    column = identifier(f"slice_{name}")
    largest = rows(
        connection,
        f"SELECT {column} FROM scored WHERE labelled AND {column} IS NOT NULL AND {where} "
        f"GROUP BY ALL HAVING count(*) >= {config.min_slice_rows} ORDER BY count(*) DESC, 1 "
        f"LIMIT {MAX_SLICE_VALUES}",
    )
    if not largest:
        return {}
    values = ", ".join("'" + str(value).replace("'", "''") + "'" for (value,) in largest)
    groups = measure(connection, classes, f"{where} AND {column} IN ({values})", column)
    return {key: group for key, group in groups.items() if group.measures[0].rows >= config.min_slice_rows}
