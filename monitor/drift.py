"""What changed since training: inputs and outputs compared with the version's `baseline.json`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_loader.drafting.drift_limits import (
    EXTREMES,
    LEAST_SHARE_EXCESS,
    MIN_ROWS,
    chance,
    highest_share,
    is_drift,
    limit_z,
    lowest_share,
    psi,
)
from model_loader.package.baseline import MISSING, OUTSIDE, Baseline, Distribution
from monitor.database import Connection, rows

# Enough for a share to be right to 0.3 %.
SAMPLE_ROWS = 100_000
CHANGED, AS_TRAINED, TOO_FEW = "changed", "as trained", "too few rows"
NON_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


@dataclass(frozen=True)
class Change:
    """How a feature or an output differs from the training data.

    Attributes:
        psi: population stability index less what chance gives on average; 0 or more.
        verdict: `changed`, `as trained`, or `too few rows` if chance could explain any difference.
        bins: name, share in training, share found.
        rows: rows that it was calculated from.
    """

    kind: str
    name: str
    psi: float
    verdict: str
    bins: tuple[tuple[str, float, float], ...]
    rows: int


def find_changes(connection: Connection, version: int, baseline: Baseline, where: str) -> list[Change]:
    """Return what differs from the baseline, the largest difference first.

    Of more than SAMPLE_ROWS rows, those with the smallest hash are compared: the same ones each time.

    Args:
        where: SQL condition on the predictions.
    """
    sql = f"""
    SELECT inputs::VARCHAR, outputs::VARCHAR FROM predictions
    WHERE version = {version} AND coalesce(status, 200) = 200 AND {where}
    ORDER BY hash(id, row) LIMIT {SAMPLE_ROWS}"""
    documents = [
        (json.loads(inputs or "{}"), json.loads(outputs or "{}")) for inputs, outputs in rows(connection, sql)
    ]
    z = limit_z(len(baseline.features) + len(baseline.outputs))
    changes = []
    for position, kind, distributions in ((0, "feature", baseline.features), (1, "output", baseline.outputs)):
        for distribution in distributions:
            name = distribution.name
            found = [row[position][name] for row in documents if name in row[position]]
            # A feature that is not captured has no values, which is no change.
            if found:
                changes.append(_change(kind, distribution, found, baseline.rows, z))
    return sorted(changes, key=lambda change: (-change.psi, change.kind, change.name))


def _change(
    kind: str, expected: Distribution, found: Sequence[Any], baseline_rows: int | None, z: float
) -> Change:
    values = [*_flatten(found)]
    counts = _category_counts(expected, values) if expected.categories else _edge_counts(expected, values)
    expected_shares = np.array(expected.expected)
    bins = zip(expected.bins, expected_shares.tolist(), (counts / counts.sum()).tolist(), strict=True)
    # Values of one row depend on each other: they count as no more than the rows.
    counted = counts * min(1.0, len(found) / max(1, counts.sum()))
    inner, rows = counted[:-2], float(counted[:-2].sum())
    trained = np.array(expected.shares) * (baseline_rows or 0) * (1 - expected.missing - expected.outside)
    if not baseline_rows or rows < MIN_ROWS:
        excess, verdict = 0.0, TOO_FEW
    else:
        index = psi(inner, trained)
        excess = max(0.0, float(index - (len(inner) - 1) * chance(rows, trained.sum())))
        changed = is_drift(index, np.array(rows), float(trained.sum()), len(inner), z)
        others = _is_beyond(counted, expected, baseline_rows, z)
        verdict = CHANGED if bool(changed) or others else AS_TRAINED
    return Change(kind, expected.name, excess, verdict, tuple(bins), len(found))


def _is_beyond(counted: Any, expected: Distribution, baseline_rows: int, z: float) -> bool:
    """Return whether more values are missing or outside than in training, beyond chance."""
    for count, share, extremes in (
        (counted[-2], expected.missing, 0),
        (counted[-1], expected.outside, EXTREMES),
    ):
        lowest = lowest_share(count, counted.sum(), z)
        highest = highest_share(share * baseline_rows + extremes, baseline_rows, z)
        if float(lowest - highest) > LEAST_SHARE_EXCESS:
            return True
    return False


def _edge_counts(expected: Distribution, values: Sequence[Any]) -> Any:
    """Return the number of values in each bin, `missing` and `outside`."""
    numbers = np.array([_number(value) for value in values], np.float64)
    edges = np.array(expected.edges)
    index = np.searchsorted(edges, numbers, side="right") - 1
    index[numbers == edges[-1]] = len(edges) - 2
    size = len(expected.bins)
    index[(index < 0) | (index > len(edges) - 2)] = size - 1
    index[np.isnan(numbers)] = size - 2
    return np.bincount(index, minlength=size)


def _category_counts(expected: Distribution, values: Sequence[Any]) -> Any:
    position = {value: index for index, value in enumerate(expected.categories)}
    names = {name: index for index, name in enumerate(expected.bins)}
    index = [
        names[MISSING] if value is None or value == "NaN" else position.get(value, names[OUTSIDE])
        for value in values
    ]
    return np.bincount(index, minlength=len(names))


def _flatten(values: Sequence[Any]) -> Iterator[Any]:
    """Yield the values of rows that may have several, in lists or by name."""
    for value in values:
        if isinstance(value, list):
            yield from _flatten(value)
        elif isinstance(value, dict):
            yield from _flatten([*value.values()])
        else:
            yield value


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, str):
        # A hash, or a text where the baseline has numbers, is in none of the bins.
        return NON_FINITE.get(value, float("inf"))
    return float(value)
