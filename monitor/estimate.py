"""Expected accuracy and macro F1 without labels, from the confidence of the predictions.

The confidence is calibrated with the labelled rows of the version and the predicted class: the share of
right answers as a function of the confidence, ascending (isotonic regression). The expected confusion
matrix of rows without labels is the sum of their calibrated probabilities. The estimate follows a change of
the inputs that the confidence reflects. It cannot follow a change of what is true for the same inputs,
concept drift: only labels show that.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor import intervals
from monitor.database import Connection, rows
from monitor.intervals import Floats
from monitor.measures import Key, Measure

# The confidence in steps of 1/500: a table of at most as many cells for each class.
STEPS = 500
MAX_CLASSES = 100
# A calibration with fewer labels is worse than none.
MIN_CALIBRATION_ROWS = 100
DRAWS = 200


@dataclass(frozen=True)
class Calibration:
    """How often predictions are right, by the confidence in the predicted class.

    Attributes:
        confidence: shape (steps,).
        curve: probability that the prediction is right at each confidence, shape (steps,).
        drawn: the same for labelled rows drawn from those that there are, shape (DRAWS, steps).
    """

    confidence: Floats
    curve: Floats
    drawn: Floats


# Version, and predicted class or None for all of them.
Calibrations = Mapping[tuple[int, int | None], Calibration]


def read_calibrations(connection: Connection, where: str) -> Calibrations:
    """Return the calibrations of each version: of each predicted class that has enough labels, and of all."""
    calibrations = {}
    for column in ("NULL", "predicted"):
        sql = f"""
        SELECT version, {column} AS class, floor(chosen * {STEPS}) AS step, avg(chosen), count(*),
          count_if(truth = predicted AND truth >= 0)
        FROM scored WHERE truth IS NOT NULL AND chosen IS NOT NULL AND ({where}) GROUP BY ALL ORDER BY ALL"""
        found: dict[tuple[int, int | None], list[tuple[float, int, int]]] = defaultdict(list)
        for version, class_, _, confidence, count, right in rows(connection, sql):
            found[version, class_].append((confidence, count, right))
        for key, steps in found.items():
            confidences, counts, rights = (np.array(values) for values in zip(*steps, strict=True))
            if counts.sum() >= MIN_CALIBRATION_ROWS:
                calibrations[key] = _calibration(key, confidences, counts, rights)
    return calibrations


def estimate(
    connection: Connection,
    classes: Mapping[int, Sequence[str]],
    calibrations: Calibrations,
    where: str,
    by: str = "NULL",
) -> dict[Key, tuple[Measure, ...]]:
    """Return the estimates for all rows of the table `scored`, with labels or without.

    For a version without a calibration, use the confidence as the probability.
    """
    found: dict[Key, list[tuple[int, float, int, Floats]]] = defaultdict(list)
    for version, names in classes.items():
        if not 1 < len(names) <= MAX_CLASSES:
            continue
        sums = ", ".join(f"sum(p[{index + 1}])" for index in range(len(names)))
        sql = f"""
        SELECT {by} AS key, predicted, floor(chosen * {STEPS}) AS step, avg(chosen), count(*), {sums}
        FROM scored WHERE version = {version} AND chosen IS NOT NULL AND ({where})
        GROUP BY ALL ORDER BY ALL"""
        for key, predicted, _, confidence, count, *sums_of_p in rows(connection, sql):
            found[version, key].append((predicted, confidence, count, np.array(sums_of_p)))
    return {key: _figures(key, cells, calibrations) for key, cells in found.items()}


def isotonic(values: Floats, weights: Floats) -> Floats:
    """Return the ascending values with the least weighted squared difference, by pooling adjacent violators.

    https://doi.org/10.1002/nav.3800020104
    """
    means: list[float] = []
    sizes: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        sizes.append(weight)
        lengths.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            mean, size, length = means.pop(), sizes.pop(), lengths.pop()
            total = sizes[-1] + size
            means[-1] = (means[-1] * sizes[-1] + mean * size) / total
            sizes[-1] = total
            lengths[-1] += length
    return np.repeat(means, lengths)


def _figures(
    key: Key, cells: Sequence[tuple[int, float, int, Floats]], calibrations: Calibrations
) -> tuple[Measure, ...]:
    predicted = np.array([cell[0] for cell in cells])
    confidence = np.array([cell[1] for cell in cells])
    counts = np.array([cell[2] for cell in cells], np.int64)
    # Mean probability of each class in a cell, shape (cells, classes).
    p = np.array([cell[3] for cell in cells]) / counts[:, np.newaxis]
    total = int(counts.sum())
    random = intervals.generator("estimate", *key)
    chosen = _calibrated(key[0], predicted, confidence, calibrations, None)
    values = _expected(predicted, chosen, p, counts.astype(np.float64))
    drawn = []
    for draw in range(DRAWS):
        other = random.multinomial(total, counts / total).astype(np.float64)
        chosen = _calibrated(key[0], predicted, confidence, calibrations, draw)
        # Whether each row is right is random too, also at a known confidence.
        noise = random.standard_normal() * np.sqrt((counts * chosen * (1 - chosen)).sum()) / total
        drawn.append([figure + noise for figure in _expected(predicted, chosen, p, other)])
    bounds = [intervals.percentile(np.clip(column, 0, 1)) for column in np.array(drawn).T]
    names = ("estimated_accuracy", "estimated_macro_f1")
    return tuple(
        Measure(name, value, *bound, total, is_estimate=True)
        for name, value, bound in zip(names, values, bounds, strict=True)
    )


def _calibrated(
    version: int,
    predicted: NDArray[np.int64],
    confidence: Floats,
    calibrations: Calibrations,
    draw: int | None,
) -> Floats:
    """Return the probability that each prediction is right.

    Args:
        draw: the drawn calibration; None: the calibration itself.
    """
    result = confidence.copy()
    for class_ in np.unique(predicted).tolist():
        own = calibrations.get((version, class_)) or calibrations.get((version, None))
        if own:
            mask = predicted == class_
            curve = own.curve if draw is None else own.drawn[draw]
            result[mask] = np.interp(confidence[mask], own.confidence, curve)
    return result


def _calibration(
    key: tuple[int, int | None], confidence: Floats, counts: NDArray[np.int64], right: NDArray[np.int64]
) -> Calibration:
    """Return a calibration.

    Args:
        confidence, counts, right: mean confidence, labelled rows and right ones in each step, shape (steps,).
    """
    curve = isotonic(right / counts, counts.astype(np.float64))
    cells = np.concatenate([right, counts - right])
    random = intervals.generator("calibration", *key)
    drawn = []
    for table in random.multinomial(cells.sum(), cells / cells.sum(), size=DRAWS):
        hits, misses = table.reshape(2, -1)
        sizes = hits + misses
        present = sizes > 0
        own = isotonic(hits[present] / sizes[present], sizes[present].astype(np.float64))
        drawn.append(np.interp(confidence, confidence[present], own))
    return Calibration(confidence, curve, np.array(drawn))


def _expected(predicted: NDArray[np.int64], chosen: Floats, p: Floats, counts: Floats) -> tuple[float, float]:
    """Return the expected accuracy and macro F1.

    Args:
        predicted: class of each cell.
        chosen: probability that it is the right one.
        p: probabilities of all classes before the calibration, shape (cells, classes).
        counts: rows of each cell.
    """
    cells = np.arange(len(predicted))
    others = p.copy()
    others[cells, predicted] = 0
    rest = others.sum(axis=1, keepdims=True)
    spread = np.divide(others, rest, out=np.full_like(others, 1 / max(p.shape[1] - 1, 1)), where=rest > 0)
    spread[cells, predicted] = 0
    truth = spread * (1 - chosen)[:, np.newaxis]
    truth[cells, predicted] = chosen
    true = counts @ truth
    found = np.bincount(predicted, counts, p.shape[1])
    hits = np.bincount(predicted, counts * chosen, p.shape[1])
    present = true + found > 0
    f1 = 2 * hits[present] / (true + found)[present]
    return float(hits.sum() / counts.sum()), float(f1.mean())
