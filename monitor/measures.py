"""Measures of predictions with labels, from aggregates that DuckDB makes of the table `scored`.

The definitions are scikit-learn's, https://scikit-learn.org/stable/modules/model_evaluation.html: averages
over classes are over those that labels or predictions have, and a quotient without rows is 0. The calibration
error is that of `model_loader.drafting.metrics`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader import mean_intervals
from model_loader.mean_intervals import UNKNOWN, Interval
from monitor import intervals
from monitor.database import Connection, rows
from monitor.intervals import Floats

# Version, and the value of what the rows are grouped by, such as a slice or a day.
Key = tuple[int, Any]
# With more classes, only their averages are reported.
MAX_CLASS_MEASURES = 20
# With fewer labels of a class, tables that are drawn from those found are too similar: after three wrong
# answers, a macro F1 of 0 would seem certain.
MIN_CLASS_LABELS = 5
# Pairs of a true and a predicted class. Tables of more are not drawn: a thousand would take gigabytes.
MAX_RESAMPLED_CELLS = 10_000


@dataclass(frozen=True)
class Measure:
    """A figure with its interval of 95 %.

    Attributes:
        low, high: the bounds; None: they cannot be calculated.
        rows: the rows that it is made of.
        is_estimate: whether it is calculated without labels.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    rows: int
    is_estimate: bool = False


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows with a similar confidence.

    Attributes:
        confidence: their mean.
        accuracy: share of them whose most probable class was right, with its interval.
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Group:
    """The measures of some rows, and their reliability curve."""

    measures: tuple[Measure, ...]
    reliability: tuple[ReliabilityBin, ...] = ()


def measure(
    connection: Connection, classes: Mapping[int, Sequence[str]], where: str, by: str = "NULL"
) -> dict[Key, Group]:
    """Return the measures of the labelled rows of the table `scored`.

    Args:
        classes: version → names of the classes; empty: its target is a number.
        where: SQL condition.
        by: SQL expression that groups the rows, in addition to their version.
    """
    is_class = {version: bool(names) for version, names in classes.items()}
    groups = {}
    if any(is_class.values()):
        groups = _class_groups(connection, classes, where, by)
    if not all(is_class.values()):
        groups |= _number_groups(connection, where, by)
    return groups


def _class_groups(
    connection: Connection, classes: Mapping[int, Sequence[str]], where: str, by: str
) -> dict[Key, Group]:
    labelled = f"FROM scored WHERE truth IS NOT NULL AND predicted IS NOT NULL AND ({where}) GROUP BY ALL"
    cells: dict[Key, list[tuple[int, int, int]]] = defaultdict(list)
    for version, key, truth, predicted, count in rows(
        connection, f"SELECT version, {by} AS key, truth, predicted, count(*) {labelled}"
    ):
        cells[version, key].append((truth, predicted, count))
    means = {
        (version, key): aggregates
        for version, key, *aggregates in rows(
            connection,
            f"SELECT version, {by} AS key, count(loss), avg(loss), var_samp(loss), avg(brier), "
            f"var_samp(brier) {labelled}",
        )
    }
    bins: dict[Key, list[tuple[int, bool, int, float, float]]] = defaultdict(list)
    for version, key, *cell in rows(
        connection,
        f"SELECT version, {by} AS key, bin, top = truth AS correct, count(*), sum(confidence), "
        f"coalesce(var_samp(confidence), 0) {labelled} HAVING bin IS NOT NULL ORDER BY ALL",
    ):
        bins[version, key].append((cell[0], cell[1], cell[2], cell[3], cell[4]))
    groups = {}
    for key in sorted(cells, key=repr):
        figures = [*_confusion(key, sorted(cells[key]), classes[key[0]])]
        count, loss, loss_variance, brier, brier_variance = means[key]
        if count:
            figures.append(_mean("log_loss", loss, loss_variance, count, least=0))
            figures.append(_mean("brier", brier, brier_variance, count, least=0))
            figures.append(_calibration_error(key, bins[key]))
        groups[key] = Group(tuple(figures), _reliability(bins[key]))
    return groups


