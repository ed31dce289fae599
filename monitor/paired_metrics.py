"""Two models' metrics on the same labelled rows, and the difference with its interval.

The difference of each row is calculated first: its spread is smaller than that of two independent samples,
because both models find the same rows difficult.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_loader import mean_intervals
from monitor.config import Config
from monitor.database import Connection, identifier, rows
from monitor.quality import MAX_SLICE_VALUES
from monitor.targets import Target

# Versions of the two answers in the table `scored`.
THEN, NOW = 1, 2
# Metric → SQL of a row's score, from the columns of `scored`, and whether more is better.
CLASS_SCORES: Mapping[str, tuple[str, bool]] = {
    "accuracy": ("({0}.predicted = {0}.truth AND {0}.truth >= 0)::DOUBLE", True),
    "log_loss": ("{0}.loss", False),
    "brier": ("{0}.brier", False),
}
NUMBER_SCORES: Mapping[str, tuple[str, bool]] = {
    "mae": ("abs({0}.value - {0}.truth_value)", False),
    "mse": ("pow({0}.value - {0}.truth_value, 2)", False),
}
METRICS = (*CLASS_SCORES, *NUMBER_SCORES)


@dataclass(frozen=True)
class PairedMetric:
    """A metric of both models on the same rows.

    Attributes:
        slice: `name=value`; None: all rows.
        then, now: means.
        difference: above 0 if the candidate is better; with its interval of 95 %.
    """

    metric: str
    slice: str | None
    rows: int
    then: float
    now: float
    difference: float
    low: float | None
    high: float | None


def paired_metrics(connection: Connection, target: Target, config: Config) -> list[PairedMetric]:
    """Return the metrics of all labelled rows, and of the slices that have enough of them.

    Args:
        connection: with the table `scored`, in which both answers to a row are versions.
    """
    scores = NUMBER_SCORES if target.is_number else CLASS_SCORES
    found: list[PairedMetric] = []
    for metric, (score, is_higher_better) in scores.items():
        found += _measured(connection, metric, score, is_higher_better, None, config)
    for metric, (score, is_higher_better) in scores.items():
        for name in config.slices:
            found += _measured(connection, metric, score, is_higher_better, name, config)
    return found


def _measured(
    connection: Connection,
    metric: str,
    score: str,
    is_higher_better: bool,
    slice_: str | None,
    config: Config,
) -> Iterator[PairedMetric]:
    then, now = score.format("a"), score.format("b")
    sign = "" if is_higher_better else "-"
    column = f"a.{identifier(f'slice_{slice_}')}" if slice_ else "NULL"
    least = config.min_slice_rows if slice_ else 1
    sql = f"""
    WITH pairs AS (
      SELECT {column} AS key, {then} AS old, {now} AS new, {sign}({now} - {then}) AS difference
      FROM scored a JOIN scored b USING (id, row)
      WHERE a.version = {THEN} AND b.version = {NOW} AND a.labelled)
    SELECT key, count(difference), avg(old), avg(new), avg(difference), var_samp(difference)
    FROM pairs WHERE isfinite(difference) {"AND key IS NOT NULL" if slice_ else ""}
    GROUP BY ALL HAVING count(difference) >= {least} ORDER BY 2 DESC, 1 LIMIT {MAX_SLICE_VALUES}"""
    for key, count, old, new, difference, variance in rows(connection, sql):
        low, high = mean_intervals.of_mean(difference, variance, count)
        name = f"{slice_}={key}" if slice_ else None
        yield PairedMetric(metric, name, count, old, new, difference, low, high)
