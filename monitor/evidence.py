"""What captured data says about a training: new labels, measures beyond their limits, and a summary."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from statistics import NormalDist

from model_loader.mean_intervals import Z
from model_loader.registry.ledger import Entry, Ledger
from model_loader.store import Store
from model_loader.text_tables import number
from monitor.config import Config
from monitor.database import Connection, rows
from monitor.limits import Limit
from monitor.measures import Measure, measure
from monitor.quality import Quality, WindowQuality, calculate, timestamp
from monitor.targets import find_target, read_version

# Measures are calculated again all day, in several windows. With intervals of 95 %, chance alone puts the
# accuracy of a model that is exactly at its limit below it in half of the weeks: see test_retrain.py.
LEVEL = 0.999
WIDER = NormalDist().inv_cdf((1 + LEVEL) / 2) / Z


@dataclass(frozen=True)
class Breach:
    """A measure that is beyond its limit, by more than chance explains."""

    measure: Measure
    window: str
    limit: Limit

    @property
    def alert(self) -> str:
        """Name of the alert in monitoring/rules.yaml that fires for this limit."""
        is_calibration = self.measure.metric == "calibration_error"
        return "ScoringCalibration" if is_calibration else "ScoringQuality"

    def __str__(self) -> str:
        rule = "at least" if self.limit.side == "min" else "at most"
        return (
            f"{self.measure.metric} {with_interval(self.measure)} in {self.window}, should be {rule} "
            f"{number(self.limit.value)}"
        )


class Evidence:
    """Captured data of a model, read when it is asked for."""

    def __init__(
        self, connect: Callable[[], Connection], name: str, models: Store, config: Config, at: datetime
    ) -> None:
        """Take what opens the database with the views of `open_database`, and the end of the windows."""
        self._connect, self._name, self._models, self._config, self._at = connect, name, models, config, at

    @cached_property
    def _connection(self) -> Connection:
        return self._connect()

    @cached_property
    def quality(self) -> Quality:
        """The quality in the windows of `monitor.toml`."""
        return calculate(self._connection, self._name, self._models, self._config, self._at)

    def new_labels(self, version: int, since: datetime | None) -> int:
        """Return how many predictions got their first label after `since`; None: ever.

        The labels are those of what the feedback of `version` is the truth of.

        Raises:
            MonitorError, LoaderError: the data, or the version, cannot be read.
        """
        target = find_target(read_version(self._models, self._name, version), self._config)
        if target is None:
            return 0
        later = f"AND first_label > {timestamp(since)}" if since else ""
        sql = f"""
        SELECT count(*) FROM predictions SEMI JOIN (
          SELECT name, id, row FROM labels WHERE metric = ? AND first_label <= {timestamp(self._at)} {later}
        ) labels USING (name, id, row) WHERE coalesce(status, 200) = 200"""
        ((count,),) = rows(self._connection, sql, [target.metric])
        return int(count)

    def has_labels(self, version: int) -> bool:
        """Return whether any window has as many labels of a version as `min_labels` asks for."""
        return any(
            window.version == version and window.counts.labelled >= self._config.min_labels
            for window in self.quality.windows
        )

    def breach(self, version: int) -> Breach | None:
        """Return the measure of a version that is furthest beyond its limit, if any is.

        Raises:
            MonitorError, LoaderError: the data, or the versions, cannot be read.
        """
        found = [
            Breach(each, window.window, limit)
            for window in self.quality.windows
            if window.version == version
            for each in _limited(window)
            if each.rows >= self._config.min_labels
            for limit in self.quality.limits[version]
            if limit.metric == each.metric and is_beyond(each, limit)
        ]
        return max(found, key=lambda each: abs(each.measure.value - each.limit.value), default=None)

    def summary(self, ledger: Ledger) -> str | None:
        """Return how good the version in production is since it is there, and how good the one before was.

        Returns:
            A line, or None if nothing is in production, or it has no labels.
        """
        promotions = ledger.promotions("production")
        if not promotions:
            return None
        current, before = promotions[-1], ledger.previous("production")
        end = datetime.fromisoformat(current.time)
        now = self._first(current, f"time >= {timestamp(end)}")
        if now is None:
            return None
        text = f"version {current.version} in production since {end:%Y-%m-%d %H:%M}: {_named(now)}"
        if before is not None:
            start = end - self._config.windows[self.quality.longest_window]
            then = self._first(before, f"time >= {timestamp(start)} AND time < {timestamp(end)}")
            text += f"; before: version {before.version} {_named(then) if then else 'without labels'}"
        return text

    def _first(self, entry: Entry, where: str) -> Measure | None:
        """Return the first measure of a version: accuracy, or of a number the mean absolute error."""
        groups = measure(self._connection, self.quality.classes, where)
        group = groups.get((entry.version, None))
        return group.measures[0] if group else None


def with_interval(found: Measure) -> str:
    """Return a figure and its interval, `0.93 (0.91 to 0.95)`."""
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def _named(found: Measure) -> str:
    return f"{found.metric} {with_interval(found)}, {found.rows} labels"


def _limited(window: WindowQuality) -> Iterator[Measure]:
    yield from window.measured.measures
    if not window.has_enough_labels:
        yield from window.estimates


def is_beyond(found: Measure, limit: Limit) -> bool:
    """Return whether a measure is beyond its limit with a certainty of LEVEL."""
    if found.low is None or found.high is None:
        return False
    if limit.side == "min":
        return found.value + WIDER * (found.high - found.value) < limit.value
    return found.value - WIDER * (found.value - found.low) > limit.value