def _confusion(key: Key, cells: Sequence[tuple[int, int, int]], names: Sequence[str]) -> Iterator[Measure]:
    """Yield accuracy, and precision, recall and F1: averages, and those of each class.

    Args:
        cells: index of the true and of the predicted class, and number of rows.
    """
    truth, predicted, counts = (np.array(column, np.int64) for column in zip(*cells, strict=True))
    total = int(counts.sum())
    # -1 is any class that is not declared: two of them need not be the same one.
    is_right = (truth == predicted) & (truth >= 0)
    right = int(counts[is_right].sum())
    yield Measure("accuracy", right / total, *mean_intervals.wilson(right, total), total)
    figures = averages(truth, predicted)
    table = counts[np.newaxis].astype(np.float64)
    labels = np.array([counts[truth == each].sum() for each in np.unique(truth[truth >= 0])])
    is_enough = bool((labels >= MIN_CLASS_LABELS).all())
    drawn = None
    if is_enough and len(counts) <= MAX_RESAMPLED_CELLS:
        drawn = intervals.resample(counts, intervals.generator("table", *key)).astype(np.float64)
    for name, figure in figures.items():
        value = float(figure(table)[0])
        bounds = UNKNOWN if drawn is None else intervals.percentile(figure(drawn))
        yield Measure(name, value, *(UNKNOWN if bounds[0] == bounds[1] else bounds), total)
    if len(names) > MAX_CLASS_MEASURES:
        return
    for index, name in enumerate(names):
        hits = int(counts[(truth == index) & (predicted == index)].sum())
        for metric, of in (("precision", predicted), ("recall", truth)):
            if found := int(counts[of == index].sum()):
                yield Measure(f"{metric} of {name}", hits / found, *mean_intervals.wilson(hits, found), found)


def averages(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, Callable[[Floats], Floats]]:
    """Return functions from tables of counts, shape (tables, cells), to macro averages, shape (tables,).

    Args:
        truth, predicted: the classes of each cell.
    """
    labels, index = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    of_truth, of_predicted = np.split(index, 2)
    is_right = (truth == predicted) & (truth >= 0)

    def total(tables: Floats, classes: NDArray[np.int64]) -> Floats:
        """Return the rows of each class, shape (tables, labels)."""
        size = len(tables) * len(labels)
        places = np.arange(len(tables))[:, np.newaxis] * len(labels) + classes
        sums: Floats = np.bincount(places.ravel(), tables.ravel(), size).astype(np.float64)
        return sums.reshape(len(tables), len(labels))

    def right(tables: Floats) -> Floats:
        return total(tables * is_right, of_truth)

    def mean(quotients: Floats, present: Floats) -> Floats:
        # A class that a drawn table does not have is not one of its classes.
        means: Floats = quotients.sum(axis=1) / np.maximum((present > 0).sum(axis=1), 1)
        return means

    def ratio(hits: Floats, of: Floats) -> Floats:
        return np.divide(hits, of, out=np.zeros_like(hits), where=of > 0)

    def precision(tables: Floats) -> Floats:
        found = total(tables, of_predicted)
        return mean(ratio(right(tables), found), found + total(tables, of_truth))

    def recall(tables: Floats) -> Floats:
        true = total(tables, of_truth)
        return mean(ratio(right(tables), true), true + total(tables, of_predicted))

    def macro_f1(tables: Floats) -> Floats:
        both = total(tables, of_predicted) + total(tables, of_truth)
        return mean(ratio(2 * right(tables), both), both)

    return {"precision": precision, "recall": recall, "macro_f1": macro_f1}


