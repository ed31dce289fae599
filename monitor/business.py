"""Business metrics: what the predictions led to, as the feedback says it."""

from collections import defaultdict
from collections.abc import Sequence

from model_loader import mean_intervals
from monitor.config import BusinessMetric
from monitor.database import Connection, quote, rows
from monitor.measures import Measure


def business_measures(
    connection: Connection, metrics: Sequence[BusinessMetric], where: str
) -> dict[int, tuple[Measure, ...]]:
    """Return the business metrics of each version.

    A `rate` is that of the reported rows. `sum` and `mean` are over all predictions: one without feedback
    counts as 0. A sum counts a sampled prediction for those that it stands for: 1 / ratio.

    Args:
        where: SQL condition on the predictions.
    """
    found: dict[int, list[Measure]] = defaultdict(list)
    for metric in metrics:
        sql = f"""
        WITH reported AS (
          SELECT version, coalesce(ratio, 1) AS ratio,
            CASE value->>'$' WHEN 'true' THEN 1 WHEN 'false' THEN 0
              ELSE try_cast(value->>'$' AS DOUBLE) END AS v
          FROM predictions LEFT JOIN (SELECT * FROM labels WHERE metric = {quote(metric.metric)}) labels
            USING (name, id, row)
          WHERE version IS NOT NULL AND coalesce(status, 200) = 200 AND {where}),
        filled AS (SELECT *, coalesce(v, 0) AS w FROM reported)
        SELECT version, count(*), count(v), sum(w), avg(w), var_samp(w), sum(w / ratio), var_samp(w / ratio)
        FROM filled GROUP BY ALL"""
        for version, total, count, ones, mean, variance, scaled, scaled_variance in rows(connection, sql):
            if not count:
                continue
            if metric.aggregate == "rate":
                bounds = mean_intervals.wilson(ones, count) if 0 <= ones <= count else mean_intervals.UNKNOWN
                measure = Measure(metric.name, ones / count, *bounds, count)
            elif metric.aggregate == "mean":
                measure = Measure(metric.name, mean, *mean_intervals.of_mean(mean, variance, total), total)
            else:
                low, high = mean_intervals.of_mean(scaled / total, scaled_variance, total)
                bounds = (None if low is None else low * total, None if high is None else high * total)
                measure = Measure(metric.name, scaled, *bounds, total)
            found[version].append(measure)
    return {version: tuple(measures) for version, measures in found.items()}