def _calibration_error(key: Key, cells: Sequence[tuple[int, bool, int, float, float]]) -> Measure:
    """Return Σ |rows that were right - Σ confidence| over the bins, divided by the rows."""
    index = np.array([cell[0] for cell in cells])
    correct, counts, sums, variances = (
        np.array([float(cell[column]) for cell in cells]) for column in (1, 2, 3, 4)
    )
    of_bin = (index[:, np.newaxis] == np.unique(index)).astype(np.float64)
    rows_of_bin = counts @ of_bin
    gaps = (counts * correct - sums) @ of_bin / rows_of_bin
    # Variance of `right or not, less confidence` in each bin.
    distances = (correct - sums / counts) - of_bin @ gaps
    spread = (counts * (variances + distances**2)) @ of_bin / rows_of_bin
    value = float(rows_of_bin @ np.abs(gaps) / counts.sum())
    bounds = intervals.of_distances(gaps, spread, rows_of_bin, intervals.generator("calibration", *key))
    return Measure("calibration_error", value, *bounds, int(counts.sum()))


def _reliability(
    cells: Sequence[tuple[int, bool, int, float, float]],
) -> tuple[ReliabilityBin, ...]:
    found = []
    for index in sorted({cell[0] for cell in cells}):
        own = [cell for cell in cells if cell[0] == index]
        count = sum(cell[2] for cell in own)
        right = sum(cell[2] for cell in own if cell[1])
        low, high = mean_intervals.wilson(right, count)
        confidence = sum(cell[3] for cell in own) / count
        found.append(ReliabilityBin(confidence, right / count, low or 0.0, high or 0.0, count))
    return tuple(found)


def _number_groups(connection: Connection, where: str, by: str) -> dict[Key, Group]:
    # R² = 1 - A / B with A = mean(e²), B = mean((truth - mean)²): its variance is that of the mean of
    # A·d / B² - e² / B, where d is (truth - mean)², by the delta method.
    sql = f"""
    WITH valid AS (
      SELECT version, {by} AS key, truth_value AS y, value - truth_value AS e FROM scored
      WHERE truth_value IS NOT NULL AND isfinite(truth_value) AND isfinite(value) AND ({where})),
    centred AS (
      SELECT valid.*, e * e AS s, (y - m) ** 2 AS d
      FROM valid JOIN (SELECT version, key, avg(y) AS m FROM valid GROUP BY ALL) means
        ON valid.version = means.version AND valid.key IS NOT DISTINCT FROM means.key)
    SELECT version, key, count(*), avg(abs(e)), var_samp(abs(e)), avg(e), var_samp(e), avg(s), var_samp(s),
      avg(d), var_samp(d), covar_samp(s, d)
    FROM centred GROUP BY ALL"""
    groups = {}
    for version, key, count, *aggregates in rows(connection, sql):
        mae, mae_variance, bias, bias_variance, squares, squares_variance, spread, d_variance, both = (
            aggregates
        )
        low, high = mean_intervals.of_mean(squares, squares_variance, count)
        rmse = Measure("rmse", squares**0.5, _root(low), _root(high), count)
        figures = [
            _mean("mae", mae, mae_variance, count, least=0), rmse, _mean("bias", bias, bias_variance, count)
        ]  # fmt: skip
        if count > 1:
            bounds: Interval = UNKNOWN
            value = float(not squares) if not spread else 1 - squares / spread
            if spread:
                variance = (
                    squares_variance / spread**2
                    + squares**2 * d_variance / spread**4
                    - 2 * squares * both / spread**3
                )
                bounds = mean_intervals.of_mean(value, max(variance, 0.0), count)
            figures.append(Measure("r2", value, *bounds, count))
        groups[version, key] = Group(tuple(figures))
    return groups


def _mean(name: str, mean: float, variance: float | None, count: int, least: float | None = None) -> Measure:
    low, high = mean_intervals.of_mean(mean, variance, count)
    if least is not None and low is not None:
        low = max(least, low)
    return Measure(name, mean, low, high, count)


def _root(value: float | None) -> float | None:
    return None if value is None else max(value, 0.0) ** 0.5
